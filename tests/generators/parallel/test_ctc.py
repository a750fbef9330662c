import math
import warnings

import numpy as np
import pytest
import tiny
import torch
from generators.conformance import GeneratorConformance
from generators.parallel.alignments import by_all_alignments
from transformers import (
    AutoModel,
    BertModel,
    ParakeetCTCConfig,
    ParakeetEncoderConfig,
    ParakeetForCTC,
    Wav2Vec2Config,
    Wav2Vec2ForCTC,
    Wav2Vec2Model,
)

from regen_hf import (
    CTCGenerator,
    CTCGeneratorConfig,
    HubReference,
    IdentityExtractor,
    PreTrainedGenerator,
    RegenerationModel,
    RepresentationSpec,
)
from regen_hf.generators.parallel.ctc_decoding import prefix_beam_search
from regen_hf.parts.auto import _subclasses, load_generator

pytestmark = pytest.mark.usefixtures("one_thread")

SPEC = RepresentationSpec((None,), 5)
CODES = {
    "source": torch.tensor([[0, 1, 2], [3, 4, 5], [6, 7, 0], [2, 1, 0]]),
    "source_mask": torch.arange(3) < torch.tensor([3, 2, 1, 3])[:, None],
}


def wav2vec2() -> Wav2Vec2Config:
    """One that reads masks, and hides nothing in training."""
    return Wav2Vec2Config.from_dict(
        {**tiny.wav2vec2().to_dict(), "feat_extract_norm": "layer", "apply_spec_augment": False}
    )


def parakeet(**settings) -> ParakeetEncoderConfig:
    return ParakeetEncoderConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, subsampling_factor=4,
        subsampling_conv_channels=8, num_mel_bins=16, **settings,
    )  # fmt: skip


def from_codes(num_codes: int = 5, **settings) -> CTCGenerator:
    given = {"representation_encoder": tiny.bert(), "source_shape": [None], "source_num_codes": 8, "upsampling": 2}
    return CTCGenerator.from_components(num_codes=num_codes, **{**given, **settings})


def fixed(generator: CTCGenerator, logits: list, mask: list | None = None) -> CTCGenerator:
    """The same with these logits, whatever the source is."""
    logits = torch.tensor(logits)
    mask = torch.ones(logits.shape[:2], dtype=torch.bool) if mask is None else torch.tensor(mask)
    generator._logits = lambda source: (logits, mask)
    return generator


class CTCConformance(GeneratorConformance):
    beams = 1

    @property
    def quick(self):
        return {"num_beams": self.beams}

    def target(self, generator):
        return torch.tensor([[1, 2], [3, 3], [0, 4], [2, 1]])

    def test_gives_what_its_config_says(self, generator):
        output = generator.generate(**self.source(), num_beams=3, num_return_sequences=2)
        assert output.values.shape == output.mask.shape and output.values.dtype == torch.long
        assert len(output.values) == 8 and output.scores.shape == (8,)
        assert output.values.min() >= 0 and output.values.max() < 5
        assert (output.scores.view(4, 2).diff() <= 0).all()

    def test_batched_equals_single(self, generator):
        whole = generator.generate(**self.source(), **self.quick)
        for row in range(4):
            source = {name: tensor[row : row + 1] for name, tensor in self.source().items()}
            one = generator.generate(**self.alone(source), **self.quick)
            assert one.values[one.mask].tolist() == whole.values[row][whole.mask[row]].tolist()
            torch.testing.assert_close(one.scores[0], whole.scores[row], rtol=1e-4, atol=1e-4)

    def alone(self, source):
        """One row without its padding."""
        return source

    def test_guidance_needs_a_null_source(self):
        with pytest.raises(TypeError, match="guidance"):
            self.generate(self.make().eval(), guidance=2.0)
        with pytest.raises(ValueError, match="`condition_dropout` must be 0, got 0.1: CTC has no guidance"):
            self.make(condition_dropout=0.1)

    def test_default_arguments_come_from_the_config(self, generator):
        defaults = {"num_beams": 3, "num_return_sequences": 2}
        assert len(self.make(generation=defaults).eval().generate(**self.source()).values) == 8
        with pytest.raises(ValueError, match=r"`generation` must hold num_beams, .* only, got \['guidance'\]"):
            self.make(generation={"guidance": 3.0})


