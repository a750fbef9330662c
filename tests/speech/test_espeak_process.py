"""The process is spoken to as `espeak.py` does it, message by message."""

import io
import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from regen_hf.speech import espeak, espeak_process


@pytest.fixture
def process():
    command = [sys.executable, "-I", "-S", str(espeak.PROCESS), *espeak._library()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert espeak_process.read(running.stdout) == b"22050"
        yield running


def ask(process, **request) -> bytes | None:
    espeak_process.write(process.stdin, json.dumps(request).encode())
    return espeak_process.read(process.stdout)


def test_messages_come_as_they_were_written():
    file = io.BytesIO()
    espeak_process.write(file, b"a\n\0")
    espeak_process.write(file, b"")
    assert file.getvalue() == b"\0\0\0\3a\n\0\0\0\0\0"
    file.seek(0)
    assert [espeak_process.read(file) for _ in range(3)] == [b"a\n\0", b"", None]


def test_answers_each_request(process):
    found = json.loads(ask(process, voices=["en-US", "en-gb+f2", "zh", "en-us+nobody", "klingonx", "", "fo"]))
    assert found["unknown"] == ["en-us+nobody", "klingonx", "", "fo"]  # the package has no dictionary of `fo`
    assert {"en-us", "en-gb", "de", "zh"} <= set(found["known"]) and "fo" not in found["known"]
    assert json.loads(ask(process, voice="en-us", texts=["cat", "?", "a b\0c"])) == ["k_ˈæ_t", "", "ɐ b_ˈiː s_ˈiː"]
    wave = np.frombuffer(ask(process, voice="en-us", text="cat", speed=170), np.int16)
    assert 0.3 < len(wave) / 22050 < 1 and np.abs(wave).max() > 5000


def test_what_it_says_does_not_depend_on_what_it_has_said(process):
    first = ask(process, voice="en-us", text="cat", speed=170)
    other = ask(process, voice="de+f2", text="hat and more", speed=300)
    assert ask(process, voice="en-us", text="cat", speed=170) == first != other


def test_takes_the_voice_that_speaks_a_language_best(process):
    assert json.loads(ask(process, voice="en", texts=["hello"])) == ["h_ə_l_ˈəʊ"]
    assert json.loads(ask(process, voice="en-us", texts=["hello"])) == ["h_ə_l_ˈoʊ"]


def test_an_interrupt_is_for_its_parent(process):
    process.send_signal(signal.SIGINT)
    assert json.loads(ask(process, voice="en-us", texts=["cat"])) == ["k_ˈæ_t"]


def test_ends_when_nobody_can_ask_any_more(process):
    process.stdin.close()
    assert process.wait(timeout=10) == 0


def test_ends_with_what_went_wrong(process):
    assert ask(process, nonsense=1) is None
    assert process.wait(timeout=10) == 1
    said = process.stderr.read().decode()
    assert "KeyError: 'voice'" in said and """espeak-ng ended with 1, asked for b'{"nonsense": 1}'""" in said


def test_says_that_there_are_no_data(tmp_path):
    command = [sys.executable, "-I", "-S", str(espeak.PROCESS), espeak._library()[0], str(tmp_path)]
    found = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert found.returncode == 1 and f"espeak-ng does not start with its data at '{tmp_path}'" in found.stderr
