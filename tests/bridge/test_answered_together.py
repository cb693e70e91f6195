"""Queries with several answers are judged by maps that have seen none of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from isthmus import Bridge, Pairs, fit
from isthmus.bridge import Fitting, assess
from isthmus.bridge.answered_together import kept_together
from isthmus.bridge.assess import split_of
from isthmus.bridge.held_out_samples import Queries
from isthmus.evaluate import Judging, parse_metric, relevant_ranks
from isthmus.evaluate.relevance import from_pairs
from isthmus.numeric import unit_rows

N, FITTED = 1500, 300
QUICK = Judging(metrics=("recall@10",), limits=None, resamples=200)
RECIPE = "unit_norm | ridge(alpha=0.1) | unit_norm"


class Asked(NamedTuple):
    """A query and two overlapping parts of the text that answers it, of each row, under two models
    ``(new, old)``."""

    queries: tuple[Any, Any]
    items: tuple[Any, Any]

    def pairs(self, rows: Any) -> Pairs:
        at = np.concatenate([rows, N + rows])
        return Pairs(*(side[at] for side in self.items), ids=[f"d{i}" for i in at])

    def asking(self, rows: Any, *, both: bool = True) -> Queries:
        """``both``: whether either part answers, and not the first alone."""
        judged = {f"q{i}": [f"d{i}", f"d{N + i}"][: 1 + both] for i in rows}
        return Queries(Pairs(*(side[rows] for side in self.queries), ids=list(judged)), judged)


def encoded(texts: list[str], dim: int) -> Any:
    """Every word has a direction of its own, under each model another: no map knows unseen ones."""
    words = {word: i for i, word in enumerate(sorted({w for text in texts for w in text.split()}))}
    directions = np.random.default_rng(dim).standard_normal((len(words), dim))
    directions *= np.geomspace(1, 0.1, dim)
    rows = [directions[[words[word] for word in text.split()]].sum(axis=0) for text in texts]
    return unit_rows(np.array(rows), np.float32)


@pytest.fixture(scope="module")
def texts() -> Asked:
    from isthmus.demo.corpus import load_corpus

    documents = [text.split() for text in load_corpus(12_000).documents]
    long = [words for words in documents if len(words) > 12][:N]
    cuts = (slice(3, -3), slice(None, -4), slice(4, None))
    said = [" ".join(words[cut]) for cut in cuts for words in long]
    both = encoded(said, 256), encoded(said, 64)
    return Asked(*(tuple(rows[part] for rows in both) for part in (np.s_[:N], np.s_[N:])))


def found(bridge: Bridge, texts: Asked, rows: Any) -> float:
    """What the served map finds for fresh queries among as many items as were fitted on."""
    n = len(rows)
    answers = from_pairs(range(n), range(2 * n), [(i, i + k * n) for i in range(n) for k in (0, 1)])
    mapped = np.asarray(bridge.transform(texts.queries[0][rows]), np.float32)
    ranks = relevant_ranks(mapped, texts.items[1][np.concatenate([rows, N + rows])], answers)
    return float(parse_metric("recall@10").per_query(ranks).mean())


def test_a_bridge_is_told_as_fresh_queries_with_two_answers_find_it(texts: Asked) -> None:
    told, true = [], []
    for draw in range(4):
        order = np.random.default_rng(draw).permutation(N)
        mine, fresh = order[:FITTED], order[FITTED:].reshape(-1, FITTED)
        bridge = fit(
            texts.pairs(mine), queries=texts.asking(mine), recipe=RECIPE, judging=QUICK,
            fitting=Fitting(seed=draw),
        )  # fmt: skip
        assert bridge.evidence is not None and bridge.evidence.notices == ()
        told.append(bridge.evidence.arms["bridge"].metrics["recall@10"].value)
        true.append(np.mean([found(bridge, texts, rows) for rows in fresh]))
    assert np.mean(told) == pytest.approx(np.mean(true), abs=0.025)


def lines(texts: Asked, rows: Any) -> Queries:
    """A row for each answer: every query stands there twice, under an id each."""
    at = np.concatenate([rows, N + rows])
    x = [np.concatenate([side[rows], side[rows]]) for side in texts.queries]
    return Queries(Pairs(*x, ids=[f"q{i}" for i in at]), {f"q{i}": [f"d{i}"] for i in at})


def test_a_query_that_stands_there_again_was_not_fitted_on(texts: Asked) -> None:
    mine, fresh = np.split(np.random.default_rng(0).permutation(N), [FITTED])
    bridge = fit(texts.pairs(mine), queries=lines(texts, mine), recipe=RECIPE, judging=QUICK)
    assert bridge.evidence is not None
    told = bridge.evidence.arms["bridge"].metrics["recall@10"].value
    # either answer of a query is asked for by itself
    true = np.mean([found(bridge, texts, rows) for rows in fresh.reshape(-1, FITTED)])
    assert told == pytest.approx(true, abs=0.1)


def test_a_query_that_stands_there_too_often_does_not_judge(texts: Asked) -> None:
    rows = np.arange(FITTED)
    often = np.where(rows < FITTED // 4, 0, rows)
    names = [f"d{i}" for i in rows]
    asked = Queries(Pairs(*(side[often] for side in texts.queries), ids=names))
    for shares in (None, {"fit": 0.6, "validation": 0.1, "test": 0.3}):
        fitting = Fitting(shares=shares)
        bridge = fit(
            texts.pairs(rows), queries=asked, recipe=RECIPE, judging=QUICK, fitting=fitting
        )
        assert bridge.evidence is not None
        (told,) = (n for n in bridge.evidence.notices if "do not judge" in n)
        left_out, of = int(told.split()[0]), int(told.split()[2])
        assert bridge.evidence.n_queries == of - left_out
        if shares is None:
            assert (left_out, of) == (FITTED // 4, FITTED)
        else:
            assert left_out == pytest.approx(0.3 * FITTED / 4, rel=0.4)


def test_what_was_fitted_on_is_known_without_the_queries(texts: Asked, tmp_path: Path) -> None:
    """Of a split that holds out: no fit holds items of a held-out query, whoever asks."""
    rows = np.arange(400)
    pairs, asking = texts.pairs(rows), texts.asking(rows)
    fitting = Fitting(shares={"fit": 0.6, "validation": 0.2, "test": 0.2})
    bridge = fit(pairs, queries=asking, recipe=RECIPE, judging=QUICK, fitting=fitting)
    bridge.save(tmp_path / "b")
    bridge = Bridge.load(tmp_path / "b")
    split = split_of(bridge.provenance.fits, pairs)
    parts = split.assign(pairs.ids_at(slice(0, len(pairs)))).reshape(2, -1)
    assert (parts[0] == parts[1]).all() and (np.bincount(parts[0]) > 40).all()
    record = bridge.provenance.fit
    assert record is not None and record.fit_rows == 3 * int((parts[0] == 0).sum())
    # the same queries repeat the evidence; those of one answer each ask of the same part
    assert bridge.evidence is not None
    told, few = (assess(bridge, pairs, queries=q, judging=QUICK) for q in
                 (asking, texts.asking(rows, both=False)))  # fmt: skip
    assert told.arms == bridge.evidence.arms
    assert few.n_queries == told.n_queries == (parts[0] == 2).sum()


@pytest.mark.parametrize("shares", [None, {"fit": 0.6, "validation": 0.2, "test": 0.2}])
def test_later_queries_that_join_what_was_fitted_apart_do_not_judge(
    texts: Asked, shares: dict[str, float] | None
) -> None:
    rows = np.arange(400)
    pairs, single = texts.pairs(rows), texts.asking(rows, both=False)
    bridge = fit(
        pairs, queries=single, recipe=RECIPE, judging=QUICK, fitting=Fitting(shares=shares)
    )
    judged = {q: list(a) for q, a in (single.qrels or {}).items()}
    # a third of the later queries are answered by a second text
    later = {q: [*a, f"d{N + i}"] if i % 3 == 0 else a for i, (q, a) in enumerate(judged.items())}
    found = assess(bridge, pairs, queries=Queries(single.pairs, later), judging=QUICK)
    before = assess(bridge, pairs, queries=single, judging=QUICK)
    (told,) = (n for n in found.notices if "do not judge" in n)
    left_out = before.n_queries - found.n_queries
    assert told.startswith(f"{left_out:,} of {before.n_queries:,} queries do not judge")
    # four of five folds, or three of five parts, were fitted on
    assert left_out == pytest.approx(
        before.n_queries / 3 * (0.8 if shares is None else 0.6), rel=0.3
    )
    # where nearly all have an answer that was, they judge, and it is said
    both = assess(bridge, pairs, queries=texts.asking(rows), judging=QUICK)
    assert both.n_queries == before.n_queries
    (told,) = (n for n in both.notices if "told too high" in n)
    assert told.startswith(f"{int(told.split()[0])} of {both.n_queries} queries have an answer")


def test_items_are_joined_as_far_as_a_split_can_hold_them() -> None:
    rows = np.random.default_rng(0).standard_normal((200, 8))
    items, asked = Pairs(rows, rows), Pairs(rows[:3], rows[:3], ids=["few", "many", "one"])
    judged = {"few": [7, 8, 9], "many": [9, *range(100, 120)], "one": [50]}
    together = kept_together(items, Queries(asked, judged))
    groups = together.leaders(np.arange(200))
    assert len(set(groups[[7, 8, 9]])) == 1 and len(set(groups)) == 198
    # the order of the queries decides nothing
    backwards = Queries(Pairs(rows[2::-1], rows[2::-1], ids=["one", "many", "few"]), judged)
    assert (kept_together(items, backwards).leaders(np.arange(200)) == groups).all()
