"""Values through the connection of two processes, their arrays apart from the rest.

Within one pickle, an array is copied into a string that grows as it is filled: of the moments of a
part, which are arrays and little else, that took nine tenths of the time to send them.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

__all__ = ["receive", "send"]


def send(connection: Connection, value: object) -> None:
    """Send a value to `receive` at the other end, without a copy of its arrays.

    Nothing has been sent where it cannot be pickled, and what pickle raises then is raised.

    >>> from multiprocessing import Pipe
    >>> here, there = Pipe()
    >>> send(there, {"sums": np.arange(3)})
    >>> receive(here)
    {'sums': array([0, 1, 2])}
    """
    buffers: list[pickle.PickleBuffer] = []
    rest = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    parts = [buffer.raw() for buffer in buffers]
    connection.send((rest, [part.nbytes for part in parts]))
    for part in parts:
        _put(connection, part)


def receive(connection: Connection, before: Callable[[bytes], None] | None = None) -> Any:
    """What the other end gave to `send`; its arrays can be written to.

    Args:
        connection: this end.
        before: called with what is pickled, before it is made of it.

    Raises:
        EOFError, OSError: where the other end is closed, be it in the midst of a value.
    """
    rest, sizes = connection.recv()
    parts = [np.empty(size, dtype=np.uint8) for size in sizes]
    for part in parts:
        _fill(connection, part.data)
    if before is not None:
        before(rest)
    return pickle.loads(rest, buffers=parts)


if sys.platform == "win32":
    _put = Connection.send_bytes
    _fill = Connection.recv_bytes_into
else:

    def _put(connection: Connection, part: memoryview) -> None:
        while part.nbytes:
            part = part[os.write(connection.fileno(), part) :]

    def _fill(connection: Connection, part: memoryview) -> None:
        # a connection would read into a string of its own, and copy that
        while part.nbytes:
            read = os.readv(connection.fileno(), [part])
            if not read:
                raise EOFError
            part = part[read:]
