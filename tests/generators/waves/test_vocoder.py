import pytest
import tiny
import torch
from transformers import (
    AutoModel,
    BertModel,
    FastSpeech2ConformerHifiGan,
    FastSpeech2ConformerHifiGanConfig,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
    UnivNetConfig,
    UnivNetModel,
)

from regen_hf import RepresentationSpec, VocoderGenerator
from regen_hf.parts.auto import load_generator

pytestmark = pytest.mark.usefixtures("one_thread")

SPECTROGRAM, WAVE = RepresentationSpec((8, None), rate=1000), RepresentationSpec((1, None), rate=16000)
HIFIGAN = {
    "model_in_dim": 8, "upsample_initial_channel": 8, "upsample_rates": [4, 4], "upsample_kernel_sizes": [8, 8],
    "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3]],
}  # fmt: skip


def univnet() -> UnivNetConfig:
    return UnivNetConfig(
        model_in_channels=4, model_hidden_channels=8, num_mel_bins=8, resblock_kernel_sizes=[3, 3],
        resblock_stride_sizes=[4, 4], resblock_dilation_sizes=[[1], [1]], kernel_predictor_num_blocks=1,
        kernel_predictor_hidden_channels=4,
    )  # fmt: skip


VOCODERS = {
    SpeechT5HifiGan: lambda: SpeechT5HifiGanConfig(**HIFIGAN),
    FastSpeech2ConformerHifiGan: lambda: FastSpeech2ConformerHifiGanConfig(**HIFIGAN),
    UnivNetModel: univnet,
}


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(params=VOCODERS, ids=lambda each: each.__name__)
def vocoder(request):
    """Loud enough to be told from silence."""
    net = request.param(VOCODERS[request.param]())
    for parameter in net.parameters():
        parameter.data.normal_(std=0.2)
    return net.eval()


@pytest.fixture
def generator(vocoder):
    return load_generator(vocoder, WAVE, SPECTROGRAM, slot="decoder").eval()


@pytest.fixture
def source():
    return torch.randn(4, 8, 12)


def test_says_what_fits_where(generator):
    assert (generator.config.source_spec, generator.config.target_spec) == (SPECTROGRAM, WAVE)


def test_gives_what_the_vocoder_itself_would(vocoder, generator, source):
    given = {}
    if isinstance(vocoder, UnivNetModel):
        own = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=seeded())))
        given["noise_sequence"] = torch.randn(1, 12, 4, generator=own)
    with torch.no_grad():
        expected = vocoder(source[:1].transpose(1, 2), **given)
    expected = expected if isinstance(expected, torch.Tensor) else expected.waveforms
    found = generator.generate(source, generator=seeded()).values
    assert found.shape == (4, 1, 192)
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-5)


def test_loads_by_folder_and_survives_reloading(vocoder, source, tmp_path):
    vocoder.save_pretrained(tmp_path / "vocoder")
    generator = load_generator(str(tmp_path / "vocoder"), WAVE, SPECTROGRAM, slot="decoder")
    assert type(generator.vocoder) is type(vocoder)
    generator.save_pretrained(tmp_path / "generator")
    reloaded = AutoModel.from_pretrained(tmp_path / "generator")
    assert type(reloaded) is VocoderGenerator
    assert reloaded.config.source_spec == generator.config.source_spec
    expected = generator.generate(source, generator=seeded()).values
    assert expected.std() > 0.01
    torch.testing.assert_close(reloaded.generate(source, generator=seeded()).values, expected)


def test_batched_equals_single_without_reading_the_padding(generator, source):
    lengths, shared = torch.tensor([12, 5, 9, 7]), seeded()
    mask = torch.arange(12) < lengths[:, None]
    found = generator.generate(source.masked_fill(~mask[:, None], 9.0), mask, generator=seeded())
    assert found.mask.sum(-1).tolist() == (16 * lengths).tolist()
    for row, length in enumerate(lengths):
        single = generator.generate(source[row : row + 1, :, :length], generator=shared).values[0]
        torch.testing.assert_close(found.values[row][:, found.mask[row]], single, rtol=1e-4, atol=1e-5)


