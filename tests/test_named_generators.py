"""Every model of another library that is said to make a generator does, by its name and with no flag but those that the
table states; it learns, makes targets one by one as in batches, and comes back from its folder.
"""

import copy

import pytest
import tiny
import torch
from named_extractors import dac
from named_generators import (
    BOOKS,
    CODES,
    ENCODERS,
    GENERATORS,
    GRID,
    MEL,
    SOURCES,
    WAVE,
    Part,
    encoder,
    example,
    log_mel,
    seeded,
    speech_t5,
)
from transformers import AutoModel, BertModel, GPT2LMHeadModel

from regen_hf import (
    AlignedDiffusionGenerator,
    AutoregressiveGenerator,
    CodecExtractor,
    CTCGenerator,
    DiffusionGenerator,
    MaskedGenerator,
    RegenerationModel,
    RegressionGenerator,
    RepresentationSpec,
    VocoderGenerator,
)
from regen_hf.parts.auto import load_generator

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = {
    AlignedDiffusionGenerator: {"num_inference_steps": 2},
    AutoregressiveGenerator: {"do_sample": False},
    CTCGenerator: {"num_beams": 2},
    MaskedGenerator: {"num_inference_steps": 3},
    DiffusionGenerator: {"num_inference_steps": 2},
    RegenerationModel: {"num_inference_steps": 2},
    RegressionGenerator: {},
    VocoderGenerator: {},
}

READ_BY = ("source_encoder.encoder.", "source_encoder.image_encoder.", "source_encoder.audio_encoder.")


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """Folders of what reads a source."""
    folders = {name: str(tmp_path_factory.mktemp(name)) for name in ENCODERS}
    for name, build in ENCODERS.items():
        build().save_pretrained(folders[name])
    return folders


def load(folder: str, part: Part, encoders, **others):
    """The part by its folder, with what it cannot know by itself."""
    source = part.source
    read = {"source_encoder": [encoders[name] for name in source.encoders]} if source.encoders else {}
    asked = {"target": part.target, "source": source.spec, **source.settings, **part.settings, **read, **others}
    return load_generator(folder, **asked, slot="prior" if source.spec is None else "decoder")


def train(model, steps: int = 2, **batch) -> list[float]:
    optimizer = torch.optim.AdamW(model.train().parameters(), 1e-2, weight_decay=0.0)
    losses = []
    for _ in range(steps):
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    model.eval()
    return losses


@pytest.fixture(scope="module")
def saved(request, tmp_path_factory):
    torch.manual_seed(0)
    folder = str(tmp_path_factory.mktemp("part"))
    model = GENERATORS[request.param].build()
    model.save_pretrained(folder)
    return GENERATORS[request.param], model, folder


@pytest.fixture(scope="module")
def fresh(saved, encoders):
    part, _, folder = saved
    return load(folder, part, encoders).eval()


@pytest.fixture(scope="module")
def made(saved, fresh):
    """The generator after two steps."""
    part, learner = saved[0], copy.deepcopy(fresh)
    learner.losses = train(learner, target=example(part.target), **part.source.given)
    return part, learner


def pytest_generate_tests(metafunc):
    if "saved" in metafunc.fixturenames:
        metafunc.parametrize("saved", GENERATORS, indirect=True, scope="module")


def generate(model, given, rows=slice(None), /, generator=None):
    given = {name: tensor[rows] for name, tensor in given.items()}
    return model.generate(**given, generator=generator or seeded(7), **QUICK[type(model)])


def fits(values: torch.Tensor, spec: RepresentationSpec) -> bool:
    return spec.fits(RepresentationSpec(tuple(values.shape[1:]), spec.num_codes, spec.num_codebooks))


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def same(model, other, given) -> None:
    close(generate(other, given).values, generate(model, given).values)


def check_one_by_one(model, given) -> None:
    """Rows alone give what they give in a batch, and nothing of what is padding."""
    batch, shared = generate(model, given), seeded(7)
    for row in range(4):
        alone = generate(model, given, slice(row, row + 1), generator=shared)
        size = alone.values.shape[-1] if alone.mask is None else int(alone.mask.sum())
        close(batch.values[row, ..., :size], alone.values[0, ..., :size])
        assert batch.mask is None or batch.mask[row].sum() == size


def weights(model) -> set[tuple]:
    tensors = [tensor for tensor in model.state_dict().values() if len(tensor.unique()) > 2]
    return {(*tensor.shape, tensor.flatten().numpy().tobytes()) for tensor in tensors}


