"""What a migration costs beside the bare clients, vectors given: nothing is spent on encoding.

    python -m benchmarks.migration_cost [--rows 200000] [--dim 384] [--only LanceDB]

Of each store, a line for each of these:

- *backfill*: the pass that fills an empty column, beside a script of the bare client that reads ids
  and texts and puts the same vectors into a second table (an upsert, so that it may be repeated),
  and checks nothing: processor time, the server's too, in turn.
- *memory*: the greatest number of private pages of the process that runs the migration, at a
  quarter of the rows filled and in all.
- *disk*: what the store grew by in the run, beside the bytes of the new vectors.
- *mixed search*: a query over both columns as one index, every row having both vectors, beside one
  search of the bare client over the old ones: processor time.
- *cut-over*: another process cuts over, as the command does, while 8 threads ask one query after
  another; what the swap took, the longest time in which none of them was answered, beside that of
  stretches as long in the 20 seconds before (their median), and how many were not answered.
- *rollback*: from the call until the old vectors are served again, and until they are proven.

The two models agree about as two real ones do: of a query's 10 nearest items by the one, 0.3 are
among those by the other, as of 3,000 definitions by paraphrase-MiniLM-L3 and all-MiniLM-L6.
PostgreSQL has buffers of six times the bytes of one column, as a user of that size would: a table
larger than a quarter of them is not kept there when it is read from end to end;
``--shared-buffers 128MB`` is the server's own default.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from benchmarks.arrays import Array
from benchmarks.groups.stores import cpu_with_server, lancedb_search, pgvector_search
from benchmarks.harness import Options, Stopwatch, contest, cpu, header
from isthmus.cli.priority import giving_way
from isthmus.demo.own_postgres import postgres_server
from isthmus.encoders import CallableEncoder
from isthmus.migrate.backfill import Backfill
from isthmus.migrate.journal import State
from isthmus.migrate.marks import Marks
from isthmus.migrate.migration import Migration
from isthmus.migrate.models import Models
from isthmus.migrate.plan import Canaries, Estimated, Model, Plan, Serving, Target
from isthmus.migrate.serving import LiveSearch
from isthmus.migrate.sources import TextSource
from isthmus.stores import BATCH, Index, Indexed, Store, create_store, open_store
from isthmus.stores.beside import BesideStore, with_second_column
from isthmus.ways.way import Join, Recall

QUERIES, K, READERS = 20, 10, 8
BLUR = 0.4  # of the new vectors
_ALONE_S = 20.0  # of the readers before the cut-over


@dataclass(frozen=True)
class Given:
    """The rows of both models, in files, and where the index is."""

    url: str
    rows: int
    dim: int
    folder: Path

    def vectors(self, model: str) -> Array:
        """``(n, d)``, of a file that is read as it is needed."""
        return np.load(self.folder / f"{model}.npy", mmap_mode="r")

    def of(self, table: str) -> str:
        """The URL of another table of the same database."""
        return f"{self.url.partition('#')[0]}#{table}"

    def encoder(self) -> CallableEncoder:
        """The new model: a text is the number of its row."""
        rows = self.vectors("new")
        return CallableEncoder(
            lambda texts: np.asarray(rows[[int(t) for t in texts]]),
            name="new", revision="1", dim=self.dim,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.migration_cost", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rows", type=int, default=200_000, help="items (200000)")
    parser.add_argument("--dim", type=int, default=384, help="of both models (384)")
    parser.add_argument("--repeats", type=int, default=3, help="interleaved repeats (3)")
    parser.add_argument("--only", action="append", choices=STORES, help="a store; repeatable")
    parser.add_argument("--indexed", action="store_true", help="give the old vectors an index")
    parser.add_argument("--shared-buffers", help="of PostgreSQL (six times one column)")
    parser.add_argument("--rollback", action="store_true", help="the line of the rollback alone")
    asked = parser.parse_args()
    buffers = asked.shared_buffers or f"{max(128, asked.rows * asked.dim * 24 // 1_000_000)}MB"
    print("\n".join(header()), file=sys.stderr)
    print(f"{asked.rows:,} rows of {asked.dim} dimensions; shared_buffers of {buffers}\n")
    print("| store | what | isthmus | bare client | ratio | aim |\n|---|---|---|---|---|---|")
    for name in asked.only or STORES:
        with TemporaryDirectory() as folder, STORES[name](Path(folder), buffers) as bare:
            given = Given(bare.url, asked.rows, asked.dim, Path(folder))
            fill(given)
            if asked.indexed:
                with open_store(given.url) as store:
                    assert isinstance(store, Indexed)
                    store.build_index("old", bare.indexed_by)
            bare.rest()
            lines = (
                rollback_alone(given) if asked.rollback else measured(given, bare, asked.repeats)
            )
            for cells in lines:
                print(f"| {name} | {' | '.join(cells)} |", flush=True)


def fill(given: Given) -> None:
    """Old vectors, and new ones that are those turned and blurred, in files and in the index."""
    rng = np.random.default_rng(0)
    spread = np.sqrt(8 / (8 + np.arange(given.dim))).astype(np.float32)
    turn = np.linalg.qr(rng.standard_normal((given.dim, given.dim)))[0].astype(np.float32)
    for model in ("old", "new"):
        shape = (given.rows, given.dim)
        path = given.folder / f"{model}.npy"
        np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    old, new = (np.load(given.folder / f"{m}.npy", mmap_mode="r+") for m in ("old", "new"))
    store: Store | None = None
    for start in range(0, given.rows, 20_000):
        part = slice(start, min(start + 20_000, given.rows))
        numbers = range(part.start, part.stop)
        rows, blur = rng.standard_normal((2, len(numbers), given.dim), dtype=np.float32) * spread
        old[part], new[part] = rows, (rows + np.float32(BLUR) * blur) @ turn
        ids = np.array([f"doc-{i:08d}" for i in numbers])
        payload = {"text": [str(i) for i in numbers]}
        if store is None:
            store = create_store(given.url, ids, {"old": rows}, payload)
        else:
            store.add(ids, {"old": rows}, payload)
    assert store is not None
    store.close()


def measured(given: Given, bare: Bare, repeats: int) -> Iterator[tuple[str, ...]]:
    """The lines of a store, each as it is ready."""
    options = Options(repeats=repeats, budget=600)
    ways = {
        "ours": lambda: _timed(bare, partial(_backfilled, given)),
        "bare": lambda: _timed(bare, partial(bare.fill, given)),
    }
    yield _cells("backfill", contest(options, ways), 1.3)
    before = bare.disk(given)
    plan = planned(given)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        began = process.submit(_private_mb).result()
        quarter, peak = process.submit(_migrated, given, plan).result()
        yield (
            "memory of the run",
            f"{peak:.0f} MB ({began:.0f} at first, {quarter:.0f} at a quarter)", "", "", "≤ 400 MB",
        )  # fmt: skip
        new = given.rows * given.dim * 4
        growth = (bare.disk(given) - before) / new
        sizes = f"{growth * new / 1e6:.0f} MB", f"{new / 1e6:.0f} MB of vectors"
        yield "disk", *sizes, f"{growth:.2f}", "≤ 1.1"
        with open_store(given.url) as store:
            live = LiveSearch(plan, store, refresh=3600)
            yield _cells("mixed search", _searches(given, bare, live, options), 2.2)
        yield _cut_over(given, plan)
        yield _rollback(process, given, plan)


def rollback_alone(given: Given) -> Iterator[tuple[str, ...]]:
    """The line of the rollback, for sizes at which the others take long."""
    plan = planned(given)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        process.submit(_migrated, given, plan).result()
        process.submit(_moved, given, plan).result()
        yield _rollback(process, given, plan)


def _rollback(process: ProcessPoolExecutor, given: Given, plan: Plan) -> tuple[str, ...]:
    served, proven, untouched = process.submit(_moved_back, given, plan).result()
    assert untouched == given.rows, untouched
    told = (
        f"old vectors served after {served:.2f} s; all proven to be untouched after {proven:.1f} s"
    )
    return "rollback", told, "", "", "≤ 2 s of 2M rows"


def _cells(what: str, timed: Any, limit: float) -> tuple[str, ...]:
    row = timed.row(what, "ours", "bare", at_most=limit)
    if row.ratio is None:
        return what, "", "", row.note, row.target
    spread = f"{row.ratio.median:.2f} ({row.ratio.low:.2f} to {row.ratio.high:.2f})"
    ours, theirs = (f"{value / 1000:.2f} s" for value in (row.ours, row.baseline))
    return what, ours, theirs, spread, row.target


def _timed(bare: Bare, work: Callable[[], None]) -> Stopwatch:
    """Processor time; what the work makes is dropped again, which does not count."""
    inner = bare.cost(work)

    def once() -> float:
        spent = inner()
        bare.drop()
        return spent

    return once


# ---- the migration ------------------------------------------------------------------------------


def _backfilled(given: Given) -> None:
    with open_store(given.url) as opened:
        store = with_second_column(opened, "new")
        store.add_column("new", given.dim)
        marks = Marks(store.ledger("pass"))
        work = Backfill(store, "new", TextSource(given.encoder(), "text"), marks)
        assert work.sweep().encoded == given.rows
        marks.erase()


def planned(given: Given) -> Plan:
    """What `make_plan` would write, without bridges: old queries are asked until the new are in."""
    encoder = given.encoder()
    with open_store(given.url) as store:
        held = store.describe()
        second = with_second_column(store, "new")
        beside = isinstance(second, BesideStore)
        target = Target(
            store=given.url, collection=held.name, count=given.rows, text_field="text",
            old_column="old", old_dim=given.dim, metric="cosine", new_column="new",
            new_dim=given.dim, alias="docs_live",
            alias_old=held.name if beside else f"{held.name}.old",
            alias_new=second.beside if beside else f"{held.name}.new",
        )  # fmt: skip
    texts = tuple(str(i) for i in range(8))
    plan = Plan(
        target=target,
        new=Model(spelling="new", name="new", revision="1", dim=given.dim),
        serving=Serving(recall=Recall(kind="old"), joins=((0.0, Join(weight=0.3)),)),
        canaries=Canaries.of(texts, encoder.encode(list(texts))),
        estimated=Estimated(
            scan_rate=1, encode_rate=1, search_ms=1, rows=given.rows, hours=0, disk=0
        ),
    ).signed()
    plan.save(given.folder / "plan.json")
    return plan


def _migration(given: Given, plan: Plan, store: Store, **more: Any) -> Migration:
    return Migration(plan, given.folder / "plan.json", store, Models(new=given.encoder()), **more)


def _private_mb() -> float:
    status = Path("/proc/self/status").read_text()
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


def _migrated(given: Given, plan: Plan) -> tuple[float, float]:
    """Run until all is filled; the most MB held at a quarter, and at any time."""
    most, quarter, done = 0.0, 0.0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.01):
            most = max(most, _private_mb())

    def told(stage: str, row: int, of: int) -> None:
        nonlocal quarter
        if stage == "following" and row <= of // 4:
            quarter = most

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        with open_store(given.url) as store:
            reached = _migration(given, plan, store, progress=told).run()
        assert reached == State.FULL, reached
    finally:
        done.set()
        watching.join()
    return quarter, most


def _searches(given: Given, bare: Bare, live: LiveSearch, options: Options) -> Any:
    asked: Any = {m: given.vectors(m)[:QUERIES] + np.float32(0.1) for m in ("old", "new")}
    assert live.way().joins

    def ours() -> None:
        for row in range(QUERIES):
            live({model: rows[row : row + 1] for model, rows in asked.items()}, K)

    return contest(
        options,
        {
            "ours": lambda: bare.cost(ours),
            "bare": lambda: bare.cost(partial(bare.search, asked["old"])),
        },
    )


class _Read(NamedTuple):
    at: float
    answered: bool


def _moved(given: Given, plan: Plan) -> float:
    """Cut over; the seconds of the swap."""
    with giving_way(), open_store(given.url) as store:
        migration = _migration(given, plan, store)
        migration.cut_over()
        return float(migration.journal.data(State.CUT_OVER)["seconds"])


def _moved_back(given: Given, plan: Plan) -> tuple[float, float, int]:
    """Roll back; seconds until the old vectors are served, and in all, and the untouched rows."""
    began = time.monotonic()
    with open_store(given.url) as store:
        migration = _migration(given, plan, store)
        opened = time.monotonic() - began
        restored = migration.rollback()
    assert restored.seconds is not None
    return opened + restored.seconds, time.monotonic() - began, restored.untouched


def _cut_over(given: Given, plan: Plan) -> tuple[str, ...]:
    """A process of its own cuts over while threads of this one read."""
    asked: Any = {m: given.vectors(m)[:QUERIES] + np.float32(0.1) for m in ("old", "new")}
    reads: list[_Read] = []
    over = threading.Event()
    context = multiprocessing.get_context("spawn")
    with open_store(given.url) as store, ProcessPoolExecutor(1, mp_context=context) as process:
        process.submit(_private_mb).result()  # it has started
        live = LiveSearch(plan, store, refresh=0.1)

        def read(number: int) -> None:
            row = number % QUERIES
            one: Any = {model: rows[row : row + 1] for model, rows in asked.items()}
            while not over.is_set():
                try:
                    answered = bool(live(one, K).ids[0, -1])
                except Exception:
                    answered = False
                reads.append(_Read(time.monotonic(), answered))

        threads = [threading.Thread(target=read, args=(i,)) for i in range(READERS)]
        for thread in threads:
            thread.start()
        time.sleep(_ALONE_S)  # the readers alone, nothing moves
        began = time.monotonic()
        seconds = process.submit(_moved, given, plan).result()
        ended = time.monotonic()
        over.set()
        for thread in threads:
            thread.join()
    moments = np.sort([one.at for one in reads])
    lost = sum(not one.answered for one in reads)
    alone, pause = _alone(moments, began, ended - began), _pause(moments, began, np.inf)
    return (
        f"cut-over, {READERS} readers",
        f"swap {seconds:.3f} s; longest without an answer {pause:.2f} s, {alone:.2f} s before it: "
        f"{max(0.0, pause - alone):.2f} s more; {lost} of {len(reads):,} reads failed",
        "", "", "≤ 0.3 s, 0",
    )  # fmt: skip


def _pause(moments: Array, begin: float, end: float) -> float:
    """The longest time between two answers, of which the second came in a stretch of time."""
    until = moments[1:]
    gaps = np.diff(moments)[(until >= begin) & (until < end)]
    return float(gaps.max()) if len(gaps) else float("nan")


def _alone(moments: Array, began: float, length: float) -> float:
    """The same of stretches of a length before ``began``, at the median; of all if it is longer."""
    starts = moments[moments + length < began]
    found = [_pause(moments, start, start + length) for start in starts]
    return float(np.nanmedian(found)) if found else _pause(moments, 0.0, began)


# ---- the bare clients ---------------------------------------------------------------------------


class Bare(NamedTuple):
    """What is done with a client alone."""

    url: str
    fill: Callable[[Given], None]
    drop: Callable[[], None]
    """Remove what a pass has filled."""
    search: Callable[[Array], None]
    disk: Callable[[Given], float]
    """Bytes of the database."""
    cost: Callable[[Callable[[], object]], Stopwatch]
    indexed_by: Index
    """Of a kind that is soon built."""
    rest: Callable[[], object] = lambda: None
    """What the database does by itself a minute after it was filled."""


@contextmanager
def _lancedb(folder: Path, _: str) -> Generator[Bare]:
    import lancedb
    import pyarrow as pa

    place = folder / "db"
    database: Any = lancedb.connect(str(place))

    def fill(given: Given) -> None:
        encoder, new = given.encoder(), None
        kind = pa.list_(pa.float32(), given.dim)
        source = database.open_table("docs").search().select(["id", "text"]).limit(given.rows)
        for part in source.to_batches(BATCH):
            rows = encoder.encode(part["text"].to_pylist())
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), type=kind)
            table = pa.table({"id": part["id"], "text": part["text"], "new": vectors})
            if new is None:
                new = database.create_table("docs__new", table)
            else:
                (
                    new.merge_insert("id")
                    .when_matched_update_all()
                    .when_not_matched_insert_all()
                    .execute(table)
                )

    def search(queries: Array) -> None:
        lancedb_search(database.open_table("docs"), queries)

    def disk(_: Given) -> float:
        return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())

    def drop() -> None:
        database.drop_table("docs__new", ignore_missing=True)

    yield Bare(f"lancedb://{place}#docs", fill, drop, search, disk, cpu, Index("IvfFlat"))


@contextmanager
def _pgvector(_: Path, buffers: str) -> Generator[Bare]:
    import psycopg
    from pgvector.psycopg import register_vector

    with (
        postgres_server(buffers) as server,
        psycopg.connect(server.get_uri(), autocommit=True) as opened,
    ):
        register_vector(opened)
        sql: Any = opened

        def cost(work: Callable[[], object]) -> Stopwatch:
            return cpu_with_server(work, server.get_pid())

        def fill(given: Given) -> None:
            encoder = given.encoder()
            sql.execute(
                "create table docs__new (id text primary key references docs (id) on delete "
                f"cascade on update cascade, new vector({given.dim}))"
            )
            with (
                psycopg.connect(server.get_uri()) as reading,
                reading.cursor("scan", binary=True) as cursor,
            ):
                cursor.itersize = BATCH
                cursor.execute("select id, text from docs order by id")
                while found := cursor.fetchmany(BATCH):
                    rows = encoder.encode([text for _, text in found])
                    with sql.transaction(), sql.cursor() as writing:
                        writing.execute(
                            "create temp table fresh (id text, v vector) on commit drop"
                        )
                        with writing.copy("copy fresh from stdin (format binary)") as copy:
                            copy.set_types(["text", "vector"])
                            for (name, _), row in zip(found, rows, strict=True):
                                copy.write_row((name, row))
                        writing.execute(
                            "insert into docs__new select id, v from fresh "
                            "on conflict (id) do update set new = excluded.new"
                        )

        def disk(_: Given) -> float:
            (size,) = sql.execute("select pg_database_size(current_database())").fetchone() or (0,)
            return float(size)

        def drop() -> None:
            sql.execute("drop table if exists docs__new")

        yield Bare(
            f"{server.get_uri()}#docs",
            fill,
            drop,
            partial(pgvector_search, sql, "docs"),
            disk,
            cost,
            Index("ivfflat", (("lists", "200"),)),
            partial(sql.execute, "vacuum analyze"),
        )


STORES: dict[str, Any] = {"LanceDB": _lancedb, "pgvector": _pgvector}


if __name__ == "__main__":
    main()
