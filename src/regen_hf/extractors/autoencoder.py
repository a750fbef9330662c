"""Y′ learned from Y alone: the latents or codes of a diffusers autoencoder."""

import math
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from ..parts.contracts import ExtractorConfig, PreTrainedExtractor, check_settings
from ..parts.diffusers_module import DiffusersModule, DiffusersModuleConfig, diffusers_class
from ..parts.lengths import by_length
from ..parts.outputs import LossOutput, Representation, RepresentationSpec
from ..parts.pretrained import HubReference, build
from .hosted import autoencoders

KINDS = ("latents", "codes")


class AutoencoderExtractorConfig(ExtractorConfig):
    """
    Args:
        autoencoder_config: the diffusers autoencoder.
        target_shape: the shape of Y, for example `[3, 32, 32]`; `[2, None]` for audio of any length.
        representation_shape: the shape of Y′, determined by [`AutoencoderExtractor.from_components`].
        kind: `"latents"`, or `"codes"` where the autoencoder quantises.
        frame_by_frame: whether an autoencoder of images reads clips `(channels, frames, height, width)`, each frame by
            itself.
        learned_frames: with `frame_by_frame`, how many frames of each clip a training step learns from, drawn at
            random; `None` for all. The frames of a clip are much alike: a few frames of many clips teach more than all
            frames of a few.
        num_codes: the size of the codebook, for codes.
        hop_length: how many samples of audio one latent stands for, determined by `from_components`.
        l1_weight: weight of the absolute error beside the squared one.
        kl_weight: weight of the latents' divergence from a unit Gaussian. Latents without a variance of their own
            count as Gaussians of unit variance, which leaves half their square (Ghosh et al., 2020, eq. 4).
        latent_noise: standard deviation of noise that training adds to the latents, so that the decoder becomes robust
            to the prior's errors.
    """

    model_type = "regen_autoencoder"
    sub_configs_defaults = {"autoencoder_config": SubConfigSpec(config_class=DiffusersModuleConfig, optional=True)}

    autoencoder_config: dict | PreTrainedConfig | None = None
    target_shape: list[int | None] | tuple[int | None, ...] = (3, 32, 32)
    representation_shape: list[int | None] | tuple[int | None, ...] = (4, 4, 4)
    kind: str = "latents"
    frame_by_frame: bool = False
    learned_frames: int | None = None
    num_codes: int | None = None
    hop_length: int | None = None
    l1_weight: float = 0.2
    kl_weight: float = 1e-4
    latent_noise: float = 0.0

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.kind not in KINDS:
            raise ValueError(f"`kind` must be one of {', '.join(KINDS)}, got {self.kind!r}.")
        if self.frame_by_frame and len(self.target_shape) != 4:
            raise ValueError(
                "`frame_by_frame` needs a target_shape (channels, frames, height, width), got "
                f"{tuple(self.target_shape)}."
            )
        if self.learned_frames is not None:
            if not self.frame_by_frame:
                raise ValueError(f"`learned_frames` {self.learned_frames} needs `frame_by_frame`.")
            if not 0 < self.learned_frames <= (self.target_shape[1] or math.inf):
                raise ValueError(
                    f"`learned_frames` must be from 1 to the {self.target_shape[1]} frames of a clip, got "
                    f"{self.learned_frames}."
                )

    @property
    def _described(self) -> dict[str, Any]:
        return (self.autoencoder_config and self.autoencoder_config.module_config) or {}

    @property
    def _sampling_rate(self) -> float | None:
        if self.hop_length is None:
            return None
        return self._described.get("sampling_rate", self._described.get("sample_rate"))

    @property
    def target_spec(self) -> RepresentationSpec:
        return RepresentationSpec(tuple(self.target_shape), rate=self._sampling_rate)

    @property
    def representation_spec(self) -> RepresentationSpec:
        rate = self._sampling_rate and self._sampling_rate / self.hop_length
        return RepresentationSpec(tuple(self.representation_shape), self.num_codes, rate=rate)

    @property
    def can_decode(self) -> bool:
        return True

    @property
    def normalization(self) -> tuple[list[float], list[float]] | None:
        """That of diffusers' pipelines."""
        if self.kind == "codes":
            return None
        return autoencoders.latent_statistics(self._described, self.representation_shape[0])