def test_is_chosen_and_keeps_its_weights(saved, fresh):
    part, model, _ = saved
    assert type(fresh) is part.made
    assert fresh.config.target_spec.fits(part.target)
    if part.source.spec is not None:
        assert fresh.config.source_spec.fits(part.source.spec)
    assert len(weights(model) & weights(fresh)) > len(weights(model)) / 2
    for name, parameter in fresh.named_parameters():
        own = not name.startswith(READ_BY) or not part.source.encoders
        fixed = name == "denoiser.net.time_proj.weight"  # Stable Audio's random frequencies
        assert parameter.requires_grad == (own and not fixed), name


def test_learns(made, fresh):
    _, learner = made
    assert torch.isfinite(torch.tensor(learner.losses)).all()
    before = dict(fresh.named_parameters())
    changed = {name for name, value in learner.named_parameters() if not torch.equal(value, before[name])}
    trained = {name for name, value in before.items() if value.requires_grad}
    assert changed <= trained and len(changed) > len(trained) / 2
    assert learner.losses[0] != learner.losses[1]


def test_makes_what_it_is_asked_for(made):
    part, learner = made
    values = generate(learner, part.source.given).values
    assert len(values) == 4 and fits(values, part.target)
    if part.target.num_codes is None:
        assert torch.isfinite(values).all() and values.std() > 0
    else:
        assert values.dtype == torch.long and values.min() >= 0 and values.max() < part.target.num_codes


def test_one_by_one_as_in_a_batch(made):
    check_one_by_one(made[1], made[0].source.given)


def test_reloads_with_equal_outputs(made, tmp_path):
    part, learner = made
    learner.save_pretrained(tmp_path)
    reloaded = AutoModel.from_pretrained(tmp_path)
    assert type(reloaded) is part.made
    assert [p.requires_grad for p in reloaded.parameters()] == [p.requires_grad for p in learner.parameters()]
    same(learner, reloaded, part.source.given)


def test_runs_in_bfloat16(made):
    part, learner = made
    half = copy.deepcopy(learner).to(torch.bfloat16)
    assert torch.isfinite(half(target=example(part.target), **part.source.given).loss)
    assert torch.isfinite(generate(half, part.source.given).values.float()).all()


def test_refuses_what_it_cannot_make(saved, encoders):
    part, _, folder = saved
    for others, message in part.wrong:
        with pytest.raises(ValueError, match=message):
            load(folder, part, encoders, **others)


def test_is_a_part_of_a_regenerator_by_its_folder_alone(saved, fresh, tmp_path):
    """The prior of nothing but the text that it reads itself, or the decoder after a prior of classes."""
    part, _, folder = saved
    extractor, given, nothing = part.extractor().eval(), SOURCES["label"].given, {}
    target = example(part.target if part.missing and part.source.spec else extractor.config.target_spec)
    prior = None if part.source.spec is None else prior_of_classes(extractor, target)
    options = QUICK[part.made] if prior is None else {**QUICK[type(prior)], "decoder_kwargs": QUICK[part.made]}

    def regenerator(named):
        return RegenerationModel.from_components(extractor, *([named] if prior is None else [prior, named]))

    if part.missing:
        with pytest.raises(ValueError, match=part.missing):
            regenerator(folder)
    model = regenerator(copy.deepcopy(fresh) if part.missing else folder)
    if prior is None and not part.missing:
        given = part.source.given if model.prior.config.reads_encoders else {}
        nothing = {} if given else {"batch_size": 4}
    assert type(model.prior if prior is None else model.decoder_model) is part.made
    assert torch.isfinite(torch.tensor(train(model, target=target, **given))).all()
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    outputs = [each.generate(**given, **nothing, **options, generator=seeded()).values for each in (model, again)]
    assert fits(outputs[0], extractor.config.target_spec) and torch.isfinite(outputs[0]).all()
    close(*outputs)


def prior_of_classes(extractor, target):
    spec, values = extractor.config.representation_spec, extractor.encode(target).values
    if spec.num_codes is not None:
        return AutoregressiveGenerator.for_spec(tiny.gpt2(), spec, None, num_classes=3)
    shape = RepresentationSpec(tuple(values.shape[1:]), rate=spec.rate)
    return RegressionGenerator.for_spec(encoder(), shape, None, num_classes=3)


