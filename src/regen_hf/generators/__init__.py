"""One room a family of generators: priors X→Y′ and decoders Y′→Y.

May import parts and speech.
"""

from .autoregressive.autoregressive import AutoregressiveGenerator
from .autoregressive.configuration_autoregressive import AutoregressiveGeneratorConfig
from .diffusion.aligned_diffusion import AlignedDiffusionGenerator, AlignedDiffusionGeneratorConfig
from .diffusion.diffusion import DiffusionGenerator, DiffusionGeneratorConfig
from .parallel.ctc import CTCGenerator, CTCGeneratorConfig
from .parallel.masked import MaskedGenerator, MaskedGeneratorConfig
from .parallel.regression import RegressionGenerator, RegressionGeneratorConfig
from .waves.griffin_lim import GriffinLimGenerator, GriffinLimGeneratorConfig
from .waves.inverse_stft import InverseSTFTGenerator, InverseSTFTGeneratorConfig
from .waves.vocoder import VocoderGenerator, VocoderGeneratorConfig

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
