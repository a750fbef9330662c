"""Tiny models of the real classes that an extractor is made of, and the Y that they take."""

from collections.abc import Callable
from dataclasses import dataclass, field

import tiny
import torch
from tiny_autoencoders import VIDEO, cogvideox, hunyuan_video, ltx, mochi, oobleck, rae, vidtok, wan
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
    DacConfig,
    DacModel,
    Dinov2Config,
    Dinov2Model,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    EncodecConfig,
    EncodecModel,
    HubertConfig,
    HubertModel,
    MimiConfig,
    MimiModel,
    NeuCodecConfig,
    NeuCodecModel,
    SiglipConfig,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    T5Config,
    T5EncoderModel,
    ViTConfig,
    ViTModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    Xcodec2Config,
    Xcodec2Model,
    XcodecConfig,
    XcodecModel,
)
from transformers.utils import is_torchaudio_available


@dataclass
class Part:
    build: Callable[[], nn.Module]
    target: Callable[[], torch.Tensor]  # four different Y
    settings: dict = field(default_factory=dict)
    wrong: list[tuple[torch.Tensor, str]] = field(default_factory=list)  # what `encode` refuses, and how
    trains: bool = False


def filled(codec: nn.Module) -> nn.Module:
    """With codebooks that differ: those of a new codec are zero."""
    for name, buffer in codec.named_buffers():
        if name.endswith((".embed", ".embed_sum")):
            buffer.normal_(std=0.1)
    return codec


@torch.no_grad()
def loud(codec: nn.Module) -> nn.Module:
    """With what its quantiser reads so large that codes differ: that of a new codec is next to nothing."""
    for part in (codec.semantic_adapter, codec.acoustic_encoder, codec.fc_encoder, codec.quantizer.project_in):
        for parameter in part.parameters():
            parameter.mul_(8 if parameter.dim() > 1 else 1)
    return codec


def waves(samples: int, channels: int = 1) -> Callable[[], torch.Tensor]:
    return lambda: torch.randn(4, channels, samples, generator=torch.Generator().manual_seed(0))


def images() -> torch.Tensor:
    return torch.rand(4, 3, 20, 20, generator=torch.Generator().manual_seed(0)) * 2 - 1


def ids() -> torch.Tensor:
    return torch.randint(0, 20, (4, 7), generator=torch.Generator().manual_seed(0))


def codec(build: Callable[[], nn.Module], hop: int, channels: int = 1) -> Part:
    wave = waves(6 * hop, channels)
    wrong = [
        (torch.zeros(2, 6 * hop), "must be a wave"),
        (torch.zeros(2, 3, 6 * hop), rf"\(batch, {channels}, samples\), got \(2, 3"),
        (torch.zeros(2, channels, 0), "0 samples, but one frame takes"),
        (torch.zeros(2, channels, hop - 1), f"{hop - 1} samples, but one frame takes {hop}"),
        (wave() / 0, "NaN or infinite"),
        (torch.zeros(2, channels, 9 * hop), f"`max_samples` is {8 * hop}"),
    ]
    return Part(build, wave, {"max_samples": 8 * hop}, wrong, trains=True)


def vision(build: Callable[[], nn.Module], **settings) -> Part:
    wrong = [
        (torch.zeros(2, 1, 16, 16), r"\(batch, 3, size, size\), got \(2, 1, 16, 16\)"),
        (torch.zeros(3, 16, 16), r"got \(3, 16, 16\)"),
        (torch.zeros(2, 3, 16, 20), "square"),
        (torch.zeros(2, 3, 0, 0), "square"),
        (images() / 0, "NaN or infinite"),
    ]
    return Part(build, images, settings, wrong)


def hearing(build: Callable[[], nn.Module], **settings) -> Part:
    wrong = [
        (torch.zeros(2, 400), r"\(batch, 1, samples\), got \(2, 400\)"),
        (torch.zeros(2, 2, 400), r"got \(2, 2, 400\)"),
        (torch.zeros(2, 1, 0), "0 samples, but one frame takes 20"),
        (torch.zeros(2, 1, 19), "19 samples, but one frame takes 20"),
        (waves(400)() / 0, "NaN or infinite"),
    ]
    return Part(build, waves(400), settings, wrong)


