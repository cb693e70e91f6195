"""A sample of a live index in two spaces: what a bridge is fitted on where the vectors are a store.

The stored vectors are the old model's of the items; the new model encodes the sampled texts, and
both encode the queries.  Nothing else is encoded, and each row of the store is read at most once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.budget.encodings import CROSS_FITTED
from isthmus.encoders import Encoder, PrecomputedEncoder, encode_items
from isthmus.errors import InputError, WrongSpaceError
from isthmus.progress import Progress, silent
from isthmus.spaces.pairs import Pairs
from isthmus.spaces.query_log import QueryLog
from isthmus.spaces.sample import Batch, Sampler
from isthmus.stores import Column, Store
from isthmus.stores.refusals import texts_gone

__all__ = ["LARGER", "PAIRS", "ModelChange", "StoreSample", "check_old_encoder", "sample_store"]

PAIRS = 4000
"""Sampled items beside those that answer queries, at most, where none are asked for."""
LARGER = 4
"""How many times the sample an index is, in which rows of the fit attract few queries."""
_FEWEST_OTHERS = 500
_SPARE = 0.1  # more rows are sampled, for some hold no text
_MOST_CLICKED = 10
"""Items of one query that count as its answers, the most clicked first."""
_CANARIES = 16
_SAME = 0.98
"""Least median cosine of an encoder's vectors with the stored ones of the same texts: int8 weights
of one model reach .998, another prefix or pooling stays below, another model far below."""


class Transforms(Protocol):
    """Maps vectors ``(n, d)`` to ``(n, d')``, as a bridge does."""

    def transform(self, x: Any, /) -> Any:
        """The mapped vectors."""
        ...


@dataclass(frozen=True)
class ModelChange:
    """The model that filled an index, and the one that is to come.

    Attributes:
        new: encodes sampled items and queries.
        old: encodes queries; None where the old model is gone, and then only agreement with it can
            be measured.
        mapped: where the texts of the items are gone, the corpus bridge that makes their new
            vectors of the stored ones; queries are encoded by ``new`` all the same.

    Example:
        >>> import numpy as np
        >>> from isthmus.encoders import CallableEncoder
        >>> new = CallableEncoder(lambda t: np.ones((len(t), 2)), name="new", revision="1", dim=2)
        >>> ModelChange(new).old is None  # it is gone
        True
    """

    new: Encoder
    old: Encoder | None = None
    mapped: Transforms | None = None


@dataclass(frozen=True, eq=False)
class StoreSample:
    """Sampled items of a store, and queries, in both spaces.

    Attributes:
        ids: ``(n,)`` of the items.
        texts: ``n`` texts; empty ones where vectors are looked up by id.
        old: ``(n, d)`` stored vectors, float32.
        new: ``(n, d')`` vectors of the new model, float32.
        queries: the log's queries that were encoded, or None.
        old_queries: of the old model ``(nq, d)``.
        new_queries: of the new model ``(nq, d')``.
        clicked: for each query id the ids of the items that answer it.
        count: items with a vector in the store's column.
        column: the store's column, as it was described.
        notes: what should be said to the user, a sentence each.

    Example:
        >>> import numpy as np
        >>> from isthmus.bridge import ModelChange, sample_store
        >>> from isthmus.encoders import PrecomputedEncoder
        >>> from isthmus.stores import MemoryStore
        >>> old = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
        >>> models = ModelChange(PrecomputedEncoder(old[:, ::-1].copy(), name="new"))
        >>> sample = sample_store(MemoryStore(vectors={"old": old}), models, pairs=50)
        >>> len(sample), sample.count, sample.pairs("query")
        (50, 300, Pairs(source → target, 50 x 4→4, cosine, by position))
    """

    ids: NDArray[Any]
    texts: tuple[str, ...]
    old: NDArray[np.float32]
    new: NDArray[np.float32]
    queries: QueryLog | None
    old_queries: NDArray[np.float32] | None
    new_queries: NDArray[np.float32] | None
    clicked: Mapping[str, Sequence[Any]]
    count: int
    column: Column
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def pairs(self, kind: str) -> Pairs:
        """The items, in the direction of a bridge of ``kind`` ``query`` or ``corpus``."""
        return self._paired(self.new, self.old, self.ids, kind)

    def query_pairs(self, kind: str) -> Pairs | None:
        """The queries, in the same direction."""
        if self.queries is None or self.old_queries is None or self.new_queries is None:
            return None
        return self._paired(self.new_queries, self.old_queries, self.queries.ids, kind)

    def _paired(self, new: NDArray[Any], old: NDArray[Any], ids: NDArray[Any], kind: str) -> Pairs:
        source, target = (new, old) if kind == "query" else (old, new)
        return Pairs(source, target, ids=ids, metric=self.column.metric)


def sample_store(
    store: Store,
    models: ModelChange,
    *,
    pairs: int | None = None,
    log: QueryLog | None = None,
    most_queries: int = 1000,
    column: str | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> StoreSample:
    """Read a store once, keep a sample, and encode what it takes to compare two models on it.

    Args:
        store: holds the old model's vectors, and the items' texts.
        models: the encoders.
        pairs: items in the sample; a uniform one, the same for any order of the rows.  The items
            that answer the queries are added to them.  By default `PAIRS`, or with a log so many
            fewer that a fit need not hold any query out to judge it on the index (see
            `isthmus.bridge.fit_sample`), if that leaves some hundred.
        log: what people ask, and what they clicked; the ten most clicked items answer a query.
        most_queries: those that are encoded, at most: sampled without replacement by how often they
            are asked, so that the evidence speaks of the traffic.
        column: the store's vector column; by default the one its URL names.
        seed: of the samples.
        progress: told about rows and texts.

    Raises:
        InputError: if the store holds no texts that the encoders need, too few items, or none of
            the clicked ones; if a width does not fit; or if there are queries and no old encoder.
        WrongSpaceError: if the old encoder is not the model that filled the store.

    Example:
        >>> import numpy as np
        >>> from isthmus.bridge import ModelChange, fit_sample, sample_store
        >>> from isthmus.encoders import PrecomputedEncoder
        >>> from isthmus.stores import MemoryStore
        >>> old = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
        >>> new = PrecomputedEncoder(old[:, ::-1].copy(), name="new")
        >>> sample = sample_store(MemoryStore(vectors={"old": old}), ModelChange(new), pairs=200)
        >>> sample.old.shape, sample.new.shape
        ((200, 4), (200, 4))
    """
    if pairs is not None and pairs < 2:
        raise InputError(f"{pairs} pairs are too few", where="pairs", mend="Ask for a few hundred")
    held = store.describe()
    described = held.column(column or store.column)
    mapped = models.mapped
    by_id = mapped is not None or all(
        m is None or isinstance(m, PrecomputedEncoder) for m in (models.new, models.old)
    )
    if not by_id and not held.has_texts:
        raise texts_gone(
            held,
            "the new model has nothing to encode",
            "Name the payload field that holds them, as in ?text=FIELD, or give the vectors "
            "of both models by id, as in --new vectors:new.npy",
        )
    _check_width(models.old, described, held.where)
    asked = _asked(log, models, most_queries, seed)
    most = PAIRS if pairs is None else pairs
    items, answers, count = _scanned(store, described, held.key, most, asked, seed, progress)
    if pairs is None:
        pairs = _others(count, len(answers))
    texts = [""] * len(items)
    if not by_id and len(items):
        texts = [text or "" for text in store.texts(items.ids)]
    some = np.array([by_id or bool(text.strip()) for text in texts], dtype=np.bool_)
    # the answers first: they are few, and evidence rests on them
    answering = np.isin(items.ids, answers)
    keep = some & (answering | (np.cumsum(some & ~answering) <= pairs))
    notes: list[str] = []
    if not some.all():
        notes.append(
            f"{int((~some).sum()):,} of {len(items):,} sampled items have no text and are left out"
        )
    items, texts = items.select(keep), [t for t, k in zip(texts, keep.tolist(), strict=True) if k]
    if len(items) < 2:
        raise InputError(
            f"{len(items)} of {count:,} items have a vector and a text",
            where=f"{held.where or held.name}, column '{described.name}'",
            mend="Look at the column and at the field that holds the texts",
        )
    queries, clicked = _answered(asked, items.ids, held.key)
    if queries is not None and queries.unmatched:
        notes.append(f"{queries.unmatched:,} clicked ids are not in the index, or have no text")
    old = np.asarray(items.x, dtype=np.float32)
    if models.old is not None and mapped is None:
        notes += check_old_encoder(models.old, items.ids, texts, old, where=held.where)
    if mapped is None:
        new = encode_items(models.new, items.ids.tolist(), texts, progress=progress)
    else:
        new = np.asarray(mapped.transform(old), dtype=np.float32)

    def asked_of(model: Encoder | None) -> NDArray[np.float32] | None:
        if queries is None or model is None:
            return None
        return encode_items(
            model, queries.ids.tolist(), queries.texts, kind="query", progress=progress
        )

    return StoreSample(
        ids=items.ids,
        texts=tuple(texts),
        old=old,
        new=new,
        queries=queries,
        old_queries=asked_of(models.old),
        new_queries=asked_of(models.new),
        clicked=clicked,
        count=count,
        column=described,
        notes=tuple(notes),
    )


def check_old_encoder(
    old: Encoder,
    ids: NDArray[Any],
    texts: Sequence[str],
    stored: NDArray[Any],
    *,
    where: str = "",
) -> list[str]:
    """Encode a few stored texts again and refuse a model that did not make their stored vectors.

    Args:
        old: said to be the model that filled the store.
        ids: of the items.
        texts: of the items, in the same order.
        stored: their vectors ``(n, d)``.
        where: what messages call the store.

    Returns:
        What should be said, where single texts differ.

    Raises:
        WrongSpaceError: if the median cosine is below 0.98.
    """
    few = slice(0, _CANARIES)
    again = encode_items(old, ids[few].tolist(), texts[few])
    a, b = (np.asarray(rows, dtype=np.float64) for rows in (again, stored[few]))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = np.einsum("nd,nd->n", a, b) / np.maximum(norms, np.finfo(np.float64).tiny)
    median = float(np.median(cosines))
    if median < _SAME:
        raise WrongSpaceError(
            f"the vectors stored here are not those of {old.name}: encoded again, {len(cosines)} "
            f"texts have a median cosine of {median:.3f} with them",
            where=where,
            mend="Name the model that filled the index with --old, with its prefixes; or leave it "
            "out if it is gone",
        )
    changed = int((cosines < _SAME).sum())
    if not changed:
        return []
    return [
        f"{changed} of {len(cosines)} stored texts have another vector now than the index holds: "
        "they were edited, or are cut at another length"
    ]


def _check_width(old: Encoder | None, column: Column, where: str) -> None:
    if old is not None and old.dim != column.dim:
        raise InputError(
            f"{old.name} has {old.dim} dimensions, the stored vectors {column.dim}",
            where=f"{where}, column '{column.name}'",
            mend="Name the model that filled the index with --old, or another column",
        )


def _asked(log: QueryLog | None, models: ModelChange, most: int, seed: int) -> QueryLog | None:
    if log is None:
        return None
    if models.old is None:
        raise InputError(
            "queries are judged under both models, and there is no old one to encode them",
            where=log.where,
            mend="Give --old, or leave the queries out",
        )
    if not log.clicked:
        raise InputError(
            "no query has clicks: nothing says what answers it",
            where=log.where,
            mend="Give a log with a column 'clicked', or --qrels",
        )
    rows = np.flatnonzero(np.isin(log.ids, list(log.clicked)))
    # the largest u^(1/w): a sample without replacement by weight (Efraimidis and Spirakis 2006)
    drawn = np.log(np.random.default_rng(seed).random(len(rows))) / log.weights[rows]
    some = log.select(np.sort(rows[np.argsort(-drawn, kind="stable")[:most]]))
    # every answer has to be encoded: those that were clicked most
    return replace(some, clicked={q: items[:_MOST_CLICKED] for q, items in some.clicked.items()})


def _scanned(
    store: Store,
    column: Column,
    key: str,
    pairs: int,
    asked: QueryLog | None,
    seed: int,
    progress: Progress,
) -> tuple[Batch, NDArray[Any], int]:
    """The sampled items (answers, then others), the ids of the answers, and how many were read."""
    wanted = _like_store([] if asked is None else asked.items, key)
    sampler = Sampler(pairs + int(pairs * _SPARE) + len(wanted), seed=seed)
    found: list[Batch] = []
    total = store.count()
    count = read = 0
    for batch in store.scan(column=column.name):
        assert batch.vectors is not None and batch.present is not None
        rows = Batch(batch.ids, batch.vectors, _none_of(batch.vectors))
        if not batch.present.all():
            rows = rows.select(batch.present)
        read += len(batch)
        count += len(rows)
        if len(wanted):
            answers = np.isin(rows.ids, wanted)
            if answers.any():
                found.append(rows.select(np.flatnonzero(answers)))
            rows = rows.select(np.flatnonzero(~answers))
        if len(rows):
            sampler.update(rows)
        progress(f"reading {store.url}", read, total)
    parts = found + ([sampler.sample()] if count > sum(map(len, found)) else [])
    if not parts:
        empty = np.empty((0, column.dim))
        return Batch(np.empty(0, np.int64), empty, _none_of(empty)), wanted[:0], 0
    joined = Batch(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.y for part in parts]),
    )
    return joined, joined.ids[: sum(map(len, found))], count


