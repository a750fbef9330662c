"""Every model of another library that is said to make an extractor does, of its own class and by its name alone."""

import copy

import pytest
import torch
from named_extractors import EXTRACTORS
from transformers import AutoModel

from regen_hf import Representation
from regen_hf.auto import load_extractor

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", params=EXTRACTORS)
def made(request, tmp_path_factory):
    """What is said of a model, and the extractor that is made of it by name."""
    torch.manual_seed(0)
    part, folder = EXTRACTORS[request.param], tmp_path_factory.mktemp("part")
    part.build().save_pretrained(folder)
    return part, load_extractor(str(folder), **part.settings).eval()


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
        with pytest.raises(ValueError, match="`target_mask` is not taken"):
            extractor.encode(target, torch.ones(4, 20, 20, dtype=torch.bool))
        return
    mask = prefixes(target)
    batch = encode(extractor, target, mask)
    for row, length in enumerate(mask.sum(-1).tolist()):
        alone = encode(extractor, target[row : row + 1, ..., :length]).values[0]
        size = alone.shape[-1]
        close(batch.values[row, ..., :size], alone)
        assert batch.mask is None or batch.mask[row].tolist() == [place < size for place in range(batch.mask.shape[1])]


def test_runs_in_bfloat16(made):
    part, extractor = made
    encode(extractor, part.target())  # which fills what a codec may keep in another dtype
    half = copy.deepcopy(extractor).to(torch.bfloat16)
    representation = encode(half, part.target())
    assert fits(representation.values.shape[1:], extractor.config.representation_spec.shape)
    if extractor.config.can_decode:
        assert torch.isfinite(half.decode(representation).values.float()).all()


def test_reloads_with_equal_outputs(made, tmp_path):
    part, extractor = made
    extractor.save_pretrained(tmp_path)
    reloaded = AutoModel.from_pretrained(tmp_path)
    assert type(reloaded) is type(extractor) and reloaded.config.target_spec == extractor.config.target_spec
    assert reloaded.config.representation_spec == extractor.config.representation_spec
    assert [p.requires_grad for p in reloaded.parameters()] == [p.requires_grad for p in extractor.parameters()]
    target = part.target()
    representation = encode(extractor, target)
    close(encode(reloaded, target).values, representation.values)
    if extractor.config.can_decode:
        with torch.no_grad():
            close(reloaded.decode(representation).values, extractor.decode(representation).values)


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
