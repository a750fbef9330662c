"""Every model of another library that is said to make an extractor does, of its own class and by its name alone, and
is a part of a regenerator that learns, makes targets and comes back from its folder."""

import copy

import pytest
import tiny
import torch
from named_extractors import EXTRACTORS
from transformers import AutoModel, BertConfig

from regen_hf import AutoregressiveGenerator, RegenerationModel, RegressionGenerator, Representation, RepresentationSpec
from regen_hf.parts.auto import load_extractor

pytestmark = pytest.mark.usefixtures("one_thread")

BERT = BertConfig(
    vocab_size=4, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
    max_position_embeddings=1024, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
)  # fmt: skip
CLASSES = torch.tensor([[0], [1], [2], [1]])


@pytest.fixture(scope="module", params=EXTRACTORS)
def made(request, tmp_path_factory):
    """What is said of a model, and the extractor that is made of it by name."""
    torch.manual_seed(0)
    part, folder = EXTRACTORS[request.param], tmp_path_factory.mktemp("part")
    part.build().save_pretrained(folder)
    return part, load_extractor(str(folder), **part.settings).eval()


def generator_of(spec: RepresentationSpec, sizes, source: RepresentationSpec | None = None, **settings):
    """A tiny generator of what `spec` describes; of continuous values, of these sizes."""
    if spec.num_codes is None:
        return RegressionGenerator.for_spec(BERT, RepresentationSpec(tuple(sizes), rate=spec.rate), source, **settings)
    settings |= {"order": "delay"} if spec.num_codebooks > 1 else {}
    settings |= {"max_places": 8} if spec.shape[-1] is None else {}
    return AutoregressiveGenerator.for_spec(tiny.gpt2(n_positions=256), spec, source, **settings)


@pytest.fixture(scope="module")
def regenerator(made):
    """The extractor between a prior of classes and, where it has no way back, a decoder."""
    torch.manual_seed(0)
    part, extractor = made
    made_of, target = extractor.config.representation_spec, part.target()
    prior = generator_of(made_of, encode(extractor, target).values.shape[1:], num_classes=3)
    decoder = None
    if not extractor.config.can_decode:
        decoder = generator_of(extractor.config.target_spec, target.shape[1:], made_of)
    return RegenerationModel.from_components(extractor, prior, decoder).eval()


def greedy(model, labels=CLASSES) -> Representation:
    def options(part):
        return {"do_sample": False} if isinstance(part, AutoregressiveGenerator) else {}

    decoder = model.decoder_model
    given = {} if decoder is None else {"decoder_kwargs": options(decoder)}
    return model.generate(class_labels=labels, return_representation=True, **options(model.prior), **given)


def encode(extractor, target, mask=None) -> Representation:
    with torch.no_grad():
        return extractor.encode(target, mask)


