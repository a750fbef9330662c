import json
import os
import shutil

import pytest
import tiny
import torch
from pairs import pairs
from runs import arguments
from safetensors.torch import load_file
from transformers import AutoModel, pipeline

from regen_hf import AutoencoderExtractor, RegenerationModel, train_regenerator
from regen_hf.stages.lora import add_lora

PLACES = {"extractor": "extractor", "prior": "prior", "decoder": "decoder_model"}
TEXT = {"input_ids": torch.tensor([[3, 4], [5, 0]]), "attention_mask": torch.tensor([[1, 1], [1, 0]])}
MAKE = {
    "latents": tiny.latent_model,
    "codes": tiny.code_model,
    "lowres": tiny.lowres_model,
    "kl": lambda: RegenerationModel.from_components(
        extractor := AutoencoderExtractor.from_components(tiny.kl(), tiny.IMAGE),
        tiny.diffusion_prior(extractor.config.representation_shape),
    ),
    "nested": lambda: RegenerationModel.from_components(
        tiny.downsample(),
        tiny.diffusion_prior((3, 4, 4)),
        RegenerationModel.from_components(tiny.identity(), tiny.diffusion_decoder()),
    ),
}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folder of each kind of model, saved when it is asked for."""

    def folder(kind):
        path = tmp_path_factory.getbasetemp() / f"lora-{kind}"
        if not path.exists():
            torch.manual_seed(0)
            MAKE[kind]().save_pretrained(path)
            tiny.processor().save_pretrained(path)
        return path

    return folder


def adapted(folder, parts, **settings):
    model = RegenerationModel.from_pretrained(folder)
    add_lora(model, parts, **settings)
    return model


def trainable(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(("kind", "part"), [
    ("latents", "prior"), ("codes", "prior"), ("kl", "extractor"), ("lowres", "decoder"),
])  # fmt: skip
def test_nothing_but_the_adapters_of_a_part_learns(kind, part, folders):
    model = adapted(folders(kind), [part])
    names = trainable(model)
    assert names and all(name.startswith(f"{PLACES[part]}.") and ".lora_" in name for name in names)
    plain = RegenerationModel.from_pretrained(folders(kind))
    if part == "prior":  # new adapters change nothing
        target = plain.encode(torch.zeros(2, *tiny.IMAGE)).values
        torch.manual_seed(1)
        expected = plain.prior(target=target, **TEXT).loss
        torch.manual_seed(1)
        torch.testing.assert_close(model.prior(target=target, **TEXT).loss, expected)


def test_several_parts_at_once(folders):
    assert {name.split(".")[0] for name in trainable(adapted(folders("lowres"), ["prior", "decoder"]))} == {
        "prior", "decoder_model",
    }  # fmt: skip


def test_a_part_is_not_mistaken_for_one_of_a_nested_regenerator(folders):
    """Its own prior is called `decoder_model.prior`, whose layers are named alike."""
    assert {name.split(".")[0] for name in trainable(adapted(folders("nested"), ["prior"]))} == {"prior"}


def test_attention_of_gpt2_is_adapted_though_its_layers_are_no_linear(folders):
    assert any("c_attn" in name for name in trainable(adapted(folders("codes"), ["prior"])))


def test_rank_and_alpha_are_those_asked_for(folders):
    def shape_and_scale(**settings):
        layer = adapted(folders("latents"), ["prior"], **settings).prior.denoiser.net.proj_out
        return layer.lora_A["default"].weight.shape[0], layer.scaling["default"]

    assert shape_and_scale() == (8, 2.0)
    assert shape_and_scale(rank=3) == (3, 2.0)
    assert shape_and_scale(rank=4, alpha=2) == (4, 0.5)


def trained(folder, out, part="prior", kind="latents", **stages):
    model = adapted(folder, [part])
    stages = stages or {part: arguments(4, learning_rate=1e-2)}
    train_regenerator(
        model, tiny.processor(), pairs(), out, source_column="text", target_column="image", **stages
    )  # fmt: skip
    return model


def pixels(pipe):
    found = pipe(["red heart", "blue dog"], generator=torch.Generator().manual_seed(0), num_inference_steps=2)
    return [list(row["image"].tobytes()) for row in found]


@pytest.mark.parametrize(("kind", "part"), [("latents", "prior"), ("lowres", "decoder")])
def test_training_changes_adapters_which_alone_are_saved_and_load_again(kind, part, folders, tmp_path):
    base = RegenerationModel.from_pretrained(folders(kind)).state_dict()
    model = trained(folders(kind), tmp_path, part)
    after = {name.replace(".base_layer", ""): value for name, value in model.state_dict().items()}
    assert all(torch.equal(after[name], value) for name, value in base.items())
    learned = [name for name in trainable(model) if "lora_B" in name and after[name].abs().sum() > 0]
    assert learned

    files = {path.name for path in (tmp_path / "model").iterdir()}
    assert "adapter_model.safetensors" in files and "model.safetensors" not in files
    assert all(".lora_" in name for name in load_file(tmp_path / "model" / "adapter_model.safetensors"))

    again = AutoModel.from_pretrained(tmp_path / "model")
    assert isinstance(again, RegenerationModel)
    loaded = again.state_dict()
    assert loaded.keys() == model.state_dict().keys()
    assert all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())

    processor = tiny.processor()
    found = pixels(pipeline("regeneration", model=str(tmp_path / "model")))
    assert found == pixels(pipeline("regeneration", model=model.eval(), processor=processor))
    assert found != pixels(pipeline("regeneration", model=str(folders(kind))))


def test_a_regenerator_is_found_from_everywhere(folders, tmp_path, monkeypatch):
    """It was named by a path from the folder in which the training was started."""
    monkeypatch.chdir(folders("latents").parent)
    model = adapted(folders("latents").name, ["prior"])
    model.save_pretrained(tmp_path / "adapters")
    monkeypatch.chdir(tmp_path)
    assert trainable(AutoModel.from_pretrained("adapters")) == set()
    named = json.loads((tmp_path / "adapters" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert os.path.isabs(named)


def test_an_adapter_without_its_regenerator_is_refused(folders, tmp_path):
    shutil.copytree(folders("latents"), tmp_path / "base")
    adapted(tmp_path / "base", ["prior"]).save_pretrained(tmp_path / "adapters")
    shutil.rmtree(tmp_path / "base")
    with pytest.raises(OSError):
        AutoModel.from_pretrained(tmp_path / "adapters")


@pytest.mark.parametrize(("parts", "settings", "message"), [
    (["denoiser"], {}, "`parts` must be a list of extractor, prior, got 'denoiser'"),
    (["decoder"], {}, "`parts` must be a list of extractor, prior, got 'decoder'"),
    ([], {}, r"`parts` must be a list of extractor, prior, got \[\]"),
    ("pryor", {}, "`parts` must be a list of extractor, prior, got 'pryor'"),
    ("prior", {}, "`parts` must be a list of extractor, prior, got 'prior'"),
    (["prior"], {"rank": 0}, "`rank` must be a whole number of at least 1, got 0"),
    (["prior"], {"rank": 2.0}, "`rank` must be a whole number of at least 1, got 2.0"),
    (["prior"], {"rank": True}, "`rank` must be a whole number of at least 1, got True"),
    (["prior"], {"alpha": float("inf")}, "`alpha` must be above 0, got inf"),
    (["prior"], {"alpha": float("nan")}, "`alpha` must be above 0, got nan"),
    (["prior"], {"alpha": True}, "`alpha` must be above 0, got True"),
    (["prior"], {"alpha": 0}, "`alpha` must be above 0, got 0"),
    (["extractor"], {}, "`parts` holds 'extractor', which has no linear layer"),
])  # fmt: skip
def test_refuses_what_cannot_be(parts, settings, message, folders):
    model = RegenerationModel.from_pretrained(folders("latents"))
    with pytest.raises(ValueError, match=message):
        add_lora(model, parts, **settings)
    assert not any(".lora_" in name for name, _ in model.named_parameters())
    assert trainable(model)  # still as it was


def test_refuses_a_model_that_no_adapter_could_name_or_that_has_some(folders):
    with pytest.raises(ValueError, match="`model` must have been loaded by `from_pretrained`"):
        add_lora(tiny.latent_model(), ["prior"])
    model = adapted(folders("latents"), ["prior"])
    with pytest.raises(
        ValueError, match="`model` has adapters already: load the regenerator without them, from .*lora-"
    ):
        add_lora(model, ["prior"])
