"""Y′ learned from Y alone: the codes of a transformers audio codec."""

import inspect
import math
from typing import Any

import torch
from torch.nn import functional as F
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.configuration_utils import SubConfigSpec
from transformers.models.auto.configuration_auto import CONFIG_MAPPING, AutoConfig
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from ..parts.contracts import ExtractorConfig, PreTrainedExtractor, check_settings
from ..parts.lengths import by_length, random_segments
from ..parts.outputs import LossOutput, Representation, RepresentationSpec
from ..parts.pretrained import HubReference, build, freeze, hosted
from ..speech.spectral import spectral_distance

# What codecs call the same things, from class to class.
RATES = ("sampling_rate", "sample_rate", "input_sampling_rate")
HOPS = ("encoder_hop_length", "hop_length", "frame_size")
SEMANTIC = ("semantic_model", "semantic_encoder")
GRADIENT_PATHS = ("quantized_representation", "latents")


def _first(source: Any, names: tuple[str, ...]) -> Any:
    return next((value for name in names if (value := getattr(source, name, None)) is not None), None)


class CodecExtractorConfig(ExtractorConfig):
    """
    Args:
        codec_config: the transformers codec.
        num_codebooks: how many codes each frame has, determined by [`CodecExtractor.from_components`].
        max_samples: the longest wave that is taken, `None` for any.
        spectral_weight: weight of the difference of log magnitudes of the short-time Fourier transforms, beside the
            absolute error of the wave.
        codec_weight: weight of the codec's own loss of its quantiser, where it has one.
        segment_samples: how many samples of each row training reads, a random piece every time; a multiple of the hop,
            or `None` for whole rows.
    """

    model_type = "regen_codec"
    sub_configs_defaults = {"codec_config": SubConfigSpec(config_class=AutoConfig, model_type="encodec", optional=True)}

    codec_config: dict | PreTrainedConfig | None = None
    num_codebooks: int = 1
    max_samples: int | None = None
    spectral_weight: float = 1.0
    codec_weight: float = 1.0
    segment_samples: int | None = None

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        samples = self.segment_samples
        if samples is not None and (samples < 1 or samples % self.hop):
            raise ValueError(
                f"`segment_samples` must be a multiple of the samples of a frame, {self.hop}, or None, got {samples}."
            )

    @property
    def sampling_rate(self) -> int:
        """How many samples of the wave make a second."""
        return _first(self.codec_config, RATES)

    @property
    def channels(self) -> int:
        """1 for mono, 2 for stereo."""
        return getattr(self.codec_config, "audio_channels", 1)

    @property
    def hop(self) -> int:
        """How many samples become one frame."""
        return int(_first(self.codec_config, HOPS))

    @property
    def num_codes(self) -> int:
        """The size of one codebook."""
        levels = getattr(self.codec_config, "quantization_levels", None)
        return math.prod(levels) if levels else self.codec_config.codebook_size

    @property
    def target_spec(self) -> RepresentationSpec:
        return RepresentationSpec((self.channels, None), rate=self.sampling_rate)

    @property
    def representation_spec(self) -> RepresentationSpec:
        shape = (None,) if self.num_codebooks == 1 else (self.num_codebooks, None)
        return RepresentationSpec(shape, self.num_codes, self.num_codebooks, self.sampling_rate / self.hop)

    @property
    def can_decode(self) -> bool:
        return True


