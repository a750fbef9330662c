import pytest
import torch
from named_extractors import dac, encodec, mimi, stereo_encodec, waves
from transformers import DacConfig, EncodecConfig, MimiConfig, NeuCodecConfig, Xcodec2Config, XcodecConfig

from regen_hf import CodecExtractor, CodecExtractorConfig, Representation, RepresentationSpec

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("config", "num_codebooks", "channels", "rate", "num_codes", "frames_a_second"),
    [
        (EncodecConfig(), 8, 1, 24000, 1024, 75),
        (EncodecConfig(sampling_rate=48000, audio_channels=2), 16, 2, 48000, 1024, 150),
        (DacConfig(), 9, 1, 16000, 1024, 31.25),
        (MimiConfig(), 8, 1, 24000, 2048, 12.5),
        (XcodecConfig(), 8, 1, 16000, 1024, 50),
        (Xcodec2Config(), 1, 1, 16000, 65536, 50),
        (NeuCodecConfig(), 1, 1, 16000, 65536, 50),
    ],
    ids=lambda value: type(value).__name__,
)
def test_rates_and_sizes(config, num_codebooks, channels, rate, num_codes, frames_a_second):
    config = CodecExtractorConfig(codec_config=config.to_dict(), num_codebooks=num_codebooks)
    shape = (None,) if num_codebooks == 1 else (num_codebooks, None)
    assert config.target_spec == RepresentationSpec((channels, None), rate=rate)
    assert config.representation_spec == RepresentationSpec(shape, num_codes, num_codebooks, frames_a_second)


def test_has_as_many_codebooks_as_the_codec_by_itself():
    codecs = {"encodec": encodec(), "dac": dac(), "mimi": mimi()}
    made = {name: CodecExtractor.from_components(codec) for name, codec in codecs.items()}
    assert {name: each.config.num_codebooks for name, each in made.items()} == {"encodec": 2, "dac": 3, "mimi": 3}
    assert codecs["encodec"].config.num_quantizers == 4


@pytest.mark.parametrize("build", [encodec, dac, mimi])
def test_fewer_codebooks_are_the_first_ones(build):
    codec, wave = build().eval(), waves(96)()
    most = {encodec: 4, dac: 3, mimi: 3}[build]
    with torch.no_grad():
        every = CodecExtractor.from_components(codec, num_codebooks=most).encode(wave).values
        for number in (2, 1):
            fewer = CodecExtractor.from_components(codec, num_codebooks=number)
            codes = fewer.encode(wave).values
            assert torch.equal(codes, every[:, :2] if number == 2 else every[:, 0])
            assert fewer.decode(Representation(codes)).values.shape == wave.shape
            assert fewer.train()(wave).reconstruction.shape == wave.shape
    with pytest.raises(ValueError, match=f"`num_codebooks` must be 1 to {most} for {type(codec).__name__}, got 5"):
        CodecExtractor.from_components(codec, num_codebooks=5)


def test_codes_and_waves_are_those_of_the_codec():
    codec, wave = encodec().eval(), waves(48)()
    extractor = CodecExtractor.from_components(codec)
    with torch.no_grad():
        own = codec.encode(wave, bandwidth=16.0)
        representation = extractor.encode(wave)
        assert torch.equal(representation.values, own.audio_codes[0])
        assert torch.equal(extractor.decode(representation).values, codec.decode(own.audio_codes, [None]).audio_values)


@pytest.mark.parametrize(("samples", "frames"), [(8, 1), (9, 2), (16, 2), (47, 6), (48, 6)])
def test_a_last_frame_that_is_not_full_counts(samples, frames):
    extractor = CodecExtractor.from_components(dac()).eval()
    representation = extractor.encode(waves(samples)())
    assert representation.values.shape == (4, 3, frames)
    assert extractor.decode(representation).values.shape == (4, 1, 8 * frames)


def test_true_lengths_are_frames_times_hop():
    extractor = CodecExtractor.from_components(encodec()).eval()
    mask = torch.arange(48) < torch.tensor([48, 17, 8, 40])[:, None]
    representation = extractor.encode(waves(48)(), mask)
    assert representation.mask.sum(-1).tolist() == [6, 3, 1, 5]
    assert extractor.decode(representation).mask.sum(-1).tolist() == [48, 24, 8, 40]


def test_a_row_shorter_than_a_frame_is_refused():
    mask = torch.arange(48) < torch.tensor([48, 7, 48, 48])[:, None]
    with pytest.raises(ValueError, match="7 samples, but one frame takes 8"):
        CodecExtractor.from_components(encodec()).encode(waves(48)(), mask)


def test_chunks_are_one_and_loudness_is_lost():
    extractor = CodecExtractor.from_components(stereo_encodec()).eval()
    assert extractor.config.codec_config.chunk_length_s is None
    wave = waves(96, channels=2)()
    assert torch.equal(extractor.encode(wave).values, extractor.encode(4 * wave).values)


