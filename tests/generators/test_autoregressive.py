import pytest
import tiny
import torch
from generators.conformance import GeneratorConformance
from transformers import BertConfig

from regen_hf import AutoregressiveGenerator


class AutoregressiveConformance(GeneratorConformance):
    quick = {"do_sample": False}

    def source(self):
        return dict(tiny.processor()(source=tiny.NAMES[:4]))


class TestGPT2WithBert(AutoregressiveConformance):
    def make(self, **settings):
        return tiny.code_prior((3, 4), **settings)


class TestBartWithT5(AutoregressiveConformance):
    def make(self, **settings):
        return AutoregressiveGenerator.from_components(tiny.bart(), (3, 4), 12, tiny.t5(), **settings)


class TestGPT2WithClasses(AutoregressiveConformance):
    def make(self, **settings):
        return AutoregressiveGenerator.from_components(tiny.gpt2(), (3, 4), 12, num_classes=5, **settings)

    def source(self):
        return {"class_labels": torch.tensor([[0], [1], [2], [4]])}


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


def test_guidance_is_that_of_the_two_distributions(prior, source):
    """The first code under guidance is the best one of null + guidance × (source − null)."""
    first = prior.generate(**source, do_sample=False, guidance=5.0).values[:, 0, 0]
    with torch.no_grad():
        condition = prior.source_encoder(**source)
        start = torch.full((3, 1), 12)
        towards = prior._logits(start, condition.hidden, condition.mask).logits[:, -1]
        hidden = prior.source_encoder.hide(condition, torch.ones(3, dtype=torch.bool))
        away = prior._logits(start, hidden.hidden, hidden.mask).logits[:, -1]
    assert torch.equal(first, (away + 5 * (towards - away)).argmax(-1))


def test_samples_are_repeatable_and_leave_the_global_state_alone(prior, source):
    state = torch.random.get_rng_state()
    one, two = (prior.generate(**source, generator=torch.Generator().manual_seed(1)).values for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not torch.equal(one, prior.generate(**source, generator=torch.Generator().manual_seed(2)).values)


def test_never_makes_the_start_of_a_sequence(prior, source):
    with torch.no_grad():
        prior.language_model.get_output_embeddings().weight[12] += 100
    assert prior.generate(**source).values.max() < 12


def test_loss_is_that_of_next_codes(prior, source):
    """Codes that the model makes greedily are likelier under its own loss than others."""
    greedy = prior.generate(**source, do_sample=False).values
    prior.config.condition_dropout = 0.0
    with torch.no_grad():
        assert prior(target=greedy, **source).loss < prior(target=(greedy + 1) % 12, **source).loss


def test_padding_does_not_count(prior, source):
    prior.config.condition_dropout = 0.0
    codes = torch.randint(12, (3, 3, 4))
    mask = torch.ones(3, 3, 4, dtype=torch.bool)
    mask[:, 2] = False
    other = codes.clone()
    other[:, 2] = (other[:, 2] + 1) % 12
    with torch.no_grad():
        one, two = (prior(target=c, target_mask=mask, **source).loss for c in (codes, other))
    assert one == two


def test_refuses_a_decoder_that_does_not_fit():
    with pytest.raises(ValueError, match="vocab_size 13, but num_codes 13 .* need 14"):
        tiny.code_prior((3, 4), num_codes=13)
    with pytest.raises(ValueError, match=r"64 positions, but target_shape \(9, 8\) needs 72"):
        tiny.code_prior((9, 8))
    with pytest.raises(ValueError, match="`add_cross_attention` False"):
        AutoregressiveGenerator.from_components(tiny.gpt2(add_cross_attention=False), (2, 2), 12, tiny.bert())
    with pytest.raises(ValueError, match="not both"):
        tiny.code_prior((3, 4), num_classes=3)


def test_loads_a_decoder_by_folder(tmp_path):
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel(tiny.gpt2())
    model.save_pretrained(tmp_path)
    prior = AutoregressiveGenerator.from_components(str(tmp_path), (3, 4), 12, BertConfig(**tiny.bert().to_dict()))
    assert torch.equal(prior.language_model.transformer.wte.weight, model.transformer.wte.weight)