class CodecExtractor(PreTrainedExtractor):
    """Codes of `EncodecModel`, `DacModel`, `MimiModel`, `XcodecModel`, `Xcodec2Model`, `NeuCodecModel` and their like.

    A wave becomes `ceil(samples / hop)` frames, and a frame becomes `hop` samples again; waves end in silence where
    the last frame needs it. An EnCodec that normalises its input loses its loudness, which is not in the codes; one
    that works in overlapping chunks takes the whole wave as one chunk. NeuCodec generates at a higher rate than it
    reads: its waves are resampled to the rate that it reads.

    Training teaches the whole codec where gradients pass its quantiser, as they do in DAC, Xcodec2 and NeuCodec, and
    otherwise its decoder alone.

    Example:
        >>> from transformers import DacConfig
        >>> tiny = DacConfig(encoder_hidden_size=4, decoder_hidden_size=16, downsampling_ratios=[2, 4], n_codebooks=3,
        ...                  codebook_size=16, codebook_dim=4, sampling_rate=16000)
        >>> extractor = CodecExtractor.from_components(tiny)
        >>> extractor.encode(torch.zeros(2, 1, 80)).values.shape, extractor.config.representation_spec.rate
        (torch.Size([2, 3, 10]), 2000.0)
    """

    config_class = CodecExtractorConfig

    def __init__(self, config: CodecExtractorConfig, codec: PreTrainedModel | None = None):
        super().__init__(config)
        self.codec = codec or build(config.codec_config)
        self.post_init()

    @classmethod
    def hosts(cls, described: dict) -> bool:
        kind = described.get("model_type")
        codec_class = MODEL_MAPPING.get(CONFIG_MAPPING[kind], None) if kind in CONFIG_MAPPING else None
        if not (hasattr(codec_class, "encode") and hasattr(codec_class, "decode")):
            return False
        return "audio_codes" in inspect.signature(codec_class.decode).parameters

    @classmethod
    def from_components(
        cls,
        codec: str | HubReference | PreTrainedModel | PreTrainedConfig,
        num_codebooks: int | None = None,
        **settings,
    ) -> "CodecExtractor":
        """
        Args:
            codec: a transformers codec by name or reference, live, or new from a config.
            num_codebooks: how many codes a frame has, the first that the codec gives; as many as the codec gives by
                itself if `None`.
            settings: the other fields of [`CodecExtractorConfig`].

        Raises:
            ValueError: if the codec has fewer codebooks.
        """
        check_settings(cls.config_class, settings)
        codec = hosted(codec, AutoModel.from_pretrained, build)
        if getattr(codec.config, "chunk_length_s", None) is not None:
            codec.config.chunk_length_s = None
        if (semantic := _first(codec, SEMANTIC)) is not None:  # which codecs read without gradients
            freeze(semantic)
            codec.config.semantic_model_config = semantic.config
        config = cls.config_class(codec_config=codec.config.to_dict(), **settings)
        extractor = cls(config, codec=codec)
        given, most = extractor._codebooks()
        config.num_codebooks = given if num_codebooks is None else num_codebooks
        if not 1 <= config.num_codebooks <= most:
            raise ValueError(f"`num_codebooks` must be 1 to {most} for {type(codec).__name__}, got {num_codebooks}.")
        return extractor.checked().eval()

    @torch.no_grad()
    def _codebooks(self) -> tuple[int, int]:
        """How many codes a frame has by default and at most, found by encoding silence."""
        silence = torch.zeros(1, self.config.channels, 4 * self.config.hop, device=self.device, dtype=self.dtype)
        given = self._all_codes(self._encode_with(silence, {}))
        return given.shape[1], self._all_codes(self._encode_with(silence)).shape[1]

    def _apply(self, fn, recurse: bool = True):
        for module in self.modules():  # Mimi keeps its codebooks a second time, which would not be moved
            if getattr(module, "_embed", None) is not None:
                module._embed = None
        return super()._apply(fn, recurse)

    def encode(self, target: torch.Tensor, target_mask: torch.Tensor | None = None) -> Representation:
        """A wave `(batch, channels, samples)` to codes `(batch, codebooks, frames)`, or `(batch, frames)` of one."""
        self._check(target)
        return by_length(self._codes, target, target_mask)

    def decode(self, representation: Representation) -> Representation:
        return by_length(self._wave, representation.values, representation.mask, empty=True)

    def _check(self, target: torch.Tensor) -> None:
        channels, longest = self.config.channels, self.config.max_samples
        if target.dim() != 3 or target.shape[1] != channels:
            raise ValueError(f"`target` must be a wave (batch, {channels}, samples), got {tuple(target.shape)}.")
        if longest is not None and target.shape[-1] > longest:
            raise ValueError(f"`target` has {target.shape[-1]} samples, but `max_samples` is {longest}.")
        if not torch.isfinite(target).all():
            raise ValueError("`target` has samples that are NaN or infinite.")

    def _check_frame(self, samples: int) -> None:
        if samples < self.config.hop:
            raise ValueError(f"`target` has {samples} samples, but one frame takes {self.config.hop}.")

    def _encode_with(self, wave: torch.Tensor, choice: dict | None = None) -> Any:
        """What the codec's own `encode` gives of a wave, with as many codebooks as it has unless `choice` says."""
        takes = inspect.signature(self.codec.encode).parameters
        if choice is None:
            choice = {"bandwidth": max(self.codec.config.target_bandwidths)} if "bandwidth" in takes else {}
        wave = F.pad(wave.to(self.dtype), (0, -wave.shape[-1] % self.config.hop))
        if "input_features" in takes:
            wave, choice["input_features"] = self._features(wave)
        if "output_latents" in takes:
            choice["output_latents"] = True
        return self.codec.encode(wave, return_dict=True, **choice)

    def _features(self, wave: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The wave and its mel spectrogram, each a frame longer, as Xcodec2 and NeuCodec read them."""
        from transformers import SeamlessM4TFeatureExtractor

        hop, rate = self.config.hop, self.config.sampling_rate
        wave = F.pad(wave, (0, hop))
        # NeuCodec, which has this attribute, cuts off what its spectrogram lacks
        margin = 0 if hasattr(self.codec.config, "encoder_hop_length") else hop // 2
        rows = list(F.pad(wave[:, 0], (margin, margin)).float().cpu().numpy())
        features = SeamlessM4TFeatureExtractor(sampling_rate=rate)(rows, sampling_rate=rate, return_tensors="pt")
        return wave, features["input_features"].to(wave)

    @staticmethod
    def _all_codes(encoded: Any) -> torch.Tensor:
        return encoded.audio_codes[0] if encoded.audio_codes.dim() == 4 else encoded.audio_codes

    def _codes(self, wave: torch.Tensor) -> torch.Tensor:
        self._check_frame(wave.shape[-1])
        frames = -(-wave.shape[-1] // self.config.hop)
        codes = self._all_codes(self._encode_with(wave))[:, : self.config.num_codebooks, :frames].long()
        return codes[:, 0] if self.config.num_codebooks == 1 else codes

    def _wave(self, codes: torch.Tensor) -> torch.Tensor:
        codes = codes[:, None] if self.config.num_codebooks == 1 else codes
        if "audio_scales" in inspect.signature(self.codec.decode).parameters:
            return self._fitted(self.codec.decode(codes[None], [None], return_dict=True), codes.shape[-1])
        return self._fitted(self.codec.decode(audio_codes=codes, return_dict=True), codes.shape[-1])

    def _fitted(self, decoded: Any, frames: int) -> torch.Tensor:
        """The wave as `(batch, channels, frames × hop)`."""
        wave, samples = decoded.audio_values, frames * self.config.hop
        wave = wave[:, None] if wave.dim() == 2 else wave
        rate = getattr(self.codec.config, "output_sampling_rate", self.config.sampling_rate)
        if rate != self.config.sampling_rate:
            length = wave.shape[-1] * self.config.sampling_rate // rate
            spectrum = torch.fft.rfft(wave.float())[..., : length // 2 + 1]
            wave = (torch.fft.irfft(spectrum, n=length) * (length / wave.shape[-1])).to(wave.dtype)
        return F.pad(wave, (0, samples - wave.shape[-1]))

    def forward(self, target: torch.Tensor, target_mask: torch.Tensor | None = None) -> LossOutput:
        """The loss of reconstructing waves `(batch, channels, samples)`; padding does not count.

        The absolute error of the wave, `spectral_weight` times that of the log magnitudes of its spectra, and
        `codec_weight` times the codec's own loss. In training with `segment_samples` it is that of the pieces, and no
        reconstruction is given, since it would not be one of `target`.
        """
        self._check(target)
        given, in_pieces = Representation(target.float(), target_mask), self.training and self.config.segment_samples
        if in_pieces:
            (given,) = random_segments(self.config.segment_samples, (given, 1))
        groups: list[tuple[int, dict[str, torch.Tensor]]] = []

        def reconstruct(wave: torch.Tensor) -> torch.Tensor:
            self._check_frame(wave.shape[-1])
            back, own = self._reconstruct(wave)
            terms = {"absolute": (back - wave).abs().mean(), "spectral": spectral_distance(back, wave)}
            groups.append((wave.numel(), terms if own is None else {**terms, "codec": own.float().mean()}))
            return back

        reconstruction = by_length(reconstruct, given.values, given.mask).values
        weights = {"absolute": 1.0, "spectral": self.config.spectral_weight, "codec": self.config.codec_weight}
        total = sum(size for size, _ in groups)
        terms = {name: weights[name] * sum(size / total * each[name] for size, each in groups) for name in groups[0][1]}
        reconstruction = None if in_pieces else reconstruction
        return LossOutput.of(terms, reconstruction=reconstruction)

    def _reconstruct(self, wave: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The wave there and back, with gradients as far as they pass, and the codec's own loss."""
        kept, choice = self.config.num_codebooks, None
        if kept < getattr(self.codec.config, "n_codebooks", kept):  # DAC hears of it only outside of training
            self.codec.quantizer.eval()
            choice = {"n_quantizers": kept}
        encoded = self._encode_with(wave, choice)
        path = next((name for name in GRADIENT_PATHS if encoded.get(name) is not None), None)
        if path is None:
            codes = self._all_codes(encoded)[:, :kept]
            back = self._wave(codes[:, 0] if kept == 1 else codes)
        else:
            back = self._fitted(self.codec.decode(**{path: encoded[path]}, return_dict=True), encoded[path].shape[-1])
        return back[..., : wave.shape[-1]].float(), encoded.get("loss")
