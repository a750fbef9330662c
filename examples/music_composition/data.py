"""Chorales in four voices, read out of music21's corpus, each moved by up to three semitones for training."""

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from task import is_held_out

from regen_hf import HarmonyExtractor, ScoreModality, readable_examples
from regen_hf.extractors.rules.harmony import BOOKS
from regen_hf.modalities.score import as_stream
from regen_hf.modalities.score_codes import FIRST_PITCH, sounding

SHIFTS = range(-3, 4)
"""By how many semitones each chorale is moved, for training only: further off are keys that few chorales are in."""
TONICS = ("C", "D flat", "D", "E flat", "E", "F", "F sharp", "G", "A flat", "A", "B flat", "B")


def chorales(cache_folder: Path):
    """The chorales by Bach in music21's corpus that have four voices; read once and kept in `cache_folder`.

    Returns:
        A `datasets.Dataset` with the columns `name`, of the file, `metre`, such as 4/4, and `score`, codes `(4, steps)`
        as [`ScoreModality`] has them.
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
    """The scores in a column of a dataset: paths, bytes of MIDI or MusicXML, or codes, which tell no metre."""
    from datasets import Dataset

    rows = readable_examples(rows, {column: ScoreModality().as_target}, on_bad_example)
    found = ({"name": f"{i}", **_score(f"score {i}", score)} for i, score in enumerate(rows[column]))
    return Dataset.from_list(list(found), features=_features())


def _features():
    from datasets import Features, List, Value

    return Features({"name": Value("string"), "metre": Value("string"), "score": List(List(Value("int16")))})


def _read(paths: list[str], made_by: int = 0) -> Iterator[dict]:
    for path in paths:
        try:
            yield {"name": Path(path).name, **_score(path, path)}
        except ValueError:
            continue  # in another number of voices, or with instruments


def _score(name: str, given) -> dict:
    """`metre` and `score` of a path, of bytes or of codes."""
    modality, metre = ScoreModality(), "any metre"
    if isinstance(given, str | bytes):
        given = as_stream(name, given, modality.steps_per_quarter)
        metre = next((each.ratioString for each in given.recurse().getElementsByClass("TimeSignature")), metre)
    return {"metre": metre, "score": modality.as_target([given])["target"][0].tolist()}


def split(rows, longest: int, cut: bool = False):
    """Chorales to learn from, moved by each of `SHIFTS` that fits and in pieces of at most `longest` steps; and
    held-out ones, whole unless `cut`. Each with its `form`: key, metre and length, in words."""
    from datasets import Dataset

    trained, held = [], []
    for row in rows:
        own = is_held_out(row["name"])
        pieces = [np.array(row["score"])] if own and not cut else _pieces(row["score"], longest)
        for piece, key in zip(pieces, keys(pieces), strict=True):
            if own:
                form = in_words(key, row["metre"], piece.shape[1])
                held.append({"name": row["name"], "score": piece.tolist(), "form": form})
                continue
            for shift in SHIFTS:
                if (moved := transposed(piece, shift)) is not None:
                    form = in_words((key + 2 * shift) % 24, row["metre"], piece.shape[1])
                    trained.append({"score": moved.tolist(), "form": form})
    return Dataset.from_list(trained), Dataset.from_list(held)


def keys(scores: list[np.ndarray]) -> list[int]:
    """The key of each score, twice its tonic, and one more in minor, as [`HarmonyExtractor`] finds it."""
    codes = HarmonyExtractor.from_components().encode(**ScoreModality().as_target(scores)).values
    return codes[:, BOOKS.index("key"), 0].tolist()


def in_words(key: int, metre: str, steps: int) -> str:
    """Such as `E flat major, 4/4, 32 quarters`."""
    quarters = steps / ScoreModality().steps_per_quarter
    return f"{TONICS[key // 2]} {('major', 'minor')[key % 2]}, {metre}, {quarters:g} quarters"


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
