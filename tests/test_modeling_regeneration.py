import copy

import pytest
import tiny
import torch
from transformers import AutoModel

from regen_hf import (
    AutoregressiveGenerator,
    CTCGenerator,
    DiffusionGenerator,
    IdentityExtractor,
    RegenerationConfig,
    RegenerationModel,
    Representation,
    TokenAutoencoderExtractor,
)

QUICK = {"latents": {"num_inference_steps": 2}, "codes": {"do_sample": False}, "identity": {"num_inference_steps": 2}}
QUICK["lowres"] = {"num_inference_steps": 2, "decoder_kwargs": {"num_inference_steps": 2}}
KINDS = list(tiny.MODELS)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def model(kind):
    return tiny.MODELS[kind]().eval()


@pytest.fixture
def batch():
    target = torch.rand(3, *tiny.IMAGE) * 2 - 1
    return {**tiny.processor()(source=tiny.NAMES[:3]), "target": target}


def source(batch):
    return {name: value for name, value in batch.items() if name != "target"}


def made(model, kind, batch, **arguments):
    seeded = torch.Generator().manual_seed(0)
    return model.generate(**source(batch), generator=seeded, **{**QUICK[kind], **arguments})


def test_makes_targets_of_the_right_shape(model, kind, batch):
    output = made(model, kind, batch)
    assert output.values.shape == (3, *tiny.IMAGE)
    assert output.representation is None


def test_gives_the_representation_beside_the_target(model, kind, batch):
    output = made(model, kind, batch, return_representation=True)
    spec = model.config.extractor_config.representation_spec
    assert output.representation.values.shape == (3, *spec.shape)
    if model.decoder_model is None:
        torch.testing.assert_close(model.decode(output.representation).values, output.values)


def test_repeats_each_source(model, kind, batch):
    output = made(model, kind, batch, num_return_sequences=2)
    assert output.values.shape == (6, *tiny.IMAGE)
    if kind != "codes":  # greedy codes are the same twice
        assert not torch.equal(output.values[0], output.values[1])


def test_reconstructs_by_way_of_the_representation(model, kind, batch):
    steps = {"num_inference_steps": 2, "generator": torch.Generator().manual_seed(0)} if kind == "lowres" else {}
    found = model.reconstruct(batch["target"], **steps).values
    assert found.shape == batch["target"].shape
    if kind == "identity":
        assert torch.equal(found, batch["target"])


def test_loss_is_that_of_prior_and_decoder(model, kind, batch):
    output = model(**batch)
    output.loss.backward()
    terms = {"latents": {"prior_denoising"}, "codes": {"prior_cross_entropy"}, "identity": {"prior_denoising"}}
    assert set(output.terms) == terms.get(kind, {"prior_denoising", "decoder_denoising"})
    assert output.loss.item() == pytest.approx(sum(term.item() for term in output.terms.values()), rel=1e-5)
    assert all(p.grad is None for p in model.extractor.parameters())


@pytest.mark.parametrize("sharded", [False, True], ids=["one file", "sharded"])
def test_reloads_with_equal_outputs(model, kind, batch, tmp_path, sharded):
    model.save_pretrained(tmp_path, **({"max_shard_size": "20KB"} if sharded else {}))
    weights = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert len(weights) > 1 if sharded else weights == ["model.safetensors"]
    reloaded = AutoModel.from_pretrained(tmp_path)
    assert isinstance(reloaded, RegenerationModel)
    for parameter in reloaded.parameters():  # mapped from the file they are not aligned, and other kernels run
        parameter.data = parameter.data.clone()
    assert torch.equal(made(reloaded, kind, batch).values, made(model, kind, batch).values)


def test_reloads_in_bfloat16(model, kind, batch, tmp_path):
    """A checkpoint of bfloat16 gives what it gave before, and one of float32 is read as bfloat16."""
    model.save_pretrained(tmp_path / "full")
    half = copy.deepcopy(model).to(torch.bfloat16)
    half.save_pretrained(tmp_path / "half")
    read = [AutoModel.from_pretrained(tmp_path / "half", dtype="auto") for _ in range(2)]
    assert read[0].dtype == torch.bfloat16
    assert torch.equal(made(read[0], kind, batch).values, made(read[1], kind, batch).values)
    for name, value in half.state_dict().items():
        assert torch.equal(read[0].state_dict()[name], value), name
    converted = AutoModel.from_pretrained(tmp_path / "full", dtype=torch.bfloat16)
    assert torch.isfinite(made(converted, kind, batch).values.float()).all()


