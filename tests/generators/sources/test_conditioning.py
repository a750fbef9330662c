import pytest
import tiny
import torch
from transformers import (
    AutoModel,
    HubertConfig,
    ParakeetEncoderConfig,
    Speech2TextConfig,
    ViTModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WhisperConfig,
)

from regen_hf.generators.sources.conditional_generator import ConditionalGeneratorConfig
from regen_hf.generators.sources.conditioning import SourceEncoder, sinusoids
from regen_hf.generators.sources.source_encoders import load_source_encoders

pytestmark = pytest.mark.usefixtures("one_thread")


def encoder(**settings):
    config = tiny.diffusion_prior((4, 4, 4)).config
    for name, value in settings.items():
        setattr(config, name, value)
    return SourceEncoder(config, width=24).eval()


def test_the_mean_counts_real_tokens_only():
    source = encoder()
    ids = torch.tensor([[2, 3, 0, 0], [4, 5, 6, 7]])
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
    with torch.no_grad():
        condition = source(input_ids=ids, attention_mask=mask)
    torch.testing.assert_close(condition.pooled[0], condition.hidden[0, :2].mean(0))
    torch.testing.assert_close(condition.pooled[1], condition.hidden[1].mean(0))
    assert condition.hidden.shape == (2, 4, 24)


def test_hiding_leaves_nothing_of_the_source():
    source = encoder()
    with torch.no_grad():
        one, two = (source(input_ids=torch.tensor([ids])) for ids in ([2, 3], [4, 5]))
        hidden = [source.hide(condition, torch.tensor([True])) for condition in (one, two)]
        shown = source.hide(one, torch.tensor([False]))
    for name in ("hidden", "mask", "pooled"):
        assert torch.equal(getattr(hidden[0], name), getattr(hidden[1], name))
        assert torch.equal(getattr(shown, name), getattr(one, name))


def test_without_text_or_class_there_is_the_null_source():
    condition = encoder(source_encoder_config=None)(batch_size=3)
    assert condition.hidden.shape == (3, 1, 24)
    with pytest.raises(ValueError, match="`input_ids` is not taken: this generator reads nothing"):
        encoder(source_encoder_config=None)(input_ids=torch.tensor([[1]]))


def test_tied_weights_of_the_text_encoder_survive_reloading(tmp_path):
    """T5 keeps its embeddings once and ties them; a child of a plain module would lose them."""
    from regen_hf import DiffusionGenerator

    generator = DiffusionGenerator.from_components(tiny.sd3((4, 4, 4)), (4, 4, 4), tiny.t5())
    generator.save_pretrained(tmp_path)
    reloaded = AutoModel.from_pretrained(tmp_path).source_encoder.encoder
    expected = generator.source_encoder.encoder.shared.weight
    assert torch.equal(reloaded.shared.weight, expected)
    assert torch.equal(reloaded.encoder.embed_tokens.weight, expected)


def reader(width: int = 24, encoders=None, **settings) -> SourceEncoder:
    torch.manual_seed(0)
    return SourceEncoder(ConditionalGeneratorConfig(**settings), width, encoders).eval()


def test_several_sources_at_once_follow_each_other():
    encoders = load_source_encoders([tiny.bert(), ViTModel(tiny.vit()), Wav2Vec2Model(tiny.wav2vec2())])
    assert list(encoders) == ["source_encoder", "source_image_encoder", "source_audio_encoder"]
    described = {f"{name}_config": encoder.config.to_dict() for name, encoder in encoders.items()}
    source = reader(encoders=encoders, num_classes=3, source_shape=[5], source_num_codes=7, **described)
    given = {
        "input_ids": torch.tensor([[2, 3, 4, 0]]), "attention_mask": torch.tensor([[1, 1, 1, 0]]),
        "pixel_values": torch.rand(1, 3, 8, 8), "class_labels": torch.tensor([[1]]),
        "input_values": torch.rand(1, 400), "padding_mask": torch.ones(1, 400),
        "source": torch.tensor([[0, 1, 2, 3, 6]]),
    }  # fmt: skip
    with torch.no_grad():
        condition = source(**given)
        frames = encoders["source_audio_encoder"](given["input_values"]).last_hidden_state.shape[1]
        assert condition.hidden.shape == (1, 4 + 5 + frames + 1 + 5, 24)
        assert condition.mask.sum() == condition.mask.numel() - 1
        other = source(**{**given, "pixel_values": torch.zeros(1, 3, 8, 8)})
    same = (condition.hidden == other.hidden).all(-1)[0]
    assert same[:4].all() and not same[4:9].any() and same[9:].all()
    with pytest.raises(ValueError, match="`pixel_values` is missing: this generator reads `input_ids` and `pixel_val"):
        source(**{name: value for name, value in given.items() if name != "pixel_values"})


