"""One file a family of generators: priors X→Y′ and decoders Y′→Y."""

from .autoregressive import AutoregressiveGenerator, AutoregressiveGeneratorConfig
from .diffusion import DiffusionGenerator, DiffusionGeneratorConfig

__all__ = [
    "AutoregressiveGenerator",
    "AutoregressiveGeneratorConfig",
    "DiffusionGenerator",
    "DiffusionGeneratorConfig",
]
