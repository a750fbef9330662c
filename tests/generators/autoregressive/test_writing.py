import json

import pytest
import tiny
import torch
from generators.autoregressive.priors import beside, labels, reading_out, writer
from transformers import AutoModel, GenerationConfig, StoppingCriteria

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
    assert generator.generate(source=source, num_beams=4, do_sample=True).scores is None


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


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_new_tokens": 3}, "`max_new_tokens` 3 does not fit: all 4 tokens of codes .*shape 4.* are written"),
        ({"max_new_tokens": 5}, "`max_new_tokens` 5 does not fit"),
        ({"max_length": 4}, "`max_new_tokens` 3 does not fit"),
        ({"min_new_tokens": 2}, "`min_new_tokens` 2 does not fit"),
        ({"max_time": 0.1}, "`max_time` 0.1 does not fit"),
        ({"generation_config": GenerationConfig(max_new_tokens=3)}, "`max_new_tokens` 3 does not fit"),
    ],
)
def test_targets_of_one_length_are_written_whole(given, message):
    """Else the codes of one source would become those of another."""
    with pytest.raises(ValueError, match=message):
        writer((4,)).generate(**labels(5), **given)
    assert writer((4,)).generate(**labels(5), max_new_tokens=4, max_length=None).values.shape == (5, 4)


def test_a_stop_of_the_callers_own_is_refused_where_rows_would_be_mixed():
    class Stops(StoppingCriteria):
        def __call__(self, input_ids, scores, **kwargs):
            return torch.full((len(input_ids),), input_ids.shape[1] > 2, dtype=torch.bool)

    with pytest.raises(ValueError, match="2 places were written, but codes .* has 4"):
        writer((4,)).generate(**labels(6), stopping_criteria=[Stops()])
    assert writer().generate(**labels(6), stopping_criteria=[Stops()]).values.shape == (6, 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_new_tokens": 13}, "room for 12 new tokens, but `min_new_tokens` is 0 and `max_new_tokens` 13"),
        ({"min_new_tokens": 5, "max_new_tokens": 4}, "`min_new_tokens` is 5 and `max_new_tokens` 4"),
        ({"max_length": 4, "max_new_tokens": 4}, "give `max_new_tokens` or `max_length`, not both, got 4 and 4"),
        ({"max_new_tokens": 10**12}, "`max_new_tokens` must be at most 1,000,000, got 1000000000000"),
        ({"temperature": float("nan")}, "`temperature` must be a finite number above 0, got nan"),
        ({"num_beams": True}, "`num_beams` must be a whole number of at least 1, got True"),
        ({"top_p": 1.5}, "`top_p` must be at most 1, got 1.5"),
        ({"num_return_sequences": 3, "do_sample": False}, "`num_return_sequences` 3 without sampling or beams"),
        ({"generation_config": GenerationConfig(penalty_alpha=0.6)}, "`generation_config` must hold .*'penalty_alpha'"),
        ({"generation_config": GenerationConfig(eos_token_id=3)}, "`generation_config` must hold .*'eos_token_id'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_refuses_what_cannot_be_written(given, message):
    with pytest.raises(ValueError, match=message):
        writer().generate(**labels(2), **given)


def test_what_is_asked_for_comes_before_what_the_model_says():
    model = writer(generation={"max_new_tokens": 6, "min_new_tokens": 6})
    lengths = [model.generate(**labels(1)).values.shape[1]]
    model.generation_config.max_new_tokens = model.generation_config.min_new_tokens = 5
    lengths.append(model.generate(**labels(1)).values.shape[1])
    asked = GenerationConfig(max_new_tokens=4, min_new_tokens=4)
    lengths.append(model.generate(**labels(1), generation_config=asked).values.shape[1])
    lengths.append(model.generate(**labels(1), max_length=3, min_length=3).values.shape[1])
    assert lengths == [6, 5, 4, 2]


def rows_of(model, number: int = 12, **given) -> int:
    """How many different rows there are of one source."""
    source = {"class_labels": torch.ones(number, 1, dtype=torch.long)}
    return len({tuple(row.tolist()) for row in model.generate(**source, **given).values})


def test_what_is_read_is_the_likeliest_and_what_is_heard_is_drawn():
    assert rows_of(writer()) == 1
    assert rows_of(writer(), do_sample=True) > 1
    assert rows_of(writer(), temperature=2.0) > 1
    assert rows_of(writer(), generation_config=GenerationConfig(do_sample=True)) > 1
    assert rows_of(writer(target_rate=50.0)) > 1
    assert rows_of(writer((4,))) > 1
    assert rows_of(writer((4,)), num_beams=2) == 1
    assert rows_of(writer((4,), generation={"do_sample": False})) == 1
    several = writer().generate(**labels(1), num_return_sequences=8).values
    assert len({tuple(row.tolist()) for row in several}) > 1


def test_a_generation_config_of_the_repository_is_checked(tmp_path):
    model = writer()
    model.generation_config.num_beams = 2
    model.save_pretrained(tmp_path)
    assert AutoModel.from_pretrained(tmp_path).generation_config.num_beams == 2
    for name, value in (("custom_generate", "x"), ("dola_layers", "low"), ("num_beams", 10**9), ("eos_token_id", 3)):
        (tmp_path / "generation_config.json").write_text(json.dumps({name: value}))
        with pytest.raises(ValueError, match=f"`generation_config.json` must hold .*{name}|`{name}` must be at most"):
            AutoModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("order", ["interleave", "delay"])
def test_a_code_of_one_codebook_is_not_repeated_by_another(order):
    """Both codebooks begin with code 7; where the penalty is of one alone, neither is kept from it."""
    books = {"num_codebooks": 2, "order": order}
    model = writer((2, 3), **books)
    codes = torch.zeros(2, 11)
    codes[:, 7], codes[:, 3] = 5.0, 4.0
    model.head.logits = lambda states, book, tied=None: codes[book].expand(*states.shape[:-1], 11).clone()
    made = model.generate(**labels(1), do_sample=False, no_repeat_ngram_size=1).values[0]
    assert made[:, :2].tolist() == [[7, 3], [7, 3]]
    made = model.generate(**labels(1), do_sample=False, repetition_penalty=2.0).values[0]
    assert made[:, :2].tolist() == [[7, 3], [7, 3]]


def test_several_of_delayed_codebooks():
    model = writer((2, 3), num_codebooks=2, order="delay")
    made = model.generate(**labels(2), num_return_sequences=3, generator=0)
    assert made.values.shape == (6, 2, 3)
    with pytest.raises(ValueError, match="`num_beams` must be 1 with `order` 'delay', got 2"):
        model.generate(**labels(2), num_beams=2)
