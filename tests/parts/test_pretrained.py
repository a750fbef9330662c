"""Parts by name, kept frozen, or left on the Hub and referred to."""

import json
import textwrap

import pytest
import tiny
import torch
from hub import serve
from safetensors import safe_open
from test_sharing import run
from transformers import AutoModel, BertModel, GPT2Model

from regen_hf import (
    AutoregressiveGenerator,
    DiffusersModule,
    DiffusionGenerator,
    EncoderExtractor,
    HubReference,
    MaskedGenerator,
    RegenerationModel,
)
from regen_hf.parts.pretrained import freeze, hosted, load_pretrained, marked_modules


def test_weights_that_are_a_pickle_are_refused_with_the_reason(tmp_path):
    model = BertModel(tiny.bert())
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"as a pickle only \(pytorch_model.bin\).*runs whatever code its author"):
        load_pretrained(str(tmp_path), AutoModel.from_pretrained)
    with pytest.raises(ValueError, match="as a pickle only"):
        DiffusionGenerator.from_components(tiny.sd3((4, 4, 4)), (4, 4, 4), str(tmp_path))


def test_code_in_a_repository_is_not_run(tmp_path):
    """Neither on loading a part nor on finding out what it is."""
    described = {"model_type": "mine", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(described))
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ValueError, match="needs code from its repository, which is never run here"):
        load_pretrained(str(tmp_path), AutoModel.from_pretrained)
    with pytest.raises(ValueError, match="no generator does|needs code|must be a"):
        RegenerationModel.from_components(tiny.autoencoder_extractor(tiny.vq(), "codes"), str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_what_is_not_there_is_said_by_transformers(tmp_path):
    with pytest.raises((OSError, ValueError), match=str(tmp_path)):
        load_pretrained(str(tmp_path), AutoModel.from_pretrained)


def test_a_part_of_another_kind_is_refused():
    with pytest.raises(TypeError, match="a part must be a name, a HubReference, a config or a model, got int"):
        hosted(5, AutoModel.from_pretrained, AutoModel.from_config)


def test_frozen_parts_stay_frozen_and_out_of_training_mode(tmp_path):
    encoder = BertModel(tiny.bert()).requires_grad_(False)
    prior = AutoregressiveGenerator.from_components(tiny.gpt2(), (8, 8), 12, encoder)
    model = RegenerationModel.from_components(tiny.autoencoder_extractor(tiny.vq(), "codes"), prior)
    model.save_pretrained(tmp_path)
    reloaded = RegenerationModel.from_pretrained(tmp_path).train()
    for each in (model.train(), reloaded):
        read = each.prior.source_encoder.encoder
        assert not any(p.requires_grad for p in read.parameters()) and not read.training
        assert all(p.requires_grad for p in each.prior.language_model.parameters()) and each.prior.training
    assert [name for name, _ in marked_modules(reloaded, "frozen")] == ["prior.source_encoder.encoder"]


def test_freezing_is_of_the_outermost_model():
    model = torch.nn.ModuleDict({"inner": freeze(GPT2Model(tiny.gpt2()))})
    assert [name for name, _ in marked_modules(model, "frozen")] == ["inner"]


@pytest.mark.slow
def test_a_reference_names_its_commit_instead_of_holding_weights(tmp_path):
    """By the real client, against a Hub on loopback: what is referred to is not saved, and comes back from there."""
    tiny.dc().save_pretrained(tmp_path / "hub" / "user" / "dc")
    BertModel(tiny.bert()).save_pretrained(tmp_path / "hub" / "user" / "bert")
    code = f"""
    import sys; sys.path.insert(0, {str(tmp_path.parent)!r}); sys.path.insert(0, "tests")
    import tiny, torch
    from regen_hf import *
    extractor = AutoencoderExtractor.from_components(HubReference("user/dc"), target_shape=tiny.IMAGE)
    prior = DiffusionGenerator.from_components(tiny.sd3((4, 4, 4)), (4, 4, 4), HubReference("user/bert", "main"))
    model = RegenerationModel.from_components(extractor, prior).eval()
    model.save_pretrained({str(tmp_path / "model")!r})
    extractor.save_pretrained({str(tmp_path / "extractor")!r})
    again = RegenerationModel.from_pretrained({str(tmp_path / "model")!r}).eval()
    alone = PreTrainedExtractor  # a part of which nothing is saved
    from transformers import AutoModel
    alone = AutoModel.from_pretrained({str(tmp_path / "extractor")!r}).eval()
    image, ids = torch.rand(2, *tiny.IMAGE), torch.tensor([[2, 3]])
    for each in (again.extractor, alone):
        torch.testing.assert_close(each.encode(image).values, model.encode(image).values, rtol=1e-4, atol=1e-5)
    seeded = lambda: torch.Generator().manual_seed(0)
    one, two = (m.generate(input_ids=ids, num_inference_steps=2, generator=seeded()).values for m in (model, again))
    torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)
    assert not any(p.requires_grad for p in again.extractor.parameters())
    assert not any(p.requires_grad for p in again.prior.source_encoder.encoder.parameters())
    assert not again.extractor.is_trainable
    """
    with serve(tmp_path / "hub") as endpoint:
        done = run(textwrap.dedent(code), endpoint, tmp_path / "home")
    assert done.returncode == 0, done.stderr
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert names and not any(n.startswith(("extractor.autoencoder", "prior.source_encoder.encoder")) for n in names)
    saved = json.loads((tmp_path / "model" / "config.json").read_text())
    reference = saved["extractor_config"]["autoencoder_config"]["reference"]
    assert reference["name"] == "user/dc" and len(reference["revision"]) == 40


def test_a_reference_has_a_place():
    assert HubReference("a/b", "c" * 40, "vae").place == {"revision": "c" * 40, "subfolder": "vae"}


def test_what_gets_embeddings_of_its_own_cannot_be_left_on_the_hub():
    with pytest.raises(ValueError, match="`language_model` gets embeddings of its own"):
        AutoregressiveGenerator.from_components(HubReference("user/gpt2"), (2, 2), 12)
    with pytest.raises(ValueError, match="`backbone` gets embeddings of its own"):
        MaskedGenerator.from_components(HubReference("user/bert"), (2, 2), 12)


def test_a_commit_needs_not_be_looked_up():
    reference = HubReference("user/dc", "0123456789abcdef" * 2 + "01234567")
    assert reference.pinned() is reference


def test_an_encoder_that_needs_code_is_refused_without_asking(tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *question: "y")  # what transformers would ask
    described = {"model_type": "mine", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(described))
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ValueError, match="needs code from its repository, which is never run here"):
        EncoderExtractor.from_components(str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_a_pickle_of_diffusers_is_not_read_either(tmp_path):
    tiny.dc().save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises((OSError, ValueError), match="safetensors"):
        DiffusersModule.from_pretrained(tmp_path)
