"""Held-out queries and their gallery."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from isthmus.adapters.chain import Affine, Chain
from isthmus.bridge.evidence import HeldOut, primary_metric
from isthmus.errors import InputError
from isthmus.evaluate.relevance import from_labels
from isthmus.spaces.sample import Batch


def _batch(start: int, stop: int, labels: bool = False) -> Batch:
    ids = np.arange(start, stop)
    x = np.random.default_rng(0).standard_normal((100, 4)).astype(np.float32)[ids]
    return Batch(ids, x, 2 * x[:, ::-1], ids % 3 if labels else None)


def test_a_gallery_holds_every_item_once() -> None:
    held_out = HeldOut.of_items(_batch(10, 20), _batch(0, 50))
    assert held_out.gallery.ids.tolist() == [*range(10, 20), *range(10), *range(20, 50)]
    np.testing.assert_array_equal(held_out.gallery.x[10:20], _batch(0, 10).x)
    np.testing.assert_array_equal(held_out.exclude, np.arange(10))
    assert held_out.relevance is None
    alone = HeldOut.of_items(_batch(0, 10), _batch(3, 7))
    assert alone.gallery.ids.tolist() == list(range(10))


def test_labels_leave_the_item_itself_out() -> None:
    held_out = HeldOut.of_items(_batch(10, 20, labels=True), _batch(0, 50, labels=True))
    assert held_out.relevance is not None
    for row, name in enumerate(held_out.queries.ids.tolist()):
        start, stop = held_out.relevance.indptr[row : row + 2]
        found = set(held_out.gallery.ids[held_out.relevance.indices[start:stop]].tolist())
        assert found == {i for i in range(50) if i % 3 == name % 3} - {name}


def test_queries_without_an_answer_among_the_items_are_left_out() -> None:
    qrels = {50: [3, 999], 51: [999], 53: [4, 4, 5]}
    held_out = HeldOut.of_queries(_batch(50, 54), qrels, _batch(3, 6), _batch(0, 10))
    assert held_out.queries.ids.tolist() == [50, 53]
    found = [held_out.gallery.ids[i] for i in held_out.relevance.indices]
    assert found == [3, 4, 5]
    assert held_out.relevance.counts.tolist() == [1, 2]
    with pytest.raises(InputError, match=r"no held-out query .*such as 999, the pairs 0\)"):
        HeldOut.of_queries(_batch(50, 54), {51: [999]}, _batch(3, 6), _batch(0, 10))
    named = {51: ["doc-3", "doc-4", "doc-5"]}
    with pytest.raises(InputError, match="alike but for 'doc-' in front"):
        HeldOut.of_queries(_batch(50, 54), named, _batch(3, 6), _batch(0, 10))


@pytest.mark.parametrize("kind", ["query", "corpus"])
def test_the_map_is_put_on_its_own_side(kind: Any) -> None:
    held_out = HeldOut.of_items(_batch(0, 10), _batch(0, 30), "l2")
    chain = Chain([Affine(2 * np.eye(4)[::-1])])
    trial = held_out.trial(chain, kind)
    q, g = held_out.queries, held_out.gallery
    if kind == "query":  # source: new
        assert trial.query_old is q.y
        assert trial.gallery_new is g.x
        np.testing.assert_allclose(trial.query_bridged, q.y)
    else:
        assert trial.query_old is q.x
        assert trial.gallery_new is g.y
        np.testing.assert_allclose(trial.gallery_bridged, g.y)
    assert (trial.metric, trial.bridge.metric) == ("l2", "l2")


@pytest.mark.parametrize("kind", ["query", "corpus"])
def test_errors_of_the_map_on_the_gallery(kind: Any) -> None:
    held_out = HeldOut.of_items(_batch(0, 10), _batch(0, 30), "l2")
    chain = Chain([Affine(3 * np.eye(4)[::-1])])  # the right direction, half too long
    g = held_out.gallery
    plain = held_out.trial(chain, kind, errors=True)
    np.testing.assert_allclose(plain.gallery_error, np.sum(g.x**2, axis=1), rtol=1e-5)
    unit = replace(held_out, metric="cosine").trial(chain, kind, errors=True)
    np.testing.assert_allclose(unit.gallery_error, 0, atol=1e-10)
    assert held_out.trial(chain, kind).gallery_error is None
    plain.check()


@pytest.mark.parametrize("kind", ["query", "corpus"])
@pytest.mark.parametrize("labelled", [False, True])
def test_the_judge_prefers_the_truth(kind: Any, labelled: bool) -> None:
    held_out = HeldOut.of_items(_batch(0, 20, labelled), _batch(0, 100, labelled))
    judge = held_out.judge(kind, None)
    truth, nonsense = judge(Chain([Affine(np.eye(4)[::-1])])), judge(Chain([Affine(np.eye(4))]))
    assert truth.shape == (20,)
    if labelled:  # labels that say nothing about the vectors
        assert truth.mean() == pytest.approx(nonsense.mean(), abs=0.3)
    else:
        assert truth.mean() == 1
        assert nonsense.mean() < 0.6


def test_a_gallery_of_one_item_cannot_be_searched() -> None:
    held_out = HeldOut.of_items(_batch(0, 1), _batch(0, 1))
    with pytest.raises(InputError, match="a single item: nothing can be searched"):
        held_out.judge("query", None)


def test_the_metric_that_decides() -> None:
    def labelled(answers: int) -> Any:
        return from_labels(np.zeros(1), np.zeros(answers))

    assert primary_metric(None, "mrr") == "recall@10"  # agreement is overlap at ten
    assert primary_metric(labelled(10), None) == "recall@10"
    assert primary_metric(labelled(11), None) == "ndcg@10"
    assert primary_metric(labelled(11), "mrr") == "mrr"
