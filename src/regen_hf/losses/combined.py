"""An extractor that learns from its own loss and from others."""

from collections.abc import Sequence

import torch
from torch import nn

from ..parts.contracts import PreTrainedExtractor
from ..parts.outputs import LossOutput


class ExtractorWithLosses(nn.Module):
    """An extractor together with further losses, to be trained in its place: it shares the extractor's parameters.

    Args:
        extractor: one whose `forward` gives a `reconstruction`.
        losses: modules with `forward(reconstruction, target) -> LossOutput`, such as [`PerceptualLoss`] and
            [`AdversarialLoss`]. Parameters of theirs that require a gradient are to be trained with the extractor's.

    Raises:
        TypeError: if `extractor` is none.

    Example:
        >>> from diffusers import AutoencoderTiny
        >>> from regen_hf import AutoencoderExtractor
        >>> from regen_hf.losses import AdversarialLoss
        >>> tiny = AutoencoderTiny(encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
        ...                        num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1))
        >>> extractor = AutoencoderExtractor.from_components(tiny, target_shape=(3, 16, 16))
        >>> module = ExtractorWithLosses(extractor, [AdversarialLoss(width=8, num_layers=2)])
        >>> list(module(torch.zeros(2, 3, 16, 16)).terms)
        ['squared', 'absolute', 'divergence', 'adversarial', 'discriminator']
    """

    def __init__(self, extractor: PreTrainedExtractor, losses: Sequence[nn.Module]):
        super().__init__()
        if not isinstance(extractor, PreTrainedExtractor):
            raise TypeError(f"`extractor` must be a PreTrainedExtractor, got {type(extractor).__name__}.")
        self.extractor = extractor
        self._no_split_modules = extractor._no_split_modules  # which sharding looks for
        self.losses = nn.ModuleList(losses)

    def forward(self, target: torch.Tensor, target_mask: torch.Tensor | None = None) -> LossOutput:
        """The extractor's loss plus the others'; a term whose name is taken gets a number, as in `perceptual_2`.

        Args:
            target: `(batch, *config.target_spec.shape)`.
            target_mask: for the extractor; the other losses are measured on padding too.

        Raises:
            ValueError: if the extractor gives no reconstruction.
        """
        own = self.extractor(target=target, target_mask=target_mask)
        if own.reconstruction is None:
            raise ValueError(
                f"`extractor` must give a reconstruction for further losses, but the forward of "
                f"{type(self.extractor).__name__} gives none."
            )
        loss, terms = own.loss, dict(own.terms or {})
        learned = own.reconstruction_target
        wanted = target if learned is None else learned
        for further in self.losses:
            output = further(own.reconstruction, wanted)
            loss = loss + output.loss
            for name, term in output.terms.items():
                terms[_free(name, terms)] = term
        return LossOutput(loss=loss, terms=terms, reconstruction=own.reconstruction, reconstruction_target=learned)

    @property
    def supports_gradient_checkpointing(self) -> bool:
        """Whether the extractor does."""
        return self.extractor.supports_gradient_checkpointing

    def activation_checkpointing_enable(self) -> None:
        """As the extractor's."""
        self.extractor.activation_checkpointing_enable()

    def activation_checkpointing_disable(self) -> None:
        """As the extractor's."""
        self.extractor.activation_checkpointing_disable()


def _free(name: str, taken: dict) -> str:
    """The name, with the next number where it is taken."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free
