from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from generators.autoregressive.priors import labels, writer

from regen_hf.generators.autoregressive.drawing import AllFinite, Drawing, DrawingBeams


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"top_p": 0.8, "temperature": 1.5}], ids=str)
@pytest.mark.parametrize("shape", [(4,), (None,)], ids=str)
def test_samples_do_not_depend_on_their_batch_nor_on_threads(settings, shape):
    model, asked = writer(shape), {"do_sample": True, **settings}

    def alone(row: int, shared) -> list[int]:
        made = model.generate(class_labels=torch.tensor([[row % 3]]), generator=shared, **asked)
        return made.values[0].tolist() if made.mask is None else made.values[0][made.mask[0]].tolist()

    shared = torch.Generator().manual_seed(5)
    single = [alone(row, shared) for row in range(6)]
    state = torch.random.get_rng_state()
    made = model.generate(**labels(6), generator=5, **asked)
    together = [row.tolist() if made.mask is None else row[made.mask[i]].tolist() for i, row in enumerate(made.values)]
    with ThreadPoolExecutor(4) as threads:
        parallel = list(threads.map(lambda seed: alone(1, seed), [7] * 8))
    assert torch.equal(state, torch.random.get_rng_state())
    assert single == together and len({tuple(row) for row in single}) > 1
    assert parallel == [parallel[0]] * 8


def test_what_is_drawn_has_its_probability():
    """The numbers of each code in 4,000 draws, within four deviations; what cannot be is never drawn."""
    chances = torch.tensor([0.0, 0.1, 0.0, 0.6, 0.3, 0.0])
    generators = [torch.Generator().manual_seed(row) for row in range(4000)]
    left = Drawing(generators)(None, chances.log().expand(4000, 6))
    assert (left == 0).sum() == 4000 and (left.isinf().sum(1) == 5).all()
    with DrawingBeams(generators):
        pairs = torch.multinomial(chances.expand(4000, 6), num_samples=2)
    found = torch.bincount(left.argmax(1), minlength=6) / 4000
    assert found[[0, 2, 5]].tolist() == [0, 0, 0]
    assert (found - chances).abs().max() < 4 * (0.25 / 4000) ** 0.5
    assert (pairs[:, 0] != pairs[:, 1]).all() and set(pairs.flatten().tolist()) == {1, 3, 4}


def test_nan_is_refused_and_minus_infinity_is_not():
    ids, scores = torch.zeros(1, 1, dtype=torch.long), torch.tensor([[0.0, -torch.inf]])
    assert AllFinite("Mine")(ids, scores) is scores
    with pytest.raises(ValueError, match="Mine made logits with NaN or infinite values"):
        AllFinite("Mine")(ids, torch.tensor([[0.0, torch.nan]]))


def test_where_nothing_may_come_any_more_it_is_said():
    with pytest.raises(ValueError, match="has no code left that may come next: lower `no_repeat_ngram_size`"):
        writer((12,)).generate(**labels(1), do_sample=False, no_repeat_ngram_size=1)