def fits(shape, sizes) -> bool:
    return len(shape) == len(sizes) and all(size in (None, found) for found, size in zip(shape, sizes, strict=True))


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def prefixes(target: torch.Tensor) -> torch.Tensor:
    size = target.shape[-1]
    return torch.arange(size) < torch.tensor([size, size // 2 + 1, size, size * 3 // 4])[:, None]


def test_gives_what_its_spec_says(made):
    part, extractor = made
    spec, target = extractor.config.representation_spec, part.target()
    values = encode(extractor, target).values
    assert fits(target.shape[1:], extractor.config.target_spec.shape)
    assert fits(values.shape[1:], spec.shape)
    assert len(torch.unique(values.reshape(len(values), -1), dim=0)) > 1, "different Y must give different Y′"
    if spec.num_codes is None:
        assert values.is_floating_point() and torch.isfinite(values).all()
    else:
        assert values.dtype == torch.long and values.min() >= 0 and values.max() < spec.num_codes
    if spec.rate is not None:
        rates = values.shape[-1] / target.shape[-1], spec.rate / extractor.config.target_spec.rate
        assert rates[0] == pytest.approx(rates[1], abs=2 / target.shape[-1])


def test_batched_equals_single(made):
    part, extractor = made
    target = part.target()
    single = torch.cat([encode(extractor, row[None]).values for row in target])
    close(encode(extractor, target).values, single)


def test_padding_changes_nothing(made):
    part, extractor = made
    target = part.target()
    if target.dim() >= 4:
        with pytest.raises(ValueError, match="`target_mask` (is not taken|has padding)"):
            extractor.encode(target, torch.zeros(4, 20, 20, dtype=torch.bool))
        return
    mask = prefixes(target)
    batch = encode(extractor, target, mask)
    for row, length in enumerate(mask.sum(-1).tolist()):
        alone = encode(extractor, target[row : row + 1, ..., :length]).values[0]
        size = alone.shape[-1]
        close(batch.values[row, ..., :size], alone)
        assert batch.mask is None or batch.mask[row].tolist() == [place < size for place in range(batch.mask.shape[1])]


def test_leads_back_to_the_target_or_says_that_it_cannot(made):
    part, extractor = made
    target = part.target()
    representation = encode(extractor, target)
    if not extractor.config.can_decode:
        with pytest.raises(NotImplementedError, match="has no way back"):
            extractor.decode(representation)
        return
    with torch.no_grad():
        assert extractor.decode(representation).values.shape == target.shape
        if representation.values.dim() < 4:
            mask = prefixes(representation.values)
            back = extractor.decode(Representation(representation.values, mask))
            alone = extractor.decode(Representation(representation.values[1:2, ..., : mask[1].sum()])).values[0]
            assert back.values.shape == target.shape and back.mask[1].sum() == alone.shape[-1]
            close(back.values[1, ..., : alone.shape[-1]], alone)


def test_refuses_what_it_cannot_read(made):
    part, extractor = made
    for target, message in part.wrong:
        with pytest.raises(ValueError, match=message):
            extractor.encode(target)


def test_learns_from_targets_alone_or_says_that_it_cannot(made):
    part, extractor = made
    assert extractor.is_trainable == part.trains
    if not part.trains:
        with pytest.raises(NotImplementedError, match="has nothing to learn"):
            extractor(target=part.target())
        return
    learner, target = copy.deepcopy(extractor).train(), part.target()
    optimizer = torch.optim.Adam([p for p in learner.parameters() if p.requires_grad], 1e-2)
    for _ in range(2):
        output = learner(target=target)
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert torch.isfinite(output.loss) and output.reconstruction.shape == target.shape
    assert output.loss.item() == pytest.approx(sum(term.item() for term in output.terms.values()), rel=1e-4)
    pairs = zip(learner.named_parameters(), extractor.parameters(), strict=True)
    changed = {name for (name, new), old in pairs if not torch.equal(new, old)}
    frozen = {name for name, parameter in extractor.named_parameters() if not parameter.requires_grad}
    assert changed and not changed & frozen


def test_a_regenerator_of_it_learns_and_leaves_it_alone(made, regenerator):
    part, extractor = made
    target, model = part.target(), copy.deepcopy(regenerator).train()
    masked = {} if target.dim() >= 4 else {"target_mask": prefixes(target)}
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2, weight_decay=0.0)
    for given in ({}, {}, masked):
        output = model(target=target, class_labels=CLASSES, **given)
        assert torch.isfinite(output.loss)
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    before = dict(regenerator.named_parameters())
    changed = {name.split(".")[0] for name, new in model.named_parameters() if not torch.equal(new, before[name])}
    assert changed == {"prior"} | ({"decoder_model"} if model.decoder_model is not None else set())
    close(encode(model.extractor, target).values, encode(extractor, target).values)


def test_padding_does_not_train_a_regenerator_of_it(made, regenerator):
    target = made[0].target()
    if target.dim() >= 4:
        return
    mask, losses = prefixes(target), []
    noise = target.roll(1, 0) if target.dtype == torch.long else target + 1
    for each in (target, torch.where(mask if target.dim() == 2 else mask[:, None], target, noise)):
        torch.manual_seed(1)
        with torch.no_grad():
            losses.append(regenerator(target=each, target_mask=mask, class_labels=CLASSES).loss)
    torch.testing.assert_close(*losses, rtol=1e-6, atol=0)


def test_a_regenerator_of_it_makes_targets(made, regenerator):
    part, extractor = made
    output, shape = greedy(regenerator), part.target().shape
    assert fits(output.representation.values.shape[1:], extractor.config.representation_spec.shape)
    assert fits(output.values.shape[1:], extractor.config.target_spec.shape)
    if extractor.config.target_spec.num_codes is None:
        assert torch.isfinite(output.values).all()
        assert output.mask is not None or output.values.shape == shape
    for row in range(4):
        alone = greedy(regenerator, CLASSES[row : row + 1])
        size = alone.values.shape[-1]
        close(output.values[row, ..., :size], alone.values[0])
        assert output.mask is None or output.mask[row].sum() == size


def test_a_regenerator_of_it_reloads_with_equal_outputs(made, regenerator, tmp_path):
    part, extractor = made
    regenerator.save_pretrained(tmp_path)
    reloaded = AutoModel.from_pretrained(tmp_path)
    again = reloaded.extractor
    assert type(reloaded) is RegenerationModel and type(again) is type(extractor)
    assert again.config.target_spec == extractor.config.target_spec
    assert again.config.representation_spec == extractor.config.representation_spec
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in extractor.parameters()]
    target = part.target()
    close(encode(again, target).values, encode(extractor, target).values)
    close(greedy(reloaded).values, greedy(regenerator).values)
    drawn = [
        each.generate(class_labels=CLASSES, generator=torch.Generator().manual_seed(0)).values
        for each in (reloaded, regenerator)
    ]
    close(*drawn)


def test_a_regenerator_of_it_runs_in_bfloat16(made, regenerator):
    part, extractor = made
    encode(extractor, part.target())  # which fills what a codec may keep in another dtype
    half = copy.deepcopy(regenerator).to(torch.bfloat16)
    assert torch.isfinite(half(target=part.target(), class_labels=CLASSES).loss)
    assert torch.isfinite(greedy(half).values.float()).all()
    representation = encode(half.extractor, part.target())
    assert fits(representation.values.shape[1:], extractor.config.representation_spec.shape)
    if extractor.config.can_decode:
        assert torch.isfinite(half.decode(representation).values.float()).all()