READERS = {
    AutoregressiveGenerator: Part(lambda: GPT2LMHeadModel(tiny.gpt2()), AutoregressiveGenerator, CODES),
    MaskedGenerator: Part(lambda: BertModel(encoder()), MaskedGenerator, CODES),
    DiffusionGenerator: Part(lambda: tiny.unet(GRID.shape), DiffusionGenerator, GRID),
    RegressionGenerator: Part(lambda: BertModel(encoder()), RegressionGenerator, GRID),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("made", READERS, ids=lambda each: each.__name__)
def test_reads_every_source(made, source, encoders, tmp_path):
    part = copy.copy(READERS[made])
    part.source = SOURCES[source]
    given, target = part.source.given, example(part.target)
    part.build().save_pretrained(tmp_path / "part")
    generator = load(str(tmp_path / "part"), part, encoders)
    generator(target=target, **given).loss.backward()
    reached = [p.grad.abs().sum() > 0 for p in generator.source_encoder.projections.parameters()]
    assert all(reached) and torch.isfinite(torch.tensor(train(generator, target=target, **given))).all()
    losses = []
    generator.config.condition_dropout = 0.0
    for rolled in (0, 1):
        torch.manual_seed(0)
        with torch.no_grad():
            losses.append(generator(target=target, **{k: v.roll(rolled, 0) for k, v in given.items()}).loss.item())
    assert losses[0] != losses[1], "the source must matter"
    check_one_by_one(generator, given)
    generator.save_pretrained(tmp_path / "again")
    reloaded = AutoModel.from_pretrained(tmp_path / "again")
    same(generator, reloaded, given)
    assert [p.requires_grad for p in reloaded.parameters()] == [p.requires_grad for p in generator.parameters()]
    for name in given.keys() - {"attention_mask", "source_mask"}:
        with pytest.raises(ValueError, match=f"`{name}` is missing"):
            generator.generate(**{k: v for k, v in given.items() if k != name}, **QUICK[made])
    half = generator.to(torch.bfloat16)
    assert torch.isfinite(half(target=target, **given).loss)
    assert torch.isfinite(generate(half, given).values.float()).all()


def test_a_vocoder_reads_spectrograms_of_its_size_only():
    generator = load_generator(GENERATORS["UnivNetModel"].build(), WAVE, MEL)
    with pytest.raises(ValueError, match=r"\(batch, 8 mel bins, frames\), got \(1, 80, 5\)"):
        generator.generate(torch.zeros(1, 80, 5))


def test_parts_of_another_rate_are_refused(tmp_path):
    """Whether they come as a folder of another library or of ours, or live."""
    speech_t5(sampling_rate=22050).save_pretrained(tmp_path / "vocoder")
    VocoderGenerator.from_components(str(tmp_path / "vocoder")).save_pretrained(tmp_path / "generator")
    slow, fast = log_mel(), log_mel(sampling_rate=22050, hop_length=16)

    def of(rate):
        spec = RepresentationSpec((8, 12), rate=rate)
        return RegressionGenerator.for_spec(encoder(), spec, None, num_classes=3)

    refusals = {
        str(tmp_path / "vocoder"): "SpeechT5HifiGan makes .* at 22050 a second from .*, not .* at 16000 a second from",
        str(tmp_path / "generator"): "extractor gives .* at 1000 a second, but the decoder takes .* at 1378.12",
    }
    for folder, message in refusals.items():
        with pytest.raises(ValueError, match=message):
            RegenerationModel.from_components(slow, of(1000), folder)
        with pytest.raises(ValueError, match="extractor gives .* at 1378.12 .*, but the prior makes .* at 1000"):
            RegenerationModel.from_components(fast, of(1000), folder)
        model = RegenerationModel.from_components(fast, of(22050 / 16), folder)
        assert model.config.decoder_config.sampling_rate == 22050
    with pytest.raises(ValueError, match="not .* at 16000 a second from .* at 800 a second"):
        RegenerationModel.from_components(log_mel(hop_length=20), of(800), speech_t5())


def test_codes_of_another_rate_are_refused():
    codec = CodecExtractor.from_components(dac())

    def prior(rate):
        books = RepresentationSpec(BOOKS.shape, BOOKS.num_codes, BOOKS.num_codebooks, rate)
        return AutoregressiveGenerator.for_spec(tiny.gpt2(), books, None, max_places=8, num_classes=3)

    with pytest.raises(ValueError, match="the extractor gives .* at 2000 a second, but the prior makes .* at 50 a sec"):
        RegenerationModel.from_components(codec, prior(50))
    for rate in (2000, None):  # without one it fits every other
        assert RegenerationModel.from_components(codec, prior(rate)).config.prior_config.target_rate == rate
