"""One file a kind of data: from what people hold to tensors, and back."""

from .audio import AudioModality
from .base import Modality
from .image import ImageModality, save_sheet
from .label import LabelModality
from .text import TextModality, check_texts

__all__ = ["AudioModality", "ImageModality", "LabelModality", "Modality", "TextModality", "check_texts", "save_sheet"]