def test_learns_one_batch(vocoder, source):
    generator = VocoderGenerator.from_components(vocoder, sampling_rate=16000).train()
    target = torch.sin(torch.arange(190) / 3).expand(4, 1, 190)
    target_mask = torch.arange(190) < torch.tensor([190, 80, 100, 112])[:, None]
    source_mask = torch.arange(12) < torch.tensor([12, 5, 9, 7])[:, None]
    optimizer, losses = torch.optim.Adam(generator.parameters(), 1e-2), []
    for _ in range(12):
        output = generator(target, source, source_mask, target_mask)
        assert output.loss.item() == pytest.approx(sum(term.item() for term in output.terms.values()), rel=1e-4)
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(output.loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_training_reads_a_random_piece_of_each_row_at_once(vocoder, source):
    """Of 4 frames, which are 64 samples; the loss is that of the rows cut by hand."""
    generator = VocoderGenerator.from_components(vocoder, sampling_rate=16000, segment_frames=4).train()
    read = []
    vocoder.register_forward_pre_hook(lambda module, args: read.append(args[0].transpose(1, 2)))
    source_mask = torch.arange(12) < torch.tensor([12, 5, 9, 7])[:, None]
    target, target_mask = torch.randn(4, 1, 192), source_mask.repeat_interleave(16, dim=1)
    pieces = set()
    for seed in range(8):
        torch.manual_seed(seed)
        output = generator(target, source, source_mask, target_mask)
        assert output.reconstruction.shape == (4, 1, 64) and read[-1].shape == (4, 8, 4)
        starts = [find(source[row], read[-1][row]) for row in range(4)]
        assert all(start + 4 <= length for start, length in zip(starts, [12, 5, 9, 7], strict=True))
        pieces.add(tuple(starts))
    assert len(read) == 8 and len(pieces) == 8
    cut = torch.stack([target[row, :, 16 * start : 16 * start + 64] for row, start in enumerate(starts)])
    whole = VocoderGenerator.from_components(vocoder, sampling_rate=16000).train()
    torch.manual_seed(seed)
    torch.rand(4)  # which the piece was drawn by, before what some vocoders start from
    expected = whole(cut, read[-1], None, torch.ones(4, 64, dtype=torch.bool)).loss
    torch.testing.assert_close(output.loss, expected, rtol=1e-4, atol=1e-5)
    generator.eval()
    assert generator(target, source, source_mask, target_mask).reconstruction.shape == (4, 1, 192)


def find(row: torch.Tensor, piece: torch.Tensor) -> int:
    """The frame at which a piece lies in its row."""
    return next(start for start in range(9) if torch.equal(row[:, start : start + 4], piece))


def test_what_pads_a_short_row_does_not_count():
    generator = VocoderGenerator.from_components(SpeechT5HifiGanConfig(**HIFIGAN), segment_frames=12).train()
    source, target = torch.randn(2, 8, 10), torch.randn(2, 1, 150)
    source_mask = torch.arange(10) < torch.tensor([10, 4])[:, None]
    target_mask = torch.arange(150) < torch.tensor([150, 60])[:, None]
    noisy = target.masked_fill(~target_mask[:, None], 7.0), source.masked_fill(~source_mask[:, None], 9.0)
    output = generator(target, source, source_mask, target_mask)
    assert output.reconstruction.shape == (2, 1, 192)
    assert output.loss == generator(*noisy, source_mask, target_mask).loss
    output.reconstruction.retain_grad()
    output.loss.backward()
    counted = output.reconstruction.grad[:, 0] != 0
    assert [int(row.nonzero().max()) for row in counted] == [149, 59]
    assert all(torch.isfinite(p.grad).all() for p in generator.parameters() if p.grad is not None)
    for places in ((0, 150), (1, 60)):  # where a row ends, and what lies before
        louder = target.clone()
        louder[places[0], 0, places[1] - 1] += 5.0
        assert output.loss != generator(louder, source, source_mask, target_mask).loss
    assert torch.isfinite(generator(target[..., :40], source).loss), "a target shorter than its source"


def test_a_frozen_vocoder_stays_frozen(vocoder, tmp_path):
    VocoderGenerator.from_components(vocoder.requires_grad_(False), sampling_rate=16000).save_pretrained(tmp_path)
    assert not any(parameter.requires_grad for parameter in AutoModel.from_pretrained(tmp_path).parameters())


def test_runs_in_bfloat16(generator, source):
    assert torch.isfinite(generator.to(torch.bfloat16).generate(source).values.float()).all()


def test_refuses_what_it_cannot_take(tmp_path):
    generator = VocoderGenerator.from_components(SpeechT5HifiGanConfig(**HIFIGAN))
    with pytest.raises(ValueError, match=r"\(batch, 8 mel bins, frames\), got \(1, 80, 5\)"):
        generator.generate(torch.zeros(1, 80, 5))
    with pytest.raises(ValueError, match="`source` is missing"):
        generator.generate()
    with pytest.raises(
        ValueError,
        match=r"makes .*1 × any length.* from .*8 × any length.*, not .* from .*80 × any length",
    ):
        VocoderGenerator.for_spec(SpeechT5HifiGanConfig(**HIFIGAN), WAVE, RepresentationSpec((80, None)))
    with pytest.raises(ValueError, match="`sampling_rate` is missing: the config of UnivNetModel"):
        VocoderGenerator.from_components(univnet())
    with pytest.raises(ValueError, match="`segment_frames` must be at least 1, or None, got 0"):
        VocoderGenerator.from_components(univnet(), sampling_rate=16000, segment_frames=0)
    with pytest.raises(TypeError, match="`samplingrate` is no setting.*mean `sampling_rate`"):
        VocoderGenerator.from_components(univnet(), samplingrate=16000)
    with pytest.raises(ValueError, match=r"`generation` must be empty, got \['guidance'\]"):
        VocoderGenerator.from_components(univnet(), sampling_rate=16000, generation={"guidance": 2.0})
    BertModel(tiny.bert()).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="which BertModel does not"):
        VocoderGenerator.from_components(str(tmp_path))
    assert not VocoderGenerator.hosts(univnet().to_dict(), RepresentationSpec((3, 8, 8)))
    assert not VocoderGenerator.hosts(tiny.bert().to_dict(), WAVE)
