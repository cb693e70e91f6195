"""Evidence on real vectors of which many are copies: none flatters, and what they cost is told."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from isthmus import Pairs, fit
from isthmus.adapters.cross_fitted import mapped_rows
from isthmus.bridge import Bridge, Fitting, assess
from isthmus.bridge.copied import with_copies
from isthmus.bridge.fit import SHARES
from isthmus.bridge.pair_curve import pair_curve
from isthmus.evaluate import Judging
from isthmus.evaluate.relevance import from_pairs
from isthmus.numeric import unit_rows
from isthmus.spaces.readers import open_vectors
from isthmus.spaces.split import Copies

pytestmark = pytest.mark.skipif(find_spec("wordllama") is None, reason="wordllama has the words")

N, COPIED, SMALL = 1000, 400, 64
QUICK = Judging(limits=None, resamples=100)
HALVES = {"fit": 0.5, "validation": 0.1, "test": 0.4}
FLEXIBLE = "unit_norm | ridge(alpha=0.01) | unit_norm"


class Texts(NamedTuple):
    items: Any
    asked: Any
    """The items, and a query for each."""
    of: Any
    """Which of them are copied."""

    def pairs(self, *, copied: bool) -> Pairs:
        x = np.concatenate([self.items, self.items[self.of]]) if copied else self.items
        return Pairs(x, x[:, :SMALL] + 0, ids=[f"d{i}" for i in range(len(x))])

    @property
    def queries(self) -> Pairs:
        return Pairs(self.asked, self.asked[:, :SMALL] + 0, ids=[f"d{i}" for i in range(N)])


@pytest.fixture(scope="module")
def texts() -> Texts:
    from isthmus.demo.corpus import load_corpus
    from isthmus.encoders import wordllama_256

    corpus, encode = load_corpus(N), wordllama_256().encode
    of = np.random.default_rng(0).permutation(N)[:COPIED]
    return Texts(encode(list(corpus.documents)), encode(list(corpus.queries)), of)


def shares_of(notice: str) -> list[float]:
    return [float(n) / 100 for n in re.findall(r"([\d.]+)%", notice)]


def test_what_copies_cost_is_told_beside_what_it_would_be(texts: Texts, tmp_path: Path) -> None:
    honest = fit(texts.pairs(copied=False), queries=texts.queries, recipe=FLEXIBLE, judging=QUICK)
    bridge = fit(texts.pairs(copied=True), queries=texts.queries, recipe=FLEXIBLE, judging=QUICK)
    before, after = honest.evidence, bridge.evidence
    assert before is not None and after is not None and before.notices == ()
    (notice,) = after.notices
    assert "No query that judges has a copy of its answer in the fit" in notice
    share, old, old_free, ours, ours_free = shares_of(notice)
    assert share == pytest.approx(COPIED / (N + COPIED), abs=0.01)
    assert old == pytest.approx(after.arms["old"].metrics["recall@1"].value, abs=6e-4)
    # the table tells the bridge as of all pairs
    assert ours == pytest.approx(after.arms["bridge"].metrics["recall@1"].value, abs=5e-3)
    # without the copies the numbers are those that any copy counted would give
    assert old_free == pytest.approx(before.arms["old"].metrics["recall@1"].value, abs=0.02)
    assert old < old_free - 0.05 and ours < ours_free - 0.05
    bridge.save(tmp_path / "b")
    card = " ".join((tmp_path / "b/CARD.md").read_text("utf-8").split())
    assert "are exact or near copies of others under another id" in card
    # judged again from its file, by the folds that it was fitted with
    again = assess(
        Bridge.load(tmp_path / "b"), texts.pairs(copied=True), queries=texts.queries, judging=QUICK
    )
    assert again.notices == after.notices
    assert again.arms["bridge"].metrics == after.arms["bridge"].metrics


@pytest.mark.parametrize("asked", [True, False])
def test_copies_flatter_no_map(texts: Texts, asked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A map with as many numbers as there are rows knows the copies of what it was fitted on."""
    few = Texts(texts.items[:200], texts.asked[:200], np.arange(200))

    def unseen(pairs: Pairs) -> float:
        """How far what judges is from its target behind the map that judges it."""
        queries, rows = None, pairs.head(len(pairs))
        if asked:
            # the queries of an item stand beside its copy again
            x = np.resize(few.asked, (len(pairs), few.asked.shape[1]))
            queries = Pairs(x, x[:, :SMALL] + 0, ids=[f"d{i}" for i in range(len(x))])
            rows = queries.head(len(pairs))
        bridge = fit(pairs, queries=queries, recipe=FLEXIBLE, judging=QUICK)
        assert (bridge.out_of_fold is not None) is asked
        if not asked:
            rows = rows.select(pairs.split(SHARES, seed=0).assign(rows.ids) == 2)
        mapped = mapped_rows(bridge.unseen_map(), rows.ids, rows.x)
        return 1 - float(np.einsum("nd,nd->n", unit_rows(mapped), unit_rows(rows.y)).mean())

    honest = unseen(few.pairs(copied=False))
    assert unseen(few.pairs(copied=True)) > 0.75 * honest

    def overlooked(pairs: Pairs, largest: float) -> Copies:
        return Copies()

    monkeypatch.setattr(Pairs, "find_copies", overlooked)
    assert unseen(few.pairs(copied=True)) < 0.5 * honest


