"""The plan of the house: imports go down only, and importing is light."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import regen_hf

SOURCE = Path(regen_hf.__file__).parent
FLOORS = [
    {"parts", "speech", "runtime"},
    {"modalities", "training"},
    {"extractors", "generators", "losses", "cache", "configuration_regeneration", "processing_regeneration"},
    {"modeling_regeneration"},
    {"pipeline_regeneration", "sharing"},
    {"stages"},
    {"cli"},
    {"__init__", "__main__"},
]
GENERATORS = [{"sources"}, {"autoregressive", "diffusion", "parallel", "waves"}, {"__init__"}]
"""Imports go down only: a room imports from lower floors, and none from its own."""


def floor(floors: list[set[str]], room: str) -> int:
    found = [number for number, rooms in enumerate(floors) if room in rooms]
    assert found, f"{room} is on no floor: add it to the plan above"
    return found[0]


def imports(source: Path, within: str = "") -> set[tuple[str, str]]:
    """Which room imports from which, below `source` or below one of its rooms: files and folders side by side."""
    top, found = source / within, set()
    for path in top.rglob("*.py"):
        place = path.relative_to(source).with_suffix("").parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = (*place[: len(place) - node.level], *(node.module or "").split("."))
                targets = [base] if node.module else [(*base[:-1], alias.name) for alias in node.names]
                for target in targets:
                    rooms = [p[len(Path(within).parts) :][:1] for p in (place, target) if p[0] == within or not within]
                    if len(rooms) == 2 and rooms[0] != rooms[1] and all(rooms):
                        found.add((rooms[0][0], rooms[1][0]))
    return found


@pytest.mark.parametrize("within, floors", [("", FLOORS), ("generators", GENERATORS)])
def test_imports_go_down_only(within, floors):
    for upper, lower in sorted(imports(SOURCE, within)):
        assert floor(floors, lower) < floor(floors, upper), f"{upper} imports {lower}"


def test_nothing_imports_the_library_by_its_name():
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom | ast.Import):
                assert "regen_hf" not in ast.unparse(node), path


def test_modules_do_not_import_each_other_in_a_circle():
    below = {}
    for path in SOURCE.rglob("*.py"):
        place = path.relative_to(SOURCE).with_suffix("").parts
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.level:
                base = (*place[: len(place) - node.level], *(node.module or "").split("."))
                is_module = (SOURCE / Path(*base)).with_suffix(".py").is_file()
                below.setdefault(place, set()).add(base if is_module else (*base, "__init__"))
    list(graphlib.TopologicalSorter(below).static_order())  # raises a CycleError that names them


@pytest.mark.parametrize("within", ["", "extractors", "generators"])
def test_each_room_says_what_it_may_import_and_imports_no_more(within):
    found = imports(SOURCE, within)
    for path in (SOURCE / within).glob("*/__init__.py"):
        text = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split())
        said = re.search(r"May import (.*)\.$|Imports nothing else of the library\.$", text)
        assert said, f"{path.parent.name} does not say what it may import"
        for lower in (lower for upper, lower in found if upper == path.parent.name):
            may = set(re.findall(r"\w+", said[1] or ""))
            assert {lower, "everything"} & may, f"{path.parent.name} imports {lower}, which its `__init__` does not say"


def test_a_room_has_at_most_a_dozen_files():
    for path in SOURCE.rglob("__init__.py"):
        assert len([file for file in path.parent.glob("*.py") if file != path]) <= 12, path.parent


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


@pytest.mark.slow
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
    "parts.diffusers_module", "parts.auto", "extractors.autoencoder", "extractors.codec", "extractors.rules.downsample",
    "extractors.encoder", "extractors.rules.identity", "extractors.rules.log_mel", "generators.parallel.masked",
    "generators.parallel.regression", "generators.waves.vocoder", "generators.diffusion.aligned_diffusion",
    "generators.sources.alignment", "generators.parallel.ctc", "generators.waves.griffin_lim",
    "generators.waves.inverse_stft", "extractors.token_autoencoder", "modalities.audio", "modalities.combination",
    "modalities.phoneme", "extractors.rules.keywords", "extractors.rules.harmony", "modalities.score_codes",
    "generators.autoregressive.autoregressive", "generators.diffusion.diffusion", "modalities.label",
    "modalities.text", "modeling_regeneration", "cache.extraction", "speech.espeak", "extractors.rules.phonemes",
])  # fmt: skip
def test_examples_in_docstrings_run(name):
    import doctest
    import importlib

    module = importlib.import_module(f"regen_hf.{name}")
    result = doctest.testmod(module, extraglobs={"torch": __import__("torch")})
    assert result.attempted and not result.failed


if __name__ == "__main__":  # python tests/test_structure.py [FOLDER]: the rooms of this tree or another, in numbers
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE
    for within in ("", "generators"):
        top = source / within
        rooms = [path for path in top.iterdir() if path.suffix == ".py" or any(path.glob("*.py"))]
        print(f"{within or 'regen_hf'}: {len(rooms)} rooms, {len(imports(source, within))} imports between them")
