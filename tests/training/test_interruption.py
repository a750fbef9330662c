import signal

import pytest

from regen_hf.training.interruption import StopAfterStep


@pytest.mark.parametrize(("sign", "default"), [
    (signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL),
])  # fmt: skip
def test_the_first_waits_and_the_second_does_not(sign, default):
    before = signal.signal(sign, default)
    try:
        stop = StopAfterStep()
        assert not stop.pressed
        signal.raise_signal(sign)
        assert stop.pressed
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(sign)
        stop.close()
        assert signal.getsignal(sign) == default
    finally:
        signal.signal(sign, before)


def test_a_background_job_goes_on_ignoring_ctrl_c():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        stop = StopAfterStep()
        signal.raise_signal(signal.SIGINT)
        assert not stop.pressed
        stop.close()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
