import math

import pytest
import tiny
import torch
from generators.conformance import GeneratorConformance
from transformers import BertConfig, ModernBertConfig

from regen_hf import MaskedGenerator

SMALL = {"vocab_size": 16, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
BERT = BertConfig(**SMALL, num_hidden_layers=1, max_position_embeddings=64)
WIDER = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}
DRY = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
CLASSES = torch.tensor([[0], [1], [2], [4]])


def masked(shape=(3, 4), num_codes=12, num_codebooks=1, **settings) -> MaskedGenerator:
    return MaskedGenerator.from_components(BERT, shape, num_codes, num_codebooks, **{"num_classes": 5, **settings})


class MaskedConformance(GeneratorConformance):
    quick = {"num_inference_steps": 4, "generator": None}

    def generate(self, generator, rows=slice(None), /, **arguments):
        return super().generate(generator, rows, **{"generator": self._seeded(7), **arguments})


class TestBertWithBert(MaskedConformance):
    def make(self, **settings):
        return MaskedGenerator.from_components(BERT, (3, 4), 12, source_encoder=tiny.bert(), **settings)

    def source(self):
        return dict(tiny.processor()(source=tiny.NAMES[:4]))


class TestModernBertWithClasses(MaskedConformance):
    def make(self, **settings):
        backbone = ModernBertConfig(**SMALL, num_hidden_layers=2, pad_token_id=0, bos_token_id=1, eos_token_id=2)
        return MaskedGenerator.from_components(backbone, (3, 4), 12, num_classes=5, **settings)

    def source(self):
        return {"class_labels": CLASSES}


class TestCodesFromCodes(MaskedConformance):
    def make(self, **settings):
        return MaskedGenerator.from_components(BERT, (3, 4), 12, source_shape=[6], source_num_codes=9, **settings)

    def source(self):
        return {"source": torch.randint(9, (4, 6), generator=self._seeded(5))}


class TestSeveralCodebooks(MaskedConformance):
    def make(self, **settings):
        return masked((3, 4), 12, 3, **settings)

    def source(self):
        return {"class_labels": CLASSES}


@pytest.mark.parametrize(("shape", "books"), [((4, 4), 1), ((2, 8), 2)])
def test_a_memorised_batch_is_made_again(shape, books):
    torch.manual_seed(0)
    backbone = BertConfig(**{**BERT.to_dict(), **WIDER, **DRY})
    generator = MaskedGenerator.from_components(backbone, shape, 12, books, num_classes=5, condition_dropout=0.0)
    codes = torch.randint(12, (4, *shape))
    optimizer = torch.optim.Adam(generator.parameters(), 3e-3)
    labels, rows = {"class_labels": CLASSES}, {"class_labels": CLASSES.repeat(4, 1)}
    for _ in range(300):
        generator(target=codes.repeat(4, 1, 1), **rows).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    generator.eval()
    assert torch.equal(generator.generate(**labels, choice_temperature=0.0, temperature=0.1).values, codes)
    seeded = generator.generate(**labels, temperature=0.1, generator=torch.Generator().manual_seed(1)).values
    assert torch.equal(seeded, codes)


def test_only_masked_positions_count():
    generator = masked((2, 2), condition_dropout=0.0).eval()
    asked = torch.tensor([[True, False, False, True]])
    generator._draw_masks = lambda real: (asked[:, None], asked[:, None])
    codes = torch.tensor([[[1, 2], [3, 4]]])
    states = torch.zeros(1, 4, 16)
    states[0, 0], states[0, 3] = 1.0, 2.0
    generator._read = lambda embeds, condition, mask: states
    loss = generator(target=codes, class_labels=CLASSES[:1]).loss
    log = torch.log_softmax(generator.head(states[0]), dim=-1)
    torch.testing.assert_close(loss, -(log[0, 1] + log[3, 4]) / 2)


def test_masks_are_as_many_as_the_cosine_says_and_never_padding(monkeypatch):
    generator = masked((12,))
    real = torch.ones(3, 12, dtype=torch.bool)
    real[1, 6:], real[2, 1:] = False, False
    rand = torch.rand
    monkeypatch.setattr(torch, "rand", lambda *size, **kw: torch.full((3, 1), 2 / 3) if size == (3, 1) else rand(*size))
    asked, hidden = generator._draw_masks(real)  # cos(π/3) is a half
    assert asked.shape == (3, 1, 12) and torch.equal(asked, hidden)
    assert asked.sum((1, 2)).tolist() == [6, 3, 1]
    assert not asked[:, 0][~real].any()