CONVOLUTIONS = {name: getattr(tiny.wav2vec2(), name) for name in (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "conv_dim", "conv_stride",
    "conv_kernel", "num_feat_extract_layers", "num_conv_pos_embeddings", "num_conv_pos_embedding_groups",
)}  # fmt: skip
LAYERS = {
    "d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_layers": 1,
    "decoder_attention_heads": 2, "vocab_size": 16, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0,
    "decoder_start_token_id": 0,
}  # fmt: skip


def parakeet() -> ParakeetEncoderConfig:
    return ParakeetEncoderConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, subsampling_factor=4,
        subsampling_conv_channels=8, num_mel_bins=16,
    )  # fmt: skip


def hears(config) -> SourceEncoder:
    torch.manual_seed(0)
    encoders = load_source_encoders(config)
    assert list(encoders) == ["source_audio_encoder"]
    described = {"source_audio_encoder_config": encoders["source_audio_encoder"].config.to_dict()}
    return reader(encoders=encoders, **described)


@pytest.mark.parametrize("config, name, shape, real, states", [
    (tiny.wav2vec2(), "input_values", (400,), 250, (39, 24)),
    (Wav2Vec2Config(**CONVOLUTIONS, feat_extract_norm="layer"), "input_values", (400,), 250, (39, 24)),
    (HubertConfig(**CONVOLUTIONS), "input_values", (400,), 250, (39, 24)),
    (HubertConfig(**CONVOLUTIONS, feat_extract_norm="layer"), "input_values", (400,), 250, (39, 24)),
    (parakeet(), "input_features", (41, 16), 23, (11, 6)),
], ids=lambda each: type(each).__name__)  # fmt: skip
def test_padding_of_audio_is_no_part_of_it(config, name, shape, real, states):
    source = hears(config)
    values, mask = torch.randn(2, *shape), torch.ones(2, shape[0], dtype=torch.long)
    values[1, real:], mask[1, real:] = 0, 0
    with torch.no_grad():
        both = source(**{name: values}, padding_mask=mask)
        alone = source(**{name: values[1:, :real]}, padding_mask=mask[1:, :real])
    assert both.mask.sum(1).tolist() == list(states) and both.hidden.shape == (2, states[0], 24)
    assert both.mask[1].tolist() == [1] * states[1] + [0] * (states[0] - states[1])
    assert alone.mask.tolist() == [[1] * states[1]]
    torch.testing.assert_close(both.hidden[1:, : states[1]], alone.hidden, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(both.pooled[1:], alone.pooled, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config, shape, states", [
    (Speech2TextConfig(**LAYERS, input_feat_per_channel=16, conv_channels=8), (41, 16), 7),
    (WhisperConfig(**LAYERS, num_mel_bins=4, max_source_positions=20), (4, 40), 13),  # has no account: pooled
], ids=lambda each: type(each).__name__)  # fmt: skip
def test_the_mask_is_as_long_as_the_hidden_states(config, shape, states):
    source, mask = hears(config), (torch.arange(max(shape)) < 26).long()[None]
    with torch.no_grad():
        condition = source(input_features=torch.randn(1, *shape), padding_mask=mask)
    assert condition.mask.tolist() == [[1] * states + [0] * (condition.hidden.shape[1] - states)]


