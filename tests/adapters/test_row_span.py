"""Few rows in wide spaces: the map in their span is the map of the whole space."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from isthmus.adapters.chain import Affine, AlongAxes, Chain
from isthmus.adapters.cross_fitted import CrossFitted
from isthmus.adapters.recipe import Recipe
from isthmus.adapters.row_span import RowSpan, turns
from isthmus.adapters.select import Selection, SelectionTask, select
from isthmus.moments import FoldMoments, KindsApart, SecondMoments
from isthmus.spaces.sample import Batch

ROWS, DX, DY = 30, 120, 90


class Source:
    """Documents and queries of two spaces, noting how wide the moments were."""

    def __init__(self, rows: int = ROWS) -> None:
        rng = np.random.default_rng(0)
        meaning = rng.standard_normal((2, rows, 12)) * np.linspace(2, 0.3, 12)
        meaning[1] = meaning[0] + 0.3 * meaning[1]
        sides = [rng.standard_normal((12, d)) for d in (DX, DY)]
        self.items, self.asked = (
            tuple(m @ s + 0.2 * rng.standard_normal((rows, s.shape[1])) + 0.5 for s in sides)
            for m in meaning
        )
        self.ids = np.arange(rows)
        self.widths: list[tuple[int, int]] = []

    def folds(self, x: Chain, y: Chain, keep: frozenset[str], /) -> FoldMoments:
        sides = [(x(a), y(b)) for a, b in (self.items, self.asked)]
        self.widths.append((sides[0][0].shape[1], sides[0][1].shape[1]))
        both = FoldMoments.of(*sides[0], ids=self.ids)
        queries = FoldMoments.of(*sides[1], ids=self.ids)
        both += queries
        both.apart = KindsApart(both.without(queries), queries)
        return both

    def means(self, x: Chain, y: Chain, /) -> SecondMoments:
        return self.folds(x, y, frozenset()).second()

    def rows(self, x: Chain, y: Chain, /) -> Any:
        source = self

        class Rows:
            def __iter__(self) -> Any:
                return iter([Batch(source.ids, x(a), y(b)) for a, b in both])

            @property
            def items(self) -> Any:
                return iter([Batch(source.ids, x(source.items[0]), y(source.items[1]))])

            @property
            def asked(self) -> Any:
                return iter([Batch(source.ids, x(source.asked[0]), y(source.asked[1]))])

        both = (self.items, self.asked)
        return Rows()

    def judge(self, chain: Any) -> np.ndarray:
        assert isinstance(chain, CrossFitted)
        mapped = chain.mapped(self.ids, self.asked[0])
        items = self.items[1] / np.linalg.norm(self.items[1], axis=1, keepdims=True)
        scores = mapped @ items.T
        return 1.0 / (1 + (scores > np.diagonal(scores)[:, None]).sum(axis=1))


def chosen(recipe: str, *, few: bool, rows: int = ROWS) -> tuple[Selection, Source]:
    source = Source(rows)
    task = SelectionTask(source.judge, cosine=True, cross_fit=True)
    if few:
        task = replace(task, fit_rows=2 * rows)
    return select([Recipe.parse(recipe)], source, task), source


@pytest.mark.parametrize(
    "recipe",
    [
        "unit_norm | apart | csa(shrinkage=0.4, weight=0.5, mean=0.25) | unit_norm",
        "unit_norm | apart | csa(shrinkage=auto, weight=auto, mean=0.25) | unit_norm",
        "unit_norm | ridge(alpha=auto) | unit_norm",
        "unit_norm | center | whiten(shrinkage=0.3) | ridge(alpha=0.01) | unit_norm",
        "center | ridge(alpha=0.1)",
    ],
)
def test_it_is_the_map_of_the_whole_space(recipe: str) -> None:
    whole, at_full_width = chosen(recipe, few=False)
    found, source = chosen(recipe, few=True)
    assert source.widths[-1] == (2 * ROWS, 2 * ROWS)
    assert at_full_width.widths[-1] == (DX, DY)
    assert found.chosen.recipe == whole.chosen.recipe
    unseen = np.random.default_rng(1).standard_normal((20, DX))
    np.testing.assert_allclose(found.chain(unseen), whole.chain(unseen), atol=1e-6)
    assert isinstance(found.chosen.chain, CrossFitted)
    # and what is kept has nothing left that is not multiplied out
    for chain in (found.chain, *found.chosen.chain.chains):
        assert not any(isinstance(stage, AlongAxes) for stage in chain.stages)


def test_a_rotation_is_one_within_the_span_and_nothing_beyond_it() -> None:
    whole, _ = chosen("center | procrustes", few=False)
    found, source = chosen("center | procrustes", few=True)
    x = np.vstack([source.items[0], source.asked[0]])
    np.testing.assert_allclose(found.chain(x), whole.chain(x), atol=1e-8)
    axes = np.linalg.svd(x, full_matrices=True)[2][len(x) :]
    offset = found.chain(np.zeros((1, DX)))
    np.testing.assert_allclose(found.chain(axes), np.repeat(offset, len(axes), 0), atol=1e-8)


def test_training_goes_on_in_the_span() -> None:
    recipe = "unit_norm | apart | ridge(alpha=0.1) | polish(epochs=2) | unit_norm"
    found, source = chosen(recipe, few=True)
    assert source.widths[-1] == (2 * ROWS, 2 * ROWS)
    assert found.chain(source.asked[0]).shape == (ROWS, DY)


@pytest.mark.parametrize(
    "recipe", ["unit_norm | standardise | ridge(alpha=0.1) | unit_norm", "unit_norm | diagonal"]
)
def test_what_is_bound_to_the_axes_of_the_space_stays_there(recipe: str) -> None:
    assert not turns([Recipe.parse(recipe)], [])


def test_many_rows_are_not_read_to_the_end() -> None:
    read: list[int] = []

    def rows() -> Any:
        for k in range(9):
            read.append(k)
            yield Batch(np.arange(50), np.ones((50, DX)), np.ones((50, DY)))

    span = RowSpan.of(rows(), 450)
    assert span.x is None and span.y is None and read == [0]


def test_only_the_wide_side_is_narrowed() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 30)), rng.standard_normal((40, 100))
    span = RowSpan.of([Batch(np.arange(40), x, y)], 40)
    assert span.x is None and span.y is not None and span.y.shape == (100, 40)
    moments = span.told(FoldMoments.of(x, span.into[1](y)).second())
    assert moments.widths == (30, 100)
    assert moments.y.mean_eigenvalue == pytest.approx(y.var(axis=0).sum() / 100)


def test_axes_merge_when_they_are_multiplied_out() -> None:
    axes = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 2)))[0]
    chain = Chain([AlongAxes(axes), Affine(np.array([2.0, 3.0])), AlongAxes(axes.T)])
    rows = np.eye(5)
    assert len(chain.stages) == 3 and len(chain.multiplied.stages) == 1
    np.testing.assert_allclose(chain(rows), chain.multiplied(rows))
    assert Chain([Affine(np.eye(5))]).multiplied.products == 1
