import json
import re
import shutil
from pathlib import Path

import pytest
from cli.command_runs import start, training
from hub import serve

from regen_hf.cli import train
from regen_hf.cli.commands import COMMANDS

ROOT = Path(__file__).parents[2]


WRONG = {
    "no command": ([], "the following arguments are required: COMMAND"),
    "unknown command": (["trian"], "invalid choice: 'trian' .*train.*extract.*generate"),
}  # fmt: skip


@pytest.mark.parametrize(("argv", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_in_one_line(argv, message, refused):
    refused(argv, message)


def test_a_mistake_of_ours_is_not_hidden(run, monkeypatch):
    monkeypatch.setattr(train, "load_model", lambda asked: {}["key"])
    with pytest.raises(KeyError):
        run(*training("out"))


def test_help_tells_of_every_command(run):
    found = run("--help")
    assert found.status == 0
    assert all(f"  {command} " in found.out for command in COMMANDS)


@pytest.mark.slow
def test_the_script_runs_it():
    """As pip writes it, from the entry in `pyproject.toml`."""
    module, name = re.search(r'regen-hf = "(.*):(.*)"', (ROOT / "pyproject.toml").read_text()).groups()
    found = start("-c", f"import sys; from {module} import {name}; sys.exit({name}())", "train", "--model", "model")
    assert found.returncode == 2
    assert found.stderr.splitlines()[-1].startswith("error: the following arguments are required: --dataset, --output")


@pytest.mark.slow
def test_the_module_trains_in_two_processes(tmp_path):
    """`torchrun` starts `python -m regen_hf` twice."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "regen_hf"]
    found = start(*torchrun, *training(tmp_path, "--validation_split", "validation", dataset="splits"))
    assert found.returncode == 0, found.stderr
    result = json.loads((tmp_path / "stages" / "prior" / "result.json").read_text())
    assert result["processes"] == 2
    assert found.stdout.count("prior: 2 steps") == 1  # told once


OWN = """
from regen_hf import RegenerationConfig, RegenerationModel
class OwnConfig(RegenerationConfig):
    model_type = "own"
class OwnModel(RegenerationModel):
    config_class = OwnConfig
"""


HUB = """
from regen_hf import cli
from regen_hf.stages import inputs
def fails(argv):
    try:
        cli.main(argv)
    except SystemExit as stopped:
        return stopped.code == 2
cli.main({extract!r})
inputs.extract = None
cli.main({train!r})
assert fails({generate!r})
cli.main({generate!r} + ["--trust_remote_code"])
"""


@pytest.mark.slow
def test_representations_and_code_go_over_the_hub(tmp_path):
    """In a new process: the address of the Hub counts only before huggingface_hub is imported."""
    own = tmp_path / "hub" / "user" / "own"
    shutil.copytree("model", own)
    (own / "own.py").write_text(OWN)
    named = {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}}
    (own / "config.json").write_text(json.dumps(json.loads((own / "config.json").read_text()) | named))
    extract = ["extract", "--model", "model", "--dataset", "files", "--target_column", "image", "--output_folder"]
    train = [*map(str, training(tmp_path / "out", "--representations", "user/y", dataset="files"))]
    generate = ["generate", "--model", "user/own", "--sources", "red heart", "--output", str(tmp_path / "sheet")]
    code = HUB.format(
        extract=[*extract, str(tmp_path / "y"), "--push_to_hub", "user/y"], train=train, generate=generate
    )
    with serve(tmp_path / "hub") as endpoint:
        settings = {"HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_test", "HF_HUB_DISABLE_XET": "1"}
        found = start("-c", code, HF_ENDPOINT=endpoint, HF_HOME=str(tmp_path / "home"), **settings)
    assert found.returncode == 0, found.stderr
    assert "they were uploaded: http" in found.stdout and "prior: 2 steps" in found.stdout
    assert (tmp_path / "hub" / "datasets" / "user" / "y" / "representations.json").is_file()
    assert "trust_remote_code=True" in found.stderr.split("error: ")[1] and (tmp_path / "sheet.png").is_file()
