import math

import pytest
import tiny
import torch
from extractors.conformance import ExtractorConformance
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    ModernBertConfig,
    RobertaConfig,
)

from regen_hf import (
    RegenerationModel,
    Representation,
    RepresentationSpec,
    TokenAutoencoderExtractor,
    TokenAutoencoderExtractorConfig,
)

pytestmark = pytest.mark.usefixtures("one_thread")

LENGTHS = [7, 4, 9, 1, 12]
GROUPS = [2, 1, 3, 1, 3]


def bert(size: int = 16, **settings) -> BertConfig:
    return BertConfig(**{
        "vocab_size": 20, "hidden_size": size, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 2 * size, "max_position_embeddings": 16, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0, **settings,
    })  # fmt: skip


def of_codes(**settings) -> TokenAutoencoderExtractor:
    return TokenAutoencoderExtractor.from_components(bert(), 20, **{"levels": [5, 3, 3], **settings}).eval()


def of_latents(**settings) -> TokenAutoencoderExtractor:
    return of_codes(levels=None, latent_channels=6, **settings)


def texts() -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(0, 20, (5, 12), generator=torch.Generator().manual_seed(0))
    return ids, torch.arange(12) < torch.tensor(LENGTHS)[:, None]


def rows(representation: Representation) -> list[list[int]]:
    return [row[mask].tolist() for row, mask in zip(representation.values, representation.mask, strict=True)]


def learn(extractor: TokenAutoencoderExtractor, steps: int, learning_rate: float) -> TokenAutoencoderExtractor:
    optimizer = torch.optim.AdamW(extractor.train().parameters(), learning_rate)
    for _ in range(steps):
        extractor(*texts()).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return extractor.eval()


@pytest.fixture(scope="module")
def learned():
    torch.manual_seed(0)
    return learn(TokenAutoencoderExtractor.from_components(bert(32), 20, levels=[5, 3, 3]), 100, 3e-3)


class TextConformance(ExtractorConformance):
    def target(self):
        return texts()[0][:4, :7]


class TestTextCodes(TextConformance):
    def make(self):
        return of_codes(length=7)


class TestTextLatents(TextConformance):
    def make(self):
        return of_latents(length=7)


def test_says_what_representation_it_makes():
    codes, latents = TokenAutoencoderExtractorConfig(), TokenAutoencoderExtractorConfig(levels=None, length=10)
    assert codes.target_spec == RepresentationSpec((None,), 30522)
    assert codes.representation_spec == RepresentationSpec((None,), 1000)
    assert latents.target_spec == RepresentationSpec((10,), 30522)
    assert latents.representation_spec == RepresentationSpec((16, 3))
    assert of_codes(stride=3, length=10).config.representation_spec == RepresentationSpec((4,), 45)


def test_codes_lead_back_to_exactly_the_texts_that_were_learned(learned, tmp_path):
    ids, mask = texts()
    expected = [row[:length].tolist() for row, length in zip(ids, LENGTHS, strict=True)]
    codes = learned.encode(ids, mask)
    assert codes.values.shape == (5, 3) and codes.mask.sum(-1).tolist() == GROUPS
    assert rows(learned.decode(codes)) == expected
    learned.save_pretrained(tmp_path)
    reloaded = AutoModel.from_pretrained(tmp_path)
    assert torch.equal(reloaded.encode(ids, mask).values, codes.values)
    assert rows(reloaded.decode(codes)) == expected
    half = AutoModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    again = half.decode(half.encode(ids, mask))
    assert again.values.shape == (5, 12) and again.mask[:, 0].all()


def test_texts_of_one_size_end_where_they_ended():
    extractor, (ids, mask) = of_latents(length=12), texts()
    latents = learn(extractor, 60, 6e-3).encode(ids, mask)
    assert latents.values.shape == (5, 6, 3) and latents.mask is None
    assert rows(extractor.decode(latents)) == [row[:length].tolist() for row, length in zip(ids, LENGTHS, strict=True)]


@pytest.mark.parametrize("make", [of_codes, of_latents])
def test_padding_changes_nothing(make):
    extractor, (ids, mask) = make(), texts()
    batch = extractor.encode(ids.masked_fill(~mask, -100), mask)
    back = extractor.decode(batch)
    assert batch.mask.sum(-1).tolist() == GROUPS and not batch.values[1, ..., 1:].any()
    for row, (length, groups) in enumerate(zip(LENGTHS, GROUPS, strict=True)):
        alone = extractor.encode(ids[row : row + 1, :length])
        assert alone.mask is None
        torch.testing.assert_close(batch.values[row, ..., :groups], alone.values[0], rtol=1e-4, atol=1e-5)
        assert rows(extractor.decode(alone))[0] == rows(back)[row]
    losses = [extractor(each, mask).loss for each in (ids, ids.masked_fill(~mask, 3))]
    torch.testing.assert_close(*losses, rtol=0, atol=0)