class TestFromCodes(CTCConformance):
    def make(self, **settings):
        return from_codes(**settings)

    def source(self):
        return CODES

    def alone(self, source):
        return {"source": source["source"][:, source["source_mask"][0]]}


class TestFromText(CTCConformance):
    beams = 4

    def make(self, **settings):
        return CTCGenerator.from_components(tiny.bert(), num_codes=5, upsampling=3, **settings)

    def source(self):
        return dict(tiny.processor()(source=tiny.NAMES[:4]))

    def alone(self, source):
        return {"input_ids": source["input_ids"][:, source["attention_mask"][0].bool()]}


class TestFromWaveforms(CTCConformance):
    steps = 30

    def make(self, **settings):
        return CTCGenerator.from_components(wav2vec2(), num_codes=5, **settings)

    def source(self):
        return {"input_values": torch.randn(4, 100, generator=self._seeded(5))}


class TestFromSpectrograms(CTCConformance):
    steps = 40

    def make(self, **settings):
        return CTCGenerator.from_components(parakeet(dropout=0.0, layerdrop=0.0), num_codes=5, **settings)

    def source(self):
        features = torch.randn(4, 40, 16, generator=self._seeded(5))
        mask = (torch.arange(40) < torch.tensor([40, 23, 32, 37])[:, None]).long()
        return {"input_features": features * mask[..., None], "padding_mask": mask}

    def alone(self, source):
        return {"input_features": source["input_features"][:, source["padding_mask"][0].bool()]}


def test_learns_to_say_exactly_what_it_was_taught(tmp_path):
    torch.manual_seed(0)
    generator = from_codes(upsampling=3)
    target = torch.tensor([[1, 2, 2, 0, 4], [3, 3, 0, 0, 0], [4, 0, 0, 0, 0], [0, 1, 0, 1, 0]])
    mask = torch.arange(5) < torch.tensor([5, 2, 0, 4])[:, None]
    optimizer = torch.optim.Adam(generator.parameters(), 1e-2)
    for _ in range(120):
        generator(target=target, target_mask=mask, **CODES).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    generator.eval().save_pretrained(tmp_path)
    for each in (generator, AutoModel.from_pretrained(tmp_path)):
        for beams in (1, 5):
            output = each.generate(**CODES, num_beams=beams)
            said = [row[own].tolist() for row, own in zip(output.values, output.mask, strict=True)]
            assert said == [[1, 2, 2, 0, 4], [3, 3], [], [0, 1, 0, 1]]
            assert (output.scores > -0.5).all()


def test_loss_is_over_all_alignments():
    torch.manual_seed(0)
    generator = fixed(from_codes(2), (logits := torch.randn(2, 4, 3)).tolist(), [[True] * 4, [True, True, True, False]])
    log_probs = logits.log_softmax(-1)
    whole, short = by_all_alignments(log_probs[0]), by_all_alignments(log_probs[1, :3])
    target, mask = torch.tensor([[0, 0, 1], [1, 0, 0]]), torch.tensor([[True] * 3, [True, False, False]])
    output = generator(target=target, target_mask=mask)
    assert output.loss.item() == pytest.approx((-math.log(whole[0, 0, 1]) / 3 - math.log(short[(1,)])) / 2, rel=1e-5)
    assert output.terms["ctc"].item() == output.loss.item()


