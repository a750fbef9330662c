"""Scores in several voices as Y, and a melody as X."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .base import Modality, padded, with_ending
from .score_codes import FIRST_PITCH, HOLD, REST


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
        for name, value in {"voices": voices, "steps_per_quarter": steps_per_quarter}.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a whole number of at least 1, got {value!r}.")
        if not 0 <= lowest < highest <= 127:
            raise ValueError(f"`lowest` and `highest` must be pitches from 0 to 127, got {lowest} and {highest}.")
        self.voices, self.steps_per_quarter, self.lowest, self.highest = voices, steps_per_quarter, lowest, highest

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
            examples: what music21 reads: paths, or bytes of MIDI or MusicXML; music21's streams; or arrays or lists of
                codes `(voices, steps)`.

        Raises:
            TypeError: for anything else.
            ValueError: for what cannot be read, has no notes, not as many parts as `voices`, or a pitch out of range.
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
        """Piano rolls with their captions, as `path` + `.png`, and beside it each score as MIDI and as MusicXML."""
        path = with_ending(path, ".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        name = path.name.removesuffix(".png")
        for i, sample in enumerate(samples):
            path.with_name(f"{name}_{i}.mid").write_bytes(sample["midi"])
            sample["score"].write("musicxml", path.with_name(f"{name}_{i}.musicxml"))
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
            except (ValueError, TypeError, RuntimeError) as error:
                raise ValueError(f"{name} must be whole numbers, as many for each voice: {error}") from error
            return self._checked(name, codes, voices)
        stream = as_stream(name, example, self.steps_per_quarter).toSoundingPitch()
        parts = list(stream.getElementsByClass("Part")) or [stream]
        if voices is not None and len(parts) != voices:
            raise ValueError(f"{name} must have {voices} parts, got {len(parts)}.")
        return self._grid(name, parts, voices)

    def _checked(self, name: str, codes: torch.Tensor, voices: int | None) -> torch.Tensor:
        if codes.ndim != 2 or not codes.numel() or voices not in (None, len(codes)) or codes.is_floating_point():
            raise ValueError(
                f"{name} must be whole numbers ({'voices' if voices is None else voices}, steps), got "
                f"{tuple(codes.shape)}, {codes.dtype}."
            )
        if not 0 <= codes.min() <= codes.max() < self.num_codes:
            wrong = codes[(codes < 0) | (codes >= self.num_codes)][0]
            raise ValueError(f"{name} must be codes from 0 to {self.num_codes - 1}, got {int(wrong)}.")
        return codes.long()

    def _grid(self, name: str, parts: list, voices: int | None) -> torch.Tensor:
        """Codes of all parts where `voices` are asked for, and of the first alone, as long as all are, where not."""
        sounding = [[each for each in part.stripTies().flatten().notes if _sounds(each)] for part in parts]
        length = max((self._steps(note)[1] for part in sounding for note in part), default=0)
        notes = [[self._place(name, note) for note in part] for part in sounding[: voices or 1]]
        if not length:
            raise ValueError(f"{name} has no notes.")
        grid = torch.full((len(notes), length), REST)
        for voice, part in enumerate(notes):
            for start, end, code in part:
                grid[voice, start], grid[voice, start + 1 : end] = code, HOLD
        return grid

    def _place(self, name: str, note) -> tuple[int, int, int]:
        """The first step of a note, the one after its last, and its code; of a chord the highest note."""
        pitch = max(each.midi for each in note.pitches)
        if not self.lowest <= pitch <= self.highest:
            raise ValueError(
                f"{name} has the pitch {pitch}, which is not from `lowest` {self.lowest} to `highest` {self.highest}."
            )
        return *self._steps(note), FIRST_PITCH + pitch - self.lowest

    def _steps(self, note) -> tuple[int, int]:
        """What lies between two steps goes to the later one, where the note that is on it takes its place."""
        start, end = (
            math.floor(float(time) * self.steps_per_quarter + 0.5)
            for time in (note.offset, note.offset + note.quarterLength)
        )
        return start, max(start + 1, end)

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


def as_stream(name: str, example: Any, steps_per_quarter: int):
    """A music21 stream, whatever it came as."""
    try:
        from music21 import converter, stream
    except ImportError as error:
        raise ImportError("scores need the package music21: pip install 'regen_hf[music]'.") from error
    found = example
    if isinstance(example, bytes | str | os.PathLike):
        name = name if isinstance(example, bytes) else str(example)
        try:
            found = _parsed(converter, example, steps_per_quarter)
        except Exception as error:  # music21 lets errors of all kinds through
            raise ValueError(f"{name} is no readable score: {type(error).__name__} {error}") from error
    if isinstance(found, stream.Opus):
        raise ValueError(f"{name} holds {len(found.scores)} scores, but each must come by itself.")
    if not isinstance(found, stream.Stream):
        kind = type(example).__name__
        raise TypeError(f"{name} must be a path or bytes of a score, a music21 stream or codes, got {kind}.")
    return found


def _parsed(converter, file: bytes | str | os.PathLike, steps_per_quarter: int):
    """MIDI on the usual grids and on that of the modality; and never by the pickle that music21 keeps."""
    settings = {"quarterLengthDivisors": (12, 16, steps_per_quarter)}
    if isinstance(file, bytes):
        kind = "midi" if file.startswith(b"MThd") else "musicxml"
        return converter.parseData(file, format=kind, **(settings if kind == "midi" else {}))
    midi = str(file).lower().endswith((".mid", ".midi"))
    return converter.parse(str(file), forceSource=True, **(settings if midi else {}))


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
