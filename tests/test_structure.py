"""The plan of the house: imports go down only, and importing is light."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import regen_hf

SOURCE = Path(regen_hf.__file__).parent
FLOORS = [
    {"outputs", "files", "arguments", "interruption", "trackers", "processes", "pretrained", "espeak", "scores"},
    {"contracts", "batches", "optimizers", "checkpoints", "accelerators", "data_checks", "representations", "lengths"},
    {"auto", "diffusers_module", "spectral", "modalities", "training", "run_folder", "shards"},
    {"extractors", "generators", "losses", "configuration_regeneration", "processing_regeneration", "fingerprints"},
    {"modeling_regeneration", "extraction"},
    {"pipeline_regeneration", "predictions", "joint", "lora", "summary", "model_card", "stage_checks"},
    {"stages"},
    {"cli_arguments"},
    {"cli"},
    {"__init__", "__main__"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(path: Path):
    depth = len(path.relative_to(SOURCE).parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            yield from [node.module.split(".")[0]] if node.module else [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom | ast.Import) and "regen_hf" in ast.unparse(node):
            raise AssertionError(f"{path} imports regen_hf by name")


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down_only(path):
    for lower in imported_rooms(path):
        assert FLOOR[lower] < FLOOR[room(path)], f"{room(path)} imports {lower}"


def test_every_module_has_its_tests():
    for path in SOURCE.rglob("*.py"):
        place = path.relative_to(SOURCE)
        if path.name not in ("__init__.py", "__main__.py", "base.py"):
            assert (Path(__file__).parent / place.with_name(f"test_{place.name}")).is_file(), place


def test_the_composite_knows_no_concrete_part():
    for name in ("modeling_regeneration", "configuration_regeneration", "pipeline_regeneration"):
        tree = ast.parse((SOURCE / f"{name}.py").read_text(encoding="utf-8"))
        modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level}
        assert not {module.split(".")[0] for module in modules} & {"extractors", "generators"}


def test_no_branch_on_a_model_type():
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                assert "model_type" not in ast.unparse(node), path


def test_importing_is_light():
    code = "import regen_hf, sys; print([m for m in ('diffusers', 'datasets', 'peft') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "examples/image_generation/README.md",
        "CONTRIBUTING.md",
        "docs/training.md",
        "docs/parts.md",
        "benchmarks/README.md",
    ],
)
def test_code_in_the_documents_names_what_there_is(name):
    text = (SOURCE.parents[1] / name).read_text(encoding="utf-8")
    for code in re.findall(r"```python\n(.*?)```", text, flags=re.S):
        tree = ast.parse(code)
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id[0].isupper()}
        given = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
        for public in used - given:
            assert hasattr(regen_hf, public), public
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert ((SOURCE.parents[1] / name).parent / path).exists(), path


def test_everything_public_has_a_docstring():
    for name in regen_hf.__all__:
        assert (getattr(regen_hf, name).__doc__ or "").strip(), name
        assert not getattr(regen_hf, name).__doc__.startswith(f"{name}("), name


@pytest.mark.parametrize("name", [
    "diffusers_module", "auto", "extractors.autoencoder", "extractors.codec", "extractors.downsample",
    "extractors.encoder", "extractors.identity", "extractors.log_mel", "generators.masked", "generators.regression",
    "generators.vocoder", "generators.aligned_diffusion", "generators.alignment", "generators.ctc",
    "generators.griffin_lim", "generators.inverse_stft", "extractors.token_autoencoder", "modalities.audio",
    "modalities.combination", "modalities.phoneme", "extractors.keywords", "extractors.harmony", "scores",
    "generators.autoregressive", "generators.diffusion", "modalities.label", "modalities.text",
    "modeling_regeneration", "extraction", "espeak", "extractors.phonemes",
])  # fmt: skip
def test_examples_in_docstrings_run(name):
    import doctest
    import importlib

    module = importlib.import_module(f"regen_hf.{name}")
    result = doctest.testmod(module, extraglobs={"torch": __import__("torch")})
    assert result.attempted and not result.failed
