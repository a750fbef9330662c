import pytest
import tiny
import torch
from generators.autoregressive.priors import beside, reading_out

from regen_hf import AutoregressiveGenerator


@pytest.fixture
def prior():
    return tiny.code_prior((3, 4)).eval()


@pytest.fixture
def source():
    return dict(tiny.processor()(source=tiny.NAMES[:3]))


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("num_beams", [1, 3])
def test_cache_changes_nothing(prior, source, guidance, num_beams):
    asked = {"guidance": guidance, "num_beams": num_beams, "do_sample": False}
    cached = prior.generate(**source, **asked).values
    assert torch.equal(cached, prior.generate(**source, **asked, use_cache=False).values)


@pytest.mark.parametrize("order", ["interleave", "delay"])
@pytest.mark.parametrize("decoder", [tiny.gpt2, tiny.llama, lambda: tiny.llama(use_cache=False), tiny.lfm2])
def test_cache_changes_nothing_with_codebooks(order, decoder, source):
    torch.manual_seed(0)
    prior = AutoregressiveGenerator.from_components(
        decoder(), (3, 5), 12, tiny.bert(), num_codebooks=3, order=order
    ).eval()  # fmt: skip
    for guidance in (1.0, 3.0):
        asked = {"do_sample": False, "guidance": guidance}
        cached = prior.generate(**source, **asked).values
        assert torch.equal(cached, prior.generate(**source, **asked, use_cache=False).values)


def test_guidance_is_that_of_the_two_distributions(prior, source):
    """The first code under guidance is the best one of null + guidance × (source − null)."""
    torch.manual_seed(0)
    for parameter in prior.parameters():  # as new, they hardly see the source
        parameter.data.normal_(std=0.5)
    first = prior.generate(**source, do_sample=False, guidance=5.0).values[:, 0, 0]
    with torch.no_grad():
        condition = prior.source_encoder(**source)
        start = torch.full((3, 1, 1), 13)
        hidden = prior.source_encoder.hide(condition, torch.ones(3, dtype=torch.bool))
        states = [prior._hidden_states(start, 0, each).last_hidden_state[:, -1] for each in (condition, hidden)]
        towards, away = (prior.head.next_logits(state, [0])[:, 0, :12] for state in states)
    assert torch.equal(first, (away + 5 * (towards - away)).argmax(-1))
    assert not torch.equal(first, towards.argmax(-1)) and not torch.equal(first, away.argmax(-1))


def test_samples_are_repeatable_and_leave_the_global_state_alone(prior, source):
    state = torch.random.get_rng_state()
    one, two = (prior.generate(**source, generator=torch.Generator().manual_seed(1)).values for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not torch.equal(one, prior.generate(**source, generator=torch.Generator().manual_seed(2)).values)


@pytest.mark.parametrize("length_penalty", [1.0, 0.5])
def test_beams_come_with_their_log_probabilities(length_penalty):
    generator, source = reading_out().eval(), torch.randint(12, (3, 5))
    asked = {"num_beams": 4, "num_return_sequences": 2, "do_sample": False, "length_penalty": length_penalty}
    made = generator.generate(source=source, **asked)
    assert made.values.shape[0] == 6 and made.scores.shape == (6,)
    for row in range(6):
        length = int(made.mask[row].sum())
        own = {"target": made.values[row : row + 1, :length], "source": source[row // 2 : row // 2 + 1]}
        if length < 20:  # with the end, which is written and scored as well
            total = -generator(**own).loss.item() * (length + 1)
            assert made.scores[row].item() == pytest.approx(total, rel=1e-3)
    assert generator.generate(source=source, do_sample=False).scores is None
    assert generator.generate(source=source, num_beams=4).scores is None  # of samples


def test_scores_count_the_codes_of_all_codebooks():
    torch.manual_seed(0)
    books = {"num_codebooks": 2, "num_classes": 3, "condition_dropout": 0.0, "max_places": 6}
    generator = AutoregressiveGenerator.from_components(tiny.gpt2(), (2, None), 3, **books).eval()
    label = {"class_labels": torch.tensor([[1]])}
    asked = {"num_beams": 8, "num_return_sequences": 8, "do_sample": False}
    for _ in range(50):  # some heads never end
        torch.nn.init.normal_(generator.head.weight, std=0.5)
        made = generator.generate(**label, **asked)
        ended = [row for row in range(8) if 0 < int(made.mask[row].sum()) < 6]
        if ended:
            break
    assert ended, "no beam has an end: this shows nothing"
    for row in ended:
        places = int(made.mask[row].sum())
        loss = generator(target=made.values[row : row + 1, :, :places], **label).loss.item()
        assert made.scores[row].item() == pytest.approx(-loss * (2 * places + 1), rel=1e-3)


def test_beside_its_source_several_targets_have_its_mask():
    codes, mask = torch.randint(9, (2, 4)), torch.tensor([[True] * 4, [True, True, False, False]])
    generator = beside(order="interleave")
    made = generator.generate(source=codes, source_mask=mask, num_return_sequences=2)
    assert made.values.shape == (4, 2, 4) and made.mask.sum(1).tolist() == [4, 4, 2, 2]


@pytest.mark.parametrize("order", ["delay", "interleave"])
def test_beside_its_source_each_row_is_written_as_by_itself(order):
    generator, codes = beside(order=order), torch.randint(9, (3, 6), generator=torch.Generator().manual_seed(0))
    lengths = [6, 4, 1]
    mask = torch.arange(6) < torch.tensor(lengths)[:, None]
    beams = {"do_sample": False, "num_beams": 1 if order == "delay" else 3}
    together = generator.generate(source=codes, source_mask=mask, **beams)
    for row, length in enumerate(lengths):
        alone = generator.generate(source=codes[row : row + 1, :length], **beams)
        assert torch.equal(alone.values[0], together.values[row, :, :length])
        if order == "interleave":
            torch.testing.assert_close(alone.scores[0], together.scores[row], rtol=1e-4, atol=1e-4)
