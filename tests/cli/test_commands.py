import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import datasets
import pytest
import tiny
import torch
import transformers
from datasets import Dataset, DatasetDict, Features, Image
from hub import serve
from PIL import Image as PILImage
from runs import broken, pairs
from transformers import BertModel, ResNetBackbone, ResNetConfig, pipeline

from regen_hf import DiffusionGenerator, ImageModality, RegenerationModel, RegenerationProcessor, StageArguments, losses
from regen_hf.cache import extraction, representations
from regen_hf.cli import commands as cli
from regen_hf.stages import inputs, lora, regenerator

ROOT = Path(__file__).parents[1]
COLUMNS = ["--source_column", "text", "--target_column", "image"]
QUICK = {"num_inference_steps": 2}


def save(model, folder, size=16):
    model.save_pretrained(folder)
    RegenerationProcessor(tiny.text(), ImageModality(size)).save_pretrained(folder)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with models and datasets of every form."""
    place = tmp_path_factory.mktemp("cli")
    torch.manual_seed(0)
    prior = tiny.diffusion_prior((4, 4, 4), generation=QUICK)
    save(RegenerationModel.from_components(tiny.autoencoder_extractor(), prior), place / "model")
    lowres = tiny.diffusion_prior((3, 4, 4), generation=QUICK), tiny.diffusion_decoder(generation=QUICK)
    save(RegenerationModel.from_components(tiny.downsample(), *lowres), place / "lowres")
    data = pairs()
    data.save_to_disk(place / "flat")
    parts = DatasetDict(train=data, validation=data.select(range(6)))
    parts.save_to_disk(place / "splits")
    (place / "files").mkdir()
    for name, part in parts.items():
        part.to_parquet(place / "files" / f"{name}.parquet")
    return place


@pytest.fixture(autouse=True)
def there(place, monkeypatch):
    monkeypatch.chdir(place)


@pytest.fixture
def run(capsys):
    """Runs a command; gives its status, what it printed and what it complained of."""

    def run(*argv):
        status = 0
        try:
            cli.main([str(each) for each in argv])
        except SystemExit as stopped:
            status = stopped.code
        said = capsys.readouterr()
        told = said.err.replace("\r", "\n").strip()  # progress bars, then what was wrong
        complaint = re.search(r"^(error:|training was).*", told, flags=re.M | re.S)
        return SimpleNamespace(status=status, out=said.out, error=complaint[0] if complaint else "")

    return run


def training(out, *more, model="model", dataset="flat"):
    asked = ["--batch_size", 8, "--warmup_steps", 1, *COLUMNS, "--max_steps", 4]
    return ["train", "--model", model, "--dataset", dataset, "--output_folder", out, *asked, *more]


def trained(run, out, *more, **settings):
    """Trains for real, and gives what the summary says of each stage."""
    found = run(*training(out, *more, **settings))
    assert found.status == 0, found.error
    return {stage["name"]: stage for stage in json.loads((out / "training_summary.json").read_text())["stages"]}


def weights(folder):
    return RegenerationModel.from_pretrained(folder).state_dict()


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


# --- train


def test_trains_what_the_pipeline_reads(run, tmp_path):
    found = run(
        *training(tmp_path, "--stages", "extractor", "prior", "--samples", "red heart", "--learning-rate", "3e-3")
    )
    assert found.status == 0, found.error
    assert re.search(r"extractor: 4 steps in \d+ s, loss \d+\.\d{4}\nprior: 4 steps in", found.out)
    assert f"the model is in {tmp_path / 'model'}" in found.out
    assert pipeline("regeneration", model=str(tmp_path / "model"))("red heart")["image"].size == (16, 16)
    assert {path.name for path in (tmp_path / "samples").iterdir()} == {"extractor-000004.png", "prior-000004.png"}
    arguments = json.loads((tmp_path / "stages" / "prior" / "result.json").read_text())["arguments"]
    assert (arguments["learning_rate"], arguments["batch_size"]) == (3e-3, 8)


@pytest.mark.parametrize("dataset", ["flat", "splits", "files"])
def test_every_form_of_a_dataset_is_the_same(dataset, run, tmp_path):
    trained(run, tmp_path / "out", dataset=dataset)
    expected = trained(run, tmp_path / "flat", dataset="flat")
    found = json.loads((tmp_path / "out" / "training_summary.json").read_text())
    assert found["examples"]["pairs"] == 24
    assert same(weights(tmp_path / "out" / "model"), weights(tmp_path / "flat" / "model")), expected


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
    import yaml

    asked = {**yaml.safe_load(CONFIG), "learning_rate": 1e-3, "prior": {"max_steps": 5, "mixed_precision": None}}
    (tmp_path / "train.json").write_text(json.dumps(asked, indent="\t"))
    given = stage_arguments(monkeypatch, run, "--config", tmp_path / "train.json", "--output_folder", tmp_path / "out")
    assert (given["prior"].max_steps, given["prior"].learning_rate, given["prior"].mixed_precision) == (5, 1e-3, None)


def test_the_recipe_is_understood():
    asked = cli.parse("train", ["--config", str(ROOT / "recipes" / "train.yaml")])
    run, shared = asked[2], asked[-1]
    assert run.stages == ["extractor", "prior"]
    assert cli._stage("prior", run.prior, shared).learning_rate == 3e-4


def test_an_interrupted_run_is_resumed(run, tmp_path, monkeypatch):
    settings = ["--save_every", 2, "--max_steps", 6]
    trained(run, tmp_path / "whole", *settings)
    calls, forward = [], DiffusionGenerator.forward

    def press_ctrl_c(self, **batch):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return forward(self, **batch)

    monkeypatch.setattr(DiffusionGenerator, "forward", press_ctrl_c)
    found = run(*training(tmp_path / "out", *settings))
    assert found.status == 130
    assert "training was interrupted" in found.error and "--resume" in found.error
    found = run(*training(tmp_path / "out", *settings))
    assert found.status == 2 and "--resume" in found.error
    trained(run, tmp_path / "out", *settings, "--resume")
    assert len(calls) == 4 + 4  # from the checkpoint of step 2
    assert same(weights(tmp_path / "out" / "model"), weights(tmp_path / "whole" / "model"))
    again = run(*training(tmp_path / "out", *settings, "--resume"))
    assert again.status == 0 and len(calls) == 8  # it was finished


def test_adapters_are_trained_and_saved_alone(run, tmp_path):
    before = weights("model")
    trained(run, tmp_path, "--lora", "prior", "--lora_rank", 2, "--samples", "red heart")
    model = tmp_path / "model"
    files = {path.name for path in model.iterdir()}
    assert "adapter_model.safetensors" in files and "model.safetensors" not in files
    assert json.loads((model / "adapter_config.json").read_text())["r"] == 2
    assert same(before, weights("model"))
    loaded = pipeline("regeneration", model=str(model))
    assert same(before, {name.replace(".base_layer", ""): v for name, v in loaded.model.state_dict().items()})
    assert loaded("red heart")["image"].size == (16, 16)
    found = run("generate", "--model", model, "--sources", "red heart", "--output", tmp_path / "sheet")
    assert found.status == 0 and (tmp_path / "sheet.png").is_file()


def test_a_run_with_adapters_is_resumed(run, tmp_path, monkeypatch):
    settings = ["--save_every", 2, "--lora", "prior", "--learning_rate", 1e-2]
    trained(run, tmp_path / "whole", *settings)
    calls, forward = [], DiffusionGenerator.forward

    def stop(self, **batch):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return forward(self, **batch)

    monkeypatch.setattr(DiffusionGenerator, "forward", stop)
    assert run(*training(tmp_path / "out", *settings)).status == 130
    trained(run, tmp_path / "out", *settings, "--resume")
    one, other = (tmp_path / name / "model" / "adapter_model.safetensors" for name in ("whole", "out"))
    assert one.read_bytes() == other.read_bytes()


def test_validation_decides_what_is_kept(run, tmp_path):
    settings = ["--eval_every", 2, "--keep", "best", "--validation_split", "validation"]
    found = trained(run, tmp_path / "split", *settings, dataset="splits")["prior"]
    assert [step for step, _ in found["validation"]] == [2, 4]
    part = trained(run, tmp_path / "part", *settings[:-1], "train[:6]", dataset="flat")["prior"]
    assert part["validation"] == found["validation"]  # they are the same rows
    streamed = [*settings, "--streaming", "--shuffle_buffer", 0]
    streamed = trained(run, tmp_path / "stream", *streamed, dataset="files")["prior"]
    assert streamed["validation"] == found["validation"]


def test_a_part_of_a_split(run, tmp_path):
    trained(run, tmp_path, "--split", "train[:25%]", "--stages", "extractor")
    assert json.loads((tmp_path / "training_summary.json").read_text())["examples"]["pairs"] == 6


def test_unpaired_targets_are_learned_from(run, tmp_path):
    white = [PILImage.new("RGB", (16, 16), "white")] * 24
    Dataset.from_dict({"image": white}, features=Features({"image": Image()})).save_to_disk(tmp_path / "white")
    more = ["--stages", "extractor", "--unpaired", tmp_path / "white"]
    one = trained(run, tmp_path / "one", *more[:2])["extractor"]
    other = trained(run, tmp_path / "other", *more)["extractor"]
    assert one["losses"] != other["losses"]
    assert json.loads((tmp_path / "other" / "training_summary.json").read_text())["examples"]["unpaired"] == 24


def test_a_stream_is_shuffled(run, tmp_path):
    found = {}
    for buffer in (0, 8, 24):
        more = ["--streaming", "--shuffle_buffer", buffer, "--stages", "extractor", "prior"]
        found[buffer] = trained(run, tmp_path / str(buffer), *more)
        assert found[buffer]["prior"]["steps"] == 4
    losses = [each["extractor"]["losses"] for each in found.values()]
    assert losses[0] != losses[1] != losses[2] != losses[0]
    again = trained(run, tmp_path / "again", *more)
    assert again["extractor"]["losses"] == losses[-1]
    other = trained(run, tmp_path / "other", *more, "--seed", 1)
    assert other["extractor"]["losses"] != losses[-1]


@pytest.mark.parametrize("streaming", [[], ["--streaming"]])
def test_representations_are_extracted_and_trained_on(streaming, run, tmp_path, monkeypatch):
    asked = ["--model", "model", "--dataset", "files", "--target_column", "image", "--output_folder", tmp_path / "y"]
    found = run("extract", *asked, "--keep_columns", "text", "--batch_size", 7, *streaming)
    assert found.status == 0, found.error
    assert "24 representations, continuous values of shape (4, 4, 4), are in" in found.out
    cache = representations.RepresentationCache(tmp_path / "y")
    assert cache.dataset["text"] == pairs()["text"]
    if streaming:
        return
    monkeypatch.setattr(inputs, "extract", None)  # it is not done again
    trained(run, tmp_path / "out", "--representations", tmp_path / "y", dataset="files")
    found = run(*training(tmp_path / "other", "--representations", tmp_path / "y", dataset="splits"))
    assert found.status == 2 and "was made from other data than asked for" in found.error


def test_losses_of_the_extractor_are_told_to_trackers(run, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shape = (3, 32, 32)
    extractor = tiny.AutoencoderExtractor.from_components(tiny.dc(), shape, "latents")
    prior = tiny.diffusion_prior(extractor.config.representation_shape)
    save(RegenerationModel.from_components(extractor, prior), tmp_path / "model", size=32)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
    ResNetBackbone(config).save_pretrained(tmp_path / "backbone")
    more = ["--perceptual_backbone", tmp_path / "backbone", "--adversarial_weight", 0.1, "--report_to", "tensorboard"]
    found = trained(run, tmp_path / "out", "--stages", "extractor", *more, model=tmp_path / "model")
    assert found["extractor"]["steps"] == 4
    events = EventAccumulator(str(tmp_path / "out" / "stages" / "extractor" / "logs" / "regen_hf"))
    events.Reload()
    assert {"extractor/loss", "extractor/perceptual", "extractor/adversarial"} <= set(events.Tags()["scalars"])
    assert "discriminator" not in str(weights(tmp_path / "out" / "model").keys())


def test_a_broken_example_stops_the_run_or_is_left_out(run, tmp_path):
    broken(tmp_path).save_to_disk(tmp_path / "data")
    found = run(*training(tmp_path / "out", dataset=tmp_path / "data"))
    assert found.status == 2
    assert re.search(r"^error: example 5, column 'image': .*broken\.png is no readable image", found.error)
    more = ["--on_bad_example", "skip", "--validation_split", "train"]
    trained(run, tmp_path / "out", *more, dataset=tmp_path / "data")
    trained(run, tmp_path / "stream", *more, "--streaming", dataset=tmp_path / "data")
    for folder in ("out", "stream"):
        assert json.loads((tmp_path / folder / "training_summary.json").read_text())["examples"]["validation"] == 23


def test_the_decoder_learns_from_predictions(run, tmp_path):
    more = ["--stages", "prior", "decoder", "--predicted"]
    none, half = (trained(run, tmp_path / share, *more, share, model="lowres") for share in ("0", "0.9"))
    assert none["prior"]["losses"] == half["prior"]["losses"]
    assert none["decoder"]["losses"] != half["decoder"]["losses"]


# --- generate


def generated(run, out, *more):
    """The sheet that was made, as a picture."""
    found = run("generate", "--model", "model", "--output", out, *more)
    assert found.status == 0, found.error
    with PILImage.open(re.search(r"see (.*\.png)$", found.out.strip())[1]) as sheet:
        return found.out, sheet.size, sheet.tobytes()


def test_generates_for_sources_and_repeats_itself(run, tmp_path):
    two = ["--sources", "red heart", "blue dog"]
    said, size, pixels = generated(run, tmp_path / "a", *two)
    assert said.startswith("2 generated") and (tmp_path / "a.png").is_file()
    assert generated(run, tmp_path / "b.png", *two)[2] == pixels
    assert generated(run, tmp_path / "c", *two, "--seed", 1)[2] != pixels
    assert generated(run, tmp_path / "d", *two, "--generation", '{"num_inference_steps": 5}')[2] != pixels
    assert generated(run, tmp_path / "e", *two, "--generation", '{"guidance": 9.0}')[2] != pixels
    said, wider, _ = generated(run, tmp_path / "f", *two, "--num_return_sequences", 3)
    assert said.startswith("6 generated") and wider[0] > size[0]


def test_generates_for_a_column_in_batches(run, tmp_path, monkeypatch):
    rows, generate = [], RegenerationModel.generate

    def count(self, **batch):
        rows.append(len(batch["input_ids"]))
        return generate(self, **batch)

    monkeypatch.setattr(RegenerationModel, "generate", count)
    asked = ["--dataset", "splits", "--split", "train[:5]", "--source_column", "text", "--batch_size", 2]
    assert generated(run, tmp_path / "a", *asked)[0].startswith("5 generated")
    assert rows == [2, 2, 1]


# --- what is wrong is told in one line


def config(text):
    def write(tmp_path):
        (tmp_path / "given.yaml").write_text(text)
        return ["train", "--config", tmp_path / "given.yaml"]

    return write


EXTRACT = ["extract", "--model", "model", "--dataset", "flat", "--output_folder", "out"]
GENERATE = ["generate", "--model", "model", "--output", "out"]
WRONG = {
    "no command": ([], "the following arguments are required: COMMAND"),
    "unknown command": (["trian"], "invalid choice: 'trian' .*train.*extract.*generate"),
    "nothing given": (["train"], "arguments are required: --model, --dataset, --output_folder"),
    "no output": (["generate", "--model", "model"], "arguments are required: --output"),
    "near flag": (training("out", "--learning_rat", 1), "'--learning_rat', which is no argument; is it '--learning_r"),
    "no flag": (training("out", "more"), "the command line has 'more', which is no argument"),
    "no value": (training("out", "--seed"), "--seed: expected one argument"),
    "no number": (training("out", "--max_steps", "many"), "--max_steps/--max-steps: invalid int value: 'many'"),
    "no boolean": (training("out", "--resume", "perhaps"), "--resume: Truthy value expected: got perhaps"),
    "bad JSON": (training("out", "--prior", '{"max_steps"'), "`prior` must be a mapping, as JSON, got '{\"max_st"),
    "no mapping": (training("out", "--prior", "[1]"), r"`prior` must be a mapping, as JSON, got \[1\]"),
    "unknown key": (config("learning_rat: 1"), "given.yaml has 'learning_rat', which is no argument; is it 'learn"),
    "help in the file": (config("help: true"), "has 'help', which is no argument"),
    "no list": (config("samples: red heart"), "`samples` must be a list, got 'red heart'"),
    "list": (config("seed: [1]"), r"`seed` must be a single value, got \[1\]"),
    "null": (config("seed: null"), "`seed` must be a single value, got None"),
    "not YAML": (config("{model: x"), "`config` .*given.yaml must be YAML or JSON"),
    "no mapping in the file": (config("- model"), "given.yaml must be a mapping of arguments, got list"),
    "no file": (["train", "--config", "none.yaml"], "No such file or directory: 'none.yaml'"),
    "unknown stage": (training("out", "--stages", "pryor"), "`stages` must be of extractor, .* got 'pryor'"),
    "no stage": (training("out", "--stages"), "--stages: expected at least one argument"),
    "section without its stage": (
        training("out", "--extractor", '{"max_steps": 1}'), "`extractor` has arguments, but `stages` does not name it",
    ),
    "unknown key of a section": (
        training("out", "--prior", '{"max_step": 1}'), "`prior` has 'max_step', which is no argument; is it 'max_",
    ),
    "value of a section": (
        training("out", "--prior", '{"max_steps": 1.5}'), "--max_steps/--max-steps: invalid int value: '1.5'",
    ),
    "wrong for a stage": (training("out", "--keep", "first"), "stage prior: `keep` must be one of last, best"),
    "no steps": (training("out")[:-2], "--max_steps must be given, for all stages or for prior alone"),
    "predicted without decoder": (training("out", "--predicted", 1), "`predicted` is for the stage decoder"),
    "loss without extractor": (training("out", "--adversarial_weight", 1), "`adversarial_weight` is for the stage ext"),
    "weight without backbone": (
        training("out", "--perceptual_weight", 1), "`perceptual_weight` is 1.0, which has no effect without `perc",
    ),
    "negative weight": (training("out", "--adversarial_weight", -1), "`adversarial_weight` must be at least 0, got"),
    "buffer without stream": (training("out", "--shuffle_buffer", 9), "`shuffle_buffer` is 9, .* without `streaming`"),
    "negative buffer": (training("out", "--streaming", "--shuffle_buffer", -1), "`shuffle_buffer` must be at least 0"),
    "representations of a stream": (
        training("out", "--streaming", "--representations", "y"), "`representations` cannot be had with `streaming`",
    ),
    "representations of what learns": (
        training("out", "--stages", "extractor", "prior", "--representations", "y"), "`representations` are for prior",
    ),
    "representations for nothing": (
        training("out", "--stages", "joint", "--representations", "y"), "`representations` are for prior and decoder",
    ),
    "no representations": (training("out", "--representations", "flat"), "flat holds no finished cache"),
    "rank without adapters": (training("out", "--lora_rank", 4), "`lora_rank` is 4, which has no effect without `lo"),
    "adapters for no stage": (
        training("out", "--lora", "extractor", "prior"), "`lora` names extractor, which `stages` does not",
    ),
    "stage without adapters": (
        training("out", "--lora", "prior", "--stages", "extractor", "prior"), "`stages` names extractor, but `lora`",
    ),
    "adapters for no part": (training("out", "--lora", "pryor"), "`lora` must be of extractor, prior, decoder, got"),
    "adapters for a missing part": (
        training("out", "--lora", "decoder", "--stages", "decoder"), "`parts` must be a list of extractor, prior, got",
    ),
    "adapters over their model": (
        training("here", "--lora", "prior", model="here/model"), "adapters would be written over here/model",
    ),
    "no column": ([*training("out")[:7], "--max_steps", 4], "the dataset has no column 'source'; its columns are text"),
    "unknown split": (training("out", "--split", "test"), "Unknown split \"test\". Should be one of"),
    "no validation split": (training("out", "--validation_split", "validation"), "Unknown split \"validation\""),
    "no configuration": (training("out", "--dataset_config", "de"), "`dataset_config` is 'de', but flat was made by"),
    "no dataset": (training("out", dataset="none"), "'none'"),
    "no model": (training("out", model="none"), "couldn't connect|is not a local folder"),
    "no regenerator": (training("out", model="bert"), "`model` bert is a BertModel, not a regenerator"),
    "bad example": (training("out", "--on_bad_example", "ignore"), "`on_bad_example` must be 'raise' or 'skip'"),
    "extract no column": (EXTRACT, "no column 'target'; its columns"),
    "extract no kept column": (
        [*EXTRACT, "--target_column", "image",
"--keep_columns", "label"], "no column 'label'; its columns",
    ),
    "extract sources": ([*EXTRACT, "--source_column", "text"], "'--source_column', which is no argument"),
    "no source": (GENERATE, "give either `sources` or a `dataset`"),
    "two sources": ([*GENERATE, "--sources", "a", "--dataset", "flat"], "give either `sources`"),
    "split of no dataset": ([*GENERATE, "--sources", "a", "--split", "b"], "`split` is 'b', which has no"),
    "generate no column": ([*GENERATE, "--dataset", "flat"], "no column 'source'; its columns are"),
    "empty source": ([*GENERATE, "--sources", " "], "source 0 must be text"),
    "unknown of generate": ([*GENERATE, "--sources", "a", "--generation", '{"guidanse": 1}'], "guidanse"),
    "own of generate": (
        [*GENERATE, "--sources", "a", "--generation", '{"batch_size": 1}'],
        "`generation` must not hold 'batch_size', which the command sets itself",
    ),
    "no sequences": (
        [*GENERATE, "--sources", "a", "--num_return_sequences", 0],
        "`num_return_sequences` must be a whole number of at least 1, got 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_in_one_line(case, run, tmp_path):
    if case == "no regenerator" and not Path("bert").exists():
        BertModel(tiny.bert()).save_pretrained("bert")
    argv, message = WRONG[case]
    found = run(*(argv(tmp_path) if callable(argv) else argv))
    assert found.status == 2
    assert found.error.startswith("error: ") and "\n" not in found.error and len(found.error) < 900
    assert re.search(message, found.error), found.error
    assert not list(Path("out").rglob("*.safetensors"))


def test_adapters_of_adapters_are_refused(run, tmp_path):
    trained(run, tmp_path / "out", "--lora", "prior")
    for more in ([], ["--lora", "prior"]):
        found = run(*training(tmp_path / "more", *more, model=tmp_path / "out" / "model"))
        assert found.status == 2
        assert re.search(r"`model` .* is adapters: give the regenerator that they belong to", found.error)


def test_a_mistake_of_ours_is_not_hidden(run, monkeypatch):
    monkeypatch.setattr(cli, "_load", lambda asked: {}["key"])
    with pytest.raises(KeyError):
        run(*training("out"))


def test_generating_is_for_one_process(run, monkeypatch):
    monkeypatch.setattr(cli, "processes", lambda: SimpleNamespace(num_processes=2))
    found = run("generate", "--model", "model", "--output", "out", "--sources", "a")
    assert found.status == 2 and "generate runs in one process, got 2" in found.error


# --- every argument reaches where it is used


class Data:
    """A dataset that remembers how it came to be."""

    column_names = ["source", "target", "text", "image"]
    features = None

    def __init__(self, name, config=None, **how):
        self.name, self.config, self.how, self.shuffled, self.read = name, config, how, None, []

    def shuffle(self, **how):
        self.shuffled = how
        return self

    def __getitem__(self, column):
        self.read.append(column)
        return ["a", "b", "c"]


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """What is called by a command in place of the work: arguments by name."""
    made = SimpleNamespace(data={})
    model = tiny.latent_model()
    processor = tiny.processor()

    def note(name, result=None):
        def call(*args, **kwargs):
            setattr(made, name, SimpleNamespace(args=args, **kwargs))
            return result

        return call

    def load(name, config=None, **how):
        made.data[how["split"], name] = Data(name, config, **how)
        return made.data[how["split"], name]

    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", note("model", model))
    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", note("processor", processor))
    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(regenerator, "train_regenerator", note("train", []))
    monkeypatch.setattr(lora, "add_lora", note("lora"))
    monkeypatch.setattr(losses, "PerceptualLoss", note("perceptual", "perceptual"))
    monkeypatch.setattr(losses, "AdversarialLoss", note("adversarial", "adversarial"))
    cache = type("Cache", (list,), {"spec": "a spec", "push_to_hub": staticmethod(note("push"))})()
    monkeypatch.setattr(representations.RepresentationCache, "from_hub", note("from_hub", "cache"))
    monkeypatch.setattr(extraction, "extract", note("extract", cache))
    monkeypatch.setattr(processor.target, "prepare_column", lambda dataset, column: dataset)
    monkeypatch.setattr(transformers, "pipeline", lambda *args, **kwargs: note("pipe", [["y"]]))
    monkeypatch.setattr(processor.target, "save_samples", note("save"))
    return made


def of_stage(name, value):
    """An argument of a stage reaches its `StageArguments`."""
    return [f"--{name}", value], lambda calls: getattr(calls.train.prior, name), value


def section(name):
    more = ["--stages", name, f"--{name}", '{"seed": 3}']
    return more, lambda calls: getattr(calls.train, name).seed, 3


def train_data(calls):
    return calls.data["train", "d"]


LOADED = ["--trust_remote_code"], lambda c: (c.model.trust_remote_code, c.processor.trust_remote_code), (True, True)
BY_NAME = ["--model", "user/m"], lambda calls: (calls.model.args, calls.processor.args), (("user/m",), ("user/m",))
OTHER_SPLIT = ["--split", "test"], lambda calls: list(calls.data), [("test", "d")]
CONFIGURED = ["--dataset_config", "de"], lambda calls: train_data(calls).config, "de"
STREAMED = ["--streaming"], lambda calls: train_data(calls).how["streaming"], True
EXTRACTING = ["--stages", "extractor"]

# for each argument: how it is given, where it is found, and what is found there then
CASES = {
    "train": {
        "model": BY_NAME,
        "trust_remote_code": LOADED,
        "dataset": (["--dataset", "e"], lambda calls: calls.train.args[2].name, "e"),
        "dataset_config": CONFIGURED,
        "split": OTHER_SPLIT,
        "source_column": (["--source_column", "text"], lambda calls: calls.train.source_column, "text"),
        "target_column": (["--target_column", "image"], lambda calls: calls.train.target_column, "image"),
        "validation_split": (
            ["--validation_split", "test"], lambda c: c.train.validation and c.train.validation.how["split"], "test",
        ),
        "unpaired": (["--unpaired", "u"], lambda calls: calls.train.unpaired and calls.train.unpaired.name, "u"),
        "representations": (["--representations", "user/y"], lambda calls: calls.train.representations, "cache"),
        "on_bad_example": (["--on_bad_example", "skip"], lambda calls: calls.train.on_bad_example, "skip"),
        "streaming": STREAMED,
        "shuffle_buffer": (
            ["--streaming", "--shuffle_buffer", 7, "--seed", 2], lambda calls: train_data(calls).shuffled,
            {"buffer_size": 7, "seed": 2},
        ),
        "output_folder": (["--output_folder", "p"], lambda calls: calls.train.args[3], "p"),
        "stages": (
            ["--stages", "joint", "prior"], lambda calls: [name for name in cli.STAGES if hasattr(calls.train, name)],
            ["prior", "joint"],
        ),
        "extractor": section("extractor"),
        "prior": section("prior"),
        "decoder": section("decoder"),
        "joint": section("joint"),
        "samples": (["--samples", "a", "b"], lambda calls: calls.train.samples, ["a", "b"]),
        "report_to": (["--report_to", "trackio"], lambda calls: calls.train.report_to, ["trackio"]),
        "resume": (["--resume"], lambda calls: calls.train.resume, True),
        "perceptual_backbone": (
            ["--perceptual_backbone", "b", *EXTRACTING], lambda calls: calls.train.extractor_losses, ["perceptual"],
        ),
        "perceptual_weight": (
            ["--perceptual_backbone", "b", "--perceptual_weight", 0.5, *EXTRACTING],
            lambda calls: hasattr(calls, "perceptual") and calls.perceptual.args, ("b", 0.5),
        ),
        "adversarial_weight": (
            ["--adversarial_weight", 0.5, *EXTRACTING],
            lambda calls: [calls.train.extractor_losses, getattr(calls, "adversarial", None)],
            [["adversarial"], SimpleNamespace(args=(), weight=0.5)],
        ),
        "lora": (["--lora", "prior"], lambda calls: hasattr(calls, "lora") and calls.lora.args[1:], (["prior"], 8)),
        "lora_rank": (
            ["--lora", "prior", "--lora_rank", 2], lambda calls: hasattr(calls, "lora") and calls.lora.args[2], 2,
        ),
        "max_steps": of_stage("max_steps", 30),
        "batch_size": of_stage("batch_size", 3),
        "learning_rate": of_stage("learning_rate", 0.5),
        "optimizer": of_stage("optimizer", "muon"),
        "beta2": of_stage("beta2", 0.5),
        "weight_decay": of_stage("weight_decay", 0.5),
        "lr_scheduler": of_stage("lr_scheduler", "cosine"),
        "warmup_steps": of_stage("warmup_steps", 5),
        "max_grad_norm": of_stage("max_grad_norm", 0.5),
        "gradient_accumulation_steps": of_stage("gradient_accumulation_steps", 2),
        "gradient_checkpointing": of_stage("gradient_checkpointing", True),
        "compile": of_stage("compile", True),
        "ema_decay": of_stage("ema_decay", 0.5),
        "mixed_precision": of_stage("mixed_precision", "bf16"),
        "group_by_length": of_stage("group_by_length", True),
        "num_workers": of_stage("num_workers", 2),
        "seed": of_stage("seed", 2),
        "eval_every": of_stage("eval_every", 2),
        "save_every": of_stage("save_every", 2),
        "keep": ([*of_stage("keep", "best")[0], "--eval_every", 2], *of_stage("keep", "best")[1:]),
        "predicted": (
            ["--predicted", 0.5, "--stages", "prior", "decoder"],
            lambda c: (c.train.prior.predicted, hasattr(c.train, "decoder") and c.train.decoder.predicted), (0.0, 0.5),
        ),
    },
    "extract": {
        "model": BY_NAME,
        "trust_remote_code": LOADED,
        "dataset": (["--dataset", "e"], lambda calls: calls.extract.args[2].name, "e"),
        "dataset_config": CONFIGURED,
        "split": OTHER_SPLIT,
        "target_column": (["--target_column", "image"], lambda calls: calls.extract.args[3], "image"),
        "keep_columns": (["--keep_columns", "a", "b"], lambda calls: calls.extract.columns, ["a", "b"]),
        "streaming": STREAMED,
        "output_folder": (["--output_folder", "p"], lambda calls: calls.extract.args[4], "p"),
        "push_to_hub": (["--push_to_hub", "user/y"], lambda c: hasattr(c, "push") and c.push.args, ("user/y",)),
        "batch_size": (["--batch_size", 3], lambda calls: calls.extract.batch_size, 3),
        "num_workers": (["--num_workers", 3], lambda calls: calls.extract.num_workers, 3),
    },
    "generate": {
        "model": BY_NAME,
        "trust_remote_code": LOADED,
        "dataset": (["--dataset", "e"], lambda calls: list(calls.data), [("train", "e")]),
        "dataset_config": CONFIGURED,
        "split": OTHER_SPLIT,
        "sources": (["--sources", "a", "b"], lambda calls: calls.pipe.args, (["a", "b"],)),
        "source_column": (["--source_column", "text"], lambda calls: train_data(calls).read, ["text"]),
        "output": (["--output", "p"], lambda calls: calls.save.args[2], Path("p")),
        "num_return_sequences": (["--num_return_sequences", 3], lambda calls: calls.pipe.num_return_sequences, 3),
        "batch_size": (["--batch_size", 3], lambda calls: calls.pipe.batch_size, 3),
        "seed": (["--seed", 3], lambda calls: calls.pipe.generator.initial_seed(), 3),
        "generation": (["--generation", '{"guidance": 2}'], lambda c: getattr(c.pipe, "guidance", None), 2),
    },
}  # fmt: skip
LEAST = {
    "train": {"model": "m", "dataset": "d", "output_folder": "o", "max_steps": 20},
    "extract": {"model": "m", "dataset": "d", "output_folder": "o"},
    "generate": {"model": "m", "dataset": "d", "output": "o"},
}
FIELDS = [
    (command, field.name)
    for command, (_, kinds) in cli.COMMANDS.items()
    for kind in kinds
    for field in dataclasses.fields(kind)
]


def least(command, more=()):
    """What a command needs at least, but for what `more` gives otherwise."""
    needed = LEAST[command].items() if "--sources" not in more else [("model", "m"), ("output", "o")]
    return [command, *(each for name, value in needed if f"--{name}" not in more for each in (f"--{name}", value))]


@pytest.mark.parametrize(("command", "name"), FIELDS)
def test_every_argument_reaches_where_it_is_used(command, name, calls, run):
    """A new one fails here until it is in `CASES`."""
    more, find, expected = CASES[command][name]
    found = run(*least(command), *(["--stages", "prior"] if command == "train" else []))
    assert found.status == 0, found.error
    if "--stages" not in more:  # else there is another stage to look at
        assert find(calls) != expected, "it is so without the argument"
    calls.data.clear()
    found = run(*least(command, more), *more)
    assert found.status == 0, found.error
    assert find(calls) == expected


def test_one_process_of_several_tells_and_uploads(calls, run, monkeypatch):
    here = SimpleNamespace(is_main_process=False, num_processes=2, device="meta")
    monkeypatch.setattr(cli, "processes", lambda: here)
    found = run(*least("extract"), "--push_to_hub", "user/y")
    assert (found.status, found.out) == (0, "") and not hasattr(calls, "push")
    assert calls.extract.args[0].device.type == "meta"  # each encodes where it is


def test_no_argument_of_a_stage_is_left_out():
    assert {field.name for field in dataclasses.fields(StageArguments)} <= CASES["train"].keys()
    assert set(FIELDS) == {(command, name) for command, cases in CASES.items() for name in cases}


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_tells_of_every_argument(command, run):
    found = run(command, "--help")
    assert found.status == 0
    assert f"regen-hf {command} --" in found.out.split("examples:")[1]
    for action in cli.make_parser(command)._actions:
        assert len(action.help) > 10 and action.help[-1] in ".)t", action.dest
    for name in [name for each, name in FIELDS if each == command]:
        assert f"  --{name} " in found.out, name
    assert "(default: train)" in found.out and "(required)" in found.out
    assert "(default: 0)" in found.out  # which is no nothing
    for kind in cli.COMMANDS[command][1]:
        told = " ".join(each.__doc__ for each in kind.__mro__[:-1])
        for field in dataclasses.fields(kind):
            assert re.search(rf"^ +(\w+, )*{field.name}: ", told, flags=re.M), field.name


def test_help_tells_of_every_command(run):
    found = run("--help")
    assert found.status == 0
    assert all(f"  {command} " in found.out for command in cli.COMMANDS)


# --- as a user starts it


def start(*argv, **environment):
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1", **environment}
    return subprocess.run(
        [sys.executable, *map(str, argv)], env=settings, capture_output=True, text=True, timeout=200
    )  # fmt: skip


def test_the_module_and_the_script_run_it(tmp_path):
    found = start("-m", "regen_hf", *training(tmp_path / "out"))
    assert found.returncode == 0, found.stderr
    assert "prior: 4 steps" in found.stdout and (tmp_path / "out" / "model" / "model.safetensors").is_file()
    assert 'regen-hf = "regen_hf.cli:main"' in (ROOT / "pyproject.toml").read_text()


def test_two_processes_train_together(tmp_path):
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "regen_hf"]
    found = start(*torchrun, *training(tmp_path / "out", "--validation_split", "validation", dataset="splits"))
    assert found.returncode == 0, found.stderr
    result = json.loads((tmp_path / "out" / "stages" / "prior" / "result.json").read_text())
    assert result["processes"] == 2
    assert found.stdout.count("prior: 4 steps") == 1  # told once


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
    assert "they were uploaded: http" in found.stdout and "prior: 4 steps" in found.stdout
    assert (tmp_path / "hub" / "datasets" / "user" / "y" / "representations.json").is_file()
    assert "trust_remote_code=True" in found.stderr.split("error: ")[1] and (tmp_path / "sheet.png").is_file()
