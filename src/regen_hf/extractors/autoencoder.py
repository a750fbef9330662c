"""Y′ learned from Y alone: the latents or codes of a diffusers autoencoder."""

import torch
from transformers import PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from ..contracts import ExtractorConfig, PreTrainedExtractor, check_settings
from ..diffusers_module import DiffusersModule, DiffusersModuleConfig
from ..outputs import LossOutput, Representation, RepresentationSpec

KINDS = ("latents", "codes")


class AutoencoderExtractorConfig(ExtractorConfig):
    """
    Args:
        autoencoder_config: the diffusers autoencoder.
        target_shape: the shape of Y, for example `[3, 32, 32]`.
        representation_shape: the shape of Y′, found out by [`AutoencoderExtractor.from_components`].
        kind: `"latents"`, or `"codes"` where the autoencoder quantises.
        num_codes: the size of the codebook, for codes.
        l1_weight: weight of the absolute error beside the squared one.
        kl_weight: weight of the latents' divergence from a unit Gaussian. Latents without a variance of their own
            count as Gaussians of unit variance, which leaves half their square (Ghosh et al., 2020, eq. 4).
        latent_noise: standard deviation of noise that training adds to the latents, so that the decoder bears a
            prior's errors.
    """

    model_type = "regen_autoencoder"
    sub_configs_defaults = {"autoencoder_config": SubConfigSpec(config_class=DiffusersModuleConfig, optional=True)}

    autoencoder_config: dict | PreTrainedConfig | None = None
    target_shape: list[int] | tuple[int, ...] = (3, 32, 32)
    representation_shape: list[int] | tuple[int, ...] = (4, 4, 4)
    kind: str = "latents"
    num_codes: int | None = None
    l1_weight: float = 0.2
    kl_weight: float = 1e-4
    latent_noise: float = 0.0

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.kind not in KINDS:
            raise ValueError(f"`kind` must be one of {', '.join(KINDS)}, got {self.kind!r}.")

    @property
    def target_spec(self) -> RepresentationSpec:
        return RepresentationSpec(tuple(self.target_shape))

    @property
    def representation_spec(self) -> RepresentationSpec:
        return RepresentationSpec(tuple(self.representation_shape), self.num_codes)

    @property
    def can_decode(self) -> bool:
        return True


