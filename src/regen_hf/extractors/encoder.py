"""Y′ by a pretrained encoder, with no way back: its features, or the units that these are nearest to."""

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.configuration_utils import SubConfigSpec
from transformers.models.auto.configuration_auto import CONFIG_MAPPING, AutoConfig

from ..parts.contracts import ExtractorConfig, PreTrainedExtractor, check_settings
from ..parts.lengths import by_length
from ..parts.outputs import LossOutput, Representation, RepresentationSpec
from ..parts.pretrained import HubReference
from .hosted.encoders import KINDS, encoder_class, image_part, load_encoder, name_of, new_encoder, preprocessing
from .quantization import k_means, nearest


class EncoderExtractorConfig(ExtractorConfig):
    """
    Args:
        encoder_config: the transformers encoder.
        kind: what it reads: `"image"`, `"audio"` or `"text"`.
        feature_shape: the shape of its features, determined by [`EncoderExtractor.from_components`].
        layer: which of the hidden states; the last one if `None`.
        pooled: whether the features are one vector.
        num_codes: the number of units; `None` for the features themselves.
        image_mean, image_std: the mean and standard deviation of each channel by which images in [0, 1] are normalised.
        image_size: height and width at which images are read; the encoder's own if `None`.
        sampling_rate: samples of a wave per second.
        do_normalize: whether each wave is normalised to mean 0 and variance 1.
    """

    model_type = "regen_encoder"
    sub_configs_defaults = {"encoder_config": SubConfigSpec(config_class=AutoConfig, model_type="vit", optional=True)}

    encoder_config: dict | PreTrainedConfig | None = None
    kind: str = "image"
    feature_shape: list[int | None] | tuple[int | None, ...] = (768, 14, 14)
    layer: int | None = None
    pooled: bool = False
    num_codes: int | None = None
    image_mean: list[float] | tuple[float, ...] = (0.5, 0.5, 0.5)
    image_std: list[float] | tuple[float, ...] = (0.5, 0.5, 0.5)
    image_size: int | None = None
    sampling_rate: int = 16000
    do_normalize: bool = False

    @property
    def target_spec(self) -> RepresentationSpec:
        if self.kind == "text":
            return RepresentationSpec((None,), self.encoder_config.vocab_size)
        if self.kind == "audio":
            return RepresentationSpec((1, None), rate=self.sampling_rate)
        return RepresentationSpec((3, None, None))

    @property
    def representation_spec(self) -> RepresentationSpec:
        width, *places = self.feature_shape
        shape = (width, *places) if self.num_codes is None else tuple(places)
        lasts = self.kind == "audio" and not self.pooled
        rate = self.sampling_rate / math.prod(self.encoder_config.conv_stride) if lasts else None
        return RepresentationSpec(shape, self.num_codes, rate=rate)

    @property
    def frame(self) -> int:
        """How many samples the first frame of a wave takes."""
        field = 1
        pairs = zip(self.encoder_config.conv_kernel, self.encoder_config.conv_stride, strict=True)
        for kernel, stride in reversed(list(pairs)):
            field = (field - 1) * stride + kernel
        return field