def test_pickled_weights_are_not_read(tmp_path):
    model = tiny.latent_model()
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        AutoModel.from_pretrained(tmp_path)


def test_default_arguments_of_the_whole_come_from_its_config(batch):
    parts = {"extractor": tiny.autoencoder_extractor(), "prior": tiny.diffusion_prior((4, 4, 4))}
    model = RegenerationModel.from_components(**parts, generation={"num_inference_steps": 2})
    asked, given = [], source(batch)
    model.prior.generate = lambda **kwargs: asked.append(kwargs) or DiffusionGenerator.generate(model.prior, **kwargs)
    model.generate(**given)
    model.generate(**given, num_inference_steps=3)
    assert [each["num_inference_steps"] for each in asked] == [2, 3]
    for wrong in (
        {"num_inference_steps": 0},
        {"guidance": float("nan")},
        {"custom_generate": "x"},
        {"decoder_kwargs": {}},
    ):
        name = next(iter(wrong))
        with pytest.raises(ValueError, match=f"`{name}` must be|`generation` must hold .*'{name}'"):
            RegenerationModel.from_components(**parts, generation=wrong)
        model.config.generation = wrong
        with pytest.raises(ValueError, match=f"`{name}` must be|`generation` must hold .*'{name}'"):
            model.generate(**given)


def test_what_is_changed_in_a_parts_config_is_saved(batch, tmp_path):
    model = tiny.latent_model()
    model.prior.config.generation = {"num_inference_steps": 3}
    model.extractor.config.latent_noise = 0.25
    model.save_pretrained(tmp_path / "one")
    again = AutoModel.from_pretrained(tmp_path / "one")
    again.prior.config.condition_dropout = 0.5
    again.save_pretrained(tmp_path / "two")
    config = AutoModel.from_pretrained(tmp_path / "two").config
    assert config.prior_config.generation == {"num_inference_steps": 3}
    assert config.extractor_config.latent_noise == 0.25
    assert config.prior_config.condition_dropout == 0.5


def test_statistics_reach_every_link_of_a_chain():
    model = tiny.lowres_model()
    targets = [torch.rand(8, *tiny.IMAGE) * 3 + 2]
    model.fit_statistics(targets)
    small = model.encode(targets[0]).values
    torch.testing.assert_close(model.prior.statistics.mean, small.mean((0, 2, 3)))
    torch.testing.assert_close(model.decoder_model.source_encoder.statistics.mean, small.mean((0, 2, 3)))
    torch.testing.assert_close(model.decoder_model.statistics.mean, targets[0].mean((0, 2, 3)))


@pytest.mark.parametrize("extractor", [tiny.dc, tiny.kl, tiny.tiny_autoencoder, tiny.vq])
def test_every_autoencoder_reloads_under_a_diffusion_prior(extractor, batch, tmp_path):
    part = tiny.autoencoder_extractor(extractor())
    model = RegenerationModel.from_components(part, tiny.diffusion_prior(part.config.representation_shape)).eval()
    model.save_pretrained(tmp_path)
    reloaded = AutoModel.from_pretrained(tmp_path)
    torch.testing.assert_close(
        made(reloaded, "latents", batch).values, made(model, "latents", batch).values, rtol=1e-3, atol=1e-4
    )


def test_putting_parts_together_leaves_them_as_they_are():
    extractor, prior = tiny.autoencoder_extractor(tiny.vq(), "codes"), tiny.code_prior()
    before = {k: v.clone() for part in (extractor, prior) for k, v in part.state_dict().items()}
    attention = prior.language_model.config._attn_implementation
    model = RegenerationModel.from_components(extractor, prior)
    assert model.extractor is extractor and model.prior is prior
    for part in (extractor, prior):
        for name, value in part.state_dict().items():
            assert torch.equal(value, before[name]), name
    assert prior.language_model.config._attn_implementation == attention is not None


