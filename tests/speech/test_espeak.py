import contextlib
import ctypes.util
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from regen_hf import phonemes, speak
from regen_hf.speech import espeak


@pytest.fixture
def new_process(monkeypatch):
    """As if nothing had been asked; what there was is kept for other tests."""
    own = espeak._Espeak()
    monkeypatch.setattr(espeak, "_espeak", own)
    yield own
    own.stop()


def test_words_and_their_phonemes():
    found = phonemes(["the cat's hat", "…", "Hello, of the world"])
    assert found[:2] == [[["ð", "ə"], ["k", "æ", "t", "s"], ["h", "æ", "t"]], []]
    assert found[2] == [["h", "ə", "l", "oʊ"], ["ʌ", "v", "ð", "ə"], ["w", "ɜː", "l", "d"]]
    assert phonemes([]) == []


def test_stress_is_kept_if_asked_for():
    assert phonemes(["generator"], stress=True) == [[["dʒ", "ˈɛ", "n", "ɚ", "ɹ", "ˌeɪ", "ɾ", "ɚ"]]]
    assert phonemes(["generator"]) == [[["dʒ", "ɛ", "n", "ɚ", "ɹ", "eɪ", "ɾ", "ɚ"]]]


def test_languages_and_words_of_another_one():
    assert phonemes(["der Download"], language="de") == [[["d", "ɛ", "ɾ"], ["d", "aʊ", "n", "l", "əʊ", "d"]]]
    assert phonemes(["hello"], language="en-gb") == [[["h", "ə", "l", "əʊ"]]]
    assert phonemes(["hello"], language="en-US") == [[["h", "ə", "l", "oʊ"]]]


def test_speech_is_a_wave():
    (low, rate), (high, _) = speak(["hello world"] * 2, ["en-us", "en-us+f2"])
    assert rate == 22050 and low.dtype == np.float32 and low.ndim == 1
    assert 0.2 < np.abs(low).max() <= 1 and 0.5 < len(low) / rate < 2
    assert not np.array_equal(low[: len(high)], high[: len(low)])


def test_long_speech_is_whole():
    (short, rate), (long, _) = speak(["hello there, ", "hello there, " * 10], "en-us")
    assert len(long) > 7 * len(short) and len(long) > 5 * rate
    assert np.abs(long[-rate:]).max() > 0.1


def test_speech_is_as_fast_as_asked():
    slow, medium, fast = (len(wave) for wave, _ in speak(["hello there"] * 3, "en-us", [100, 170, 300]))
    assert slow > 1.3 * medium > 1.3 * 1.3 * fast
    assert [len(wave) for wave, _ in speak(["hello there"], "en-us")] == [medium]


def test_refuses_what_it_cannot_take():
    with pytest.raises(
        ValueError, match=r"`language` must be one that espeak-ng knows, .*'en-us-nyc'.*; got 'en-usa'\."
    ):
        phonemes(["a"], "en-usa")
    with pytest.raises(ValueError, match="`voices` must be one that espeak-ng knows, .*; got 'en-us\\+nobody'"):
        speak(["a", "b"], ["en-us", "en-us+nobody"])
    with pytest.raises(ValueError, match="`voices` must be one for all or one for each of 2 texts, got 3"):
        speak(["a", "b"], ["en-us"] * 3)
    for speed in (79, 451, 170.5):
        with pytest.raises(ValueError, match=rf"`words_per_minute` must be whole and from 80 to 450, got {speed}"):
            speak(["a"], "en-us", speed)
    with pytest.raises(TypeError, match="`texts` must be a sequence of texts, got one text: 'hello'"):
        phonemes("hello")
    with pytest.raises(TypeError, match="`texts` must be text, got int at 1: 3"):
        speak(["a", 3], "en-us")
    spoken = speak(["a", "…"], "en-us")
    next(spoken)
    with pytest.raises(ValueError, match="`texts` must have something to pronounce, got '…' at 1"):
        next(spoken)


def test_one_process_is_kept_for_every_call(new_process):
    assert new_process.process is None
    phonemes(["a"])
    first = new_process.process.pid
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda word: phonemes([word])[0], ["cat", "hat"] * 10))
    assert found == [[["k", "æ", "t"]], [["h", "æ", "t"]]] * 10
    assert new_process.process.pid == first


