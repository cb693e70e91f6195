"""Fits on the first rows of two memory-mapped files, reporting its own anonymous memory.

Prints ``ready KIB`` once everything is imported, waits for a line, fits, and prints ``done KIB``
(the peak that a sampling thread saw).
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from benchmarks import ours


def anonymous_kib() -> int:
    """``RssAnon``: without the pages of mapped files, which the kernel may drop at will."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    raise OSError("no RssAnon in /proc/self/status")


class Sampler(threading.Thread):
    """The largest anonymous memory seen, looked at every 5 ms."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.005):
            self.peak = max(self.peak, anonymous_kib())


def main(x_path: str, y_path: str, rows: int) -> None:
    work = ours.isthmus_fit(x_path, y_path, rows)
    before = anonymous_kib()
    sampler = Sampler()
    sampler.start()
    work()
    sampler.over.set()
    sampler.join()
    print(before, sampler.peak)


main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