def reading(build: Callable[[], nn.Module], **settings) -> Part:
    wrong = [
        (torch.zeros(2, 7), "token ids from 0 to 19"),
        (torch.full((2, 7), 20), "token ids from 0 to 19"),
        (torch.zeros(2, 0, dtype=torch.long), "0 token ids"),
        (torch.zeros(2, 3, 7, dtype=torch.long), r"\(batch, length\), got \(2, 3, 7\)"),
    ]
    return Part(build, ids, settings, wrong)


LAYERS = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
EYE = {**LAYERS, "image_size": 16, "patch_size": 4}
EAR = {
    **LAYERS, "conv_dim": [8, 8], "conv_kernel": [10, 3], "conv_stride": [5, 2], "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
TEXT = {**LAYERS, "vocab_size": 20, "max_position_embeddings": 16}
SEMANTIC = {"model_type": "wav2vec2-bert", **LAYERS, "conv_depthwise_kernel_size": 3, "position_embeddings_type": None}
VOCOS = {
    **LAYERS, "hidden_size": 32, "num_hidden_layers": 1, "num_key_value_heads": 2, "head_dim": 8,
    "encoder_hidden_size": 2, "quantization_dim": 48, "quantization_levels": [4, 4], "semantic_model_config": SEMANTIC,
}  # fmt: skip
HEARD = {
    "codebook_size": 16, "codebook_dim": 24, "target_bandwidths": [0.2, 0.6],
    "acoustic_model_config": {
        "model_type": "dac", "encoder_hidden_size": 4, "decoder_hidden_size": 32, "hidden_size": 8,
        "downsampling_ratios": [8, 5, 4, 2], "upsampling_ratios": [8, 5, 4, 2], "codebook_size": 16,
    },
    "semantic_model_config": {
        "model_type": "hubert", **LAYERS, "conv_dim": [8] * 7, "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2,
    },
}  # fmt: skip


def encodec(**settings) -> EncodecModel:
    return filled(EncodecModel(EncodecConfig(**{
        "target_bandwidths": [16.0, 32.0], "upsampling_ratios": [4, 2], "num_filters": 4, "hidden_size": 8,
        "codebook_size": 16, "num_lstm_layers": 1, "sampling_rate": 16000, **settings,
    })))  # fmt: skip


def stereo_encodec() -> EncodecModel:
    return encodec(
        audio_channels=2, normalize=True, chunk_length_s=0.002, overlap=0.01, norm_type="time_group_norm",
        use_causal_conv=False,
    )  # fmt: skip


def dac() -> DacModel:
    return DacModel(DacConfig(
        encoder_hidden_size=4, decoder_hidden_size=16, downsampling_ratios=[2, 4], n_codebooks=3, codebook_size=16,
        codebook_dim=4,
    ))  # fmt: skip


def mimi() -> MimiModel:
    return filled(MimiModel(MimiConfig(
        **LAYERS, num_key_value_heads=2, num_filters=4, upsampling_ratios=[4, 2], codebook_size=16, codebook_dim=8,
        vector_quantization_hidden_dimension=8, num_quantizers=3, upsample_groups=16, sliding_window=50,
    )))  # fmt: skip


def higgs() -> nn.Module:
    from transformers import HiggsAudioV2TokenizerConfig, HiggsAudioV2TokenizerModel

    return filled(HiggsAudioV2TokenizerModel(HiggsAudioV2TokenizerConfig(**HEARD, sample_rate=16000)))


def t5() -> T5EncoderModel:
    return T5EncoderModel(T5Config(vocab_size=20, d_model=16, d_kv=8, d_ff=16, num_layers=2, num_heads=2))


EXTRACTORS: dict[str, Part] = {
    "EncodecModel": codec(encodec, 8),
    "EncodecModel, stereo": codec(stereo_encodec, 8, channels=2),
    "DacModel": codec(dac, 8),
    "MimiModel": codec(mimi, 16),
    "XcodecModel": codec(lambda: filled(XcodecModel(XcodecConfig(**HEARD))), 320),
    "Xcodec2Model": codec(lambda: loud(Xcodec2Model(Xcodec2Config(**VOCOS))), 320),
    "NeuCodecModel": codec(lambda: loud(NeuCodecModel(NeuCodecConfig(**VOCOS))), 320),
    **({"HiggsAudioV2TokenizerModel": codec(higgs, 320)} if is_torchaudio_available() else {}),
    "CLIPVisionModel": vision(lambda: CLIPVisionModel(CLIPVisionConfig(**EYE))),
    "CLIPVisionModelWithProjection": vision(
        lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(**EYE, projection_dim=12)), pooled=True
    ),
    "CLIPModel": vision(
        lambda: CLIPModel(CLIPConfig(text_config=TEXT, vision_config=EYE, projection_dim=12)), pooled=True
    ),
    "SiglipModel": vision(lambda: SiglipModel(SiglipConfig(text_config=TEXT, vision_config=EYE))),
    "SiglipVisionModel": vision(lambda: SiglipVisionModel(SiglipVisionConfig(**EYE)), pooled=True),
    "Dinov2Model": vision(lambda: Dinov2Model(Dinov2Config(**EYE)), layer=1),
    "DINOv3ViTModel": vision(lambda: DINOv3ViTModel(DINOv3ViTConfig(**EYE, num_register_tokens=4))),
    "ViTModel": vision(lambda: ViTModel(ViTConfig(**EYE)), pooled=True),
    "HubertModel": hearing(lambda: HubertModel(HubertConfig(**EAR)), layer=1),
    "Wav2Vec2Model": hearing(lambda: Wav2Vec2Model(Wav2Vec2Config(**EAR))),
    "WavLMModel": hearing(lambda: WavLMModel(WavLMConfig(**EAR)), pooled=True),
    "BertModel": reading(lambda: BertModel(BertConfig(**TEXT))),
    "T5EncoderModel": reading(t5),
    "CLIPTextModelWithProjection": reading(
        lambda: CLIPTextModelWithProjection(CLIPTextConfig(**TEXT, projection_dim=12, eos_token_id=19)), pooled=True
    ),
}