def test_a_process_that_dies_is_an_error_and_the_next_call_begins_another(new_process):
    phonemes(["a"])
    with pytest.raises(OSError, match=r"the process of espeak-ng ended with 1: (.|\n)*KeyError: 'voice'"):
        new_process.ask({"nonsense": 1})
    assert phonemes(["cat"]) == [[["k", "æ", "t"]]]
    new_process.process.kill()
    new_process.process.wait()
    assert phonemes(["cat"]) == [[["k", "æ", "t"]]]


def test_an_interrupted_answer_is_not_taken_for_the_next(new_process, monkeypatch):
    phonemes(["a"])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(new_process, "_read", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
        phonemes(["hat"])
    assert phonemes(["cat"]) == [[["k", "æ", "t"]]]


def test_workers_have_processes_of_their_own(new_process):
    def said(batch):
        return phonemes(batch)[0], new_process.process.pid

    assert phonemes(["cat"]) == [[["k", "æ", "t"]]]
    own = new_process.process.pid
    found = list(DataLoader(["cat", "hat"] * 4, batch_size=1, num_workers=2, collate_fn=said))
    assert [words for words, _ in found] == [[["k", "æ", "t"]], [["h", "æ", "t"]]] * 4
    assert len({pid for _, pid in found}) == 2 and own not in {pid for _, pid in found}
    assert phonemes(["hat"]) == [[["h", "æ", "t"]]] and new_process.process.pid == own


def test_a_fork_leaves_the_process_to_its_parent(new_process):
    phonemes(["a"])
    process = new_process.process
    new_process.forget()
    assert process.wait(timeout=10) == 0, "nobody else holds its end"
    assert phonemes(["cat"]) == [[["k", "æ", "t"]]]


ENDS = """
import importlib.util, os, signal, sys, time
spec = importlib.util.spec_from_file_location("espeak", sys.argv[1])
espeak = importlib.util.module_from_spec(spec)
spec.loader.exec_module(espeak)
espeak.phonemes(["a"])
if sys.argv[2] == "fork" and os.fork() == 0:
    time.sleep(60)  # a worker that outlives its parent
print(espeak._espeak.process.pid, flush=True)
os.kill(os.getpid(), int(sys.argv[3]))
"""


@pytest.mark.parametrize("how", [("alone", signal.SIGKILL), ("fork", signal.SIGKILL), ("alone", 0)])
def test_ends_with_its_parent(how):
    command = [sys.executable, "-c", ENDS, espeak.__file__, how[0], str(int(how[1]))]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        pid = int(running.stdout.readline())
        assert running.wait(timeout=10) == -how[1]
        assert gone(pid)
    finally:
        running.stdout.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)


def gone(pid: int) -> bool:
    """Whether it ends within ten seconds; a dead one that nobody has waited for counts."""
    for _ in range(200):
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def test_is_found_in_the_system_where_the_package_is_not(new_process, monkeypatch):
    library, data = espeak._library()
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    monkeypatch.setattr(ctypes.util, "find_library", {"espeak-ng": library}.get)
    monkeypatch.setenv("ESPEAK_DATA_PATH", str(Path(data).parent))
    assert espeak._library() == (library, "")
    assert phonemes(["cat"]) == [[["k", "æ", "t"]]]


def test_says_what_to_install(new_process, monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'regen_hf\[espeak\]' or apt-get install espeak-ng"):
        phonemes(["a"])


def test_says_what_the_process_said_that_does_not_start(new_process, monkeypatch, tmp_path):
    monkeypatch.setattr(espeak, "_library", lambda: (espeak_library, str(tmp_path)))
    with pytest.raises(OSError, match="ended with 1: (.|\n)*espeak-ng does not start with its data at"):
        phonemes(["a"])


espeak_library = espeak._library()[0]


def test_variants_are_told_apart_by_their_case():
    one, other = (next(speak(["hello"], voice))[0] for voice in ("en-us", "en-us+Andy"))
    assert len(one) and not np.array_equal(one, other)


def test_what_answers_ends_with_what_was_asked(new_process, monkeypatch):
    """After Ctrl-C in the middle of an answer, nothing goes on working."""
    phonemes(["a"])
    group = new_process.process.pid
    assert os.getpgid(group) == group != os.getpgid(0)

    def interrupted():
        time.sleep(0.2)
        raise KeyboardInterrupt

    monkeypatch.setattr(new_process, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        phonemes([f"a long sentence that is said again {i}" for i in range(100_000)])
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("something of it still runs")