@pytest.mark.parametrize(("build", "taught"), [(dac, {"encoder", "quantizer", "decoder"}), (encodec, {"decoder"})])
def test_learns_as_far_as_gradients_pass(build, taught):
    extractor = CodecExtractor.from_components(build())
    output = extractor(waves(48)())
    output.loss.backward()
    assert {name.split(".")[1] for name, each in extractor.named_parameters() if each.grad is not None} == taught
    assert set(output.terms) == {"absolute", "spectral"} | ({"codec"} if build is dac else set())


def test_padding_is_not_learned_from():
    extractor, wave = CodecExtractor.from_components(dac()), waves(48)()
    mask = torch.arange(48) < torch.tensor([48, 24, 32, 24])[:, None]
    noisy = torch.where(mask[:, None], wave, torch.randn_like(wave))
    assert extractor(wave, mask).loss == extractor(noisy, mask).loss
    rows = [(extractor(wave[i : i + 1, ..., :n]).loss, n) for i, n in enumerate(mask.sum(-1).tolist())]
    mean = sum(loss * n for loss, n in rows) / 128
    torch.testing.assert_close(extractor(wave, mask).loss, mean)


def test_weights_of_the_loss():
    extractor = CodecExtractor.from_components(dac(), spectral_weight=0.0, codec_weight=0.0)
    output = extractor(waves(48)())
    assert output.loss == output.terms["absolute"] > 0


@pytest.mark.parametrize("build", [dac, encodec])
def test_training_reads_a_random_piece_of_each_row_at_once(build, monkeypatch):
    extractor, wave = CodecExtractor.from_components(build(), segment_samples=16).train(), waves(96)()
    read, reconstruct = [], extractor._reconstruct
    monkeypatch.setattr(extractor, "_reconstruct", lambda wave: read.append(wave) or reconstruct(wave))
    mask = torch.arange(96) < torch.tensor([96, 20, 16, 50])[:, None]
    drawn = set()
    for _ in range(8):
        output = extractor(wave, mask)
        assert output.reconstruction is None and torch.isfinite(output.loss)
        assert read[-1].shape == (4, 1, 16)
        starts = [find(wave[row, 0], read[-1][row, 0]) for row in range(4)]
        assert starts[0] <= 80 and starts[1] <= 4 and starts[2] == 0 and starts[3] <= 34
        drawn.add(tuple(starts))
    assert len(read) == 8 and len(drawn) == 8
    whole = CodecExtractor.from_components(extractor.codec)
    torch.testing.assert_close(output.loss, whole(read[-1]).loss)
    extractor.eval()
    assert extractor(wave, mask).reconstruction.shape == (4, 1, 96)


def find(row: torch.Tensor, piece: torch.Tensor) -> int:
    """The sample at which a piece lies in its row."""
    return next(start for start in range(96) if torch.equal(row[start : start + 16], piece))


def test_rows_shorter_than_a_piece_are_learned_from_without_padding():
    extractor, wave = CodecExtractor.from_components(dac(), segment_samples=32).train(), waves(48)()[:2]
    wave[0] = 0.1  # alike wherever it is cut
    mask = torch.arange(48) < torch.tensor([48, 24])[:, None]
    noisy = torch.where(mask[:, None], wave, torch.randn_like(wave))
    rows = [extractor(wave[i : i + 1, ..., :n]).loss * n for i, n in enumerate((32, 24))]
    torch.testing.assert_close(extractor(noisy, mask).loss, sum(rows) / 56)


@pytest.mark.parametrize("samples", [0, 12, -8])
def test_pieces_are_of_whole_frames(samples):
    with pytest.raises(ValueError, match=f"`segment_samples` must be a multiple of .* 8, or None, got {samples}"):
        CodecExtractor.from_components(dac(), segment_samples=samples)


def test_learns():
    extractor = CodecExtractor.from_components(dac(), spectral_weight=0.1)
    wave = 0.3 * torch.sin(torch.arange(64) * torch.tensor([0.2, 0.4, 0.6, 0.8])[:, None])[:, None]
    optimizer = torch.optim.Adam(extractor.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        output = extractor(wave)
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(output.loss.item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


@pytest.mark.parametrize("kind", ["dac", "encodec", "mimi", "xcodec", "xcodec2", "neucodec"])
def test_hosts_codecs(kind):
    assert CodecExtractor.hosts({"model_type": kind})


@pytest.mark.parametrize("kind", ["pocket_tts_audio_tokenizer", "hubert", "bert", "mimi_encoder", "unheard of", None])
def test_hosts_nothing_else(kind):
    assert not CodecExtractor.hosts({"model_type": kind})
    assert not CodecExtractor.hosts({"_class_name": "AutoencoderKL"})


def test_an_unknown_setting_is_named():
    with pytest.raises(TypeError, match="did you mean `max_samples`"):
        CodecExtractor.from_components(dac(), max_sample=3)
