"""Plain sentences spoken by espeak-ng, or any dataset of audio and text: the data of the examples of speech."""

import io
import re
import site
import sysconfig
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

RATE = 16000
LONGEST = 20.0
"""How many seconds an utterance may last."""
VOICES = (
    "en-us", "en-us+f2", "en-us+m3", "en-us+f5", "en-us+m7", "en-gb-x-rp", "en-gb-x-rp+f4", "en-gb-scotland",
)  # fmt: skip
DOCSTRING = re.compile(r'"""(.*?)"""|' + r"'''(.*?)'''", re.DOTALL)
SENTENCE = re.compile(r"[A-Za-z][a-z']*(?: [a-z']+){2,8}")  # three to nine words


def sentences(count: int) -> list[str]:
    """Short plain sentences of the docstrings of Python and its installed packages, in lower case, in an order that
    has nothing to do with where they stand."""
    found: set[str] = set()
    for folder in (sysconfig.get_paths()["stdlib"], *site.getsitepackages()):
        for path in Path(folder).rglob("*.py"):
            for match in DOCSTRING.finditer(path.read_text(encoding="utf-8", errors="ignore")):
                parts = re.split(r"[.!?:;]\s+|\n\s*\n|[.:]$", match.group(1) or match.group(2) or "")
                plain = (" ".join(part.split()).strip(" .") for part in parts)
                found |= {each.lower() for each in plain if SENTENCE.fullmatch(each)}
    return sorted(found, key=lambda text: _draw(text, "order"))[:count]


def _draw(text: str, name: str) -> int:
    """A number that depends on the text and on what it is for, and on nothing else."""
    return zlib.crc32(f"{name} {text}".encode())


def spoken(texts: Sequence[str], voices: Sequence[str], cache_folder: Path):
    """Each text in one of the voices, at 150 to 190 words a minute; made once and kept in `cache_folder`.

    Returns:
        A `datasets.Dataset` with the columns `text`, `voice` and `audio`, which is a WAV file of 16 kHz as datasets
        gives those that it does not decode.
    """
    from datasets import Dataset, Features, Value

    text, file = Value("string"), {"bytes": Value("binary"), "path": Value("string")}  # `Audio` would want torchcodec
    features = Features({"text": text, "voice": text, "audio": file})
    return Dataset.from_generator(
        _speak,
        features=features,
        gen_kwargs={"texts": tuple(texts), "voices": tuple(voices)},
        cache_dir=str(cache_folder),
    )


def _speak(texts: tuple[str, ...], voices: tuple[str, ...]) -> Iterator[dict]:
    import soundfile
    import soxr

    from regen_hf import speak

    chosen = [voices[_draw(text, "voice") % len(voices)] for text in texts]
    rates = [150 + _draw(text, "rate") % 41 for text in texts]
    for text, voice, (wave, rate) in zip(texts, chosen, speak(texts, chosen, rates), strict=True):
        file = io.BytesIO()
        soundfile.write(file, soxr.resample(wave, rate, RATE), RATE, format="WAV", subtype="PCM_16")
        yield {"text": text, "voice": voice, "audio": {"bytes": file.getvalue(), "path": None}}


def pronounceable(dataset, column: str, language: str, on_bad_example: str):
    """The rows whose text espeak-ng can say.

    Raises:
        ValueError: for one that it cannot, if `on_bad_example` is `"raise"`; with `"skip"` such rows are left out.
    """
    from regen_hf import phonemes

    texts = list(dataset[column])
    silent = [i for i, words in enumerate(phonemes(texts, language)) if not words]
    if silent and on_bad_example == "raise":
        raise ValueError(f"{column} {silent[0]} has nothing that can be pronounced: {texts[silent[0]]!r}.")
    if silent:
        print(f"{len(silent)} rows left out that cannot be pronounced, the first of them {texts[silent[0]]!r}")
    return dataset.select(sorted(set(range(len(texts))) - set(silent)))
