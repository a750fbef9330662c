"""How far apart two images look to a pretrained vision backbone."""

from collections.abc import Sequence

import torch
from torch import nn
from transformers import AutoConfig, ImageProcessingMixin, PreTrainedModel
from transformers.backbone_utils import BackboneMixin
from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ..parts.foreign_files import check_files
from ..parts.outputs import LossOutput
from ..parts.pretrained import check_finite
from .base import check_images, check_weight


class PerceptualLoss(nn.Module):
    """Distance between the features that a frozen backbone sees in two images (Johnson et al., 2016).

    Features are scaled to unit length along their channels, and the squared length of their difference is averaged
    over space: Zhang et al. (2018), eq. 1, without learned weights. Stages are averaged too and not summed, so that a
    weight means the same to a backbone of 5 stages as to one of 13.

    Args:
        backbone: the Hub name or folder of a model that transformers has a backbone of ("microsoft/resnet-50",
            "facebook/convnext-tiny-224", "facebook/dinov2-base"), of which every stage is compared; or a live
            backbone, of which the stages in its `out_features` are. It is frozen, a live one in place. Those that cut
            images into patches leave out what is beyond the last whole one.
        weight: of this loss among others.
        image_mean, image_std: of each channel, of images in [0, 1]; by default those of the image processor that the
            name has, else those of ImageNet.

    Raises:
        TypeError: if `backbone` is neither a name nor a backbone.
        ValueError: if the name's model has no backbone, or lacks weights; if the mean or deviation are not three.
        OSError: if the name has no safetensors.

    Example:
        >>> from transformers import ResNetBackbone, ResNetConfig
        >>> config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], out_indices=[0, 2])
        >>> loss = PerceptualLoss(ResNetBackbone(config), weight=0.5)
        >>> image = torch.rand(2, 3, 16, 16) * 2 - 1
        >>> loss(image, image).loss
        tensor(0.)
        >>> bool(loss(-image, image).loss > 0)
        True
    """

    def __init__(
        self,
        backbone: str | PreTrainedModel,
        weight: float = 0.1,
        image_mean: Sequence[float] | None = None,
        image_std: Sequence[float] | None = None,
    ):
        super().__init__()
        if not isinstance(backbone, str | BackboneMixin):
            raise TypeError(
                f"`backbone` must be a name or a transformers backbone, such as AutoBackbone gives, got "
                f"{type(backbone).__name__}."
            )
        check_weight(weight)
        by_name = isinstance(backbone, str)
        mean, std = _image_statistics(backbone) if by_name else (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
        self.register_buffer("image_mean", _per_channel("image_mean", mean if image_mean is None else image_mean))
        self.register_buffer("image_std", _per_channel("image_std", std if image_std is None else image_std))
        self.weight = weight
        self.backbone = (_load_backbone(backbone) if by_name else backbone).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "PerceptualLoss":
        """The backbone stays as it is in use, with the statistics of its normalisation and without dropout."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, reconstruction: torch.Tensor, target: torch.Tensor) -> LossOutput:
        """The weighted distance; its gradient reaches `reconstruction` alone.

        Args:
            reconstruction, target: `(batch, 3, height, width)`, float in [-1, 1].

        Raises:
            ValueError: if they are not that, or of a size that the backbone cannot take.
        """
        check_images(reconstruction, target, channels=3)
        with torch.no_grad():
            wanted = self._features(target)
        distances = [
            (one - other).square().sum(1).mean()
            for one, other in zip(self._features(reconstruction), wanted, strict=True)
        ]
        loss = self.weight * torch.stack(distances).mean()
        return LossOutput.of({"perceptual": loss})

    def _features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Feature maps `(batch, channels, height, width)` of unit length along their channels, in float32."""
        pixels = ((images.float() + 1) / 2 - self.image_mean.float()) / self.image_std.float()
        name, size = type(self.backbone).__name__, " by ".join(map(str, images.shape[2:]))
        try:
            maps = self.backbone(pixels.to(self.backbone.dtype)).feature_maps
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise ValueError(f"{name} cannot take images of {size} pixels: {error}") from error
        if any(features.ndim != 4 for features in maps):
            raise ValueError(f"`backbone` must give maps (batch, channels, height, width), which {name} does not.")
        return [_unit(features.float()) for features in maps]


def _unit(features: torch.Tensor) -> torch.Tensor:
    # inside the root, so that features of zero have a gradient
    return features * (features.square().sum(1, keepdim=True) + 1e-8).rsqrt()


def _per_channel(name: str, values: Sequence[float]) -> torch.Tensor:
    tensor = torch.tensor(values, dtype=torch.float32)
    if tensor.shape != (3,):
        raise ValueError(f"`{name}` must be 3 numbers, got {values}.")
    return tensor.view(1, 3, 1, 1)


def _load_backbone(name: str) -> PreTrainedModel:
    """A backbone by Hub name or folder, with every stage."""
    check_files(name)
    # AutoBackbone asks the Hub even about a folder
    config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    if type(config) not in MODEL_FOR_BACKBONE_MAPPING:
        raise ValueError(f"`backbone` is '{name}', but transformers has no backbone for {type(config).__name__}.")
    config.out_features = list(config.stage_names)
    backbone, info = MODEL_FOR_BACKBONE_MAPPING[type(config)].from_pretrained(
        name, config=config, dtype=torch.float32, use_safetensors=True, output_loading_info=True
    )
    # norms that only a backbone has start as the identity; what else is missing was drawn at random
    tensors = backbone.state_dict()
    if missing := sorted(key for key in info["missing_keys"] if tensors[key].min() != tensors[key].max()):
        raise ValueError(f"`backbone` is '{name}', which lacks {len(missing)} weights, such as {missing[0]}.")
    check_finite(backbone, name)
    return backbone


def _image_statistics(name: str) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation that the image processor beside a model takes, else those of ImageNet."""
    try:
        settings, _ = ImageProcessingMixin.get_image_processor_dict(name)
    except OSError:
        settings = {}
    if settings.get("do_normalize") is False:
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return settings.get("image_mean", IMAGENET_DEFAULT_MEAN), settings.get("image_std", IMAGENET_DEFAULT_STD)
