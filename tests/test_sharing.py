"""Push and load with the real huggingface_hub client, in new processes, against a Hub on loopback."""

import os
import subprocess
import sys
import textwrap

import pytest
import tiny
from hub import serve

pytestmark = pytest.mark.slow  # a new process each


def run(code: str, endpoint: str, home, **environment) -> subprocess.CompletedProcess:
    """A new process: HF_ENDPOINT counts only before huggingface_hub is imported."""
    settings = {
        **os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_test",
        "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1", **environment,
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=settings, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """An endpoint where `user/emoji` was pushed to, and the folder it keeps it in."""
    saved, root, home = (tmp_path_factory.mktemp(name) for name in ("saved", "hub", "home"))
    tiny.latent_model().save_pretrained(saved)
    tiny.processor().save_pretrained(saved)
    with serve(root) as endpoint:
        pushed = run(
            f"""
            from regen_hf import RegenerationModel, RegenerationProcessor
            RegenerationModel.from_pretrained({str(saved)!r}).push_to_hub("user/emoji")
            RegenerationProcessor.from_pretrained({str(saved)!r}).push_to_hub("user/emoji")
            """,
            endpoint,
            home,
        )
        assert pushed.returncode == 0, pushed.stderr
        yield endpoint, root / "user" / "emoji"


def test_the_repository_holds_no_code_but_the_shim(shared):
    files = {path.name for path in shared[1].iterdir()}
    needed = {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "tokenizer_config.json"}
    assert needed <= files
    assert {name for name in files if name.endswith(".py")} == {"regeneration_remote_code.py"}
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in files)


GENERATE = """
    from transformers import pipeline
    pipe = pipeline("regeneration", model="user/emoji"{trust})
    images = pipe(["red heart", "blue dog"], num_inference_steps=2)
    print([(type(row["image"]).__module__, row["image"].size) for row in images])
"""


def test_loads_after_importing_regen_hf(shared, tmp_path):
    found = run("    import regen_hf\n" + GENERATE.format(trust=""), shared[0], tmp_path)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == "[('PIL.Image', (16, 16)), ('PIL.Image', (16, 16))]"


def test_loads_without_importing_it_where_the_code_is_trusted(shared, tmp_path):
    found = run(GENERATE.format(trust=", trust_remote_code=True"), shared[0], tmp_path)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == "[('PIL.Image', (16, 16)), ('PIL.Image', (16, 16))]"


def test_runs_no_code_of_the_repository_where_it_is_not_trusted(shared, tmp_path):
    found = run(GENERATE.format(trust=", trust_remote_code=False"), shared[0], tmp_path)
    assert found.returncode != 0
    assert "trust_remote_code" in found.stderr


def test_saving_a_model_that_was_loaded_as_remote_code_copies_no_sources(shared, tmp_path):
    found = run(
        f"""
        from transformers import AutoModel
        model = AutoModel.from_pretrained("user/emoji", trust_remote_code=True)
        model.save_pretrained({str(tmp_path / "again")!r})
        """,
        shared[0],
        tmp_path,
    )
    assert found.returncode == 0, found.stderr
    assert [path.name for path in (tmp_path / "again").glob("*.py")] == ["regeneration_remote_code.py"]
    assert (tmp_path / "again" / "config.json").read_text().count("auto_map") == 1
