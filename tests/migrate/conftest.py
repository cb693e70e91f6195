"""A small live index, two models that read texts, and plans without the minutes of a fit."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.databases import url_of

from isthmus.encoders import CallableEncoder, Encoder
from isthmus.migrate.migration import Migration
from isthmus.migrate.models import Models
from isthmus.migrate.plan import AskedQueries, Canaries, Estimated, Model, Plan, Serving, Target
from isthmus.stores import create_store, open_store
from isthmus.stores.beside import BesideStore, with_second_column
from isthmus.ways.way import Join, Recall

WORDS = [f"{a}{b}" for a in ("ba", "ko", "lu", "mi", "ne", "so") for b in ("r", "lt", "nd", "sk")]
OLD_DIM, NEW_DIM = 8, 12
N = 60
KINDS = ["lancedb", "postgresql", "chroma", "qdrant", "sqlite", "parquet", "faiss"]


def text_of(number: int, edition: int = 0) -> str:
    """A text of five words."""
    draw = np.random.default_rng([number, edition]).integers(0, len(WORDS), 5)
    return " ".join(WORDS[w] for w in draw) + f" {number}"


def reading(dim: int, seed: int) -> Callable[[list[str]], np.ndarray]:
    """A model: the mean of a vector for each word."""

    def encode(texts: list[str]) -> np.ndarray:
        rows = np.empty((len(texts), dim), dtype=np.float32)
        for row, text in enumerate(texts):
            parts = [
                np.random.default_rng([seed, zlib.crc32(word.encode())]).standard_normal(dim)
                for word in text.split()
            ]
            rows[row] = np.mean(parts, axis=0)
        return rows

    return encode


def encoder(dim: int, seed: int, name: str) -> Encoder:
    return CallableEncoder(reading(dim, seed), name=name, revision=f"{seed}", dim=dim)


@pytest.fixture(scope="session")
def models() -> Models:
    return Models(encoder(NEW_DIM, 2, "new model"), encoder(OLD_DIM, 1, "old model"))


def filled(url: str, models: Models, n: int = N, ids: Sequence[str] | None = None) -> str:
    """An index of ``n`` texts by the old model, of items that are numbered or called ``ids``."""
    n = n if ids is None else len(ids)
    texts = [text_of(i) for i in range(n)]
    assert models.old is not None
    create_store(
        url, np.arange(n) if ids is None else np.array(ids), {"vector": models.old.encode(texts)},
        {"text": texts, "rank": list(range(n))},
    ).close()  # fmt: skip
    return url


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path, models: Models) -> str:
    """A live index in every kind of store."""
    return filled(url_of(request.param, tmp_path, request), models)


@pytest.fixture
def lance(request: pytest.FixtureRequest, tmp_path: Path, models: Models) -> str:
    return filled(url_of("lancedb", tmp_path, request), models)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the plan is."""
    return tmp_path / "plan.json"


def plan_of(url: str, models: Models, **changes: Any) -> Plan:
    """What `make_plan` would write, without measuring anything."""
    assert models.new is not None and models.old is not None
    with open_store(url) as store:
        held, column, count = store.describe(), store.column, store.count()
        second = with_second_column(store, "new")
        beside = isinstance(second, BesideStore)
        texts = [text_of(i) for i in range(12)]
        found = models.new.encode(texts)
        fields = {
            "target": Target(
                store=url, collection=held.name, count=count, text_field=held.text_field,
                old_column=column, old_dim=OLD_DIM, metric=held.column(column).metric,
                new_column="new", new_dim=NEW_DIM, alias=f"live_{held.name}",
                alias_old=held.name if beside else f"{held.name}.{column}",
                alias_new=second.beside if beside else f"{held.name}.new",
                namespace=held.schema,
            ),
            "new": Model(spelling="new", name=models.new.name, revision=models.new.revision,
                         dim=NEW_DIM),
            "old": Model(spelling="old", name=models.old.name, revision=models.old.revision,
                         dim=OLD_DIM),
            "serving": Serving(recall=Recall(kind="old"), joins=((0.0, Join()),)),
            "queries": AskedQueries(
                texts=tuple(texts), clicked=tuple((i,) for i in range(12)), before=(1.0,) * 12
            ),
            "canaries": Canaries.of(tuple(texts), found),
            "estimated": Estimated(
                scan_rate=1.0, encode_rate=1.0, search_ms=1.0, rows=count, hours=0.0,
                disk=0, price=1.0,
            ),
        }  # fmt: skip
    return Plan(**{**fields, **changes}).signed()


@contextmanager
def opened(plan: Plan, path: Path, models: Models, **options: Any) -> Iterator[Migration]:
    """The migration, as a process of its own would open it."""
    with open_store(plan.target.store) as store:
        yield Migration(plan, path, store, models, **options)


def state_of(store: Any) -> dict[str, dict[Any, Any]]:
    """Everything that a store, or one at a URL, holds: vectors by column and id, and texts."""
    if isinstance(store, str):
        with open_store(store) as opened:
            return state_of(opened)
    found: dict[str, dict[Any, Any]] = {}
    whole = store if isinstance(store, BesideStore) else with_second_column(store, "new")
    for column in whole.describe().columns:
        found[column] = {}
        for part in whole.scan(column=column, fields=["text"]):
            assert part.vectors is not None and part.present is not None
            for i, row, present in zip(
                part.ids.tolist(), part.vectors, part.present.tolist(), strict=True
            ):
                if present:
                    found[column][i] = row.tobytes()
            found.setdefault("text", {}).update(
                zip(part.ids.tolist(), part.payload["text"], strict=True)
            )
    return found