def _others(count: int, answers: int) -> int:
    """How many of the ``count`` items are sampled beside those that answer queries."""
    room = min(CROSS_FITTED, count // LARGER) - answers
    return min(room, PAIRS) if answers and room >= _FEWEST_OTHERS else PAIRS


def _none_of(rows: NDArray[Any]) -> NDArray[Any]:
    """The vectors of the other model ``(n, 0)``: nothing is encoded before it is sampled."""
    return rows[:, :0]


def _like_store(names: Sequence[str], key: str) -> NDArray[Any]:
    """Ids from a file as the store has them; what cannot be one is left out."""
    if key != "int":
        return np.array([n.lower() if key == "uuid" else n for n in names], dtype=np.str_)
    return np.array([int(n) for n in names if n.removeprefix("-").isdecimal()], dtype=np.int64)


def _answered(
    asked: QueryLog | None, ids: NDArray[Any], key: str
) -> tuple[QueryLog | None, dict[str, list[Any]]]:
    """The queries of which an answer is among the items, and those answers."""
    if asked is None:
        return None, {}
    held = set(ids.tolist())
    there = {n for n in asked.items if held.intersection(_like_store([n], key).tolist())}
    found = asked.among(there)
    queries = found.select(np.flatnonzero(np.isin(found.ids, list(found.clicked))))
    return queries, {q: _like_store(i, key).tolist() for q, i in queries.clicked.items()}
