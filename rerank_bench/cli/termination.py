"""SIGTERM and SIGHUP end a command as Ctrl-C does: temporary files go, the processes that it started end."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = ("SIGTERM", "SIGHUP")
"""What ``kill``, ``timeout`` and job schedulers send, and a terminal that is closed; Windows has no SIGHUP."""


class Terminated(KeyboardInterrupt):
    """The process was asked to end; who cleans up after Ctrl-C cleans up after this.

    Args:
        number: The signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


@contextlib.contextmanager
def raise_when_terminated() -> Iterator[None]:
    """Raise ``Terminated`` in the block when the process is asked to end; asked again, it ends at once.

    Signals that somebody handles or ignores already, as under ``nohup``, are left to them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    taken = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, _raise)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _raise(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise Terminated(number)
