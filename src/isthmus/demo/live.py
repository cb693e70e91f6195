"""What the demo's evidence recommends, run on a LanceDB table by the code of ``isthmus search``."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Embeddings
from isthmus.bridge import Bridge
from isthmus.demo.corpus import Corpus
from isthmus.encoders import CachedEncoder, Encoder
from isthmus.evaluate import top_k
from isthmus.evaluate.arms import words_of
from isthmus.evaluate.trial import GallerySearch
from isthmus.plain_text import plain_line
from isthmus.spaces.pairs import Pairs
from isthmus.stores import Store, create_store
from isthmus.ways import Recall, Way, run_queries
from isthmus.ways.order import first_share, popularity

__all__ = ["AskedLive", "Encoded", "LiveModels", "run_recommended"]

_INDEX, _TABLE = "index", "documents"
_SHOWN = 3
_TRIED = 64
"""Held-out queries that the naive swap misses, among which one is shown."""


@dataclass(frozen=True)
class Encoded:
    """The corpus as one model sees it."""

    documents: Embeddings
    queries: Embeddings


@dataclass(frozen=True)
class LiveModels:
    """Both encoders, and what they made of the corpus."""

    old: Encoder
    new: Encoder
    encoded_old: Encoded
    encoded_new: Encoded


@dataclass(frozen=True)
class AskedLive:
    """What was searched: the store's URL, the text of the query, and the name of the way."""

    url: str
    text: str
    way: str
    recommended: bool


def run_recommended(
    folder: Path,
    corpus: Corpus,
    bridge: Bridge,
    models: LiveModels,
    say: Callable[[str], None],
) -> AskedLive:
    """Fill a LanceDB table with the old vectors, and answer a query before and after.

    The query is held out: the naive swap misses it, and the way that is run answers it.

    Args:
        folder: the table is in its folder ``index``, and replaces the one there.
        corpus: the texts.
        bridge: with its evidence; where it recommends nothing to serve, the bridge itself is run.
        models: the encoders.
        say: prints a line.
    """
    evidence = bridge.evidence
    assert evidence is not None
    name = evidence.judged if evidence.judged in bridge.ways else "bridge"
    way = bridge.ways[name]
    split = _parts(bridge, corpus)
    say(f"\n6. {'The recommendation' if evidence.recommended else 'The bridge'}, run on a live "
        f"index: {words_of(name)}\n")  # fmt: skip
    with _filled(folder, corpus, models.encoded_old.documents) as store:
        url = store.url
        say(f"   {len(corpus):,} documents and their old vectors are in {plain_line(url)}")
        if way.part is not None:
            _reembed(store, way, models, split["validation"], corpus, say)
        say(f"   the way: {way}\n")
        row = _first_saved(store, bridge, way, models, split["test"], corpus)
        text, right = corpus.queries[row], corpus.ids[row]
        say(f'   "{text}", a held-out query; * is the right answer')
        before = {"before: the old model": "old", "the new model without a bridge": "naive"}
        for title, other in {**before, f"after: {name}": name}.items():
            chosen = way if other == name else Way(recall=_recall(other))
            search = bridge.search(store, chosen, old=_kept(models.old), new=_kept(models.new))
            (found,) = run_queries(
                search, [text], _SHOWN, way=other, names=[text], explain=other == name
            )
            say(f"\n   {title}")
            for line in found.lines(explain=other == name, mark=right):
                say(f"   {line}")
    return AskedLive(url, text, name, name == evidence.recommended)


def _recall(kind: str) -> Recall:
    return Recall(kind="old") if kind == "old" else Recall(kind="naive")


def _kept(encoder: Encoder) -> CachedEncoder:
    return CachedEncoder(encoder)


def _parts(bridge: Bridge, corpus: Corpus) -> Mapping[str, NDArray[np.int64]]:
    """The rows of each part of the fit, in the order of the corpus."""
    ids = np.array(corpus.ids)
    rows = np.arange(len(corpus), dtype=np.float32)[:, None]
    (fit,) = bridge.provenance.fits
    shares, seed = fit.shares, fit.seed
    part = Pairs(rows, rows, ids=ids, metric="dot").split(shares, seed=seed).assign(ids)
    return {name: np.flatnonzero(part == i) for i, name in enumerate(shares)}


def _filled(folder: Path, corpus: Corpus, rows: Embeddings) -> Store:
    place = folder / _INDEX
    if (place / f"{_TABLE}.lance").is_dir():
        shutil.rmtree(place / f"{_TABLE}.lance")
    payload = {"text": list(corpus.documents), "kind": list(corpus.classes)}
    url = f"lancedb://{place}#{_TABLE}.old"
    return create_store(url, list(corpus.ids), {"old": rows}, payload)


def _reembed(
    store: Store,
    way: Way,
    models: LiveModels,
    earlier: NDArray[np.int64],
    corpus: Corpus,
    say: Callable[[str], None],
) -> None:
    """Fill the second column with the part of the way: what earlier queries find comes first."""
    assert way.part is not None
    old, new = models.encoded_old, models.encoded_new
    priority = popularity(GallerySearch(old.queries[earlier], old.documents, "cosine"))
    first = first_share(priority, way.part.share)
    store.add_column("new", new.documents.shape[1])
    store.put(np.array(corpus.ids)[first], new.documents[first], column="new")
    say(f"   the {int(first.sum()):,} that validation queries find most are re-embedded, into a "
        "second column")  # fmt: skip


def _first_saved(
    store: Store,
    bridge: Bridge,
    way: Way,
    models: LiveModels,
    held_out: NDArray[np.int64],
    corpus: Corpus,
) -> int:
    """The first held-out query that the naive swap misses and the way answers.

    One that the old model misses too, if there is any.
    """
    old, new = models.encoded_old, models.encoded_new
    naive = top_k(new.queries[held_out], old.documents, _SHOWN).indices
    missed = held_out[(naive != held_out[:, None]).all(axis=1)][:_TRIED]
    search = bridge.search(store, way, old=_kept(models.old), new=_kept(models.new))
    given = {"old": old.queries[missed], "new": new.queries[missed]}
    found = search(given, _SHOWN).ids  # pyright: ignore[reportArgumentType]
    right = np.array(corpus.ids)[missed]
    saved = (found == right[:, None]).any(axis=1)
    known = top_k(old.queries[missed], old.documents, _SHOWN).indices == missed[:, None]
    better = saved & ~known.any(axis=1)
    return int(missed[int(np.argmax(better if better.any() else saved))])
