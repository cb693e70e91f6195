"""Signals that stop a command, such as those of containers and of closed terminals."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from isthmus.files import discard_unfinished

__all__ = ["Stopped", "stopped_by_signals"]


class Stopped(BaseException):
    """Raised where the command is when a signal stops it, so that everything is tidied up."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number, self.exit_code = number, 128 + number


def _heeded_already(_: int, __: FrameType | None) -> None:
    """One signal stops a command, and more of them change nothing."""


@contextmanager
def stopped_by_signals() -> Generator[None]:
    """Let SIGTERM and SIGHUP end the block by `Stopped`, SIGINT as ever by ``KeyboardInterrupt``.

    One of them does, once: tidying up is not stopped again.
    """
    numbers = [n for name in ("SIGTERM", "SIGHUP") if (n := getattr(signal, name, None))]
    # whoever calls us with nohup means it; other threads than the main one get no signals
    numbers = [n for n in numbers if signal.getsignal(n) == signal.SIG_DFL]
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        numbers.append(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread():
        numbers = []

    def stop(number: int, _: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        for other in numbers:
            # SIG_IGN would have Python complain of one that is on its way already
            signal.signal(other, _heeded_already)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Stopped(number)

    stopped = False
    before: dict[int, Any] = {n: signal.signal(n, stop) for n in numbers}
    try:
        yield
    finally:
        if stopped:
            discard_unfinished()
        for number, handler in before.items():
            # an impatient Ctrl-C while Python leaves would show a trace
            impatient = stopped and number == signal.SIGINT
            signal.signal(number, signal.SIG_DFL if impatient else handler)
