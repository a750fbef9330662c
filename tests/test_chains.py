"""Chains of links: a regenerator in another's decoder slot, trained link by link and used in one call."""

import numpy as np
import pytest
import tiny
import torch
from datasets import Dataset
from named_extractors import EXTRACTORS
from PIL import Image
from transformers import AutoModel, pipeline

from regen_hf import (
    AudioModality,
    AutoregressiveGenerator,
    CodecExtractor,
    DiffusionGenerator,
    DownsampleExtractor,
    EncoderExtractor,
    ImageModality,
    LabelModality,
    RegenerationModel,
    RegenerationProcessor,
    StageArguments,
    train_regenerator,
)

SHORT = StageArguments(max_steps=3, batch_size=4, learning_rate=1e-2)
LABELS = LabelModality(["a", "b", "c"])


def unclip() -> tuple[RegenerationModel, RegenerationProcessor]:
    """Text → image embedding → latents → image, as DALL·E 2 (Ramesh et al., 2022)."""
    embedding = EncoderExtractor.from_components(EXTRACTORS["CLIPVisionModelWithProjection"].build(), pooled=True)
    (width,) = embedding.config.representation_spec.shape
    prior = DiffusionGenerator.from_components(tiny.prior_transformer(embedding_dim=width), (width,), tiny.bert())
    latents = tiny.autoencoder_extractor()
    shape = latents.config.representation_spec.shape
    inner = DiffusionGenerator.from_components(tiny.sd3(shape), shape, source_shape=[width])
    model = RegenerationModel.from_components(embedding, prior, RegenerationModel.from_components(latents, inner))
    return model, tiny.processor()


def audiolm() -> tuple[RegenerationModel, RegenerationProcessor]:
    """Label → semantic units → codec codes → wave, as AudioLM (Borsos et al., 2023)."""
    units = EncoderExtractor.from_components(EXTRACTORS["HubertModel"].build(), num_codes=6)
    units.fit_units([torch.randn(8, 1, 2000)])
    prior = AutoregressiveGenerator.from_components(
        tiny.gpt2(n_positions=256), (None,), 6, num_classes=3, max_places=64,
        target_rate=units.config.representation_spec.rate,
    )  # fmt: skip
    codec = CodecExtractor.from_components(EXTRACTORS["EncodecModel"].build())
    spec = codec.config.representation_spec
    acoustic = AutoregressiveGenerator.for_spec(
        tiny.gpt2(n_positions=256), spec, units.config.representation_spec, max_places=64, order="delay"
    )
    model = RegenerationModel.from_components(units, prior, RegenerationModel.from_components(codec, acoustic))
    return model, RegenerationProcessor(LABELS, AudioModality(round(codec.config.target_spec.rate)))


def cascade() -> tuple[RegenerationModel, RegenerationProcessor]:
    """Label → 4 px → 8 px → 16 px, as cascaded diffusion (Ho et al., 2021)."""

    def link(size: int, factor: int, prior, decoder) -> RegenerationModel:
        rule = DownsampleExtractor.from_components(target_shape=[3, size, size], factor=factor)
        return RegenerationModel.from_components(rule, prior, decoder)

    def larger(size: int) -> DiffusionGenerator:
        net, shape = tiny.unet((3, size, size), channels=6), (3, size, size)
        return DiffusionGenerator.from_components(net, shape, source_shape=[3, size // 2, size // 2])

    smallest = DiffusionGenerator.from_components(tiny.dit((3, 4, 4), classes=3), (3, 4, 4), num_classes=3)
    model = link(16, 4, smallest, link(16, 2, larger(8), larger(16)))
    return model, RegenerationProcessor(LABELS, ImageModality(16))


def pictures(column: str, values: list) -> Dataset:
    images = [Image.new("RGB", (16, 16), color) for color in ("red", "green", "blue", "black")]
    return Dataset.from_dict({column: values, "target": images})


def sounds() -> Dataset:
    waves = [np.random.default_rng(i).standard_normal(320 + 16 * i) for i in range(4)]
    targets = [{"array": each, "sampling_rate": 16000} for each in waves]
    return Dataset.from_dict({"label": ["a", "b", "c", "a"], "target": targets})


CHAINS = {
    "unclip": (unclip, lambda: pictures("text", tiny.NAMES[:4]), [(12,), (4, 4, 4)], {"num_inference_steps": 2}),
    "audiolm": (audiolm, sounds, [None, None], {}),
    "cascade": (cascade, lambda: pictures("label", ["a", "b", "c", "a"]), [(3, 4, 4), (3, 8, 8)], {}),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_is_trained_link_by_link_saved_and_used_in_one_call(name, tmp_path):
    torch.manual_seed(0)
    make, data, shapes, options = CHAINS[name]
    (model, processor), dataset = make(), data()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train_regenerator(
        model, processor, dataset, tmp_path, source_column=dataset.column_names[0], target_column="target",
        prior=SHORT, decoder=SHORT,
    )  # fmt: skip
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    inner = model.decoder_model
    for part, prefix in ((model.prior, "prior."), (inner.prior, "decoder_model.prior.")):
        assert any(name.startswith(prefix) for name in changed), type(part)
    assert not any(name.startswith(("extractor.", "decoder_model.extractor.")) for name in changed)
    pipe = pipeline("regeneration", model=str(tmp_path / "model"))
    source = dataset[0][dataset.column_names[0]]
    generator = torch.Generator().manual_seed(0)
    row = pipe(source, return_representation=True, generator=generator, **options)
    assert processor.target.key in row
    assert len(row["representations"]) == len(shapes)
    assert torch.equal(row["representation"], row["representations"][0])
    for found, shape in zip(row["representations"], shapes, strict=True):
        assert shape is None or found.shape == shape


def test_three_links_give_what_each_made():
    model, processor = cascade()
    output = model.eval().generate(**processor(source=["a", "b"]), return_representation=True)
    assert output.values.shape == (2, 3, 16, 16)
    assert [link.values.shape for link in output.representations] == [(2, 3, 4, 4), (2, 3, 8, 8)]
    assert model.generate(**processor(source=["a"])).representations is None


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_reloads_with_equal_outputs(name, tmp_path):
    torch.manual_seed(0)
    model, processor = CHAINS[name][0]()
    model.save_pretrained(tmp_path)
    reloaded, one = AutoModel.from_pretrained(tmp_path).eval(), model.eval()
    source = dict(processor(source=[tiny.NAMES[0] if name == "unclip" else "b"]))
    found = [each.generate(**source, generator=torch.Generator().manual_seed(1)) for each in (one, reloaded)]
    torch.testing.assert_close(found[0].values, found[1].values, rtol=1e-3, atol=1e-3)


def test_each_link_of_a_chain_draws_for_each_row_by_itself():
    model, processor = cascade()
    source, model = dict(processor(source=["a", "b"])), model.eval()
    quick = {"num_inference_steps": 2, "decoder_kwargs": {"num_inference_steps": 2}}
    together, shared = model.generate(**source, generator=3, **quick).values, torch.Generator().manual_seed(3)
    for row in range(2):
        alone = model.generate(class_labels=source["class_labels"][row : row + 1], generator=shared, **quick).values
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-3, atol=1e-4)


def test_links_that_do_not_fit_are_refused():
    model, _ = unclip()
    with pytest.raises(ValueError, match=r"the extractor gives continuous values \(shape 3 × 4 × 4\), but the decoder"):
        RegenerationModel.from_components(tiny.downsample(), tiny.diffusion_prior((3, 4, 4)), model.decoder_model)