class AutoencoderExtractor(PreTrainedExtractor):
    """Latents or codes of `AutoencoderKL`, `AutoencoderDC`, `AutoencoderTiny`, `VQModel` and their like.

    What the autoencoder is, is read from what its `encode` gives: a `latent_dist`, `latents` or a `latent`.

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
        self.autoencoder = autoencoder or DiffusersModule(config.autoencoder_config)
        self.post_init()

    @classmethod
    def from_components(
        cls, autoencoder: torch.nn.Module | str, target_shape: tuple[int, ...], kind: str = "latents", **settings
    ) -> "AutoencoderExtractor":
        """
        Args:
            autoencoder: a diffusers autoencoder, or the Hub name or folder of one.
            target_shape: the shape of Y.
            kind: `"latents"` or `"codes"`.
            settings: the other fields of [`AutoencoderExtractorConfig`].

        Raises:
            ValueError: if the autoencoder cannot take that shape, or has no codes where codes are asked for.
        """
        check_settings(AutoencoderExtractorConfig, settings)
        load = DiffusersModule.from_diffusers if isinstance(autoencoder, str) else DiffusersModule.wrap
        shell = load(autoencoder)
        name, net_config = type(shell.net).__name__, shell.net.config
        num_codes = None
        if kind == "codes":
            if not hasattr(shell.net, "quantize"):
                raise ValueError(f"`kind` is 'codes', but {name} does not quantise: it has latents only.")
            num_codes = net_config["num_vq_embeddings"]
        if (channels := net_config.get("in_channels")) != target_shape[0]:
            raise ValueError(f"{name} has in_channels {channels}, but target_shape is {tuple(target_shape)}.")
        config = AutoencoderExtractorConfig(
            autoencoder_config=shell.config.to_dict(),
            target_shape=list(target_shape),
            kind=kind,
            num_codes=num_codes,
            **settings,
        )
        extractor = cls(config, autoencoder=shell)
        config.representation_shape = extractor._probe()
        return extractor

    @torch.no_grad()
    def _probe(self) -> list[int]:
        """The shape of Y′, found by encoding zeros and decoding them again."""
        shape = tuple(self.config.target_shape)
        training = self.training
        self.eval()
        try:
            zeros = torch.zeros(1, *shape, device=self.device, dtype=self.dtype)
            values = self._encode(zeros)
            back = self._decode(values).shape[1:]
        except RuntimeError as error:
            raise ValueError(f"{self._name} cannot take target_shape {shape}: {error}") from error
        finally:
            self.train(training)
        if tuple(back) != shape:
            raise ValueError(
                f"{self._name} cannot take target_shape {shape}: what comes back is {tuple(back)}. Height and width "
                f"must be multiples of what one latent covers, {shape[-1] / values.shape[-1]:.3g} pixels here."
            )
        return list(values.shape[1:])

    @property
    def _name(self) -> str:
        return type(self.autoencoder.net).__name__

    def encode(self, target: torch.Tensor, target_mask: torch.Tensor | None = None) -> Representation:
        """`(batch, *config.target_shape)` to latents or codes; the mean, where the latents are a distribution."""
        if target_mask is not None:
            raise ValueError("`target_mask` is not taken: AutoencoderExtractor reads targets of one size.")
        if tuple(target.shape[1:]) != tuple(self.config.target_shape):
            raise ValueError(
                f"`target` must have the shape (batch, {', '.join(map(str, self.config.target_shape))}), "
                f"got {tuple(target.shape)}."
            )
        return Representation(values=self._encode(target.to(self.dtype)))

    def decode(self, representation: Representation) -> Representation:
        return Representation(values=self._decode(representation.values))

    def _encode(self, target: torch.Tensor) -> torch.Tensor:
        latents, _ = self._latents(target)
        if self.config.kind == "latents":
            return latents
        indices = self.autoencoder.net.quantize(latents)[2][2]
        return indices.reshape(len(latents), *latents.shape[2:])

    def _decode(self, values: torch.Tensor) -> torch.Tensor:
        net = self.autoencoder.net
        if self.config.kind == "latents":
            return net.decode(values.to(self.dtype)).sample
        codebook = net.quantize.embedding.weight
        latents = codebook[values].movedim(-1, 1)
        return net.decode(latents, force_not_quantize=True).sample

    def _latents(self, target: torch.Tensor, sampled: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """The latents, and their divergence from a unit Gaussian, a value for each number."""
        encoded = self.autoencoder.net.encode(target)
        if hasattr(encoded, "latent_dist"):
            posterior = encoded.latent_dist
            latents = posterior.sample() if sampled else posterior.mode()
            return latents, posterior.kl().mean() / latents[0].numel()
        latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent
        return latents, 0.5 * latents.float().square().mean()

    def forward(self, target: torch.Tensor, target_mask: torch.Tensor | None = None) -> LossOutput:
        """The loss of reconstructing `target` `(batch, *config.target_shape)`.

        Squared error, `l1_weight` times the absolute error, and `kl_weight` times the divergence of the latents or,
        where the autoencoder quantises, its commitment loss.
        """
        if target_mask is not None:
            raise ValueError("`target_mask` is not taken: AutoencoderExtractor reads targets of one size.")
        latents, divergence = self._latents(target, sampled=True)
        if self.config.latent_noise:
            latents = latents + self.config.latent_noise * torch.randn_like(latents)
        decoded = self.autoencoder.net.decode(latents)
        reconstruction = decoded.sample.float()
        error = reconstruction - target
        terms = {"squared": error.square().mean(), "absolute": self.config.l1_weight * error.abs().mean()}
        if hasattr(self.autoencoder.net, "quantize"):
            terms["commitment"] = decoded.commit_loss.mean()
        else:
            terms["divergence"] = self.config.kl_weight * divergence
        detached = {name: term.detach() for name, term in terms.items()}
        return LossOutput(loss=sum(terms.values()), terms=detached, reconstruction=reconstruction)