def test_items_without_queries_are_asked_once(texts: Texts) -> None:
    evidence = fit(texts.pairs(copied=True), recipe=FLEXIBLE, judging=QUICK).evidence
    assert evidence is not None
    (notice,) = evidence.notices
    assert shares_of(notice)[0] == pytest.approx(COPIED / (N + COPIED), abs=0.01)
    assert evidence.n_gallery == N


def test_copies_among_old_vectors_alone_are_told(texts: Texts) -> None:
    """A few pairs of a large index: the copy of an answer is rarely among the pairs."""
    old = np.concatenate([texts.items, texts.items[texts.of]])[:, :SMALL] + 0
    names = np.array([f"d{i}" for i in range(len(old))])
    few = Pairs(open_vectors(texts.items[:300], ids=names[:300]), open_vectors(old, ids=names))
    queries = Pairs(texts.asked[:300], texts.asked[:300, :SMALL] + 0, ids=names[:300])
    evidence = fit(few, queries=queries, recipe=FLEXIBLE, judging=QUICK).evidence
    assert evidence is not None and evidence.n_gallery == N + COPIED
    (notice,) = [n for n in evidence.notices if "copies" in n]
    share, old_value, old_free = shares_of(notice)[:3]
    assert share == pytest.approx(COPIED / (N + COPIED), abs=0.01)
    assert old_value == pytest.approx(evidence.arms["old"].metrics["recall@1"].value, abs=6e-4)
    assert old_value < old_free - 0.05


@pytest.mark.parametrize("asked", [True, False])
def test_where_copies_are_not_looked_for_the_evidence_says_so(
    texts: Texts, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    monkeypatch.setattr("isthmus.spaces.copies.MOST_ROWS", N)
    queries = texts.queries if asked else None
    bridge = fit(texts.pairs(copied=True), queries=queries, recipe=FLEXIBLE, judging=QUICK)
    assert bridge.evidence is not None
    told = "not looked for among more than 1,000 pairs: an item that judges may have one in the fit"
    assert sum(told in notice for notice in bridge.evidence.notices) == 1


def test_a_budget_counts_items_once(texts: Texts) -> None:
    once = pair_curve(texts.pairs(copied=False))
    assert pair_curve(texts.pairs(copied=True)).budgets[-1] == once.budgets[-1]


def test_parts_of_a_users_own_are_kept_together_too(texts: Texts) -> None:
    pairs = texts.pairs(copied=True)
    bridge = fit(pairs, recipe=FLEXIBLE, judging=QUICK, fitting=Fitting(shares=HALVES))
    split = pairs.split(HALVES, seed=0)
    names = np.array([f"d{i}" for i in range(N + COPIED)])
    parts = split.assign(names)
    assert (parts[N:] == parts[texts.of]).all()
    assert bridge.evidence is not None


def test_all_copies_of_an_answer_answer() -> None:
    relevance = from_pairs(["p", "q", "r"], list("abcde"), [("p", "b"), ("q", "c"), ("q", "d")])
    found = with_copies(relevance, np.array([0, 0, 2, 0, 2]))
    assert found.indptr.tolist() == [0, 3, 8, 8]
    assert found.indices.tolist() == [0, 1, 3, 0, 1, 2, 3, 4]