def test_rows_that_do_not_fit_are_left_out_and_warned_of_once():
    generator = fixed(from_codes(2), torch.randn(2, 3, 3).tolist())
    target, mask = torch.tensor([[0, 1, 0], [1, 1, 0]]), torch.tensor([[True, True, True]] * 2)
    with pytest.warns(UserWarning, match="row 1 .* 3 codes, 1 of them .*, need 4 places, but its source has 3"):
        both = generator(target=target, target_mask=mask).loss
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = generator(target=target, target_mask=mask).loss
    mask[1, 2] = False
    generator._warned = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitting = generator(target=target, target_mask=mask).loss
    generator._logits = lambda source, own=generator._logits: tuple(each[:1] for each in own(source))
    assert both.item() == again.item() == generator(target=target[:1]).loss.item() != fitting.item()


def test_a_batch_of_which_nothing_fits_teaches_nothing():
    generator = from_codes(upsampling=1)
    with pytest.warns(UserWarning, match="row 0 of a batch is left out"):
        loss = generator(target=torch.zeros(4, 9, dtype=torch.long), **CODES).loss
    loss.backward()
    assert loss.item() == 0 and all(not p.grad.any() for p in generator.parameters() if p.grad is not None)


def test_the_beam_search_adds_up_what_the_likeliest_path_does_not():
    """Nothing is the likeliest path, of 0.36; but 0 has 0.24 + 0.24 + 0.16."""
    log_probs = np.log(np.array([[0.4, 1e-9, 0.6]] * 2))
    (first, score), (second, other) = prefix_beam_search(log_probs, 2)
    assert (first, second) == ([0], []) and math.exp(score) == pytest.approx(0.64) and math.exp(other) == 0.36
    assert prefix_beam_search(log_probs, 1)[0][0] == []
    generator = fixed(from_codes(2), log_probs[None].tolist())
    assert generator.generate().mask.tolist() == [[False]]
    assert generator.generate().scores.exp().item() == pytest.approx(0.36)
    assert generator.generate(num_beams=2).values.tolist() == [[0]]


def test_repeated_codes_need_a_blank_between():
    path = torch.full((1, 6, 3), -50.0)
    for place, code in enumerate([0, 0, 2, 0, 1, 1]):
        path[0, place, code] = 50.0
    for beams in (1, 3):
        assert fixed(from_codes(2), path.tolist()).generate(num_beams=beams).values.tolist() == [[0, 0, 1]]


def test_outputs_follow_each_other_and_the_last_is_repeated_without_a_chance():
    certain, unsure = [50.0, -50.0, -50.0], [1.0, 0.0, 0.5]
    generator = fixed(from_codes(2), [[certain, certain], [unsure, unsure]], [[True, False], [True, True]])
    output = generator.generate(num_beams=4, num_return_sequences=3)
    said = [row[own].tolist() for row, own in zip(output.values, output.mask, strict=True)]
    likeliest = sorted(by_all_alignments(torch.tensor([unsure] * 2).log_softmax(-1)).items(), key=lambda each: -each[1])
    assert said[3:] == [list(codes) for codes, _ in likeliest[:3]]
    assert said[:3] == [[0], [], []] and output.scores[:3].tolist() == [0.0, -100.0, -torch.inf]
    assert output.scores[3:].exp().tolist() == pytest.approx([chance for _, chance in likeliest[:3]], rel=1e-5)


def test_a_row_without_places_says_nothing():
    output = fixed(from_codes(2), [[[5.0, 0.0, 0.0]]] * 2, [[False], [True]]).generate(num_beams=2)
    assert output.mask.tolist() == [[False], [True]] and output.scores[0].item() == 0.0


def test_places_are_those_of_the_source_times_upsampling():
    generator = from_codes(upsampling=3).eval()
    logits, mask = generator._logits(CODES)
    assert logits.shape == (4, 9, 6) and mask.sum(1).tolist() == [9, 6, 3, 9]
    padded_first = {name: tensor[2:3].flip(1) for name, tensor in CODES.items()}
    assert generator._logits(padded_first)[1].tolist() == [[True] * 3 + [False] * 6]


