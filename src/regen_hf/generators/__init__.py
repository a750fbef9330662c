"""One file a family of generators: priors X→Y′ and decoders Y′→Y."""

from .autoregressive import AutoregressiveGenerator
from .configuration_autoregressive import AutoregressiveGeneratorConfig
from .diffusion import DiffusionGenerator, DiffusionGeneratorConfig
from .masked import MaskedGenerator, MaskedGeneratorConfig
from .regression import RegressionGenerator, RegressionGeneratorConfig
from .vocoder import VocoderGenerator, VocoderGeneratorConfig

__all__ = [
    "AutoregressiveGenerator",
    "AutoregressiveGeneratorConfig",
    "DiffusionGenerator",
    "DiffusionGeneratorConfig",
    "MaskedGenerator",
    "MaskedGeneratorConfig",
    "RegressionGenerator",
    "RegressionGeneratorConfig",
    "VocoderGenerator",
    "VocoderGeneratorConfig",
]