def test_takes_parts_from_folders(tmp_path):
    extractor, prior = tiny.autoencoder_extractor(), tiny.diffusion_prior((4, 4, 4))
    extractor.save_pretrained(tmp_path / "extractor")
    prior.save_pretrained(tmp_path / "prior")
    model = RegenerationModel.from_components(str(tmp_path / "extractor"), str(tmp_path / "prior"))
    for name, value in extractor.state_dict().items():
        assert torch.equal(model.extractor.state_dict()[name], value)


def test_a_regenerator_is_a_decoder(batch):
    """Chains are nesting: text → a quarter → a half → the whole picture."""
    from diffusers import UNet2DConditionModel

    from regen_hf import DiffusionGenerator, DownsampleExtractor, DownsampleExtractorConfig

    def to_size(size):
        net = tiny.unet((3, size, size), channels=6)
        assert isinstance(net, UNet2DConditionModel)
        source = [3, 4, 4] if size == 8 else [3, 8, 8]
        return DiffusionGenerator.from_components(net, (3, size, size), source_shape=source)

    half = DownsampleExtractor(DownsampleExtractorConfig(target_shape=list(tiny.IMAGE), factor=2))
    inner = RegenerationModel.from_components(half, to_size(8), to_size(16))
    model = RegenerationModel.from_components(tiny.downsample(), tiny.diffusion_prior((3, 4, 4)), inner)
    quick = {"num_inference_steps": 2, "decoder_kwargs": {"num_inference_steps": 2}}
    output = model.generate(**source(batch), num_inference_steps=2, decoder_kwargs=quick)
    assert output.values.shape == (3, *tiny.IMAGE)
    assert torch.isfinite(model(**batch).loss)


def test_refuses_parts_that_do_not_fit():
    codes = tiny.autoencoder_extractor(tiny.vq(), "codes")
    with pytest.raises(
        ValueError, match=r"codes \(vocabulary 12, shape 8 × 8\), but the prior makes codes \(vocabulary 11"
    ):
        RegenerationModel.from_components(codes, tiny.code_prior(num_codes=11))
    with pytest.raises(ValueError, match=r"gives codes \(vocabulary 12.* makes continuous values \(shape 4 × 4 × 4\)"):
        RegenerationModel.from_components(codes, tiny.diffusion_prior((4, 4, 4)))
    with pytest.raises(ValueError, match=r"gives continuous values \(shape 4 × 4 × 4\).*\(shape 4 × 8 × 8\)"):
        RegenerationModel.from_components(tiny.autoencoder_extractor(), tiny.diffusion_prior((4, 8, 8)))
    with pytest.raises(ValueError, match="DownsampleExtractor.* no way back from Y′ to Y, so `decoder_config`"):
        RegenerationModel.from_components(tiny.downsample(), tiny.diffusion_prior((3, 4, 4)))
    with pytest.raises(ValueError, match="DiffusionGenerator.* in the decoder's place takes no representation"):
        RegenerationModel.from_components(
            tiny.downsample(), tiny.diffusion_prior((3, 4, 4)), tiny.diffusion_prior(tiny.IMAGE)
        )
    with pytest.raises(ValueError, match=r"the decoder takes continuous values \(shape 3 × 4 × 4\)"):
        RegenerationModel.from_components(
            tiny.autoencoder_extractor(), tiny.diffusion_prior((4, 4, 4)), tiny.diffusion_decoder()
        )


def test_refuses_parts_of_the_wrong_kind():
    with pytest.raises(TypeError, match="`extractor` must be a PreTrainedExtractor, got DiffusionGenerator"):
        RegenerationModel.from_components(tiny.diffusion_prior((4, 4, 4)), tiny.diffusion_prior((4, 4, 4)))
    with pytest.raises(TypeError, match="`extractor` must be a PreTrainedExtractor, got int"):
        RegenerationModel.from_components(3, tiny.diffusion_prior((4, 4, 4)))
    with pytest.raises(TypeError, match="`prior` must be a PreTrainedGenerator, got DownsampleExtractor"):
        RegenerationModel.from_components(tiny.autoencoder_extractor(), tiny.downsample())
    with pytest.raises(TypeError, match="`decoder` must be a PreTrainedGenerator, got DownsampleExtractor"):
        RegenerationModel.from_components(tiny.downsample(), tiny.diffusion_prior((3, 4, 4)), tiny.downsample())
    with pytest.raises(ValueError, match="`extractor_config` is missing"):
        RegenerationModel(RegenerationConfig())


