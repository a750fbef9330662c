import argparse
import dataclasses
import json
import re
from pathlib import Path

import pytest
import yaml
from cli.command_runs import training

from regen_hf.cli.commands import COMMANDS
from regen_hf.cli.parsing import make_parser, option_kinds, parse, use_file
from regen_hf.cli.train import _stage, train
from regen_hf.stages import regenerator

ROOT = Path(__file__).parents[2]

CONFIG = """
model: model
dataset: splits
source_column: text
target_column: image
stages: [extractor, prior]
max_steps: 3
mixed_precision: no
learning_rate: 1e-3
samples: [red heart, no]
extractor: {batch_size: 4, learning_rate: 2e-3, gradient_checkpointing: no}
prior:
  max_steps: 5
  ema_decay: 0.5
"""


def stage_arguments(monkeypatch, run, *argv):
    """What `train_regenerator` is given."""
    given = {}
    monkeypatch.setattr(regenerator, "train_regenerator", lambda *args, **kwargs: given.update(kwargs) or [])
    found = run("train", *argv)
    assert found.status == 0, found.error
    return given


def test_a_file_and_the_command_line_over_it(run, tmp_path, monkeypatch):
    (tmp_path / "train.yaml").write_text(CONFIG)
    asked = ["--config", tmp_path / "train.yaml", "--output_folder", tmp_path / "out"]
    given = stage_arguments(monkeypatch, run, *asked)
    assert given["samples"] == ["red heart", "no"]
    extractor, prior = given["extractor"], given["prior"]
    assert (extractor.max_steps, extractor.batch_size, extractor.learning_rate) == (3, 4, 2e-3)
    assert extractor.gradient_checkpointing is False
    assert (prior.max_steps, prior.batch_size, prior.learning_rate, prior.ema_decay) == (5, 64, 1e-3, 0.5)
    assert prior.mixed_precision == "no"
    over = ["--max_steps", 2, "--prior", '{"ema_decay": 0.25}', "--extractor", '{"batch_size": 6}']
    given = stage_arguments(monkeypatch, run, *asked, *over)
    extractor, prior = given["extractor"], given["prior"]
    assert (prior.max_steps, prior.ema_decay, extractor.max_steps, extractor.batch_size) == (2, 0.25, 2, 6)
    # also over the sections of the file; a value that is named like an argument is none
    given = stage_arguments(monkeypatch, run, *asked, "--max-steps=2", "--samples", "ema_decay")
    assert (given["prior"].max_steps, given["prior"].ema_decay, given["extractor"].learning_rate) == (2, 0.5, 2e-3)


def test_a_json_file_says_the_same(run, tmp_path, monkeypatch):
    asked = {**yaml.safe_load(CONFIG), "learning_rate": 1e-3, "prior": {"max_steps": 5, "mixed_precision": None}}
    (tmp_path / "train.json").write_text(json.dumps(asked, indent="\t"))
    given = stage_arguments(monkeypatch, run, "--config", tmp_path / "train.json", "--output_folder", tmp_path / "out")
    assert (given["prior"].max_steps, given["prior"].learning_rate, given["prior"].mixed_precision) == (5, 1e-3, None)


def test_the_recipe_is_understood():
    asked = parse(train, ["--config", str(ROOT / "recipes" / "train.yaml")])
    run, shared = asked[2], asked[-1]
    assert run.stages == ["extractor", "prior"]
    assert _stage("prior", run.prior, shared).learning_rate == 3e-4


@pytest.mark.parametrize(("text", "message"), [
    ("[" * 5000, "train.yaml is nested too deeply"),
    ("samples: [{a: [b]}]", "`samples` must be a list of single values, got "),
    (f"samples: [{'[' * 40}a{']' * 40}]", "`samples` must be a list of single values, got "),
    ("model: &x [a]", "`model` must be a single value, got "),
    ("stages: " + "[" * 11 + ", ".join(["&a [b]", *["*a"] * 9]) + "]" * 11, "`stages` must be a list of single values"),
])  # fmt: skip
def test_a_file_that_is_nested_beyond_sense_is_refused_in_a_short_line(text, message, tmp_path):
    (tmp_path / "train.yaml").write_text(text)
    with pytest.raises(ValueError, match=message) as found:
        parse(train, ["--config", str(tmp_path / "train.yaml")])
    assert len(str(found.value)) < 2000


def test_a_list_that_holds_itself_many_times_is_not_written_out(tmp_path):
    lists = "\n".join(f"  - &x{i} [{', '.join([f'*x{i - 1}'] * 9) if i else 'a'}]" for i in range(20))
    (tmp_path / "train.yaml").write_text(f"samples:\n{lists}")
    with pytest.raises(ValueError, match="must be YAML or JSON: it has more than 100,000 values"):
        parse(train, ["--config", str(tmp_path / "train.yaml")])


