"""Scores in several voices as Y, and a melody as X."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..parts.settings import shown
from .base import Modality, padded, whole_number, with_ending
from .readers.opening import reading
from .readers.scores import MOST_QUARTERS, as_stream, check
from .score_codes import FIRST_PITCH, HOLD, REST

WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
MOST_VOICES, MOST_STEPS_A_QUARTER = 128, 256
"""More than an orchestra has, and finer than what is written."""


class ScoreModality(Modality):
    """Scores of some voices on a grid of time: a code for each voice at each step.

    As Y a score is all voices, `(voices, steps)`; as X it is the first voice, the melody.

    Args:
        voices: how many parts a score has, from the highest to the lowest.
        steps_per_quarter: how many steps a quarter note has; notes between two steps are moved to the nearest one.
        lowest, highest: the MIDI numbers of the lowest and the highest pitch: by default C2 and A5, the usual range of
            a choir.

    Example:
        >>> score = ScoreModality(voices=1)
        >>> score.as_target([np.array([[0, 26, 1, 28]])])["target"].tolist()  # a rest, then C4 for two steps, then D4
        [[[0, 26, 1, 28]]]
    """

    key = "score"

    def __init__(self, voices: int = 4, steps_per_quarter: int = 2, lowest: int = 36, highest: int = 81):
        self.voices = whole_number("voices", voices, MOST_VOICES)
        self.steps_per_quarter = whole_number("steps_per_quarter", steps_per_quarter, MOST_STEPS_A_QUARTER)
        whole = all(isinstance(each, int) and not isinstance(each, bool) for each in (lowest, highest))
        if not whole or not 0 <= lowest < highest <= 127:
            got = f"{shown(lowest)} and {shown(highest)}"
            raise ValueError(f"`lowest` and `highest` must be pitches from 0 to 127, got {got}.")
        self.lowest, self.highest = lowest, highest

    @property
    def num_codes(self) -> int:
        """How many codes a voice has."""
        return FIRST_PITCH + self.highest - self.lowest + 1

    def as_source(self, examples: Sequence[Any]) -> dict[str, torch.Tensor]:
        """The melodies as `input_ids`, `(batch, steps)`, `torch.long`, each code plus 1, since 0 is padding, and
        `attention_mask`.

        Args:
            examples: as those of [`ScoreModality.as_target`], of any number of voices, of which the first is read.
        """
        rows = [self._read(f"source {i}", example, None)[:1] for i, example in enumerate(examples)]
        values, mask = padded(rows)
        return {"input_ids": (values[:, 0] + 1) * mask, "attention_mask": mask.long()}

    def as_target(self, examples: Sequence[Any]) -> dict[str, torch.Tensor]:
        """`target`, `(batch, voices, steps)`, `torch.long`, and `target_mask`, `(batch, steps)`, bool.

        Args:
            examples: paths or bytes of MIDI, MusicXML, compressed MusicXML or Humdrum; music21's streams; or arrays or
                lists of codes `(voices, steps)`.

        Raises:
            TypeError: for anything else.
            ValueError: for what cannot be read, has no notes, not as many parts as `voices`, a pitch out of range, or
                exceeds one of the bounds of [`as_stream`](readers/scores.py).
            ImportError: where the package music21 is missing.
        """
        values, mask = padded([self._read(f"target {i}", each, self.voices) for i, each in enumerate(examples)])
        return {"target": values, "target_mask": mask}

    def from_target(self, values: torch.Tensor, mask: torch.Tensor | None = None) -> list[dict[str, Any]]:
        """`{"score": music21.stream.Score, "midi": bytes}` each."""
        rows = values if mask is None else [row[:, own] for row, own in zip(values, mask.bool(), strict=True)]
        scores = [self._score(row) for row in rows]
        return [{"score": score, "midi": _written(score)} for score in scores]

    def save_samples(self, samples: Sequence[dict[str, Any]], captions: Sequence[str], path: Path) -> Path:
        """Piano rolls with their captions, as `path` + `.png`, and each score as `path` + `.png.0.mid`, from 0 on, and
        `.png.0.musicxml`."""
        path = with_ending(path, ".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        for i, sample in enumerate(samples):
            beside = path.with_name(f"{path.name}.{i}")  # not a score's of the same name
            Path(f"{beside}.mid").write_bytes(sample["midi"])
            sample["score"].write("musicxml", f"{beside}.musicxml")
        _plot([each["score"] for each in samples], captions, path)
        return path

    def to_dict(self) -> dict[str, Any]:
        names = ("voices", "steps_per_quarter", "lowest", "highest")
        return {name: getattr(self, name) for name in names}

    def _read(self, name: str, example: Any, voices: int | None) -> torch.Tensor:
        """Codes `(voices, steps)`."""
        if isinstance(example, np.ndarray | torch.Tensor | list):
            try:
                codes = torch.as_tensor(example)
            except (ValueError, TypeError, RuntimeError, OverflowError) as error:
                raise ValueError(f"{name} must be whole numbers, as many for each voice: {error}") from error
            return self._checked(name, codes, voices)
        stream = as_stream(name, example, self.steps_per_quarter)
        with reading(name, "score"):  # of which much is computed only when asked for
            stream = stream.toSoundingPitch()
            parts = list(stream.getElementsByClass("Part")) or [stream]
            notes = [filter(_sounds, part.stripTies().flatten().notes) for part in parts]
            found = [[self._place(note) for note in part] for part in notes]
        if voices is not None and len(parts) != voices:
            raise ValueError(f"{name} must have {voices} parts, got {len(parts)}.")
        return self._grid(name, found, voices)

    def _checked(self, name: str, codes: torch.Tensor, voices: int | None) -> torch.Tensor:
        if codes.ndim != 2 or not codes.numel() or voices not in (None, len(codes)) or codes.dtype not in WHOLE:
            raise ValueError(
                f"{name} must be whole numbers ({'voices' if voices is None else voices}, steps), got "
                f"{tuple(codes.shape)}, {codes.dtype}."
            )
        if not 0 <= codes.min() <= codes.max() < self.num_codes:
            wrong = codes[(codes < 0) | (codes >= self.num_codes)][0]
            raise ValueError(f"{name} must be codes from 0 to {self.num_codes - 1}, got {int(wrong)}.")
        return codes.long()

    def _grid(self, name: str, found: list[list[tuple[int, int, int]]], voices: int | None) -> torch.Tensor:
        """Codes of all parts where `voices` are asked for, and of the first alone, as long as all are, where not."""
        length = max((end for part in found for _, end, _ in part), default=0)
        if not length:
            raise ValueError(f"{name} has no notes.")
        grid = torch.full((len(found[: voices or 1]), length), REST)
        for voice, part in enumerate(found[: voices or 1]):
            for start, end, pitch in part:
                if not self.lowest <= pitch <= self.highest:
                    raise ValueError(
                        f"{name} has the pitch {pitch}, which is not from `lowest` {self.lowest} to `highest` "
                        f"{self.highest}."
                    )
                grid[voice, start], grid[voice, start + 1 : end] = FIRST_PITCH + pitch - self.lowest, HOLD
        return grid

    def _place(self, note) -> tuple[int, int, int]:
        """The first step of a note, the one after its last, and its pitch; of a chord the highest.

        What lies between two steps goes to the later one, where the note that is on it takes its place.
        """
        start, end = float(note.offset), float(note.offset + note.quarterLength)
        if not 0 <= start <= end:
            raise ValueError(f"it has a note from quarter {start:g} to {end:g}")
        check("quarters", end, MOST_QUARTERS)
        first, last = (math.floor(time * self.steps_per_quarter + 0.5) for time in (start, end))
        return first, max(first + 1, last), max(each.midi for each in note.pitches)

    def _notes(self, codes: torch.Tensor) -> list[list[tuple[int, int, int | None]]]:
        """For each voice the first step, the number of steps and the pitch of each note and rest, `None` for a rest."""
        voices = []
        for row in codes.tolist():
            found: list[tuple[int, int, int | None]] = []
            for step, code in enumerate(row):
                goes_on = found and (code == HOLD or (code == REST and found[-1][2] is None))
                if goes_on:
                    start, length, pitch = found[-1]
                    found[-1] = start, length + 1, pitch
                else:  # a note that would go on where there is none is silence
                    found.append((step, 1, None if code in (REST, HOLD) else code - FIRST_PITCH + self.lowest))
            voices.append(found)
        return voices

    def _score(self, codes: torch.Tensor):
        from music21 import note, stream

        score = stream.Score()
        for voice, found in enumerate(self._notes(codes)):
            part = stream.Part(id=f"voice {voice + 1}")
            for _, length, pitch in found:
                quarters = length / self.steps_per_quarter
                part.append(
                    note.Rest(quarterLength=quarters) if pitch is None else note.Note(pitch, quarterLength=quarters)
                )
            score.insert(0, part)
        return score


def _sounds(note) -> bool:
    """Whether it is a note or a chord that is played, and neither a chord's name nor a drum."""
    return bool(note.pitches) and "ChordSymbol" not in note.classes


def _written(score) -> bytes:
    from music21.midi.translate import music21ObjectToMidiFile

    return music21ObjectToMidiFile(score).writestr()


def _plot(scores: list, captions: Sequence[str], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 2.2 * len(scores)), layout="constrained")
    for axes, score, caption in zip(figure.subplots(len(scores), squeeze=False)[:, 0], scores, captions, strict=True):
        for voice, part in enumerate(score.parts):
            for note in part.flatten().notes:
                place = (float(note.offset), float(note.quarterLength) - 0.05)
                axes.broken_barh([place], (note.pitch.midi - 0.4, 0.8), color=f"C{voice}")
        axes.set(title=str(caption), xlabel="quarter", ylabel="pitch")
    figure.savefig(path, dpi=80)
