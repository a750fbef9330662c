"""One file a kind of Y′."""

from .autoencoder import AutoencoderExtractor, AutoencoderExtractorConfig
from .downsample import DownsampleExtractor, DownsampleExtractorConfig
from .identity import IdentityExtractor, IdentityExtractorConfig

__all__ = [
    "AutoencoderExtractor",
    "AutoencoderExtractorConfig",
    "DownsampleExtractor",
    "DownsampleExtractorConfig",
    "IdentityExtractor",
    "IdentityExtractorConfig",
]