@pytest.mark.parametrize(("order", "steps"), [("any", 1), ("in_turn", 2)])
def test_all_are_asked_for_where_all_are_made_in_a_single_step(order, steps):
    generator = masked((2, 16), num_codebooks=2, codebook_order=order, masking_schedule="all").eval()
    real = torch.ones(3, 16, dtype=torch.bool)
    real[0, 9:] = False
    asked, hidden = generator._draw_masks(real)
    if order == "any":
        assert torch.equal(asked, real[:, None].expand(-1, 2, -1)) and torch.equal(asked, hidden)
    else:
        assert asked.sum((1, 2)).tolist() == [9, 16, 16]
    assert len(_watched(generator)) == steps
    with pytest.raises(ValueError, match=f"`num_inference_steps` must be {steps} with masking_schedule 'all', got 3"):
        generator.generate(class_labels=CLASSES[:1], num_inference_steps=3)
    with pytest.raises(ValueError, match="`num_inference_steps` must be 1 with masking_schedule 'all', got 8"):
        masked((16,), masking_schedule="all", generation={"num_inference_steps": 8})


def test_in_turn_lower_codebooks_are_seen_and_higher_ones_are_not(monkeypatch):
    generator = masked((3, 4), num_codebooks=3).eval()
    monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.tensor([[[0]], [[1]], [[2]]]))
    asked, hidden = generator._draw_masks(torch.ones(3, 4, dtype=torch.bool))
    assert asked.any(2).tolist() == [[True, False, False], [False, True, False], [False, False, True]]
    assert hidden.all(2).tolist()[0][1:] == [True, True] and hidden.all(2).tolist()[1][2]
    assert not hidden[1, 0].any() and not hidden[2, :2].any()


def test_in_any_order_codes_of_all_codebooks_are_asked_for_at_once():
    generator = masked((3, 4), num_codebooks=3, codebook_order="any").eval()
    real = torch.tensor([[True, True, True, False]] * 50)
    asked, hidden = generator._draw_masks(real)
    assert torch.equal(asked, hidden) and not asked[:, :, 3].any()
    assert asked.any(2).sum(1).max() == 3
    assert _watched(generator, num_inference_steps=1) == [[4, 4, 4]]
    assert [sum(each) for each in _watched(generator, num_inference_steps=4)] == [12, 11, 8, 4]


def aligned(**settings) -> MaskedGenerator:
    spec = {"source_shape": [None], "source_num_codes": 9, "condition_dropout": 0.0, "source_stride": 1, **settings}
    return MaskedGenerator.from_components(BERT, (2, None), 12, 2, codebook_order="any", **spec).eval()


def test_what_is_aligned_is_as_long_as_its_source_and_sees_the_place_beside_it():
    generator, source = aligned(), torch.randint(9, (3, 6))
    mask = torch.arange(6) < torch.tensor([6, 4, 1])[:, None]
    made = generator.generate(source=source, source_mask=mask, generator=torch.Generator().manual_seed(0))
    assert made.values.shape == (3, 2, 6) and torch.equal(made.mask, mask)
    assert not made.values[~mask[:, None].expand(-1, 2, -1)].any() and made.values.max() < 12
    for row, length in enumerate([6, 4, 1]):  # as by itself, however long the rows beside it are
        seed = torch.Generator().manual_seed(row)
        alone = generator.generate(source=source[row : row + 1, :length], generator=seed)
        seed = torch.Generator().manual_seed(row)
        padded = generator.generate(source=source[row : row + 1], source_mask=mask[row : row + 1], generator=seed)
        assert torch.equal(alone.values, padded.values[..., :length])
    with torch.no_grad():
        condition = generator.source_encoder(source=source)
        for layer in generator.backbone.encoder.layer:  # without them, a place knows of itself alone
            layer.attention.output.dense.weight.zero_()
        codes = torch.full((3, 2, 6), 12)
        one = generator._states(codes, condition, None)
        other = source.clone()
        other[:, 2] = (other[:, 2] + 1) % 9
        two = generator._states(codes, generator.source_encoder(source=other), None)
    assert (one - two).abs().amax(2).gt(1e-6).tolist() == [[place == 2 for place in range(6)]] * 3


def test_what_is_aligned_refuses_another_length():
    with pytest.raises(ValueError, match="the source has 6 places by its `source_stride`, but the target 5"):
        aligned()(target=torch.zeros(1, 2, 5, dtype=torch.long), source=torch.zeros(1, 6, dtype=torch.long))
    with pytest.raises(ValueError, match="`length` is not taken: .*, source_stride 1"):
        aligned().generate(source=torch.zeros(1, 6, dtype=torch.long), length=6)


def test_aligned_guidance_reads_padding_as_padding():
    generator, source = aligned(condition_dropout=0.1), torch.randint(9, (2, 6))
    mask = torch.arange(6) < torch.tensor([6, 3])[:, None]
    seeds = [torch.Generator().manual_seed(0) for _ in range(2)]
    whole = generator.generate(source=source, source_mask=mask, guidance=2.0, generator=seeds[0])
    changed = source.masked_fill(~mask, 8)
    again = generator.generate(source=changed, source_mask=mask, guidance=2.0, generator=seeds[1])
    assert torch.equal(whole.values, again.values)