def test_refuses_arguments_without_effect(batch):
    model = tiny.latent_model()
    with pytest.raises(TypeError, match=r"`decoder_kwargs` must be empty, got \['num_inference_steps'\]"):
        model.generate(**source(batch), decoder_kwargs={"num_inference_steps": 3})
    with pytest.raises(ValueError, match="`num_return_sequences` must be a whole number of at least 1, got 0"):
        model.generate(**source(batch), num_return_sequences=0)


def test_refuses_a_folder_with_parts_missing(tmp_path):
    from safetensors.torch import load_file, save_file

    model = tiny.latent_model()
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    save_file({k: v for k, v in weights.items() if not k.startswith("prior.")}, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"has missing weights: prior\."):
        RegenerationModel.from_pretrained(tmp_path)
    file.unlink()
    with pytest.raises(OSError, match=r"model\.safetensors"):
        RegenerationModel.from_pretrained(tmp_path)


def test_refuses_a_checkpoint_of_another_library(tmp_path):
    tiny.kl().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="model_type"):
        AutoModel.from_pretrained(tmp_path)


def test_encoding_and_decoding_need_no_gradient():
    model = tiny.latent_model()
    values = model.encode(torch.rand(1, *tiny.IMAGE)).values
    assert not values.requires_grad
    assert not model.decode(Representation(values)).values.requires_grad


def reader(**decoder) -> RegenerationModel:
    """Text → codes by CTC → codes by beams; the second are as many as the first, so anything fits."""
    torch.manual_seed(0)
    same = IdentityExtractor.from_components(target_shape=[None], num_codes=6)
    prior = CTCGenerator.from_components(tiny.bert(), num_codes=6)
    settings = {"source_shape": (None,), "source_num_codes": 6, "condition_dropout": 0.0, "max_places": 12, **decoder}
    decoder = AutoregressiveGenerator.from_components(tiny.gpt2(), (None,), 6, **settings)
    torch.nn.init.normal_(decoder.head.weight)  # so that it is sure of what it writes
    torch.nn.init.normal_(decoder.source_encoder.representation_embedding.weight)
    return RegenerationModel.from_components(same, prior, decoder).eval()


def test_of_several_hypotheses_the_likeliest_on_the_whole_way_is_given():
    model, source = reader(), dict(tiny.processor()(source=tiny.NAMES[:3]))
    search = {"num_beams": 3, "do_sample": False}
    output = model.generate(**source, num_hypotheses=4, decoder_kwargs=search, return_representation=True)
    heard = model.prior.generate(**source, num_beams=4, num_return_sequences=4)
    read = model.decode(heard, **search)
    total = (heard.scores + read.scores).view(3, 4)
    assert set(total.argmax(1).tolist()) != {0}, "the first is always the best: this shows nothing"
    for row, best in enumerate((total.argmax(1) + 4 * torch.arange(3)).tolist()):
        length = int(read.mask[best].sum())
        assert output.values[row, :length].tolist() == read.values[best, :length].tolist()
        assert output.mask[row].sum() == length
        assert output.representation.scores[row] == heard.scores[best]
    more = model.generate(**source, num_hypotheses=4, num_beams=9, decoder_kwargs=search)
    assert more.values.shape[0] == 3


def test_hypotheses_need_scores_on_both_sides():
    model, source = reader(), dict(tiny.processor()(source=tiny.NAMES[:3]))
    with pytest.raises(ValueError, match="`num_hypotheses` 2 needs a decoder that scores what it makes"):
        model.generate(**source, num_hypotheses=2, decoder_kwargs={"do_sample": False})
    with pytest.raises(ValueError, match="`num_hypotheses` must be a whole number of at least 1, got 0"):
        model.generate(**source, num_hypotheses=0)
    with pytest.raises(ValueError, match="`num_hypotheses` 2 gives one target, but `num_return_sequences` asks for 3"):
        model.generate(**source, num_hypotheses=2, num_return_sequences=3)


