"""A small index of two models that read words, copied for every trial of `benchmarks.chaos`.

Whatever opens a store runs in a child process: clients of databases do not survive a fork.
"""

from __future__ import annotations

import os
import pickle
import shutil
import warnings
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.demo.own_postgres import postgres_server
from isthmus.encoders import CallableEncoder
from isthmus.migrate.models import Models
from isthmus.migrate.plan import Canaries, Estimated, Model, Plan, Serving, Target
from isthmus.stores import create_store, open_store
from isthmus.stores.beside import BesideStore, with_second_column
from isthmus.ways.way import Join, Recall

__all__ = [
    "ALONE",
    "NEW_DIM",
    "OLD_DIM",
    "N",
    "contents",
    "copied",
    "made",
    "models",
    "planned",
    "postgres",
    "reading",
    "server",
    "text_of",
]  # fmt: skip

OLD_DIM, NEW_DIM = 16, 24
N = 120
ALONE = ("chroma", "qdrant")
"""Folders that their clients open in one process at a time: nobody else reads meanwhile."""
_WORDS = [f"{a}{b}" for a in ("ba", "ko", "lu", "mi", "ne", "so") for b in ("r", "lt", "nd", "sk")]
_SERVER: dict[str, Any] = {}


def text_of(number: int, edition: int = 0) -> str:
    """A text of six words."""
    draw = np.random.default_rng([number, edition]).integers(0, len(_WORDS), 5)
    return " ".join(_WORDS[w] for w in draw) + f" n{number}"


def reading(dim: int, seed: int) -> Callable[[list[str]], np.ndarray]:
    """A model: the mean of a vector for each word."""

    def encode(texts: list[str]) -> np.ndarray:
        rows = np.empty((len(texts), dim), dtype=np.float32)
        for row, text in enumerate(texts):
            rows[row] = np.mean([_word(word, dim, seed) for word in text.split()], axis=0)
        return rows

    return encode


def _word(word: str, dim: int, seed: int) -> np.ndarray:
    return np.random.default_rng([seed, zlib.crc32(word.encode())]).standard_normal(dim)


def models() -> Models:
    """The new model and the old one."""
    return Models(
        CallableEncoder(reading(NEW_DIM, 2), name="new", revision="2", dim=NEW_DIM),
        CallableEncoder(reading(OLD_DIM, 1), name="old", revision="1", dim=OLD_DIM),
    )


@contextmanager
def postgres(kind: str) -> Generator[None]:
    """A real server while a trial needs one."""
    if kind != "postgresql":
        yield
        return
    with postgres_server() as running:
        _SERVER.update(url=running.get_uri(), server=running)
        yield


def server() -> Any:
    """The server that `postgres` started."""
    return _SERVER["server"]


def _url(kind: str, folder: Path, number: int) -> str:
    if kind == "postgresql":
        return f"{_SERVER['url']}#docs{number}"
    if kind in ("parquet", "faiss"):
        return f"{kind}://{folder}/{number}/docs.{kind}"
    if kind == "sqlite":
        return f"{kind}://{folder}/{number}/app.db#docs"
    return f"{kind}://{folder}/{number}/db#docs"


def made(kind: str, folder: Path, n: int = N) -> None:
    """The index that every trial copies, as number 0."""

    def make() -> None:
        texts = [text_of(i) for i in range(n)]
        url = _url(kind, folder, 0)
        (folder / "0").mkdir(exist_ok=True)
        vectors = {"vector": reading(OLD_DIM, 1)(texts)}
        create_store(url, np.arange(n), vectors, {"text": texts}).close()
        (folder / "before").write_bytes(pickle.dumps(contents(url)))

    _in_child(make)


def copied(kind: str, folder: Path, number: int) -> tuple[str, Path, dict[str, dict[Any, Any]]]:
    """A fresh copy: its URL, the place of its plan, and what it holds."""
    place = folder / str(number)
    if kind == "postgresql":
        place.mkdir()

        def copy() -> None:
            import psycopg

            with psycopg.connect(_SERVER["url"], autocommit=True) as connection:
                connection.execute(f"create table docs{number} (like docs0 including all)")
                connection.execute(f"insert into docs{number} select * from docs0")

        _in_child(copy)
    else:
        shutil.copytree(folder / "0", place)
    before = pickle.loads((folder / "before").read_bytes())
    return _url(kind, folder, number), place / "plan.json", before


def planned(url: str, path: Path) -> Plan:
    """The plan of a copy, the same at every call."""
    if path.exists():
        return Plan.load(path)
    both = models()
    with open_store(url) as store:
        held, column, count = store.describe(), store.column, store.count()
        second = with_second_column(store, "new")
        beside = isinstance(second, BesideStore)
        texts = tuple(text_of(i) for i in range(8))
        target = Target(
            store=url, collection=held.name, count=count, text_field="text",
            old_column=column, old_dim=OLD_DIM, metric=held.column(column).metric,
            new_column="new", new_dim=NEW_DIM, alias=f"live_{held.name}",
            alias_old=held.name if beside else f"{held.name}.{column}",
            alias_new=second.beside if beside else f"{held.name}.new",
        )  # fmt: skip
    assert both.new is not None
    plan = Plan(
        target=target,
        new=Model(spelling="new", name="new", revision="2", dim=NEW_DIM),
        old=Model(spelling="old", name="old", revision="1", dim=OLD_DIM),
        serving=Serving(recall=Recall(kind="old"), joins=((0.0, Join(weight=0.3)),)),
        canaries=Canaries.of(texts, both.new.encode(list(texts))),
        estimated=Estimated(scan_rate=1, encode_rate=1, search_ms=1, rows=count, hours=0, disk=0),
    ).signed()
    plan.save(path)
    return plan


def contents(url: str) -> dict[str, dict[Any, Any]]:
    """Everything: of each column its vectors by id, and the texts; no id may occur twice."""
    found: dict[str, dict[Any, Any]] = {"text": {}}
    with open_store(url) as store:
        whole = with_second_column(store, "new")
        columns = whole.describe().columns
        for column in columns:
            rows: dict[Any, Any] = {}
            seen = 0
            for part in whole.scan(column=column, fields=["text"]):
                assert part.vectors is not None and part.present is not None
                seen += len(part)
                for i, row, present in zip(
                    part.ids.tolist(), part.vectors, part.present.tolist(), strict=True
                ):
                    if present:
                        rows[i] = row.tobytes()
                found["text"].update(zip(part.ids.tolist(), part.payload["text"], strict=True))
            assert seen == len(found["text"]), "an id occurs twice"
            if rows or column != "new":
                found[column] = rows
    return found


def _in_child(work: Callable[[], None]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        pid = os.fork()
    if not pid:
        try:
            work()
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise RuntimeError(f"preparing ended with {code}")