def uniform(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def autoencoder(build: Callable[[], nn.Module], shape: tuple[int, ...], **settings) -> Part:
    wrong = [(torch.zeros(1, *shape[:-1], 2 * shape[-1]), r"`target` must have the shape \(batch, 3,.*got \(1, 3,")]
    return Part(build, lambda: uniform(4, *shape), settings, wrong, trains=True)


def video(build: Callable[[], nn.Module], shape: tuple[int, ...] = VIDEO) -> Part:
    return autoencoder(build, shape, target_shape=shape)


EXTRACTORS |= {
    "AutoencoderKL": autoencoder(tiny.kl, tiny.IMAGE),
    "AutoencoderDC": autoencoder(tiny.dc, tiny.IMAGE, target_shape=tiny.IMAGE),
    "AutoencoderTiny": autoencoder(tiny.tiny_autoencoder, tiny.IMAGE, target_shape=tiny.IMAGE),
    "AutoencoderRAE": autoencoder(rae, tiny.IMAGE),
    "VQModel": autoencoder(tiny.vq, tiny.IMAGE, target_shape=tiny.IMAGE, kind="codes"),
    "AutoencoderOobleck": Part(
        oobleck,
        lambda: uniform(4, 2, 64),
        wrong=[(torch.zeros(1, 1, 64), r"shape \(batch, 2, None\), got \(1, 1, 64\)")],
        trains=True,
    ),
    "AutoencoderKLWan": video(wan),
    "AutoencoderKLCogVideoX": video(cogvideox),
    "AutoencoderKLLTXVideo": video(ltx),
    "AutoencoderKLHunyuanVideo": video(hunyuan_video),
    "AutoencoderKLMochi": video(mochi, (3, 5, 8, 8)),
    "AutoencoderVidTok, fsq": video(lambda: vidtok("fsq")),
    "AutoencoderVidTok, kl": video(lambda: vidtok("kl")),
}
