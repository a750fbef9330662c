"""One file a kind of data: from examples as people have them to tensors, and back.

May import parts and speech.
"""

from .audio import AudioModality
from .base import Modality
from .combination import CombinedModality
from .image import ImageModality, save_sheet
from .label import LabelModality
from .phoneme import PhonemeModality
from .score import ScoreModality
from .text import TextModality, check_texts
from .video import VideoModality, save_video

__all__ = [
    "AudioModality",
    "CombinedModality",
    "ImageModality",
    "LabelModality",
    "Modality",
    "PhonemeModality",
    "ScoreModality",
    "TextModality",
    "VideoModality",
    "check_texts",
    "save_sheet",
    "save_video",
]
