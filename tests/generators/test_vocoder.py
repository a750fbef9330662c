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
from regen_hf.auto import load_generator

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
    with pytest.raises(ValueError, match=r"makes .*\(1, None\).* from .*\(8, None\).*, not .* from .*\(80, None\)"):
        VocoderGenerator.for_spec(SpeechT5HifiGanConfig(**HIFIGAN), WAVE, RepresentationSpec((80, None)))
    with pytest.raises(ValueError, match="`sampling_rate` is missing: the config of UnivNetModel"):
        VocoderGenerator.from_components(univnet())
    with pytest.raises(TypeError, match="`samplingrate` is no setting.*mean `sampling_rate`"):
        VocoderGenerator.from_components(univnet(), samplingrate=16000)
    BertModel(tiny.bert()).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="which BertModel does not"):
        VocoderGenerator.from_components(str(tmp_path))
    assert not VocoderGenerator.hosts(univnet().to_dict(), RepresentationSpec((3, 8, 8)))
    assert not VocoderGenerator.hosts(tiny.bert().to_dict(), WAVE)
