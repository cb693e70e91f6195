"""What a fit on a live index holds and reads: rows of 384 numbers in a store, encoders beside it.

Each fit runs in a process of its own: a sample is drawn from the store, encoded, and a bridge is
fitted on it.  Printed are the greatest number of private pages, what the process read of files,
beside the bytes that the vectors are, and the seconds.  A server's reading is not ours: of
PostgreSQL the rows that it gave are shown, as its own statistics count them.  ``--judge`` judges
the ways on the index too; its searches read what a search reads.  Chroma and Qdrant in a folder
are engines within the process, which hold their whole index: of them it is also shown what a
process holds that opens the collection with the client alone, reads 1,000 vectors and searches
once.  Of a server of Chroma, and of PostgreSQL, the process that fits holds what is its own.

    python -m benchmarks.store_memory [--rows 200000] [--only lancedb ...] [--judge]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.arrays import Array
from benchmarks.local_server import local_server

__all__ = ["STORES", "fill", "fitted"]

DIM = 384
STORES = ("lancedb", "postgresql", "parquet", "faiss", "chroma", "chroma_server", "qdrant")
_BLOCK = 20_000

_WATCH = r"""
import re, sys, threading, time
from pathlib import Path

peak = 0

def watch():
    global peak
    while True:
        status = Path("/proc/self/status").read_text()
        peak = max(peak, int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]))
        time.sleep(0.005)

threading.Thread(target=watch, daemon=True).start()
"""
_CLIENTS = {
    "chroma": r"""
import chromadb

items = chromadb.PersistentClient(sys.argv[1]).get_collection("items")
some = items.get(limit=1000, include=["embeddings", "documents"])["embeddings"]
items.query(query_embeddings=some[:1], n_results=10)
print(peak / 1024)
""",
    "qdrant": r"""
from qdrant_client import QdrantClient

client = QdrantClient(path=sys.argv[1])
some, _ = client.scroll("items", limit=1000, with_vectors=True)
client.query_points("items", query=some[0].vector["old"], using="old", limit=10)
print(peak / 1024)
""",
}
"""What the client alone does with the folder of an engine within the process."""

_FIT = r"""
from benchmarks.store_memory import models_of
from isthmus.bridge import fit_sample, judge_live, sample_store
from isthmus.stores import open_store

def read():
    return int(re.search(r"rchar: (\d+)", Path("/proc/self/io").read_text())[1])

models = models_of()
with open_store(sys.argv[1]) as store:
    before = read()
    sample = sample_store(store, models, pairs=4000)
    after, sampled = read(), peak
    bridge = fit_sample(sample, models, recipe="procrustes")
    if sys.argv[2] == "judge":
        judge_live(bridge, store, sample, models)