def test_spans_are_zeroed_in_training_only():
    generator = CTCGenerator.from_components(parakeet(), num_codes=5, time_masks=2, frequency_masks=1)
    given = {"input_features": torch.ones(3, 40, 16), "padding_mask": torch.ones(3, 40)}
    torch.manual_seed(0)
    zeroed = generator.train()._augmented(given)["input_features"] == 0
    assert zeroed.any() and not zeroed.all() and not torch.equal(zeroed[0], zeroed[1])
    assert torch.equal(generator.eval()._augmented(given)["input_features"], given["input_features"])
    assert generator(target=torch.tensor([[1]] * 3), **given).loss.isfinite()


HEADS = {
    "Wav2Vec2Model": lambda: Wav2Vec2ForCTC(Wav2Vec2Config.from_dict({**wav2vec2().to_dict(), "vocab_size": 9})),
    "ParakeetEncoder": lambda: ParakeetForCTC(
        ParakeetCTCConfig(encoder_config=parakeet(), vocab_size=9, pad_token_id=8)
    ),
}


@pytest.mark.parametrize("encoder", HEADS)
def test_takes_the_encoder_from_under_a_ctc_head(encoder, tmp_path):
    (model := HEADS[encoder]()).save_pretrained(tmp_path)
    for part in (model, str(tmp_path)):
        generator = CTCGenerator.for_spec(part, SPEC, None)
        found = generator.source_encoder.audio_encoder
        assert type(found).__name__ == encoder and all(p.requires_grad for p in generator.parameters())
        weights = dict(model.named_parameters())
        for name, weight in found.named_parameters():
            assert torch.equal(weight, next(own for key, own in weights.items() if key.endswith(f".{name}")))
    described = {"architectures": [type(model).__name__]}
    hosts = [each for each in _subclasses(PreTrainedGenerator) if each.hosts(model.config.to_dict() | described, SPEC)]
    assert hosts == [CTCGenerator]
    for other in (RepresentationSpec((None,)), RepresentationSpec((8,), 5), RepresentationSpec((2, None), 5, 2)):
        assert not CTCGenerator.hosts(described, other)
    assert not CTCGenerator.hosts({"architectures": [encoder]}, SPEC) and not CTCGenerator.hosts({}, SPEC)


def test_a_checkpoint_with_a_ctc_head_is_a_prior_by_its_folder_alone(tmp_path):
    HEADS["Wav2Vec2Model"]().save_pretrained(tmp_path)
    model = RegenerationModel.from_components(
        IdentityExtractor.from_components(target_shape=[None], num_codes=5), str(tmp_path)
    )
    assert type(model.prior) is CTCGenerator and model.prior.config.num_codes == 5
    output = model.eval().generate(input_values=torch.randn(2, 100), num_beams=2)
    assert output.mask.shape == output.values.shape


def test_an_encoder_left_on_the_hub_is_not_trained(tmp_path, monkeypatch):
    Wav2Vec2Model(wav2vec2()).save_pretrained(tmp_path)
    monkeypatch.setattr(HubReference, "pinned", lambda self: self)
    monkeypatch.setattr(HubReference, "__post_init__", lambda self: None)  # a folder stands for the Hub
    generator = CTCGenerator.from_components(HubReference(str(tmp_path)), num_codes=5)
    trained = {name.split(".")[0] for name, p in generator.named_parameters() if p.requires_grad}
    assert trained == {"source_encoder", "head"} and not any(
        p.requires_grad for p in generator.source_encoder.audio_encoder.parameters()
    )
    HEADS["Wav2Vec2Model"]().save_pretrained(tmp_path)
    HEADS["ParakeetEncoder"]().save_pretrained(tmp_path / "parakeet")
    with pytest.raises(ValueError, match="`source_encoder` is a part of a ParakeetForCTC, so it cannot be left on"):
        CTCGenerator.from_components(HubReference(str(tmp_path / "parakeet")), num_codes=5)


