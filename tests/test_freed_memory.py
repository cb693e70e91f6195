"""Freed memory leaves the process, or is taken again, as each says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.programmes import printed_by

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the kernel's count is that of Linux"
)

HELD = """
import re
from isthmus.freed_memory import return_freed_memory

def private():
    with open("/proc/self/status") as status:
        return int(re.search(r"RssAnon:\\s+(\\d+)", status.read())[1]) // 1024
"""

BLOCKS = f"""{HELD}
kept = [bytearray(60_000) for _ in range(1500)]
last = bytearray(60_000)
del kept[:]
before = private()
return_freed_memory()
print(before - private())
"""

TAKEN_AGAIN = """
import resource
from isthmus.freed_memory import keep_freed_memory

def faults(rounds, size=20 << 20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        held = bytearray(size), bytearray(size)
        del held
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed_memory()
faults(1)
print(faults(20))
"""

READ = f"""{HELD}
import isthmus
import isthmus.spaces.formats.arrow, pyarrow.parquet

before = private()
pairs = isthmus.Pairs(*sys.argv[1:])
print(private() - before)
"""


def _told(programme: str, *arguments: object) -> int:
    return int(printed_by(f"import sys{programme}", *arguments))


def test_blocks_that_were_freed_below_one_in_use_go_back() -> None:
    assert _told(BLOCKS) > 60  # of 86 MB


def test_blocks_that_are_taken_again_are_not_cleaned_again() -> None:
    # of 200,000 pages
    assert _told(TAKEN_AGAIN) < 1000


def test_parquet_files_that_were_read_leave_little(tmp_path: Path) -> None:
    pa: Any = pytest.importorskip("pyarrow")
    pq: Any = pytest.importorskip("pyarrow.parquet")
    rows = np.random.default_rng(0).standard_normal((60_000, 64), np.float32)
    for name, step in (("new", 1), ("old", 7)):
        ids = [f"document {i * step % 60_000}" for i in range(60_000)]
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), 64)
        pq.write_table(pa.table({"id": ids, "vector": vectors}), tmp_path / f"{name}.parquet")
    # 5 MB; 22 while pyarrow's other threads kept what they had used
    assert _told(READ, tmp_path / "new.parquet", tmp_path / "old.parquet") <= 13
