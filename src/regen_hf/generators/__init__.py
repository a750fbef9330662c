"""One file a family of generators: priors X→Y′ and decoders Y′→Y."""

from .aligned_diffusion import AlignedDiffusionGenerator, AlignedDiffusionGeneratorConfig
from .autoregressive import AutoregressiveGenerator
from .configuration_autoregressive import AutoregressiveGeneratorConfig
from .ctc import CTCGenerator, CTCGeneratorConfig
from .diffusion import DiffusionGenerator, DiffusionGeneratorConfig
from .griffin_lim import GriffinLimGenerator, GriffinLimGeneratorConfig
from .inverse_stft import InverseSTFTGenerator, InverseSTFTGeneratorConfig
from .masked import MaskedGenerator, MaskedGeneratorConfig
from .regression import RegressionGenerator, RegressionGeneratorConfig
from .vocoder import VocoderGenerator, VocoderGeneratorConfig

__all__ = [
    "AlignedDiffusionGenerator",
    "AlignedDiffusionGeneratorConfig",
    "AutoregressiveGenerator",
    "AutoregressiveGeneratorConfig",
    "CTCGenerator",
    "CTCGeneratorConfig",
    "DiffusionGenerator",
    "DiffusionGeneratorConfig",
    "GriffinLimGenerator",
    "GriffinLimGeneratorConfig",
    "InverseSTFTGenerator",
    "InverseSTFTGeneratorConfig",
    "MaskedGenerator",
    "MaskedGeneratorConfig",
    "RegressionGenerator",
    "RegressionGeneratorConfig",
    "VocoderGenerator",
    "VocoderGeneratorConfig",
]
