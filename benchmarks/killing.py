"""A process killed at a chosen file operation, so that every step of a write can be tried."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator

__all__ = ["INTERRUPTED", "OPERATIONS", "ended", "is_writing", "killed_at", "killed_everywhere"]

OPERATIONS = {
    *("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink"),
    *("os.truncate", "os.chmod"),
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def killed_at(number: int, work: Callable[[], object], *, by: int = signal.SIGKILL) -> int | None:
    """Run ``work`` in a child process that gets a signal before its ``number``-th file operation.

    With ``number`` 0 it gets none.

    File operations are what Python tells its audit hooks: files opened for writing, renamed, linked
    or removed, and folders made or removed.

    Returns:
        The child's exit code, negative for a signal; None if there are fewer operations.
    """
    left = number

    def hooked() -> None:
        own = os.getpid()

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            if is_writing(event, arguments) and os.getpid() == own:
                left -= 1
                if not left:
                    os.kill(own, by)

        # a shell has its background jobs ignore interrupts, and nohup hang-ups
        if by == signal.SIGINT:
            signal.signal(by, signal.default_int_handler)
        elif by != signal.SIGKILL:
            signal.signal(by, signal.SIG_DFL)
        sys.addaudithook(hook)
        work()

    status = ended(hooked)
    return None if status == _ENDED else status


def is_writing(event: str, arguments: tuple[object, ...]) -> bool:
    """Whether what an audit hook is told is a file operation that changes something."""
    if event != "open":
        return event in OPERATIONS
    flags = arguments[2]
    return isinstance(flags, int) and bool(flags & _WRITING) and arguments[0] != os.devnull


_ENDED = 97
"""Exit code of a child that came to its end."""
INTERRUPTED = 98
"""Exit code of a child that Python interrupted."""


def ended(work: Callable[[], object]) -> int:
    """The exit code of ``work`` in a child process, negative for a signal; 97 if it returned."""
    pid = os.fork()
    if not pid:
        _child(work)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _child(work: Callable[[], object]) -> None:
    code = _ENDED
    try:
        work()
    except SystemExit as left_by:
        code = left_by.code if isinstance(left_by.code, int) else 1
        code = _ENDED if code == 0 else code
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def killed_everywhere(
    work: Callable[[], object],
    prepare: Callable[[], object],
    *,
    every: int = 1,
    by: int = signal.SIGKILL,
) -> Iterator[tuple[int, int]]:
    """Kill ``work`` at each of its file operations in turn, each time after ``prepare``.

    Yields:
        The number of the operation and the exit code, once the process is dead.
    """
    number = 1
    while True:
        prepare()
        code = killed_at(number, work, by=by)
        if code is None:
            return
        yield number, code
        number += every
