"""Migrations disturbed in every way: nothing lost, nothing twice, and always a way back.

A small live index is moved to another model, cut over and rolled back, and disturbed meanwhile:

- *kills*: SIGKILL before and behind every entry of journal and notes, and at random moments;
- *server*: PostgreSQL killed or stopped at once, and started again; its connections cut by a
  proxy after so many bytes, in the midst of a batch too;
- *disk*: full after so many bytes;
- *clock*: set back by a day at each entry of the journal;
- *encoder*: a fifth or three fifths of the calls fail; another width, NaN or another model comes;
- *runners*: two processes begin at once;
- *traffic*: an application adds, edits and deletes items all the while.

After each disturbance another process goes on.  Then every id is there once, every new vector is
what an uninterrupted run puts, the old vectors are what they were bit for bit, before the way back
and behind it; and a reader that asked all the while found what it asked for.

    python -m benchmarks.chaos [--store lancedb postgresql chroma qdrant sqlite] [--only KIND ...]
    python -m benchmarks.chaos --every 12 --times 2 --traffic 0      # a short run
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

from benchmarks.chaos import faults, server
from benchmarks.chaos.clock import clock_set_back
from benchmarks.chaos.index import ALONE, made, postgres
from benchmarks.chaos.kills import killed_everywhere, killed_randomly
from benchmarks.chaos.traffic import traffic

KINDS = ("kills", "server", "disk", "clock", "encoder", "runners", "traffic")
_STORES = {
    "lancedb": ("lancedb", "pyarrow", "isthmus.stores.lancedb"),
    "postgresql": ("psycopg", "isthmus.stores.pgvector"),
    "chroma": ("chromadb", "isthmus.stores.chroma"),
    "qdrant": ("qdrant_client", "isthmus.stores.qdrant"),
    "sqlite": ("apsw", "sqlite_vec", "isthmus.stores.sqlite"),
}
_ON_DISK = ("lancedb",)
_HEAD = (
    "| store | disturbance | ended the run | did not | reads meanwhile | after what followed |\n"
    "|---|---|---|---|---|---|"
)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--store", nargs="*", choices=_STORES, default=list(_STORES))
    parser.add_argument("--only", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--every", type=int, default=1, help="disturb at each N-th entry (1)")
    parser.add_argument("--times", type=int, default=25, help="of what comes at random (25)")
    parser.add_argument("--traffic", type=float, default=20, help="seconds of traffic (20)")
    asked = parser.parse_args()
    print(_HEAD, flush=True)
    for kind in asked.store:
        for module in _STORES[kind]:
            import_module(module)  # once, and not in every child
        with tempfile.TemporaryDirectory(prefix="isthmus-chaos-") as name, postgres(kind):
            folder = Path(name)
            made(kind, folder)
            for line in _lines(kind, folder, asked):
                print(line, flush=True)
    return 0


def _lines(kind: str, folder: Path, asked: argparse.Namespace) -> Iterator[object]:
    def lines_of(name: str) -> Callable[[], Iterator[object]]:
        return {
            "kills": lambda: iter(
                (killed_everywhere(kind, folder, every=asked.every),
                 killed_randomly(kind, folder, asked.times))
            ),
            "server": lambda: _server(kind, folder, asked),
            "disk": lambda: iter(
                [faults.disk_full(kind, folder, asked.times)] if kind in _ON_DISK else []
            ),
            "clock": lambda: iter([clock_set_back(kind, folder, max(1, asked.times // 5))]),
            "encoder": lambda: iter(faults.encoder_fails(kind, folder)),
            "runners": lambda: iter([faults.two_runners(kind, folder, max(1, asked.times // 5))]),
            "traffic": lambda: iter(
                [traffic(kind, folder, asked.traffic)]
                if asked.traffic and kind not in ALONE
                else []
            ),
        }[name]  # fmt: skip

    for name in asked.only:
        yield from lines_of(name)()


def _server(kind: str, folder: Path, asked: argparse.Namespace) -> Iterator[object]:
    if kind == "postgresql":
        yield from server.server_killed(folder, every=asked.every, random=asked.times)
        yield server.connection_cut(folder, asked.times)


if __name__ == "__main__":
    sys.exit(main())
