"""The script that a program was started with, in its worker processes: run only where it is needed.

multiprocessing has every worker run the caller's script again before it works.  What workers run
here lies in modules mostly, and a script imports far more than a worker needs of them.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing import spawn
from typing import Any

from isthmus.errors import EngineError

__all__ = ["CallerScript", "left_out"]

_MENTIONED = b"__main__"
_changing = threading.Lock()


class CallerScript:
    """Where the script of this process is found, as a worker is told.

    Raises:
        EngineError: in a worker that is running the script of its caller.
    """

    _running = False

    def __init__(self) -> None:
        if CallerScript._running:
            raise EngineError(
                "a worker came here too, when it ran the script for a function of it",
                where="processes",
                mend="What starts workers stands under `if __name__ == '__main__':`",
            )
        told: dict[str, Any] = spawn.get_preparation_data("")
        self._told = {name: told[name] for name in told if name.startswith("init_main")}

    def run_for(self, pickled: bytes) -> None:
        """Run it, in a worker, where ``pickled`` speaks of something that it defines."""
        if self._told and _MENTIONED in pickled:
            told, self._told = self._told, {}
            CallerScript._running = True
            try:
                spawn.prepare(told)
            finally:
                CallerScript._running = False


@contextmanager
def left_out() -> Generator[None]:
    """Processes that are started within the block do not run the script again."""
    main = vars(sys.modules["__main__"])
    with _changing:
        known = {name: main.pop(name) for name in ("__file__",) if name in main}
        known["__spec__"], main["__spec__"] = main.get("__spec__"), None
        try:
            yield
        finally:
            main.update(known)
