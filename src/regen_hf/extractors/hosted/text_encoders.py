"""Encoders of transformers that see all of a text at once: whether a model is one."""

from typing import Any

import torch
from transformers import MODEL_MAPPING, AutoModel, PreTrainedModel

from ...parts.pretrained import build, embedding_width, hosted, refuse_reference


def load_text_encoder(part: Any, name: str) -> PreTrainedModel:
    """A transformers encoder of text by name, live, or new from a config."""
    refuse_reference(part, name)
    try:
        model = hosted(part, AutoModel.from_pretrained, build)
    except TypeError as error:
        raise TypeError(f"`{name}`: {error}") from error
    if type(model) is not MODEL_MAPPING.get(type(model.config), None):
        raise ValueError(f"`{name}` must be what AutoModel gives, {type(model).__name__} is not.")
    _probe(model, name)
    return model


@torch.no_grad()
def _probe(model: PreTrainedModel, name: str) -> None:
    """Raises `ValueError` where the first position does not see the last, or sees it though it is padding."""
    training, masks = model.training, torch.tensor([[1, 1], [1, 0]], device=model.device)
    model.eval()
    try:
        embeds = torch.zeros(2, 2, embedding_width(model), dtype=model.dtype, device=model.device)
        embeds[1, 1] = torch.linspace(-1, 1, embeds.shape[2])
        states = [model(inputs_embeds=embeds, attention_mask=mask.expand(2, -1)).last_hidden_state for mask in masks]
    except Exception as error:
        raise ValueError(f"`{name}` {type(model).__name__} does not read `inputs_embeds`: {error}") from error
    finally:
        model.train(training)
    whole, padded = (each[:, 0] for each in states)
    if torch.equal(*whole) or not torch.allclose(*padded, atol=1e-3):
        raise ValueError(
            f"`{name}` must see all of a text and none of its padding, as BERT does; {type(model).__name__} does not."
        )
