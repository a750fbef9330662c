"""espeak-ng in a process of its own, which `espeak.py` starts by path: it imports nothing of this package.

A message is its length in four bytes, then as many bytes. The first one out is the sampling rate; then a request, which
is JSON, has one answer:

    {"voices": names}                               JSON: which of them espeak-ng does not know, and what it knows
    {"voice": name, "texts": texts}                 JSON: the phonemes of each text in IPA
    {"voice": name, "text": text, "speed": number}  a wave, 16 bits a sample
"""

import ctypes
import json
import os
import signal
import struct
import sys
import traceback
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_ubyte, c_uint, c_void_p

SYNCHRONOUS, DONT_EXIT, UTF_8, SPEED = 2, 0x8000, 1, 1  # as speak_lib.h has them
IPA = 0x02 | ord("_") << 8  # with `_` between phonemes
ANYTHING = "a 1"  # of which a voice that lacks its dictionary says nothing


class Voice(ctypes.Structure):
    _fields_ = [
        ("name", c_char_p), ("languages", c_void_p), ("identifier", c_char_p), ("gender", c_ubyte), ("age", c_ubyte),
        ("variant", c_ubyte), ("unused", c_ubyte), ("score", c_int), ("spare", c_void_p),
    ]  # fmt: skip

    def ranks(self):
        """The languages that it speaks and how well, the least being the best."""
        at = self.languages
        while entry := ctypes.string_at(at):
            yield entry[1:].decode().lower(), entry[0]
            at += len(entry) + 1


class Engine:
    """espeak-ng at `library`, with its data at `data` or, if that is empty, where it looks itself."""

    def __init__(self, library: str, data: str):
        self.library, self.wave = ctypes.CDLL(library), []
        self.library.espeak_TextToPhonemes.restype = c_char_p
        self.library.espeak_TextToPhonemes.argtypes = [POINTER(c_char_p), c_int, c_int]
        self.library.espeak_GetCurrentVoice.restype = POINTER(Voice)
        self.library.espeak_ListVoices.restype = POINTER(POINTER(Voice))
        self.library.espeak_Synth.argtypes = [c_char_p, c_size_t, c_uint, c_int, c_uint, c_uint, c_void_p, c_void_p]
        self.rate = self.library.espeak_Initialize(SYNCHRONOUS, 0, os.fsencode(data) or None, DONT_EXIT)
        if self.rate <= 0:
            raise SystemExit(f"espeak-ng does not start with its data at {data!r}.")
        self.heard = ctypes.CFUNCTYPE(c_int, c_void_p, c_int, c_void_p)(self._hear)  # else it would be collected
        self.library.espeak_SetSynthCallback(self.heard)
        self.voices = self._voices()

    def _voices(self) -> dict[str, str]:
        """The voice for each language: of those that speak it, the one that does so best."""
        listed, place, found = self.library.espeak_ListVoices(None), 0, {}
        while listed[place]:
            voice = listed[place].contents
            for language, rank in voice.ranks():
                found[language] = min(found.get(language, (rank + 1, "")), (rank, voice.identifier.decode()))
            place += 1
        return {language: identifier for language, (_, identifier) in sorted(found.items())}

    def _hear(self, wave: int | None, samples: int, events: int | None) -> int:
        if wave and samples > 0:
            self.wave.append(ctypes.string_at(wave, 2 * samples))
        return 0

    def take(self, name: str) -> bool:
        """Speaks as `name` from now on, such as `en-us` or `en-us+f2`; whether it is known."""
        language, plus, variant = name.partition("+")
        wanted = self.voices.get(language.lower())
        if set(variant) & set("/\\."):  # the name of a file, which espeak-ng would look for wherever that leads
            return False
        if wanted is None or self.library.espeak_SetVoiceByName(f"{wanted}{plus}{variant}".encode()) != 0:
            return False
        # a variant that is not there is left out without a word
        there = self.library.espeak_GetCurrentVoice().contents.identifier.decode()
        return ("+" in there) == bool(plus) and bool(self.phonemes(ANYTHING))

    def phonemes(self, text: str) -> str:
        rest, clauses = c_char_p(_utf_8(text)), []
        while rest.value is not None:  # it stops after each clause
            clauses.append(self.library.espeak_TextToPhonemes(byref(rest), UTF_8, IPA).decode())
        return " ".join(clauses).strip()

    def speak(self, text: str, speed: int) -> bytes:
        spoken = _utf_8(text)
        self.library.espeak_SetParameter(SPEED, speed, 0)
        self.library.espeak_Synth(spoken, len(spoken) + 1, 0, 0, 0, UTF_8, None, None)
        self.library.espeak_Synchronize()
        return b"".join(self.wave)

    def answer(self, request: dict) -> bytes:
        if "voices" in request:
            unknown = [name for name in request["voices"] if not self.take(name)]
            known = [name for name in self.voices if self.take(name)] if unknown else []
            return json.dumps({"unknown": unknown, "known": known}).encode()
        self.take(request["voice"])
        if "texts" in request:
            return json.dumps([self.phonemes(text) for text in request["texts"]]).encode()
        return self.speak(request["text"], request["speed"])


def _utf_8(text: str) -> bytes:
    return text.replace("\0", " ").encode("utf-8", "replace")  # a zero would be its end


def read(file) -> bytes | None:
    """The next message; `None` at the end."""
    size = file.read(4)
    return file.read(*struct.unpack(">I", size)) if len(size) == 4 else None


def write(file, message: bytes) -> None:
    file.write(struct.pack(">I", len(message)) + message)
    file.flush()


def answer_apart(engine: Engine, request: bytes, answers) -> None:
    """In a fork, since what espeak-ng says depends a little on what it has said before."""
    if os.fork() == 0:
        try:
            write(answers, engine.answer(json.loads(request)))
            os._exit(0)
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.wait()[1])
    if status != 0:
        raise SystemExit(f"espeak-ng ended with {status}, asked for {request[:200]!r}.")


def main(library: str, data: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with its parent, which closes stdin
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what espeak-ng prints is no answer
    engine = Engine(library, data)
    write(answers, str(engine.rate).encode())
    while (request := read(sys.stdin.buffer)) is not None:
        answer_apart(engine, request, answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
