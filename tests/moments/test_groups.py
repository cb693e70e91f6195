"""Sums per group: equal to the definition, by whatever folds and order, and bounded."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.moments import FoldMoments, GroupedFoldMoments, Moments
from isthmus.moments import groups as module
from isthmus.moments.groups import GroupSums
from isthmus.spaces.split import fold_of


def labelled(n: int = 300, classes: int = 5, offset: float = 3.0, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    own = rng.integers(0, classes, n)
    x = rng.standard_normal((classes, 4))[own] + rng.standard_normal((n, 4)) + offset
    y = rng.standard_normal((classes, 3))[own] + rng.standard_normal((n, 3)) - offset
    return x, y, np.array(["a", "bb", "c", "dd", "e", "f"])[own]


def by_definition(x: Any, y: Any, labels: Any, w: Any = None) -> tuple[Any, Any]:
    """Every row replaced by the mean of its class; then the covariances of such rows."""
    w = np.ones(len(x)) if w is None else w
    mean_x, mean_y = np.zeros_like(x), np.zeros_like(y)
    for c in np.unique(labels):
        at = labels == c
        mean_x[at] = np.average(x[at], axis=0, weights=w[at])
        mean_y[at] = np.average(y[at], axis=0, weights=w[at])
    mean_x = mean_x - np.average(x, axis=0, weights=w)
    mean_y = mean_y - np.average(y, axis=0, weights=w)
    share = (w / w.sum())[:, None]
    return (mean_x * share).T @ mean_y, (mean_y * share).T @ mean_y


def grouped(x: Any, y: Any, labels: Any, folds: int = 4, weights: Any = None) -> Any:
    moments = GroupedFoldMoments(4, 3, folds, groupings=["labels"])
    return moments.update(
        np.arange(len(x)), x, y, weights=weights, groups={"labels": np.asarray(labels)}
    )


@given(cuts=st.lists(st.integers(0, 300), max_size=4), offset=st.floats(-1e4, 1e4))
def test_any_batches_agree_with_the_definition(cuts: list[int], offset: float) -> None:
    x, y, labels = labelled(offset=offset)
    sums = GroupSums(4, 3)
    for a, b in pairwise([0, *sorted(cuts), 300]):
        sums.update(labels[a:b], x[a:b], y[a:b])
    found, (xy, yy) = sums.between(), by_definition(x, y, labels)
    np.testing.assert_allclose(found.xy, xy, atol=1e-9)
    np.testing.assert_allclose(found.yy, yy, atol=1e-9)


def test_every_training_set_has_the_means_of_its_own_rows() -> None:
    x, y, labels = labelled()
    labels[fold_of(np.arange(300), 4) == 2] = "f"  # a class of one fold alone
    moments = grouped(x, y, labels)
    plain = FoldMoments.of(x, y, 4)
    np.testing.assert_allclose(moments.second().xy, plain.second().xy)
    np.testing.assert_allclose(
        moments.second().between["labels"].xy, by_definition(x, y, labels)[0]
    )
    assigned = fold_of(np.arange(300), 4)
    for k, (train, held_out) in enumerate(moments.splits()):
        rows = assigned != k
        xy, yy = by_definition(x[rows], y[rows], labels[rows])
        np.testing.assert_allclose(train.between["labels"].xy, xy, atol=1e-12)
        np.testing.assert_allclose(train.between["labels"].yy, yy, atol=1e-12)
        assert not held_out.between


def test_weights_are_those_of_repeated_rows() -> None:
    x, y, labels = labelled(60)
    w = np.arange(60) % 4
    weighted = grouped(x, y, labels, weights=w.astype(float)).second().between["labels"]
    sums = GroupSums(4, 3)
    sums.update(np.repeat(labels, w), np.repeat(x, w, axis=0), np.repeat(y, w, axis=0))
    np.testing.assert_allclose(weighted.xy, sums.between().xy, atol=1e-12)
    np.testing.assert_allclose(weighted.yy, by_definition(x, y, labels, w)[1], atol=1e-12)


def test_affine_maps_carry_the_groups_along() -> None:
    from isthmus.adapters import Affine

    x, y, labels = labelled()
    rng = np.random.default_rng(1)
    on_x = Affine(rng.standard_normal((4, 4)), rng.standard_normal(4))
    on_y = Affine(rng.uniform(1, 2, 3))
    moved = grouped(x, y, labels).second().mapped(on_x, on_y).between["labels"]
    xy, yy = by_definition(on_x.apply_to_mean(x), on_y.apply_linear(y), labels)
    np.testing.assert_allclose(moved.xy, xy, atol=1e-10)
    np.testing.assert_allclose(moved.yy, yy, atol=1e-10)


def test_merging_is_adding_rows() -> None:
    x, y, labels = labelled()
    first, second = (
        GroupedFoldMoments(4, 3, 4, groupings=["labels"]).update(
            np.arange(300)[rows], x[rows], y[rows], groups={"labels": labels[rows]}
        )
        for rows in (slice(0, 120), slice(120, 300))
    )
    first += second
    whole = grouped(x, y, labels).second().between["labels"]
    np.testing.assert_allclose(first.second().between["labels"].xy, whole.xy, atol=1e-12)
    with pytest.raises(InputError, match="do not join"):
        first += FoldMoments.of(x, y, 4)


def test_what_cannot_be_grouped_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    x, y, labels = labelled()
    moments = GroupedFoldMoments(4, 3, 3, groupings=["labels"])
    with pytest.raises(InputError, match=r"grouped by \['labels'\], got \[\]"):
        moments.update(np.arange(300), x, y)
    with pytest.raises(InputError, match="labels of shape"):
        GroupSums(4, 3).update(labels[:5], x, y)
    with pytest.raises(InputError, match="not saved"):
        moments.save(tmp_path / "m")
    GroupedFoldMoments(4, 3, 3).update(np.arange(300), x, y).save(tmp_path / "m")
    assert isinstance(FoldMoments.load(tmp_path / "m").total, Moments)
    monkeypatch.setattr(module, "LARGEST", 100)
    with pytest.raises(InputError, match="more than 100 classes"):
        GroupSums(4, 3).update(np.arange(300), x, y)


def test_no_rows_and_bytes() -> None:
    empty = GroupSums(4, 3)
    empty.update(np.zeros(0, int), np.zeros((0, 4)), np.zeros((0, 3)))
    assert not empty.between().xy.any()
    x, y, labels = labelled()
    sums = GroupSums(4, 3)
    sums.update(labels.astype("S"), x, y)
    np.testing.assert_allclose(sums.between().xy, by_definition(x, y, labels)[0], atol=1e-12)
