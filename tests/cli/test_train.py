import json
import re

import pytest
import tiny
from cli.command_runs import same, save, trained, training, weights
from datasets import Dataset, Features, Image
from pairs import broken
from PIL import Image as PILImage
from transformers import ResNetBackbone, ResNetConfig, pipeline

from regen_hf import DiffusionGenerator, RegenerationModel
from regen_hf.cli import main

ADAPTERS = [
    "--max_steps",
    4,
    "--learning_rate",
    1e-2,
    "--save_every",
    2,
    "--lora",
    "prior",
    "--lora_rank",
    2,
    "--samples",
    "red heart",
]


@pytest.fixture(scope="module")
def adapters(place, one_thread, tmp_path_factory):
    """A run that trained adapters."""
    folder = tmp_path_factory.mktemp("adapters")
    main([str(each) for each in training(folder, *ADAPTERS, model=place / "model", dataset=place / "flat")])
    return folder


def press_ctrl_c(monkeypatch, step):
    """In the middle of a step of the prior; gives a list that grows by an item a step."""
    calls, forward = [], DiffusionGenerator.forward

    def press(self, **batch):
        calls.append(1)
        if len(calls) == step:
            raise KeyboardInterrupt
        return forward(self, **batch)

    monkeypatch.setattr(DiffusionGenerator, "forward", press)
    return calls


def test_trains_what_the_pipeline_reads(run, tmp_path):
    found = run(
        *training(tmp_path, "--stages", "extractor", "prior", "--samples", "red heart", "--learning-rate", "3e-3")
    )
    assert found.status == 0, found.error
    assert re.search(r"extractor: 2 steps in \d+ s, loss \d+\.\d{4}\nprior: 2 steps in", found.out)
    assert f"the model is in {tmp_path / 'model'}" in found.out
    assert pipeline("regeneration", model=str(tmp_path / "model"))("red heart")["image"].size == (16, 16)
    assert {path.name for path in (tmp_path / "samples").iterdir()} == {"extractor-000002.png", "prior-000002.png"}
    assert json.loads((tmp_path / "training_summary.json").read_text())["examples"]["pairs"] == 24
    arguments = json.loads((tmp_path / "stages" / "prior" / "result.json").read_text())["arguments"]
    assert (arguments["learning_rate"], arguments["batch_size"]) == (3e-3, 8)


def test_an_interrupted_run_is_resumed(run, tmp_path, monkeypatch):
    settings = ["--save_every", 2, "--max_steps", 4]
    trained(run, tmp_path / "whole", *settings)
    calls = press_ctrl_c(monkeypatch, step=4)
    found = run(*training(tmp_path / "out", *settings))
    assert found.status == 130
    assert "training was interrupted" in found.error and "--resume" in found.error
    found = run(*training(tmp_path / "out", *settings))
    assert found.status == 2 and "--resume" in found.error
    trained(run, tmp_path / "out", *settings, "--resume")
    assert len(calls) == 4 + 2  # from the checkpoint of step 2
    assert same(weights(tmp_path / "out" / "model"), weights(tmp_path / "whole" / "model"))
    again = run(*training(tmp_path / "out", *settings, "--resume"))
    assert again.status == 0 and len(calls) == 6  # it was finished


def test_adapters_are_trained_and_saved_alone(run, tmp_path, adapters):
    model = adapters / "model"
    files = {path.name for path in model.iterdir()}
    assert "adapter_model.safetensors" in files and "model.safetensors" not in files
    assert json.loads((model / "adapter_config.json").read_text())["r"] == 2
    loaded = pipeline("regeneration", model=str(model))
    assert same(weights("model"), {name.replace(".base_layer", ""): v for name, v in loaded.model.state_dict().items()})
    assert loaded("red heart")["image"].size == (16, 16)
    found = run("generate", "--model", model, "--sources", "red heart", "--output", tmp_path / "sheet")
    assert found.status == 0 and (tmp_path / "sheet.png").is_file()


def test_a_run_with_adapters_is_resumed(run, tmp_path, monkeypatch, adapters):
    before = weights("model")
    press_ctrl_c(monkeypatch, step=3)
    assert run(*training(tmp_path, *ADAPTERS)).status == 130
    trained(run, tmp_path, *ADAPTERS, "--resume")
    one, other = (folder / "model" / "adapter_model.safetensors" for folder in (adapters, tmp_path))
    assert one.read_bytes() == other.read_bytes()
    assert same(before, weights("model"))


def test_adapters_of_adapters_are_refused(run, tmp_path, adapters):
    for more in ([], ["--lora", "prior"]):
        found = run(*training(tmp_path / "more", *more, model=adapters / "model"))
        assert found.status == 2
        assert re.search(r"`model` .* is adapters: give the regenerator that they belong to", found.error)


def test_validation_decides_what_is_kept(run, tmp_path):
    settings = ["--eval_every", 1, "--keep", "best", "--validation_split", "validation"]
    found = trained(run, tmp_path / "split", *settings, dataset="splits")["prior"]
    assert [step for step, _ in found["validation"]] == [1, 2]
    part = trained(run, tmp_path / "part", *settings[:-1], "train[:6]", dataset="flat")["prior"]
    assert part["validation"] == found["validation"]  # they are the same rows
    streamed = [*settings, "--streaming", "--shuffle_buffer", 0]
    streamed = trained(run, tmp_path / "stream", *streamed, dataset="files")["prior"]
    assert streamed["validation"] == found["validation"]


def test_a_shuffled_stream_is_learned_from(run, tmp_path):
    losses = []
    for buffer in (0, 24):
        more = ["--streaming", "--shuffle_buffer", buffer, "--stages", "extractor", "prior"]
        found = trained(run, tmp_path / str(buffer), *more)
        assert found["prior"]["steps"] == 2
        losses.append(found["extractor"]["losses"])
    assert losses[0] != losses[1]


def test_unpaired_targets_are_learned_from(run, tmp_path):
    white = [PILImage.new("RGB", (16, 16), "white")] * 24
    Dataset.from_dict({"image": white}, features=Features({"image": Image()})).save_to_disk(tmp_path / "white")
    more = ["--stages", "extractor", "--unpaired", tmp_path / "white"]
    one = trained(run, tmp_path / "one", *more[:2])["extractor"]
    other = trained(run, tmp_path / "other", *more)["extractor"]
    assert one["losses"] != other["losses"]
    assert json.loads((tmp_path / "other" / "training_summary.json").read_text())["examples"]["unpaired"] == 24


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
    assert found["extractor"]["steps"] == 2
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