class EncoderExtractor(PreTrainedExtractor):
    """Features of `CLIPVisionModel`, `Dinov2Model`, `HubertModel`, `BertModel` and their like, which stay as they are.

    An image, from -1 to 1 and of any square size, becomes a grid of vectors; a wave or token ids become a sequence of
    them. `pooled` gives one vector instead: the projection; else the pooled output, unless it comes from a layer of a
    pretraining task, as in BERT; else the mean. With `num_codes` each vector becomes the number of the nearest unit:
    [`EncoderExtractor.fit_units`] finds so many cluster centres by k-means, as for HuBERT (Hsu et al., 2021).

    Example:
        >>> from transformers import ViTConfig
        >>> tiny = ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        ...                  image_size=16, patch_size=4)
        >>> extractor = EncoderExtractor.from_components(tiny)
        >>> extractor.encode(torch.zeros(2, 3, 32, 32)).values.shape
        torch.Size([2, 8, 4, 4])
    """

    config_class = EncoderExtractorConfig

    def __init__(self, config: EncoderExtractorConfig, encoder: PreTrainedModel | None = None):
        super().__init__(config)
        self.encoder = encoder or new_encoder(config.encoder_config)
        if config.num_codes is not None:
            self.centroids = nn.Buffer(torch.zeros(config.num_codes, config.feature_shape[0]))
            self.fitted = nn.Buffer(torch.tensor(False))
        self.post_init()

    @classmethod
    def hosts(cls, described: dict) -> bool:
        kind = described.get("model_type")
        if kind not in CONFIG_MAPPING:
            return False
        return encoder_class(image_part(CONFIG_MAPPING[kind].from_dict(described), False)) is not None

    @classmethod
    def from_components(
        cls,
        encoder: str | HubReference | PreTrainedModel | PreTrainedConfig,
        layer: int | None = None,
        pooled: bool = False,
        num_codes: int | None = None,
        **settings,
    ) -> "EncoderExtractor":
        """
        Args:
            encoder: a transformers encoder by name or reference, live, or new from a config. How it takes images or
                waves is read from the preprocessor_config.json at its name, if there is one.
            layer: which of the hidden states; the last one if `None`.
            pooled: whether the features are one vector.
            num_codes: the number of units, for codes.
            settings: the other fields of [`EncoderExtractorConfig`].

        Raises:
            ValueError: if the model is no encoder, or has no such layer.
        """
        check_settings(cls.config_class, settings)

        if not settings.keys() & {"image_mean", "do_normalize"}:
            settings = {**preprocessing(encoder), **settings}
        encoder = load_encoder(encoder, pooled)
        config = cls.config_class(
            encoder_config=encoder.config.to_dict(), kind=KINDS[encoder.main_input_name], layer=layer, pooled=pooled,
            **settings,
        )  # fmt: skip
        config.feature_shape = cls(config, encoder=encoder)._probe()
        config.num_codes = num_codes
        return cls(config, encoder=encoder).checked().eval()

    @torch.no_grad()
    def _probe(self) -> list[int | None]:
        """The shape of the features, found by encoding silence, black or the first token."""
        sizes = {"image": (1, 3, self._image_size, self._image_size), "audio": (1, 1, self.config.sampling_rate)}
        blank = torch.zeros(sizes.get(self.config.kind, (1, 1)), device=self.device)
        shape = list(self._features(blank.long() if self.config.kind == "text" else blank).shape[1:])
        return shape if self.config.pooled or self.config.kind == "image" else [shape[0], None]

    def encode(self, target: torch.Tensor, target_mask: torch.Tensor | None = None) -> Representation:
        """Images `(batch, 3, size, size)`, waves `(batch, 1, samples)` or token ids `(batch, length)` to features.

        Features are `(batch, width, …)`, a grid for images and a sequence otherwise, or `(batch, width)` if pooled;
        units are as the features are, without the width.
        """
        if self.config.num_codes is None:
            return self.features(target, target_mask)
        if not self.fitted:
            raise ValueError(f"{type(self).__name__} has no units yet: find {self.config.num_codes} by `fit_units`.")
        features = self.features(target, target_mask)
        codes = nearest(features.values.movedim(1, -1), self.centroids)
        return Representation(codes if features.mask is None else codes * features.mask, features.mask)

    def features(self, target: torch.Tensor, target_mask: torch.Tensor | None = None) -> Representation:
        """As `encode`, but always the features themselves."""
        self._check(target)
        if target_mask is not None and self.config.kind == "image":
            raise ValueError("`target_mask` is not taken: images are read as a whole.")
        features = by_length(self._features, target, target_mask)
        return Representation(features.values) if self.config.pooled else features

    @torch.no_grad()
    def fit_units(self, targets: Iterable[torch.Tensor | tuple[torch.Tensor, torch.Tensor]], seed: int = 0) -> None:
        """Finds the units by k-means, on batch after batch of Y or of (Y, mask).

        Raises:
            ValueError: if there are fewer features than units.
        """
        if self.config.num_codes is None:
            raise ValueError("`num_codes` is None: there are no units to find.")
        self.centroids.copy_(k_means(map(self._vectors, targets), self.config.num_codes, seed))
        self.fitted.fill_(True)

    def _vectors(self, batch: torch.Tensor | tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """The features of a batch of Y, or of (Y, mask), that are no padding, `(rows, width)`."""
        features = self.features(*batch) if isinstance(batch, tuple | list) else self.features(batch)
        vectors = features.values.movedim(1, -1)
        return vectors.flatten(0, -2) if features.mask is None else vectors[features.mask]

    @property
    def _image_size(self) -> int:
        size = self.config.image_size or getattr(self.config.encoder_config, "image_size", 224)
        return size if isinstance(size, int) else size[0]

    def _check(self, target: torch.Tensor) -> None:
        dims, first = {"image": (4, 3), "audio": (3, 1), "text": (2, None)}[self.config.kind]
        if target.dim() != dims or first not in (None, target.shape[1]):
            wanted = {4: "(batch, 3, size, size)", 3: "(batch, 1, samples)", 2: "(batch, length)"}[dims]
            raise ValueError(f"`target` must be {self.config.kind} {wanted}, got {tuple(target.shape)}.")
        if self.config.kind == "image" and not target.shape[-1] == target.shape[-2] > 0:
            raise ValueError(f"`target` must be square images, got {tuple(target.shape)}.")
        if self.config.kind == "text":
            vocabulary = self.config.encoder_config.vocab_size
            if target.is_floating_point() or ((target < 0) | (target >= vocabulary)).any():
                raise ValueError(f"`target` must be token ids from 0 to {vocabulary - 1}.")
        if not torch.isfinite(target).all():
            raise ValueError("`target` has values that are NaN or infinite.")

    def _features(self, target: torch.Tensor) -> torch.Tensor:
        """The features of a batch without padding, channels first."""
        output = self.encoder(
            **{self.encoder.main_input_name: self._as_read(target)},
            output_hidden_states=self.config.layer is not None,
            return_dict=True,
        )
        states = output.last_hidden_state if self.config.layer is None else self._layer(output.hidden_states)
        if self.config.pooled and self.config.layer is None:
            for name in ("image_embeds", "text_embeds") + ("pooler_output",) * (not hasattr(self.encoder, "pooler")):
                if output.get(name) is not None:
                    return output[name].flatten(1)
        states = self._places(states)
        return states.flatten(2).mean(-1) if self.config.pooled else states

    def _layer(self, hidden_states: tuple[torch.Tensor, ...]) -> torch.Tensor:
        if not -len(hidden_states) <= self.config.layer < len(hidden_states):
            raise ValueError(
                f"`layer` must be 0 to {len(hidden_states) - 1} for {name_of(self.encoder)}, got {self.config.layer}."
            )
        return hidden_states[self.config.layer]

    def _places(self, states: torch.Tensor) -> torch.Tensor:
        """Channels first; those of images as a grid, without the tokens before it that stand for no place."""
        if states.dim() == 4:
            return states
        states = states.transpose(1, 2)
        if self.config.kind != "image":
            return states
        patch, length = getattr(self.config.encoder_config, "patch_size", None), states.shape[-1]
        side = self._image_size // patch if isinstance(patch, int) else length
        side = side if side**2 <= length else math.isqrt(length)
        return states[..., length - side**2 :].unflatten(-1, (side, side))

    def _as_read(self, target: torch.Tensor) -> torch.Tensor:
        """Y as the encoder takes it."""
        if self.config.kind == "text":
            if target.shape[-1] == 0:
                raise ValueError("`target` has 0 token ids, but takes at least one.")
            return target
        target = target.float()
        if self.config.kind == "audio":
            if target.shape[-1] < self.config.frame:
                raise ValueError(f"`target` has {target.shape[-1]} samples, but one frame takes {self.config.frame}.")
            wave = target[:, 0]
            variance, mean = torch.var_mean(wave, dim=-1, keepdim=True, correction=0)
            return ((wave - mean) / (variance + 1e-7).sqrt() if self.config.do_normalize else wave).to(self.dtype)
        size = (self._image_size,) * 2
        if target.shape[2:] != size:
            target = F.interpolate(target, size, mode="bicubic", antialias=True).clamp(-1, 1)
        mean, std = (target.new_tensor(each).view(-1, 1, 1) for each in (self.config.image_mean, self.config.image_std))
        return (((target + 1) / 2 - mean) / std).to(self.dtype)

    def forward(self, target: torch.Tensor, target_mask: torch.Tensor | None = None) -> LossOutput:
        raise NotImplementedError(f"{type(self).__name__} is frozen and has nothing to learn.")

    @property
    def is_trainable(self) -> bool:
        return False