WRONG = {
    "nothing given": (["train"], "arguments are required: --model, --dataset, --output_folder"),
    "no output": (["generate", "--model", "model"], "arguments are required: --output"),
    "near flag": (training("out", "--learning_rat", 1), "'--learning_rat', which is no argument; is it '--learning_r"),
    "no flag": (training("out", "more"), "the command line has 'more', which is no argument"),
    "no value": (training("out", "--seed"), "--seed: expected one argument"),
    "no number": (training("out", "--max_steps", "many"), "--max_steps/--max-steps: invalid int value: 'many'"),
    "no boolean": (training("out", "--resume", "perhaps"), "--resume: Truthy value expected: got perhaps"),
    "bad JSON": (training("out", "--prior", '{"max_steps"'), "`prior` must be a mapping, as JSON, got '{\"max_st"),
    "no mapping": (training("out", "--prior", "[1]"), r"`prior` must be a mapping, as JSON, got \[1\]"),
    "no file": (["train", "--config", "none.yaml"], "No such file or directory: 'none.yaml'"),
    "no stage": (training("out", "--stages"), "--stages: expected at least one argument"),
}  # fmt: skip


@pytest.mark.parametrize(("argv", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_in_one_line(argv, message, refused):
    refused(argv, message)


WRONG_FILES = {
    "unknown key": ("learning_rat: 1", "given.yaml has 'learning_rat', which is no argument; is it 'learn"),
    "help in the file": ("help: true", "has 'help', which is no argument"),
    "long": (f"seed: [{'x' * 999}]", r"`seed` must be a single value, got \['x+\.\.\.x{50,}'\]"),
    "no list": ("samples: red heart", "`samples` must be a list, got 'red heart'"),
    "list": ("seed: [1]", r"`seed` must be a single value, got \[1\]"),
    "null": ("seed: null", "`seed` must be a single value, got None"),
    "not YAML": ("{model: x", "`config` .*given.yaml must be YAML or JSON"),
    "no mapping in the file": ("- model", "given.yaml must be a mapping of arguments, got list"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_what_is_wrong_in_a_file_is_told_in_one_line(text, message, refused, tmp_path):
    (tmp_path / "given.yaml").write_text(text)
    refused(["train", "--config", tmp_path / "given.yaml"], message)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_tells_of_every_argument(name, run):
    found = run(name, "--help")
    assert found.status == 0
    assert f"regen-hf {name} --" in found.out.split("examples:")[1]
    for action in make_parser(COMMANDS[name])._actions:
        assert len(action.help) > 10 and action.help[-1] in ".)t", action.dest
    assert "(default: train)" in found.out and "(required)" in found.out
    assert "(default: 0)" in found.out  # which is no nothing
    for kind in option_kinds(COMMANDS[name]):
        told = " ".join(each.__doc__ for each in kind.__mro__[:-1])
        for field in dataclasses.fields(kind):
            assert f"  --{field.name} " in found.out, field.name
            assert re.search(rf"^ +(\w+, )*{field.name}: ", told, flags=re.M), field.name


ALIASES = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize("name, text, message", [
    ("a.yaml", ALIASES, "it has more than 100,000 values"),
    ("a.yaml", "a: &a [*a]\n", "it has more than 100,000 values"),
    ("a.yaml", "a: &a {b: *a}\n", "it has more than 100,000 values"),
    ("a.yaml", "a: " + "[" * 999 + "]" * 999, "is nested too deeply"),
    ("a.json", '{"a": ' + "[" * 99999 + "]" * 99999 + "}", "is nested too deeply"),
    ("a.json", '{"a": ' + "9" * 9999 + "}", "must be YAML or JSON: Exceeds the limit"),
    ("a.yaml", "a: 2020-99-99", "must be YAML or JSON: month must be in"),
    ("a.yaml", "a: !!python/object/apply:os.getcwd []", "must be YAML or JSON: could not determine a constructor"),
])  # fmt: skip
def test_files_that_are_more_than_they_seem_are_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=f"`config` .*{message}"):
        use_file(argparse.ArgumentParser(), tmp_path / name, set())


@pytest.mark.parametrize("said", ["true", "'yes'"])
def test_code_is_trusted_on_the_command_line_only(said, run, tmp_path):
    (tmp_path / "train.yaml").write_text(f"{CONFIG}trust_remote_code: {said}\n")
    found = run("train", "--config", tmp_path / "train.yaml", "--output_folder", tmp_path / "out")
    assert found.status and "`trust_remote_code` runs code, so it is not taken from `config`" in found.error