def test_new_codes_differ():
    assert of_codes().encode(texts()[0]).values.unique().numel() > 8  # of 15


def test_the_gradient_passes_the_rounding():
    extractor = of_codes()
    ids, _ = texts()
    extractor(ids).loss.backward()
    assert extractor.embedding.weight.grad[ids.unique()].abs().sum(-1).min() > 0


def test_latents_have_mean_0_and_variance_1():
    values = of_latents().encode(texts()[0]).values
    torch.testing.assert_close(values.mean(1), torch.zeros(5, 3), rtol=0, atol=1e-5)
    torch.testing.assert_close(values.var(1, correction=0), torch.ones(5, 3), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "earliest", "latest"),
    [({}, [9, 1], [12, 4]), ({"stride": 1}, [3, 1], [3, 1]), ({"length": 11}, [1, 1], [11, 4])],
)
def test_an_end_is_where_one_can_be(settings, earliest, latest):
    codes, mask = torch.zeros(2, 3, dtype=torch.long), torch.tensor([[True, True, True], [True, False, False]])
    extractor = of_codes(**settings)
    for bias, lengths in ((99, earliest), (-99, latest)):
        extractor.head.bias.data[-1] = bias
        made = extractor.decode(Representation(codes, mask))
        assert made.values.shape == made.mask.shape == (2, latest[0])
        assert made.mask.sum(-1).tolist() == lengths
        assert not made.values[~made.mask].any() and made.values.max() < 20


@pytest.mark.parametrize(("length", "settings", "ends"), [(5, {}, 1), (4, {}, 0), (4, {"length": 12}, 1)])
def test_the_loss_is_of_the_tokens_and_of_one_end(length, settings, ends):
    extractor = of_codes(**settings)
    extractor.head.weight.data.zero_()
    extractor.head.bias.data[-1] = 3.0
    total = math.log(20 + math.exp(3))
    output = extractor(torch.zeros(2, length, dtype=torch.long))
    assert output.loss.item() == pytest.approx((length * total + ends * (total - 3)) / (length + ends), rel=1e-5)
    assert output.terms.keys() == {"reconstruction"}


def test_tokens_of_several_voices_have_their_own_meaning_and_one_end():
    torch.manual_seed(0)
    extractor = of_codes(num_codebooks=3, stride=2, drop=0.0)
    assert extractor.config.target_spec == RepresentationSpec((3, None), 20, 3)
    ids, mask = torch.randint(0, 20, (4, 3, 5)), torch.arange(5) < torch.tensor([5, 3, 2, 1])[:, None]
    other = torch.where(mask[:, None], ids, 7)
    codes = extractor.encode(ids, mask)
    assert codes.values.shape == (4, 3) and codes.mask.sum(1).tolist() == [3, 2, 1, 1]
    assert torch.equal(codes.values, extractor.encode(other, mask).values)
    optimizer = torch.optim.AdamW(extractor.train().parameters(), 1e-2)
    for _ in range(60):
        extractor(ids, mask).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    back = extractor.eval().decode(extractor.encode(ids, mask))
    assert torch.equal(back.mask[:, :5], mask) and torch.equal(back.values[:, :, :5], ids * mask[:, None])
    with pytest.raises(ValueError, match=r"`target` must be token ids \(batch, 3, length\), torch.long, got \(4, 5\)"):
        extractor.encode(ids[:, 0])


def test_drop_hides_tokens_in_training_only():
    hides, (ids, mask) = of_codes(drop=0.5), texts()
    assert hides(ids, mask).loss == hides(ids, mask).loss
    hides.train()
    assert hides(ids, mask).loss != hides(ids, mask).loss
    assert torch.equal(hides.encode(ids, mask).values, hides.encode(ids, mask).values)
    read = []
    hides.embedding.register_forward_pre_hook(lambda module, given: read.append(given[0]))
    hides(ids[3:4], mask[3:4])
    hides(ids, mask)
    assert read[0][:, 0, 1:].tolist() == [[20] * 11]  # ends, which are not hidden
    assert 8 < (read[1] == 21).sum() < 25  # of 33 tokens
    shows = of_codes(drop=0.0).train()
    assert shows(ids, mask).loss == shows(ids, mask).loss


def test_what_encode_gives_has_no_dropout():
    extractor = TokenAutoencoderExtractor.from_components(bert(hidden_dropout_prob=0.5), 20, levels=None).train()
    one, two = (extractor.encode(*texts()).values for _ in range(2))
    assert torch.equal(one, two) and all(module.training for module in extractor.modules())


