"""What a choir is not given to sing, kept out of what is composed."""

import torch
from transformers import LogitsProcessor

from regen_hf import RegenerationModel
from regen_hf.modalities.score_codes import FIRST_PITCH, sounding

RANGES = ((60, 81), (53, 74), (48, 69), (40, 64))
"""Of soprano, alto, tenor and bass, as MIDI numbers pitches."""
FIFTH = 7


class VoiceLeading(LogitsProcessor):
    """Leaves a voice no note that it cannot sing, and none to which it would move in fifths or octaves with a voice
    above it. The melody is as it is.

    For generators that write the voices with a delay: at each step, the one below is a place behind.
    """

    def __init__(self, lowest: int):
        self.lowest = lowest

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        voices = len(RANGES)
        rows, allowed = input_ids.unflatten(0, (-1, voices)), scores.clone().unflatten(0, (-1, voices))
        codes = torch.arange(scores.shape[1] - 2, device=scores.device)  # without end and start
        for voice in range(1, voices):
            place = input_ids.shape[1] - 1 - voice
            if place < 0:
                break
            low, high = (pitch - self.lowest + FIRST_PITCH for pitch in RANGES[voice])
            wrong = ((codes >= FIRST_PITCH) & ((codes < low) | (codes > high))).repeat(len(rows), 1)
            if place > 0:
                before = sounding(rows[:, voice, 1 + voice : 1 + voice + place])[:, -1]
                for other in range(voice):
                    heard = sounding(rows[:, other, 1 + other : 2 + other + place])
                    wrong |= _parallel(before, heard[:, -2], heard[:, -1], codes)
            allowed[:, voice, : len(codes)].masked_fill_(wrong, -torch.inf)
        return allowed.flatten(0, 1)


def _parallel(before: torch.Tensor, was: torch.Tensor, now: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Which codes `(batch, codes)` a voice may not go to from `before`, while one above goes from `was` to `now`."""
    apart = (was - before) % 12
    sings = (torch.stack([before, was, now]) >= FIRST_PITCH).all(0)
    moves = sings & (was != now) & ((apart == 0) | (apart == FIFTH))
    same = (now[:, None] - codes) % 12 == apart[:, None]
    return moves[:, None] & same & (codes >= FIRST_PITCH) & (codes != before[:, None])


def by_the_rules(model: RegenerationModel, lowest: int) -> dict:
    """What `generate` takes so that the voices keep the rules, where they are written autoregressively."""
    rules = {"logits_processor": [VoiceLeading(lowest)]}
    if model.decoder_model is not None:
        return {"decoder_kwargs": rules}
    same = model.config.extractor_config.target_spec == model.config.extractor_config.representation_spec
    return rules if same else {}