class AutoencoderExtractor(PreTrainedExtractor):
    """Latents or codes of a diffusers autoencoder of images, audio `(channels, samples)` or video
    `(channels, frames, height, width)`: `AutoencoderKL`, `VQModel`, `AutoencoderOobleck`, `AutoencoderKLWan`, ... With
    `frame_by_frame` an autoencoder of images reads video too: latents are then `(channels, frames, ...)`, codes
    `(frames, ...)`.

    How an autoencoder works is read from the output of its `encode`: a `latent_dist`, `latents`, a `latent`, or
    quantised latents with their codes.

    Example:
        >>> from diffusers import AutoencoderTiny
        >>> tiny = AutoencoderTiny(encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
        ...                        num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1))
        >>> extractor = AutoencoderExtractor.from_components(tiny, target_shape=(3, 16, 16))
        >>> extractor.encode(torch.zeros(2, 3, 16, 16)).values.shape
        torch.Size([2, 4, 8, 8])
    """

    config_class = AutoencoderExtractorConfig
    supports_gradient_checkpointing = True

    def __init__(self, config: AutoencoderExtractorConfig, autoencoder: DiffusersModule | None = None):
        super().__init__(config)
        self.autoencoder = autoencoder or build(config.autoencoder_config, DiffusersModule._from_config)
        self.post_init()

    @classmethod
    def hosts(cls, described: dict) -> bool:
        try:
            found = diffusers_class(described.get("_class_name") or described.get("class_name") or "", "ModelMixin")
        except ValueError:
            return False
        return hasattr(found, "encode") and hasattr(found, "decode")

    @classmethod
    def from_components(
        cls,
        autoencoder: nn.Module | str | HubReference,
        target_shape: tuple[int | None, ...] | None = None,
        kind: str | None = None,
        **settings,
    ) -> "AutoencoderExtractor":
        """
        Args:
            autoencoder: a diffusers autoencoder, or the Hub name, folder or [`HubReference`] of one.
            target_shape: the shape of Y; may be left out where the autoencoder's config says it.
            kind: `"latents"` or `"codes"`; by default latents where there is a way to have them unquantised.
            settings: the other fields of [`AutoencoderExtractorConfig`].

        Raises:
            ValueError: if the autoencoder cannot take that shape, or has no codes where codes are asked for.
        """
        check_settings(cls.config_class, settings)
        shell = DiffusersModule.host(autoencoder)
        kind = kind or ("codes" if hasattr(shell.net, "regularization") else "latents")
        config = cls.config_class(
            autoencoder_config=shell.config.to_dict(),
            target_shape=list(target_shape or autoencoders.usual_shape(shell.net)),
            kind=kind,
            num_codes=autoencoders.codebook_size(shell.net) if kind == "codes" else None,
            hop_length=getattr(shell.net, "hop_length", None),
            **settings,
        )
        extractor = cls(config, autoencoder=shell)
        config.representation_shape = extractor._probe()
        return extractor.checked().eval()

    @torch.no_grad()
    def _probe(self) -> list[int | None]:
        """The shape of Y′, found by encoding zeros and decoding them again."""
        shape, training = tuple(self.config.target_shape), self.training
        if None in shape and (None in shape[:-1] or self.config.hop_length is None):
            raise ValueError(f"{self._name} cannot take target_shape {shape}: only audio may last for any time.")
        tried = tuple(4 * self.config.hop_length if size is None else size for size in shape)
        self.eval()
        try:
            values = self._encode(torch.zeros(1, *tried, device=self.device, dtype=self.dtype))
            back = tuple(self._decode(values).shape[1:])
        except (RuntimeError, ValueError, AssertionError, IndexError) as error:
            raise ValueError(f"{self._misfit(shape)}: {error}") from error
        finally:
            self.train(training)
        if back != tried:
            raise ValueError(
                f"{self._misfit(shape)}: what comes back is {back}. Its sizes must be multiples of what one latent "
                f"covers, {tried[-1] / values.shape[-1]:.3g} here, or for the frames of a video often one more."
            )
        sizes = list(values.shape[1:])
        return [*sizes[:-1], None] if shape[-1] is None else sizes

    def _misfit(self, shape: tuple[int | None, ...]) -> str:
        described, field = self.autoencoder.net.config, autoencoders.channels_field(self.autoencoder.net)
        if field and described[field] != shape[0] and described.get("out_channels") != shape[0]:
            return f"{self._name} has {field} {described[field]}, but target_shape is {shape}"
        return f"{self._name} cannot take target_shape {shape}"

    @property
    def _name(self) -> str:
        return type(self.autoencoder.net).__name__

    def encode(self, target: torch.Tensor, target_mask: torch.Tensor | None = None) -> Representation:
        """`(batch, *config.target_shape)` to latents or codes; the mean, where the latents are a distribution.

        Audio is padded to whole latents; with `target_mask` `(batch, samples)`, each length by itself.
        """
        self._check(target, target_mask)
        if self.config.target_shape[-1] is None:
            return by_length(self._encode, target.to(self.dtype), target_mask)
        return Representation(values=self._encode(target.to(self.dtype)))

    def decode(self, representation: Representation) -> Representation:
        mask = representation.mask
        if mask is not None and mask.ndim == 2:
            return by_length(self._decode, representation.values, mask, empty=True)
        made = self._decode(representation.values)
        if mask is None or mask.all():
            return Representation(made)
        real = mask.flatten(1).any(1)  # of one size, so a row is there or it is empty
        return Representation(made, real.view(-1, *[1] * (made.ndim - 2)).expand(-1, *made.shape[2:]))

    def _check(self, target: torch.Tensor, mask: torch.Tensor | None) -> None:
        shape = tuple(self.config.target_shape)
        if mask is not None and shape[-1] is not None and not mask.all():
            raise ValueError("`target_mask` has padding, but AutoencoderExtractor reads targets of one size.")
        if len(shape) != target.ndim - 1 or any(
            size not in (None, given) for size, given in zip(shape, target.shape[1:], strict=True)
        ):
            raise ValueError(
                f"`target` must have the shape (batch, {', '.join(map(str, shape))}), got {tuple(target.shape)}."
            )

    def _encode(self, target: torch.Tensor) -> torch.Tensor:
        latents, codes, _ = self._latents(target)
        if self.config.kind == "latents":
            return self._unfolded(latents, target)
        if codes is None:
            codes = autoencoders.quantize(self.autoencoder.net, latents)
        codes = codes.long()
        return codes.unflatten(0, (len(target), -1)) if self.config.frame_by_frame else codes

    def _decode(self, values: torch.Tensor) -> torch.Tensor:
        if self.config.kind == "latents":
            decoded = self.autoencoder.net.decode(self._folded(values).to(self.dtype))
            return self._unfolded(autoencoders.sample_of(decoded), values)
        codes = values.flatten(0, 1) if self.config.frame_by_frame else values
        return self._unfolded(autoencoders.decode_codes(self.autoencoder.net, codes, self.dtype), values)

    def _folded(self, clips: torch.Tensor) -> torch.Tensor:
        """The frames of clips `(batch, channels, frames, ...)` as pictures, where they are read one by one."""
        return clips.movedim(2, 1).flatten(0, 1) if self.config.frame_by_frame else clips

    def _unfolded(self, pictures: torch.Tensor, clips: torch.Tensor) -> torch.Tensor:
        """Pictures as the frames of as many clips as there are."""
        return pictures.unflatten(0, (len(clips), -1)).movedim(1, 2) if self.config.frame_by_frame else pictures

    def _latents(self, target: torch.Tensor, sampled: bool = False):
        """As `hosted.autoencoders.encode` gives them, of pictures for clips and of audio in whole latents."""
        target = self._folded(target)
        if self.config.target_shape[-1] is None:
            target = nn.functional.pad(target, (0, -target.shape[-1] % self.config.hop_length))
        return autoencoders.encode(self.autoencoder.net, target, sampled)

    def forward(self, target: torch.Tensor, target_mask: torch.Tensor | None = None) -> LossOutput:
        """The loss of reconstructing `target` `(batch, *config.target_shape)`.

        Squared error, `l1_weight` times the absolute error, and `kl_weight` times the divergence of the latents or,
        where the autoencoder quantises, its commitment loss if it has one.
        """
        self._check(target, target_mask)
        whole = target
        if self.training and self.config.learned_frames:
            target, target_mask = self._some_frames(target, target_mask)
        regularisers: list[tuple[int, str, torch.Tensor]] = []

        def reconstruct(part: torch.Tensor) -> torch.Tensor:
            latents, codes, divergence = self._latents(part.to(self.dtype), sampled=True)
            if self.config.latent_noise:
                latents = latents + self.config.latent_noise * torch.randn_like(latents)
            decoded = self.autoencoder.net.decode(latents)
            if getattr(decoded, "commit_loss", None) is not None:
                regularisers.append((len(part), "commitment", decoded.commit_loss.mean()))
            elif codes is None:
                regularisers.append((len(part), "divergence", self.config.kl_weight * divergence))
            return self._unfolded(autoencoders.sample_of(decoded), part)[..., : part.shape[-1]].float()

        varies = self.config.target_shape[-1] is None
        reconstruction = by_length(reconstruct, target, target_mask if varies else None).values
        error = reconstruction - target
        if target_mask is not None:
            error = error.movedim(1, -1)[target_mask]
        terms = {"squared": error.square().mean(), "absolute": self.config.l1_weight * error.abs().mean()}
        for rows, name, term in regularisers:
            terms[name] = terms.get(name, 0.0) + rows / len(target) * term
        learned = None if target is whole else target
        return LossOutput.of(terms, reconstruction=reconstruction, reconstruction_target=learned)

    def _some_frames(self, clips: torch.Tensor, mask: torch.Tensor | None):
        """`learned_frames` of each clip `(batch, channels, frames, height, width)`, and of its mask."""
        order = torch.rand(len(clips), clips.shape[2], device=clips.device).argsort(1)[:, : self.config.learned_frames]
        row = torch.arange(len(clips), device=clips.device)[:, None]
        return clips.movedim(2, 1)[row, order].movedim(1, 2), None if mask is None else mask[row, order]
