"""One file a kind of Y′: rules, and models that learn it from Y alone or are pretrained.

May import parts, modalities and speech.
"""

from .autoencoder import AutoencoderExtractor, AutoencoderExtractorConfig
from .codec import CodecExtractor, CodecExtractorConfig
from .downsample import DownsampleExtractor, DownsampleExtractorConfig
from .encoder import EncoderExtractor, EncoderExtractorConfig
from .harmony import HarmonyExtractor, HarmonyExtractorConfig
from .identity import IdentityExtractor, IdentityExtractorConfig
from .keywords import KeywordExtractor, KeywordExtractorConfig
from .log_mel import LogMelExtractor, LogMelExtractorConfig
from .phonemes import PhonemeExtractor, PhonemeExtractorConfig
from .token_autoencoder import TokenAutoencoderExtractor, TokenAutoencoderExtractorConfig

__all__ = [
    "AutoencoderExtractor",
    "AutoencoderExtractorConfig",
    "CodecExtractor",
    "CodecExtractorConfig",
    "DownsampleExtractor",
    "DownsampleExtractorConfig",
    "EncoderExtractor",
    "EncoderExtractorConfig",
    "HarmonyExtractor",
    "HarmonyExtractorConfig",
    "IdentityExtractor",
    "IdentityExtractorConfig",
    "KeywordExtractor",
    "KeywordExtractorConfig",
    "LogMelExtractor",
    "LogMelExtractorConfig",
    "PhonemeExtractor",
    "PhonemeExtractorConfig",
    "TokenAutoencoderExtractor",
    "TokenAutoencoderExtractorConfig",
]
