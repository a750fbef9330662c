"""Stopping between two steps."""

import signal
from threading import current_thread, main_thread


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, after everything was saved; the message says where."""


class StopAfterStep:
    """Lets the first Ctrl-C or SIGTERM wait until a step is whole; a second one does not wait."""

    def __init__(self):
        self.pressed = False
        self.previous = {}
        if current_thread() is main_thread():  # only there may signals be listened to
            for sign, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
                if signal.getsignal(sign) is default:  # a background job ignores Ctrl-C
                    self.previous[sign] = signal.signal(sign, self._press)

    def _press(self, *_) -> None:
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True

    def close(self) -> None:
        for sign, handler in self.previous.items():
            signal.signal(sign, handler)
