"""Chorales in four voices, read out of music21's corpus, in as many keys as a choir can sing."""

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from task import is_held_out

from regen_hf import ScoreModality, readable_examples
from regen_hf.scores import FIRST_PITCH, sounding

SHIFTS = range(-5, 7)
"""By how many semitones each chorale is moved, for training only."""


def chorales(cache_folder: Path):
    """The chorales by Bach in music21's corpus that have four voices; read once and kept in `cache_folder`.

    Returns:
        A `datasets.Dataset` with the columns `name`, of the file, and `score`, codes `(4, steps)` as [`ScoreModality`]
        has them.
    """
    from datasets import Dataset
    from music21 import corpus

    paths = [str(path) for path in corpus.getComposer("bach")]
    # the key of the cache knows the arguments, and not what this file makes of them
    given = {"paths": paths, "made_by": zlib.crc32(Path(__file__).read_bytes())}
    return Dataset.from_generator(
        _read, features=_features(), gen_kwargs=given, cache_dir=str(cache_folder), num_proc=2
    )


def named_scores(rows, column: str, on_bad_example: str):
    """The scores in a column of a dataset: paths, bytes of MIDI or MusicXML, or codes."""
    from datasets import Dataset

    modality = ScoreModality()
    rows = readable_examples(rows, {column: modality.as_target}, on_bad_example)
    scores = (modality.as_target([score])["target"][0].tolist() for score in rows[column])
    return Dataset.from_list([{"name": f"{i}", "score": score} for i, score in enumerate(scores)], features=_features())


def _features():
    from datasets import Features, List, Value

    return Features({"name": Value("string"), "score": List(List(Value("int16")))})


def _read(paths: list[str], made_by: int = 0) -> Iterator[dict]:
    modality = ScoreModality()
    for path in paths:
        try:
            score = modality.as_target([path])["target"][0].tolist()
        except ValueError:
            continue  # in another number of voices, or with instruments
        yield {"name": Path(path).name, "score": score}


def split(rows, longest: int):
    """Chorales to learn from, in every key that fits and in pieces of at most `longest` steps; and held-out ones."""
    from datasets import Dataset

    held = [row for row in rows if is_held_out(row["name"])]
    pieces = [piece for row in rows if not is_held_out(row["name"]) for piece in _pieces(row["score"], longest)]
    moved = [moved for piece in pieces for shift in SHIFTS if (moved := transposed(piece, shift)) is not None]
    return (
        Dataset.from_dict({"score": [each.tolist() for each in moved]}),
        Dataset.from_dict({"name": [row["name"] for row in held], "score": [row["score"] for row in held]}),
    )


def _pieces(score: list[list[int]], longest: int) -> list[np.ndarray]:
    """Pieces of about the same length, a multiple of eight steps but for the last, that begin with what sounds."""
    codes = np.array(score)
    sounds = sounding(torch.tensor(score)).numpy()
    eights = -(-codes.shape[1] // 8)
    size = 8 * -(-eights // -(-8 * eights // longest))
    pieces = [codes[:, start : start + size].copy() for start in range(0, codes.shape[1], size)]
    for i, piece in enumerate(pieces):
        piece[:, 0] = sounds[:, i * size]
    return pieces


def transposed(codes: np.ndarray, shift: int) -> np.ndarray | None:
    """The codes of a score `shift` semitones higher, or `None` where that is beyond what can be sung."""
    notes = codes >= FIRST_PITCH
    moved = np.where(notes, codes + shift, codes)
    fits = notes.any() and moved[notes].min() >= FIRST_PITCH and moved.max() < ScoreModality().num_codes
    return moved if fits else None