def test_for_spec_reads_a_representation_by_the_encoder_that_it_is_given():
    rated = RepresentationSpec((None,), 5, rate=50)
    generator = CTCGenerator.for_spec(BertModel(tiny.bert()), rated, RepresentationSpec((None,), 8), upsampling=2)
    assert generator.config.source_spec.num_codes == 8 and generator.config.target_spec == rated
    assert isinstance(generator.source_encoder.representation_encoder, BertModel)
    assert generator.generate(**CODES).mask.shape[0] == 4


def test_statistics_of_a_continuous_source_stay_in_float32(tmp_path):
    generator = from_codes(source_shape=[2, None], source_num_codes=None)
    generator.fit_statistics([], [torch.tensor([[[1.0, 3.0], [10.0, 10.2]]])])
    generator.save_pretrained(tmp_path)
    reloaded = CTCGenerator.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert torch.equal(reloaded.source_encoder.statistics.mean, torch.tensor([2.0, 10.1]))
    assert reloaded(target=torch.tensor([[1]]), source=torch.randn(1, 2, 3)).loss.isfinite()


def test_refuses_by_name():
    wave = {"source_encoder": wav2vec2()}
    for settings, message in (
        ({}, "reads one source by one encoder: .*; got none"),
        ({"source_shape": [None], "source_num_codes": 8}, r"got source_shape \[None\]"),
        ({"source_encoder": [tiny.bert()]}, "`source_encoder`: a part must be a name, .*, got list"),
        ({**wave, "representation_encoder": tiny.bert(), "source_shape": [None]}, "got source_audio_encoder, source_r"),
        ({**wave, "num_classes": 3}, "got source_audio_encoder, num_classes 3"),
        ({**wave, "target_shape": [4]}, r"`target_shape` must be \[None\], codes of any length, got \[4\]"),
        ({**wave, "upsampling": 0}, "`upsampling` must be at least 1, got 0"),
        ({**wave, "time_masks": -1}, "`time_masks` must be at least 0, got -1"),
        ({**wave, "time_masks": 1}, "`time_masks` 1 needs an encoder that reads input_features, .* input_values"),
        ({"source_encoder": tiny.bert(), "frequency_masks": 1}, "`frequency_masks` 1 .* none that reads audio"),
        ({"representation_encoder": wav2vec2(), "source_shape": [None], "source_num_codes": 8}, "read `inputs_embeds`"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            CTCGenerator.from_components(num_codes=5, **settings)
    with pytest.raises(
        ValueError, match=r"makes codes \(any length, 1 codebook\), not codes \(vocabulary 5, shape 4\)"
    ):
        CTCGenerator.for_spec(wav2vec2(), RepresentationSpec((4,), 5), None)
    with pytest.raises(ValueError, match="no generator does of"):
        load_generator(Wav2Vec2Model(wav2vec2()), SPEC)
    generator = from_codes()
    for asked, message in (
        ({"num_return_sequences": 2}, "`num_return_sequences` must be at most num_beams 1, got 2"),
        ({"num_beams": 0}, "`num_beams` must be a whole number of at least 1, got 0"),
        ({"num_beams": 2.0}, "`num_beams` must be a whole number of at least 1, got 2.0"),
    ):
        with pytest.raises(ValueError, match=message):
            generator.generate(**CODES, **asked)
    for wrong in (5, -1):
        target = torch.tensor([[1, 2], [0, 1], [2, wrong], [0, 0]])
        with pytest.raises(ValueError, match=f"`target` must be codes from 0 to 4, got {wrong}"):
            generator(target=target, **CODES)
        mask = torch.tensor([[True, True], [True, True], [True, False], [True, True]])
        assert generator(target=target, target_mask=mask, **CODES).loss.isfinite()


def test_its_config_can_be_made_without_arguments():
    """As transformers does, to know what is not a default."""
    assert CTCGeneratorConfig().target_spec == RepresentationSpec((None,), 256)
