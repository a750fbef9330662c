"""One file a loss that an extractor may learn from beside its own.

May import parts.
"""

from .adversarial import AdversarialLoss
from .combined import ExtractorWithLosses
from .perceptual import PerceptualLoss

__all__ = ["AdversarialLoss", "ExtractorWithLosses", "PerceptualLoss"]