print(sampled / 1024, peak / 1024, (after - before) / 1e6)
"""


def meanings(numbers: Array) -> Array:
    """What the items of these numbers ``(n,)`` are about, ``(n, 384)`` float32."""
    drawn = np.random.default_rng(0).standard_normal((4099, DIM)).astype(np.float32)
    return drawn[numbers % 4099] + np.float32(0.3) * drawn[numbers * 7919 % 4093]


def models_of() -> object:
    """Two models of the same meanings, the new one on turned axes; a text is its number."""
    from isthmus.bridge import ModelChange
    from isthmus.encoders import CallableEncoder

    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((DIM, DIM)))[0]

    def old(texts: list[str]) -> Array:
        return meanings(np.array([int(text) for text in texts]))

    return ModelChange(
        new=CallableEncoder(
            lambda texts: old(texts) @ turn.astype(np.float32), name="new", revision="1", dim=DIM
        ),
        old=CallableEncoder(old, name="old", revision="1", dim=DIM),
    )


def fill(url: str, rows: int) -> None:
    """A new collection of ``rows`` items at ``url``, a block at a time where it can be added to."""
    from isthmus.stores import create_store

    step = rows if url.startswith(("parquet", "faiss")) else _BLOCK
    store = None
    for start in range(0, rows, step):
        numbers = np.arange(start, min(start + step, rows))
        ids = np.array([f"doc-{i:08d}" for i in numbers])
        vectors, payload = {"old": meanings(numbers)}, {"text": [str(i) for i in numbers]}
        if store is None:
            store = create_store(url, ids, vectors, payload)
        else:
            store.add(ids, vectors, payload)
    if store is not None:
        store.close()


class Fitted(NamedTuple):
    """What a fit on a store took."""

    sampled: float
    """MB of private pages at the most until the sample was drawn and encoded."""
    peak: float
    """MB of private pages at the most."""
    read: float
    """MB read of files for the sample."""
    seconds: float


def _printed(script: str, *given: str) -> list[float]:
    """The numbers that a process of its own prints, whose memory is watched."""
    done = subprocess.run(
        [sys.executable, "-c", _WATCH + script, *given], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{given} ended with {done.returncode}:\n{done.stderr}")
    return [float(number) for number in done.stdout.split()]


def fitted(url: str, *, judge: bool = False) -> Fitted:
    """Fit on a store, in a process of its own."""
    began = time.monotonic()
    numbers = _printed(_FIT, url, "judge" if judge else "fit")
    sampled, peak, read = numbers
    return Fitted(sampled, peak, read, time.monotonic() - began)


@contextmanager
def _address(scheme: str, folder: Path) -> Generator[str]:
    if scheme == "postgresql":
        from isthmus.demo.own_postgres import postgres_server

        with postgres_server() as server:
            yield f"{server.get_uri()}#items"
        return
    if scheme == "chroma_server":
        with local_server(
            lambda port: (
                *(str(Path(sys.executable).with_name("chroma")), "run", "--path", str(folder)),
                *("--host", "127.0.0.1", "--port", str(port)),
            )
        ) as address:
            yield f"chroma://{address}#items"
        return
    ends = {"parquet": "items.parquet", "faiss": "items.faiss"}
    yield f"{scheme}://{folder}/{ends.get(scheme, 'db#items')}"


def _vacuum(url: str) -> None:
    """As the server itself does after a while: from then on counting reads the index alone."""
    import psycopg

    with psycopg.connect(url.partition("#")[0], autocommit=True) as sql:
        sql.execute("vacuum analyze items")


def _given(url: str) -> str:
    """How many rows PostgreSQL has given so far, of the table."""
    import psycopg

    with psycopg.connect(url.partition("#")[0], autocommit=True) as sql:
        row = sql.execute(
            "select seq_tup_read + idx_tup_fetch from pg_stat_user_tables where relname = 'items'"
        ).fetchone()
        assert row is not None
        return f"{row[0]:,} rows"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--only", nargs="*", default=list(STORES), choices=STORES)
    parser.add_argument("--judge", action="store_true")
    asked = parser.parse_args()
    size = asked.rows * DIM * 4 / 1e6
    print(f"{asked.rows:,} x {DIM}, {size:.0f} MB of vectors\n")
    print(
        "| store | read | held by then | held at the most | client alone | seconds |\n"
        "|---|---|---|---|---|---|",
        flush=True,
    )
    for scheme in asked.only:
        with tempfile.TemporaryDirectory() as folder, _address(scheme, Path(folder)) as url:
            fill(url, asked.rows)
            if scheme == "postgresql":
                _vacuum(url)
            before = _given(url) if scheme == "postgresql" else ""
            found = fitted(url, judge=asked.judge)
            shown = f"{found.read:.0f} MB"
            if scheme == "postgresql":
                shown = f"{_given(url)} given (before: {before})"
            place = url.partition("://")[2].partition("#")[0]
            alone = f"{_printed(_CLIENTS[scheme], place)[0]:.0f} MB" if scheme in _CLIENTS else ""
            print(
                f"| {scheme} | {shown} | {found.sampled:.0f} MB | {found.peak:.0f} MB "
                f"| {alone} | {found.seconds:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
