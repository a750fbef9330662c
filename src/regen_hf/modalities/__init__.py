"""One file a kind of data: from what people hold to tensors, and back."""

from .base import Modality
from .image import ImageModality
from .label import LabelModality
from .text import TextModality

__all__ = ["ImageModality", "LabelModality", "Modality", "TextModality"]