def test_hypotheses_in_a_chain_are_weighed_on_the_whole_way():
    """The inner regenerator's score is that of its prior and its decoder together."""
    model = reader()
    same, prior = model.extractor, model.prior
    settings = {"source_shape": (None,), "source_num_codes": 6, "condition_dropout": 0.0, "max_places": 12}
    middle = AutoregressiveGenerator.from_components(tiny.gpt2(), (None,), 6, **settings)
    chain = RegenerationModel.from_components(
        same, prior, RegenerationModel.from_components(copy.deepcopy(same), middle, model.decoder_model)
    ).eval()
    source, search = dict(tiny.processor()(source=tiny.NAMES[:2])), {"num_beams": 2, "do_sample": False}
    inner = {**search, "decoder_kwargs": search}
    output = chain.generate(**source, num_hypotheses=3, decoder_kwargs=inner, return_representation=True)
    heard = prior.generate(**source, num_beams=3, num_return_sequences=3)
    between = middle.generate(source=heard.values, source_mask=heard.mask, **search)
    last = model.decoder_model.generate(source=between.values, source_mask=between.mask, **search)
    total = heard.scores + between.scores + last.scores
    assert output.scores.tolist() == pytest.approx(total.view(2, 3).amax(1).tolist(), rel=1e-4)
    best = total.view(2, 3).argmax(1) + torch.tensor([0, 3])
    assert len(output.representations) == 2
    for link, made in zip(output.representations, (heard, between), strict=True):
        length = min(link.values.shape[1], made.values.shape[1])
        assert torch.equal(link.values[:, :length], made.values[best, :length])


def test_hypotheses_need_a_decoder():
    same = IdentityExtractor.from_components(target_shape=[None], num_codes=6)
    model = RegenerationModel.from_components(same, CTCGenerator.from_components(tiny.bert(), num_codes=6))
    with pytest.raises(ValueError, match="`num_hypotheses` 2 needs a decoder to try them with"):
        model.generate(**tiny.processor()(source=tiny.NAMES[:2]), num_hypotheses=2)


def test_what_generate_is_given_overrides_the_defaults_of_the_config(batch):
    model = tiny.direct_model().eval()
    model.config.generation = {"num_inference_steps": 2}

    def made(**given):
        return model.generate(**source(batch), generator=torch.Generator().manual_seed(0), **given).values

    assert torch.equal(made(), made(num_inference_steps=2))
    assert not torch.equal(made(), made(num_inference_steps=3))


@pytest.mark.parametrize("make", [tiny.latent_model, tiny.code_model, tiny.lowres_model], ids=lambda m: m.__name__)
def test_a_target_does_not_depend_on_what_it_is_batched_with(make):
    """Also where a decoder draws as well."""
    model, ids = make().eval(), torch.randint(1, 16, (3, 5), generator=torch.Generator().manual_seed(0))
    quick = {} if make is tiny.code_model else {"num_inference_steps": 2}

    def values(rows, generator):
        return model.generate(input_ids=ids[rows], generator=generator, **quick).values

    together, shared = values([0, 1, 2], 0), torch.Generator().manual_seed(0)
    one_by_one = torch.cat([values([row], shared) for row in range(3)])
    torch.testing.assert_close(together, one_by_one, rtol=1e-3, atol=1e-4)
    own = [torch.Generator().manual_seed(seed) for seed in (4, 4, 5)]
    same, again, other = values([1, 1, 1], own)
    torch.testing.assert_close(same, again, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(same, other, atol=1e-2)


def test_several_results_of_beams_are_several_beams():
    words = TokenAutoencoderExtractor.from_components(tiny.bert(), vocabulary_size=9, levels=(5,), stride=1)
    torch.manual_seed(0)
    prior = CTCGenerator.from_components(tiny.bert(), num_codes=5, upsampling=2)
    model = RegenerationModel.from_components(words, prior).eval()
    asked = {"input_ids": torch.tensor([[3, 4, 5], [5, 3, 4]]), "num_beams": 4, "num_return_sequences": 3}

    def rows(made):
        return [tuple(row[own].tolist()) for row, own in zip(made.values, made.mask, strict=True)]

    found = model.generate(**asked, return_representation=True)
    assert rows(found.representation) == rows(prior.generate(**asked))
    assert len(set(rows(found.representation)[:3])) == 3 and len(found.values) == 6
    model.prior.config.generation = {"num_beams": 4, "num_return_sequences": 3}  # which is for the prior by itself
    assert len(model.generate(input_ids=asked["input_ids"]).values) == 2


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"guidance_scale": 3.0}, TypeError, "`guidance_scale` is not taken by .*RegenerationModel: `guidance` is"),
        ({"decoder_kwargs": {"guidance_scale": 3.0}}, TypeError, "`guidance_scale` is not taken by the decoder"),
        ({"decoder_kwargs": {"num_inference_steps": 0}}, ValueError, "`num_inference_steps` must be a whole number"),
        ({"num_return_sequences": 0}, ValueError, "`num_return_sequences` must be a whole number of at least 1, got 0"),
        ({"num_return_sequences": 10**9}, ValueError, "`num_return_sequences` must be at most 10,000"),
        ({"guidance": float("inf")}, ValueError, "`guidance` must be a finite number, got inf"),
        ({"generator": "seven"}, TypeError, "`generator` must be a torch.Generator, .* got 'seven'"),
    ],
    ids=str,
)
def test_refuses_before_anything_is_made(given, error, message, monkeypatch):
    model = tiny.lowres_model().eval()
    monkeypatch.setattr(model.prior, "_denoise", None)
    with pytest.raises(error, match=message):
        model.generate(input_ids=torch.ones(1, 3, dtype=torch.long), **given)


