"""One file a kind of Y′: models that learn it from Y alone or are pretrained, and, in a room of their own, rules.

May import parts, modalities and speech.
"""

from .autoencoder import AutoencoderExtractor, AutoencoderExtractorConfig
from .codec import CodecExtractor, CodecExtractorConfig
from .encoder import EncoderExtractor, EncoderExtractorConfig
from .rules.downsample import DownsampleExtractor, DownsampleExtractorConfig
from .rules.harmony import HarmonyExtractor, HarmonyExtractorConfig
from .rules.identity import IdentityExtractor, IdentityExtractorConfig
from .rules.keywords import KeywordExtractor, KeywordExtractorConfig
from .rules.log_mel import LogMelExtractor, LogMelExtractorConfig
from .rules.phonemes import PhonemeExtractor, PhonemeExtractorConfig
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