def test_audio_comes_as_its_encoder_takes_it():
    source, wave = hears(parakeet()), torch.zeros(1, 400)
    assert len(source.projections) == 1
    with pytest.raises(ValueError, match="`input_values` is not taken: this generator reads `input_features`"):
        source(input_values=wave)
    with pytest.raises(ValueError, match="`input_values` is missing: this generator reads `input_values`"):
        hears(tiny.wav2vec2())(input_features=wave)
    with pytest.raises(ValueError, match="`input_features` is missing: this generator reads `input_features`"):
        source()


def test_a_representation_is_read_position_by_position():
    codes = reader(source_shape=[2, None], source_num_codes=4, source_num_codebooks=2)
    one, two = torch.tensor([[[0, 1, 2], [3, 3, 3]]]), torch.tensor([[[0, 1, 2], [3, 3, 0]]])
    with torch.no_grad():
        first, second = codes(source=one).hidden, codes(source=two).hidden
        table = codes.representation_embedding.weight
        torch.testing.assert_close(first[0, 0], table[0] + table[4 + 3] + sinusoids(1, 24, table)[0])
    assert torch.equal(first[0, :2], second[0, :2]) and not torch.equal(first[0, 2], second[0, 2])
    vector = reader(source_shape=[6])
    assert vector(source=torch.rand(3, 6)).hidden.shape == (3, 1, 24)
    grid = reader(source_shape=[6, 2, 2])
    assert grid(source=torch.rand(3, 6, 2, 2)).hidden.shape == (3, 4, 24)
    with pytest.raises(ValueError, match=r"`source` must be continuous.*shape 6 × 2 × 2\), got .* \(6, 2, 3\)"):
        grid(source=torch.rand(3, 6, 2, 3))


def test_padding_of_a_representation_is_no_part_of_it():
    encoders = load_source_encoders(None, tiny.bert())
    described = {"source_representation_encoder_config": tiny.bert().to_dict()}
    source = reader(encoders=encoders, source_shape=[None], source_num_codes=9, **described)
    with torch.no_grad():
        short = source(source=torch.tensor([[1, 2]]))
        long = source(source=torch.tensor([[1, 2, 5]]), source_mask=torch.tensor([[True, True, False]]))
    torch.testing.assert_close(short.hidden, long.hidden[:, :2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(short.pooled, long.pooled, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_sound_below_a_receptive_field_is_refused_by_its_length(norm):
    """20 samples make one frame of the encoder; fewer are an error of a convolution, or a row without a frame."""
    described = tiny.wav2vec2()
    described.feat_extract_norm = norm
    reader = audio_encoder(described)
    wave, masks = torch.randn(2, 40), torch.arange(40) < torch.tensor([40, 19])[:, None]
    with pytest.raises(ValueError, match="row 1 of `input_values` has a length of 19, too short for one frame of Wav"):
        reader(input_values=wave, padding_mask=masks.long())
    with pytest.raises(ValueError, match="row 0 of `input_values` has a length of 19, too short for one frame of Wav"):
        reader(input_values=wave[:, :19])
    assert reader(input_values=wave[:, :20]).hidden.shape[1] == 1


def test_features_without_a_frame_are_refused_by_their_length():
    reader = audio_encoder(
        ParakeetEncoderConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_mel_bins=16,
            subsampling_conv_channels=8, attention_dropout=0.0,
        )
    )  # fmt: skip
    features, mask = torch.randn(2, 20, 16), torch.arange(20) < torch.tensor([20, 0])[:, None]
    with pytest.raises(ValueError, match="row 1 of `input_features` has a length of 0, too short for one frame of Par"):
        reader(input_features=features, padding_mask=mask.long())


def audio_encoder(described) -> SourceEncoder:
    found = load_source_encoders([described])
    config = ConditionalGeneratorConfig(source_audio_encoder_config=found["source_audio_encoder"].config.to_dict())
    return SourceEncoder(config, width=16, encoders=found).eval()
