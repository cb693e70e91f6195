"""Registries, caches of encoders and stores of files, changed by somebody who may write there."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hostile.attack import Clean, Target, change, mutated_bytes
from benchmarks.hostile.files import table_columns, write_faiss
from isthmus import artefact
from isthmus.files import canonical_json

__all__ = ["FOLDERS"]

_ROWS = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)


# ---- registry ----------------------------------------------------------------------------------


def _make_registry(folder: Path) -> None:
    from isthmus.registry import Registry

    registry = Registry.open(folder / "registry", create=True)
    for rows in (3, 4):
        mean = {"mean": np.ones(rows)}
        artefact.write(folder / "means", "table of means", {"rows": rows}, mean, overwrite=True)
        registry.publish(folder / "means", "means", metadata={"rows": str(rows)})
        registry.promote("means", "production")


def _use_registry(folder: Path) -> None:
    from isthmus.registry import Registry

    registry = Registry.open(folder / "registry")
    for name in registry.names():
        for release in registry.list(name):
            release.as_dict()
        registry.log(name, "production")
        registry.show(f"{name}@production")
        registry.verify(name)
        registry.pull(f"{name}@production", folder / "mine")
        registry.rollback(name, "production")
    registry.gc(older_than=0)


def _forged_registry(folder: Path, clean: Clean, rng: np.random.Generator) -> None:
    """A document that is canonical, and where its digest names it, named by its new one."""
    names = sorted(name for name in clean if _document(clean[name]) is not None)
    name = names[rng.integers(len(names))]
    value = _document(clean[name])
    for _ in range(rng.integers(1, 3)):
        change(value, rng)
    try:
        content = canonical_json(value).encode() + b"\n"
    except (UnicodeEncodeError, ValueError):
        return
    (folder / name).write_bytes(content)
    old = hashlib.sha256(clean[name]).hexdigest()
    if old in name:
        new = hashlib.sha256(content).hexdigest()
        (folder / name).rename(folder / name.replace(old, new))
        for other, held in clean.items():
            # whoever forges a version lets the aliases name it
            if other != name and old.encode() in held:
                (folder / other).write_bytes(held.replace(old.encode(), new.encode()))


def _document(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


# ---- caches ------------------------------------------------------------------------------------


def _make_cache(folder: Path) -> None:
    from isthmus.encoders.cache import VectorCache

    cache = VectorCache(folder)
    cache.write([bytes([i]) * 32 for i in range(40)], _ROWS)
    with sqlite3.connect(next(folder.glob("*.sqlite"))) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _use_cache(folder: Path) -> None:
    from isthmus.encoders.cache import VectorCache

    cache = VectorCache(folder)
    found = cache.read([bytes([i]) * 32 for i in range(40)], 6)
    for row in found.values():
        assert row.shape == (6,), "a row of another width"
    cache.write([b"\xff" * 32], _ROWS[:1])
    len(cache)  # a damaged one may forget, and never gives what is wrong


def _forged_cache(folder: Path, clean: Clean, rng: np.random.Generator) -> None:
    """A healthy file of SQLite with other tables, columns, types or values."""
    statements = (
        "DROP TABLE vectors", "DELETE FROM vectors", "UPDATE vectors SET content = NULL",
        "UPDATE vectors SET content = 7", "UPDATE vectors SET content = 'text'",
        "UPDATE vectors SET used = 'yesterday'", "UPDATE vectors SET content = zeroblob(3)",
        "UPDATE vectors SET content = zeroblob(2000000) WHERE rowid = 1",
        "UPDATE vectors SET used = 1e999", "ALTER TABLE vectors RENAME COLUMN used TO last",
        "ALTER TABLE vectors RENAME TO other", "DROP INDEX by_use", "PRAGMA user_version = 99",
        "DROP TABLE vectors; CREATE TABLE vectors (key, content, used)",
        "DROP TABLE vectors; CREATE TABLE vectors (key)",
        "DROP TABLE vectors; CREATE VIEW vectors AS SELECT 1 AS key, 2 AS content, 3 AS used",
        "CREATE TRIGGER t BEFORE INSERT ON vectors BEGIN SELECT RAISE(ABORT, 'no'); END",
        "UPDATE vectors SET key = 'a' || rowid", "UPDATE vectors SET used = NULL",
    )  # fmt: skip
    connection = sqlite3.connect(next(folder.glob("*.sqlite")))
    try:
        connection.executescript(statements[rng.integers(len(statements))])
    except sqlite3.Error:
        pass
    finally:
        connection.close()


# ---- stores ------------------------------------------------------------------------------------


def _make_parquet_store(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pa.array(list(_ROWS), pa.list_(pa.float32(), 6))
    table = pa.table({"id": [f"d{i}" for i in range(40)], "text": ["t"] * 40, "vector": rows})
    pq.write_table(table, folder / "part-0.parquet")
    (folder / "isthmus-aliases.json").write_text(canonical_json({"live": "vector"}))


def _make_faiss_store(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    write_faiss("Flat")(folder / "docs.faiss")
    pq.write_table(pa.table({"id": [f"d{i}" for i in range(40)]}), folder / "docs.parquet")


def _use_store(url: str) -> Any:
    def use(folder: Path) -> None:
        from isthmus.stores import open_store

        store = open_store(url.format(folder))
        found = store.describe()
        for column in found.columns:
            store.search(np.ones((1, 6), np.float32), 3, column=column)
            for batch in store.scan(column=column, batch=16):
                repr(batch)
                break
        store.alias("live")

    return use


def _forged_store(folder: Path, clean: Clean, rng: np.random.Generator) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = next(name for name in clean if name.endswith(".parquet"))
    if "isthmus-aliases.json" in clean and rng.integers(4) == 0:
        value = {"live": "vector"}
        change(value, rng)
        (folder / "isthmus-aliases.json").write_text(json.dumps(value))
        return
    pq.write_table(pa.table(table_columns(rng)), folder / name)


FOLDERS: tuple[Target, ...] = (
    Target(
        "registry",
        _make_registry,
        _use_registry,
        (mutated_bytes, _forged_registry, _forged_registry),
    ),
    Target("encoder cache", _make_cache, _use_cache, (mutated_bytes, mutated_bytes, _forged_cache)),
    Target(
        "Parquet store",
        _make_parquet_store,
        _use_store("parquet://{}"),
        (mutated_bytes, _forged_store),
    ),
    Target(
        "FAISS store",
        _make_faiss_store,
        _use_store("faiss://{}/docs.faiss"),
        (mutated_bytes, _forged_store),
    ),
)