def test_an_extractor_that_makes_nan_is_named():
    model = tiny.latent_model().eval()
    for parameter in model.extractor.parameters():
        torch.nn.init.constant_(parameter, float("nan"))
    with pytest.raises(ValueError, match="AutoencoderExtractor made NaN or infinite values"):
        model.encode(torch.zeros(1, *tiny.IMAGE))
    with pytest.raises(ValueError, match="AutoencoderExtractor made NaN or infinite values"):
        model.decode(Representation(torch.zeros(1, 4, 4, 4)))


@pytest.mark.parametrize("empty", [(1,), (0, 1, 2)])
def test_an_empty_representation_says_nothing_of_its_target(empty, monkeypatch):
    codes = tiny.code_prior((None,), 8, condition_dropout=0.0)
    reads = {"source_shape": [None], "source_num_codes": 8, "condition_dropout": 0.0}
    decoder = AutoregressiveGenerator.from_components(tiny.gpt2(), (None,), 8, **reads)
    extractor = IdentityExtractor.from_components(target_shape=[None], num_codes=8)
    model = RegenerationModel.from_components(extractor, codes, decoder).eval()
    source = {name: value.expand(3, -1) for name, value in tiny.text().as_source(["red heart"]).items()}
    target, mask = torch.randint(8, (3, 4)), torch.ones(3, 4, dtype=torch.bool)
    said = mask.clone()
    said[list(empty)] = False
    monkeypatch.setattr(model.extractor, "encode", lambda *_: Representation(target, said))
    output, rows = model(target=target, target_mask=mask, **source), said.any(1)
    output.loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in decoder.language_model.parameters())
    prior = codes(target=target, target_mask=said, **source).loss
    if rows.any():
        decoded = decoder(target=target[rows], target_mask=mask[rows], source=target[rows], source_mask=said[rows]).loss
        torch.testing.assert_close(output.loss, prior + decoded)
    else:
        torch.testing.assert_close(output.loss, prior)


@pytest.mark.parametrize("said", [{"scaling_factor": float("inf")}, {"scaling_factor": -0.2}, {"shift_factor": 1e999}])
def test_refuses_a_normalization_that_is_none(said):
    net = tiny.kl()
    net.register_to_config(**said)
    extractor = tiny.autoencoder_extractor(net)
    shape = extractor.config.representation_spec.shape
    with pytest.raises(ValueError, match="`extractor` must have a finite mean and a deviation above 0"):
        RegenerationModel.from_components(extractor, tiny.diffusion_prior(shape))


def test_arguments_of_the_decoder_are_added_to_those_of_the_config(monkeypatch):
    model = tiny.lowres_model().eval()
    model.config.generation = {"decoder_kwargs": {"num_inference_steps": 2}, "num_inference_steps": 1}
    asked, generate = [], model.decoder_model.generate
    monkeypatch.setattr(model.decoder_model, "generate", lambda **given: asked.append(given) or generate(**given))
    model.generate(input_ids=torch.ones(1, 3, dtype=torch.long), decoder_kwargs={"guidance": 1.0})
    assert asked[0]["num_inference_steps"] == 2 and asked[0]["guidance"] == 1.0