def test_a_prior_writes_texts_by_their_codes(learned, tmp_path):
    prior = tiny.code_prior((None,), 45, max_places=4)
    model = RegenerationModel.from_components(learned, prior).train()
    source, (ids, mask) = {"input_ids": torch.arange(5)[:, None]}, texts()
    optimizer = torch.optim.AdamW(model.prior.parameters(), 1e-2)
    for _ in range(80):
        model(target=ids, target_mask=mask, **source).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval().save_pretrained(tmp_path)
    for each in (model, AutoModel.from_pretrained(tmp_path)):
        made = rows(each.generate(**source, do_sample=False))
        assert made == [row[:length].tolist() for row, length in zip(ids, LENGTHS, strict=True)]


@pytest.mark.parametrize("target, mask, message", [
    (torch.zeros(2, 7), None, r"`target` must be token ids \(batch, length\), torch.long, got \(2, 7\), torch.float32"),
    (torch.zeros(2, 3, 7).long(), None, r"got \(2, 3, 7\), torch.int64"),
    (torch.full((2, 7), 20), None, "`target` must be token ids from 0 to 19, got 20"),
    (torch.full((2, 7), -1), None, "from 0 to 19, got -1"),
    (torch.zeros(2, 0).long(), None, "a row of 0 tokens, but takes at least one"),
    (torch.zeros(2, 13).long(), None, "`target` has 13 tokens, but `length` is 12"),
    (torch.zeros(1, 3).long(), torch.zeros(1, 3).bool(), "a row of 0 tokens"),
    (torch.zeros(1, 3).long(), torch.ones(1, 2).bool(), r"`target_mask` must be \(1, 3\), bool.*got \(1, 2\)"),
    (torch.zeros(1, 3).long(), torch.ones(1, 3), "`target_mask` must be.*got.*torch.float32"),
    (torch.zeros(1, 3).long(), torch.tensor([[True, False, True]]), "each row true first and then false"),
])  # fmt: skip
def test_refuses_what_it_cannot_read(target, mask, message):
    extractor = of_codes(length=12)
    for function in (extractor.encode, extractor):
        with pytest.raises(ValueError, match=message):
            function(target, mask)


@pytest.mark.parametrize("values, mask, message", [
    (torch.zeros(2, 3), None, r"must be codes \(vocabulary 45, any length\), got torch.float32 of shape \(3,\)"),
    (torch.zeros(2, 3, 3).long(), None, r"got torch.int64 of shape \(3, 3\)"),
    (torch.full((2, 3), 45), None, "got the code 45"),
    (torch.zeros(2, 3).long(), torch.ones(2, 2).bool(), r"`representation.mask` must be \(2, 3\)"),
    (torch.zeros(2, 5).long(), None, "BertModel has 16 positions, but 5 groups of 4 tokens need 20"),
])  # fmt: skip
def test_refuses_what_it_cannot_decode(values, mask, message):
    with pytest.raises(ValueError, match=message):
        of_codes().decode(Representation(values, mask))


@pytest.mark.parametrize("settings, message", [
    ({"stride": 0}, "`stride` must be at least 1, got 0"),
    ({"length": 0}, "`length` must be at least 1, got 0"),
    ({"levels": [5, 1]}, r"`levels` must be None or numbers of at least 2, got \[5, 1\]"),
    ({"levels": []}, r"`levels` must be None or numbers of at least 2, got \[\]"),
    ({"levels": None, "latent_channels": 1}, "`latent_channels` must be at least 2, got 1"),
    ({"drop": 1.0}, "`drop` must be from 0 to less than 1, got 1.0"),
    ({"length": 17}, "BertModel has 16 positions, but 5 groups of 4 tokens need 20"),
])  # fmt: skip
def test_settings_that_make_no_sense_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        of_codes(**settings)
    with pytest.raises(TypeError, match="`strides` is no setting of .*; did you mean `stride`"):
        of_codes(strides=4)


LAYERS = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}


@pytest.mark.parametrize(
    "decoder",
    [
        ModernBertConfig(**LAYERS, **{f"{name}_token_id": 0 for name in ("pad", "cls", "sep", "bos", "eos")}),
        RobertaConfig(**LAYERS, max_position_embeddings=14),
    ],
    ids=lambda config: config.model_type,
)
def test_encoder_and_decoder_may_differ(decoder, tmp_path):
    extractor, (ids, mask) = TokenAutoencoderExtractor.from_components(bert(), 20, decoder).eval(), texts()
    extractor.save_pretrained(tmp_path)
    reloaded = AutoModel.from_pretrained(tmp_path)
    assert type(reloaded.decoder) is type(extractor.decoder) is not BertModel
    codes = extractor.encode(ids, mask)
    assert rows(reloaded.decode(codes)) == rows(extractor.decode(codes))
