"""One file a kind of Y′."""

from .autoencoder import AutoencoderExtractor, AutoencoderExtractorConfig
from .codec import CodecExtractor, CodecExtractorConfig
from .downsample import DownsampleExtractor, DownsampleExtractorConfig
from .encoder import EncoderExtractor, EncoderExtractorConfig
from .identity import IdentityExtractor, IdentityExtractorConfig
from .keywords import KeywordExtractor, KeywordExtractorConfig
from .log_mel import LogMelExtractor, LogMelExtractorConfig
from .phonemes import PhonemeExtractor, PhonemeExtractorConfig
from .text_autoencoder import TextAutoencoderExtractor, TextAutoencoderExtractorConfig

__all__ = [
    "AutoencoderExtractor",
    "AutoencoderExtractorConfig",
    "CodecExtractor",
    "CodecExtractorConfig",
    "DownsampleExtractor",
    "DownsampleExtractorConfig",
    "EncoderExtractor",
    "EncoderExtractorConfig",
    "IdentityExtractor",
    "IdentityExtractorConfig",
    "KeywordExtractor",
    "KeywordExtractorConfig",
    "LogMelExtractor",
    "LogMelExtractorConfig",
    "PhonemeExtractor",
    "PhonemeExtractorConfig",
    "TextAutoencoderExtractor",
    "TextAutoencoderExtractorConfig",
]