def _watched(generator, **arguments):
    """How many positions of each codebook were masked before each step."""
    seen, embed = [], generator._embed
    generator._embed = lambda codes: seen.append((codes == 12).sum(2)[0].tolist()) or embed(codes)
    generator.generate(class_labels=CLASSES[:1], **arguments)
    return seen


def test_masked_positions_fall_as_the_cosine_says():
    assert _watched(masked((16,)).eval(), num_inference_steps=4) == [[16]] + [
        [math.floor(16 * math.cos(math.pi / 2 * step / 4))] for step in (1, 2, 3)
    ]
    linear = masked((16,), masking_schedule="linear").eval()
    assert _watched(linear, num_inference_steps=4) == [[16], [12], [8], [4]]


def test_codebooks_are_made_one_after_the_other():
    seen = _watched(masked((2, 16), num_codebooks=2, masking_schedule="linear").eval(), num_inference_steps=6)
    assert seen == [[16, 16], [12, 16], [8, 16], [4, 16], [0, 16], [0, 8]]


def test_no_more_steps_than_positions():
    assert len(_watched(masked((3,)).eval(), num_inference_steps=12)) == 3


def test_guidance_goes_from_the_null_source_towards_the_source():
    generator = masked().eval()
    codes = torch.full((2, 1, 12), 12)
    hidden = torch.tensor([False, False, True, True])
    with torch.no_grad():
        condition = generator.source_encoder(class_labels=CLASSES[:2])
        both = generator.source_encoder.hide(condition.map(lambda tensor: torch.cat([tensor, tensor])), hidden)
        null = generator.source_encoder.hide(condition, hidden[2:])
        towards, away = (generator._guided(codes, slice(1), each, None, 1) for each in (condition, null))
        assert not torch.allclose(towards, away, atol=1e-4)
        for guidance in (0.0, 3.0):
            found = generator._guided(codes, slice(1), both, None, guidance)
            torch.testing.assert_close(found, away + guidance * (towards - away), rtol=1e-4, atol=1e-5)

    def made(**asked):
        return generator.generate(class_labels=CLASSES, generator=torch.Generator().manual_seed(3), **asked).values

    assert torch.equal(made(guidance=1.0), made())


def test_variable_length():
    generator = masked((2, None), num_codebooks=2, condition_dropout=0.0).eval()
    for length in (3, 7):
        assert generator.generate(class_labels=CLASSES, length=length).values.shape == (4, 2, length)
    with pytest.raises(ValueError, match=r"`length` is missing: target_shape is \(2, None\)"):
        generator.generate(class_labels=CLASSES)
    with pytest.raises(ValueError, match=r"`length` is not taken: target_shape is \(3, 4\)"):
        masked().generate(class_labels=CLASSES, length=3)
    with pytest.raises(ValueError, match="BertModel has 64 positions, but 64 of the target and 1 of the source"):
        generator.generate(class_labels=CLASSES, length=64)


def test_padding_does_not_count():
    generator = masked((None,), condition_dropout=0.0).eval()
    codes, mask = torch.randint(11, (4, 6)), torch.ones(4, 6, dtype=torch.bool)
    mask[:, 4:] = False
    losses = []
    for target in (codes, codes + ~mask):
        torch.manual_seed(0)
        losses.append(generator(target=target, target_mask=mask, class_labels=CLASSES).loss)
    assert torch.equal(*losses)


def test_refuses_by_name():
    with pytest.raises(ValueError, match="`masking_schedule` must be one of cosine, linear, all, got 'sine'"):
        masked(masking_schedule="sine")
    with pytest.raises(ValueError, match="`codebook_order` must be in_turn or any, got 'all'"):
        masked(codebook_order="all")
    with pytest.raises(ValueError, match=r"`target_shape` may be None in its last place only, got \[None, 4\]"):
        masked((None, 4))
    with pytest.raises(ValueError, match="must be num_codebooks 2"):
        masked((3, 4), num_codebooks=2).config.target_spec  # noqa: B018
    with pytest.raises(ValueError, match=r"`generation` must hold .*, got \['top_k'\]"):
        masked(generation={"top_k": 3})
    source = {"class_labels": CLASSES}
    with pytest.raises(ValueError, match="`num_inference_steps` must be a whole number of at least 2, got 1"):
        masked((2, 4), num_codebooks=2).generate(**source, num_inference_steps=1)
    with pytest.raises(ValueError, match="`temperature` must be a finite number above 0, got 0"):
        masked().generate(**source, temperature=0)
