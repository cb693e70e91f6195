"""The greatest resident set of this process."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["peak_mb"]


def peak_mb() -> float:
    """The most memory that this programme ever held, code and files included, in MB.

    ``ru_maxrss`` will not do: it also counts what the process that started this one held then.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None, "the kernel counts it"
    return int(found[1]) / 1024
