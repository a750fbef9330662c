"""Y′ by rule: what a score in several voices is built on, step by step."""

import torch
from torch.nn import functional as F

from ...modalities.score_codes import FIRST_PITCH, HOLD, REST, begins, sounding
from ...parts.contracts import ExtractorConfig, RuleExtractor
from ...parts.outputs import Representation, RepresentationSpec

CHORDS = {"": (0, 4, 7), "m": (0, 3, 7), "dim": (0, 3, 6), "7": (0, 4, 7, 10), "m7": (0, 3, 7, 10)}
"""The kinds of chords that are told apart, by their pitches above the root."""
ROOT_BONUS, ABSENT = 0.15, 0.5
"""How much a chord's root counts more than its other notes, and the penalty where none of its notes is there."""
MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
"""How well each pitch fits a key (Krumhansl and Kessler, 1982)."""
NO_CHORD = 12 * len(CHORDS)
BOOKS = ("melody", "chord", "bass", "rhythm", "cadence", "key")


class HarmonyExtractorConfig(ExtractorConfig):
    """
    Args:
        voices: how many a score has, from the highest to the lowest.
        num_pitches: how many pitches there are.
        lowest: the MIDI number of the lowest of them.
        steps_per_beat: a chord is found for each beat.
    """

    model_type = "regen_harmony"

    voices: int = 4
    num_pitches: int = 46
    lowest: int = 36
    steps_per_beat: int = 2

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        for name in ("voices", "num_pitches", "steps_per_beat"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")

    @property
    def target_spec(self) -> RepresentationSpec:
        return RepresentationSpec((self.voices, None), FIRST_PITCH + self.num_pitches, self.voices)

    @property
    def representation_spec(self) -> RepresentationSpec:
        most = max(NO_CHORD + 1, FIRST_PITCH + self.num_pitches, 2 ** (self.voices - 1))
        return RepresentationSpec((len(BOOKS), None), most, len(BOOKS))


class HarmonyExtractor(RuleExtractor):
    """Melody, chords, bass, rhythm, cadences and key of a score, as codes of six books at each of its steps.

    `melody` is the code of the highest voice; `chord` one of 60, and one for none, that of a beat; `bass` the pitch
    class of the lowest voice that sounds in a beat longest, 12 for none; `rhythm` tells which of the other voices begin
    a note, a bit each, the second highest first. `cadence` is 0 but where the melody rests on a note of two beats at
    least, or ends: there it is 1 on the tonic, 2 on the dominant, 3 elsewhere. `key` is one of 24, that of the whole
    score; it comes last, since a prior that generates the books in turn would otherwise condition all chords on a wrong
    key.

    The key is the one whose profile goes best with how long each pitch sounds (Krumhansl, 1990); a chord, the one most
    of whose notes sound in its beat and fewest others.

    Example:
        >>> c_major = torch.tensor([[[38, 1], [33, 1], [30, 1], [14, 1]]])  # C5, G4, E4 and C3 for a beat
        >>> HarmonyExtractor.from_components().encode(c_major).values[0].tolist()
        [[38, 1], [0, 0], [0, 0], [7, 0], [1, 0], [0, 0]]
    """

    config_class = HarmonyExtractorConfig

    def encode(self, target: torch.Tensor, target_mask: torch.Tensor | None = None) -> Representation:
        """A score `(batch, voices, steps)`, codes, to codes `(batch, 6, steps)`, with the mask of the score.

        Raises:
            ValueError: for another shape, or what is no code.
        """
        most = self.config.target_spec.num_codes
        if target.dim() != 3 or target.shape[1] != self.config.voices:
            raise ValueError(f"`target` must be (batch, {self.config.voices}, steps), got {tuple(target.shape)}.")
        if target.numel() and not 0 <= target.min() <= target.max() < most:
            raise ValueError(f"`target` must be codes from 0 to {most - 1}, got {target.min()} to {target.max()}.")
        real = torch.ones_like(target[:, 0], dtype=torch.bool) if target_mask is None else target_mask.bool()
        codes = target.masked_fill(~real[:, None], REST)
        held = pitch_classes(codes, self.config.lowest)
        sums = _per_beat(held.sum(1), self.config.steps_per_beat)
        key, chord = _key(held), chords(sums)
        books = {
            "melody": codes[:, 0],
            "key": key[:, None].expand_as(chord),
            "cadence": self._cadences(codes[:, 0], real, key, chord),
            "chord": chord,
            "bass": _longest(_per_beat(_lowest(held), self.config.steps_per_beat)),
            "rhythm": self._rhythm(codes),
        }
        values = torch.stack([books[name] for name in BOOKS], dim=1)
        return Representation(values.masked_fill(~real[:, None], 0), target_mask)

    def _rhythm(self, codes: torch.Tensor) -> torch.Tensor:
        bits = 2 ** torch.arange(self.config.voices - 1, device=codes.device)
        return (begins(codes[:, 1:]) * bits[:, None]).sum(1)

    def _cadences(self, melody: torch.Tensor, real: torch.Tensor, key, chord) -> torch.Tensor:
        """At the first step of each note that a phrase ends with."""
        after = 2 * self.config.steps_per_beat - 1
        goes_on = F.pad(((melody == HOLD) & real).long(), (0, after))
        long = goes_on.unfold(1, after, 1)[:, 1:].all(2)
        last = begins(melody) & (begins(melody).flip(1).cumsum(1).flip(1) == 1)
        above = (chord // len(CHORDS) - key[:, None] // 2) % 12
        kind = torch.full_like(melody, 3).masked_fill(above == 0, 1).masked_fill(above == 7, 2)
        kind = kind.masked_fill(chord == NO_CHORD, 3)
        return kind * (begins(melody) & (long | last))


def pitch_classes(codes: torch.Tensor, lowest: int) -> torch.Tensor:
    """Which of the twelve sounds, `(..., steps, 12)`, float, of codes `(..., steps)`."""
    found = sounding(codes)
    which = F.one_hot((found - FIRST_PITCH + lowest) % 12, 12)
    return (which * (found >= FIRST_PITCH)[..., None]).float()


def chords(weights: torch.Tensor) -> torch.Tensor:
    """The chord, `root * 5 + kind`, or `NO_CHORD`, of how long each pitch class sounds, `(..., 12)`."""
    total = weights.sum(-1, keepdim=True)
    shares = weights / total.clamp(min=1e-6)
    scores = []
    for root in range(12):
        for notes in CHORDS.values():
            own = shares[..., [(root + note) % 12 for note in notes]]
            missing = (own == 0).float().mean(-1)
            scores.append(own.sum(-1) + ROOT_BONUS * own[..., 0] - ABSENT * missing)
    best = torch.stack(scores, dim=-1).argmax(-1)
    return best.masked_fill(total[..., 0] == 0, NO_CHORD)


def _key(held: torch.Tensor) -> torch.Tensor:
    """`2 * tonic`, and one more in minor, `(batch,)`."""
    histogram = held.sum((1, 2))
    profiles = torch.tensor([MAJOR, MINOR], device=held.device)
    profiles = torch.stack([profile.roll(tonic) for tonic in range(12) for profile in profiles])
    centred = profiles - profiles.mean(1, keepdim=True)
    # no matrix product, which autocast would make in half precision
    return (histogram[:, None] * centred / centred.norm(dim=1, keepdim=True)).sum(-1).argmax(1)


def _per_beat(weights: torch.Tensor, beat: int) -> torch.Tensor:
    """The sum over the beat that each step is in, `(batch, steps, 12)`."""
    steps = weights.shape[1]
    padded = F.pad(weights, (0, 0, 0, -steps % beat)).unflatten(1, (-1, beat)).sum(2)
    return padded.repeat_interleave(beat, dim=1)[:, :steps]


def _lowest(held: torch.Tensor) -> torch.Tensor:
    """The pitch class of the lowest voice that sounds, `(batch, steps, 12)`."""
    lowest = torch.zeros_like(held[:, 0])
    for voice in held.unbind(1):  # a lower one takes the place of those above it
        lowest = torch.where(voice.any(-1, keepdim=True), voice, lowest)
    return lowest


def _longest(weights: torch.Tensor) -> torch.Tensor:
    return weights.argmax(-1).masked_fill(weights.sum(-1) == 0, 12)
