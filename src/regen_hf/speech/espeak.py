"""Phonemes and speech by espeak-ng, which is under the GPL: a tool in a process of its own, never loaded into ours."""

import atexit
import collections
import contextlib
import ctypes.util
import difflib
import functools
import json
import numbers
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

SPEEDS = range(80, 451)  # in words a minute; espeak-ng takes others for the nearest of these
SPACE, UNKNOWN = " ", "<unk>"
"""What stands between words, and for a phoneme that is not known, where phonemes are codes: the codes 0 and 1."""
PROCESS = Path(__file__).with_name("espeak_process.py")


class _Espeak:
    """The process that espeak-ng runs in: started on first use, kept, and ended with ours. A fork starts its own."""

    def __init__(self):
        self.lock, self.process, self.said, self.rate = threading.Lock(), None, None, 0

    def ask(self, request: dict) -> bytes:
        """The answer to one of the requests that `espeak_process.py` lists."""
        with self.lock:
            try:
                if self.process is None or self.process.poll() is not None:
                    self._start()
                self._write(json.dumps(request).encode())
                return self._read()
            except BaseException:
                self.stop()  # an answer left half read would be taken for the next one
                raise

    def stop(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(self.process.pid, signal.SIGKILL)  # with the fork that answers
            self._close()
            self.process.wait()
            self.process = None

    def forget(self) -> None:
        """In a fork: leaves the process to the parent, so that it ends with that one."""
        if self.process is not None:
            self._close()
        self.lock, self.process = threading.Lock(), None

    def _close(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()

    def _start(self) -> None:
        self.said = tempfile.TemporaryFile()  # noqa: SIM115
        command = [sys.executable, "-I", "-S", str(PROCESS), *_library()]
        # without buffers, which a fork in the middle of a message would write again
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.said, "bufsize": 0}
        self.process = subprocess.Popen(command, start_new_session=True, **pipes)
        self.rate = int(self._read())

    def _write(self, message: bytes) -> None:
        rest = struct.pack(">I", len(message)) + message
        try:
            while rest:
                rest = rest[self.process.stdin.write(rest) :]
        except BrokenPipeError as error:
            raise self._ended() from error

    def _read(self) -> bytes:
        (size,) = struct.unpack(">I", self._read_bytes(4))
        return self._read_bytes(size)

    def _read_bytes(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            more = self.process.stdout.read(size - len(found))
            if not more:
                raise self._ended()
            found += more
        return bytes(found)

    def _ended(self) -> OSError:
        status = self.process.wait()
        self.said.seek(0)
        said = self.said.read().decode(errors="replace").strip()
        return OSError(f"the process of espeak-ng ended with {status}: {said or 'it said nothing'}")


_espeak = _Espeak()
atexit.register(_espeak.stop)
if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks
    os.register_at_fork(after_in_child=_espeak.forget)


def _library() -> tuple[str, str]:
    """Where espeak-ng and its data are; the data of the system's own are where it looks itself."""
    try:
        import espeakng_loader
    except ImportError as error:
        found = ctypes.util.find_library("espeak-ng")
        if found is None:
            raise ImportError(
                "phonemes are made by espeak-ng: pip install 'regen_hf[espeak]' or apt-get install espeak-ng"
            ) from error
        return found, ""
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()


def _texts(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise TypeError(f"`texts` must be a sequence of texts, got one text: {texts!r}.")
    texts = list(texts)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"`texts` must be text, got {type(text).__name__} at {i}: {text!r}.")
    return texts


@functools.cache
def _check_voice(argument: str, name: str) -> None:
    found = json.loads(_espeak.ask({"voices": [name]}))
    if found["unknown"]:
        near = ", ".join(map(repr, difflib.get_close_matches(name, found["known"], n=5, cutoff=0)))
        raise ValueError(f"`{argument}` must be one that espeak-ng knows, such as {near}; got {name!r}.")


def phonemes(texts: Sequence[str], language: str = "en-us", stress: bool = False) -> list[list[list[str]]]:
    """The phonemes in IPA of each word of each text, as espeak-ng (https://github.com/espeak-ng/espeak-ng) says them.

    Words that are spoken as one, such as "of the", are one. A text with nothing to pronounce has no words.

    Args:
        language: as espeak-ng names it, such as `"en-us"`, `"en-gb-x-rp"` or `"de"`.
        stress: whether a phoneme keeps the mark ˈ or ˌ of the stress that begins with it.

    Raises:
        TypeError: for anything but texts.
        ValueError: for a language that espeak-ng does not know.
        ImportError: where espeak-ng is not installed.
        OSError: if its process ends, with what it said.

    Example:
        >>> phonemes(["the cat's hat", "…"])
        [[['ð', 'ə'], ['k', 'æ', 't', 's'], ['h', 'æ', 't']], []]
    """
    texts = _texts(texts)
    _check_voice("language", language)
    return [_words(each, stress) for each in json.loads(_espeak.ask({"voice": language, "texts": texts}))]


def _words(ipa: str, stress: bool) -> list[list[str]]:
    ipa = re.sub(r"\([^)]*\)", "", ipa)  # (en) and (de), around what is spoken as in another language
    ipa = ipa if stress else re.sub("[ˈˌ]", "", ipa)
    words = [[phoneme for phoneme in word.split("_") if phoneme] for word in ipa.split()]
    return [word for word in words if word]


def speak(
    texts: Sequence[str], voices: Sequence[str] | str, words_per_minute: Sequence[int] | int = 170
) -> Iterator[tuple[np.ndarray, int]]:
    """Each text as espeak-ng speaks it: a mono wave `(samples,)`, float32 from -1 to 1, and its sampling rate.

    The wave of a text does not depend on those before it.

    Args:
        voices: a language as in [`phonemes`], and perhaps the variant of a speaker: `"en-us+f2"`; one for all or one
            for each text.
        words_per_minute: from 80 to 450; one for all or one for each text.

    Raises:
        TypeError: for anything but texts.
        ValueError: for a voice that espeak-ng does not know or a speed that it does not have, before any text is
            spoken; for a text with nothing to pronounce.
        ImportError: where espeak-ng is not installed.
        OSError: if its process ends, with what it said.

    Example:
        >>> for wave, rate in speak(["hello", "hello"], ["en-us", "en-us+f2"]):
        ...     print(wave.dtype, rate, wave.shape[0] > 0.4 * rate)
        float32 22050 True
        float32 22050 True
    """
    texts = _texts(texts)
    voices = _for_each(texts, "voices", voices)
    speeds = _for_each(texts, "words_per_minute", words_per_minute)
    for speed in speeds:
        if speed not in SPEEDS:
            raise ValueError(f"`words_per_minute` must be whole and from 80 to 450, got {speed}.")
    for voice in dict.fromkeys(voices):
        _check_voice("voices", voice)
    return _spoken(texts, voices, speeds)


def _for_each(texts: list[str], argument: str, given: Sequence | str | int) -> list:
    given = [given] * len(texts) if isinstance(given, str | numbers.Number) else list(given)
    if len(given) != len(texts):
        raise ValueError(f"`{argument}` must be one for all or one for each of {len(texts)} texts, got {len(given)}.")
    return given


def _spoken(texts: list[str], voices: list[str], speeds: list[int]) -> Iterator[tuple[np.ndarray, int]]:
    for i, (text, voice, speed) in enumerate(zip(texts, voices, speeds, strict=True)):
        samples = np.frombuffer(_espeak.ask({"voice": voice, "text": text, "speed": int(speed)}), np.int16)
        if not samples.any():
            raise ValueError(f"`texts` must have something to pronounce, got {text!r} at {i}.")
        yield samples.astype(np.float32) / 32768, _espeak.rate


def spelled(words: Sequence[Sequence[str]]) -> list[str]:
    """The phonemes of all words in a row, with [`SPACE`] between two words."""
    return [each for word in words for each in (SPACE, *word)][1:]


def check_inventory(inventory: Sequence[str]) -> None:
    """Raises `ValueError` for phonemes that do not begin with [`SPACE`] and [`UNKNOWN`], or come twice."""
    if list(inventory[:2]) != [SPACE, UNKNOWN]:
        raise ValueError(f"`phonemes` must begin with ' ' and '<unk>', got {list(inventory[:2])}.")
    if twice := sorted(each for each, times in collections.Counter(inventory).items() if times > 1):
        raise ValueError(f"`phonemes` must differ, got {twice} more than once.")


def inventory_of(spoken: Sequence[Sequence[Sequence[str]]]) -> list[str]:
    """[`SPACE`], [`UNKNOWN`], and the phonemes of some texts, sorted."""
    return [SPACE, UNKNOWN, *sorted({each for words in spoken for word in words for each in word})]
