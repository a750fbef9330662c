"""All parts of a regenerator trained at once."""

import torch
from torch import nn

from ..modeling_regeneration import RegenerationModel
from ..parts.outputs import LossOutput


class JointModel(nn.Module):
    """All parts at once: each learns its own loss, the prior and the decoder on what the extractor gives now."""

    supports_gradient_checkpointing = True

    def __init__(self, model: RegenerationModel):
        super().__init__()
        self.model = model
        self._no_split_modules = model._no_split_modules  # which sharding looks for
        self.learns_extractor = any(p.requires_grad for p in model.extractor.parameters())

    def forward(self, target: torch.Tensor, target_mask: torch.Tensor | None = None, **source) -> LossOutput:
        masked = {} if target_mask is None else {"target_mask": target_mask}
        output = self.model(target=target, **masked, **source)
        if not self.learns_extractor:
            return output
        own = self.model.extractor(target=target, **masked)
        terms = {f"extractor_{name}": term for name, term in (own.terms or {}).items()}
        return LossOutput(loss=output.loss + own.loss, terms={**(output.terms or {}), **terms})

    def activation_checkpointing_enable(self) -> None:
        """As the regenerator's."""
        self.model.activation_checkpointing_enable()

    def activation_checkpointing_disable(self) -> None:
        """As the regenerator's."""
        self.model.activation_checkpointing_disable()
