"""Polished linear maps stay linear, find more, and are the map before where they do not."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from isthmus.adapters import Affine
from isthmus.adapters.steps.polish import LambdaPolish, Polish
from isthmus.adapters.steps.procrustes import nearest_orthogonal
from isthmus.errors import InputError, MissingExtraError
from isthmus.spaces.sample import Batch

D = 16


def unit(rows: Any) -> Any:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def upgrade(n: int = 500, seed: int = 0) -> tuple[Batch, Batch]:
    """Items and queries for them, in two spaces that weigh the same facts differently."""
    rng = np.random.default_rng(seed)
    models = np.random.default_rng(99)
    basis = np.linalg.qr(models.standard_normal((D, D)))[0]
    mixing = models.standard_normal((D, D)) / 4
    z = rng.standard_normal((n, D)) * np.arange(1, D + 1) ** -0.5
    both = np.vstack([z, z + 0.7 * rng.standard_normal((n, D)) * np.arange(1, D + 1) ** -0.5])
    x = unit(both @ basis + 0.05 * rng.standard_normal((2 * n, D)))
    y = unit(both @ (np.eye(D) + mixing) + 0.05 * rng.standard_normal((2 * n, D)))
    ids, quadrant = np.arange(n), 2 * (z[:, 0] > 0) + (z[:, 1] > 0)
    return Batch(ids, x[:n], y[:n], quadrant), Batch(ids, x[n:], y[n:], quadrant)


def rotation(batch: Batch) -> Affine:
    x, y = batch.x.astype(np.float64), batch.y.astype(np.float64)
    matrix, _ = nearest_orthogonal((x - x.mean(0)).T @ (y - y.mean(0)))
    return Affine(matrix, y.mean(0) - x.mean(0) @ matrix)


def found(stage: Any, seed: int = 7) -> float:
    """Share of new queries whose own item is nearest, among new items."""
    items, queries = upgrade(300, seed)
    mapped = queries.x @ stage.matrix + stage.offset
    return float(((mapped @ items.y.T).argmax(1) == np.arange(300)).mean())


class Rows(list[Batch]):
    """Items, and queries for them."""

    def __init__(self, items: Batch, queries: Batch) -> None:
        super().__init__([items, queries])
        self.items, self.asked = [items], [queries]


@pytest.mark.parametrize("temperature", [0.05, 0.1])
def test_polish_finds_more_of_what_is_asked(temperature: float) -> None:
    rows = Rows(*upgrade())
    base = rotation(rows[0])
    stage = Polish(temperature=temperature, epochs=12, rate=0.02).refine(base, rows)
    assert isinstance(stage, Affine)
    assert found(stage) > found(base) + 0.05


def test_queries_are_told_from_all_documents_but_their_own() -> None:
    """Told that each query wants the next document, it learns to find that."""
    items, queries = upgrade()
    step, base = Polish(epochs=12, rate=0.05), rotation(items)
    shifted = Batch(np.roll(queries.ids, 1), queries.x, queries.y)
    right, wrong = (step.refine(base, Rows(items, q)) for q in (queries, shifted))
    assert found(right) > found(wrong)
    strangers = Batch(queries.ids + 500, queries.x, queries.y)
    alone = step.refine(base, [items])
    np.testing.assert_array_equal(step.refine(base, Rows(items, strangers)).matrix, alone.matrix)


def test_lambda_polish_keeps_the_map_nearly_orthogonal() -> None:
    pytest.importorskip("torch")
    rows = list(upgrade())
    base = rotation(rows[0])
    loose = LambdaPolish(lam=10.0, rate=0.05).refine(base, rows)
    tight = LambdaPolish(lam=0.05, rate=0.05).refine(base, rows)

    def departure(stage: Affine) -> float:
        assert stage.matrix is not None
        return float(np.linalg.norm(stage.matrix.T @ stage.matrix - np.eye(D)) / D**0.5)

    assert departure(tight) < 0.1 < departure(loose)


def test_lambda_is_that_of_the_start_where_it_is_auto() -> None:
    rows = list(upgrade())
    base = Affine(np.eye(D) * 2)
    assert LambdaPolish.expanded({"lam": "auto"}, base, rows) == [{"lam": 3.0}]
    assert LambdaPolish.expanded({"lam": 0.2}, base, rows) == [{"lam": 0.2}]


def test_labels_that_are_wanted() -> None:
    pytest.importorskip("torch")
    items, queries = upgrade()
    base = rotation(items)
    unlabelled = Batch(queries.ids, queries.x, queries.y)
    step = LambdaPolish(lam=10.0, labels=True)
    mixed, alone = (step.refine(base, rows) for rows in ([items, unlabelled], [items]))
    np.testing.assert_array_equal(mixed.matrix, alone.matrix)
    assert not np.array_equal(mixed.matrix, step.refine(base, [items, queries]).matrix)
    with pytest.raises(InputError, match="no labels to contrast by.*labels=false"):
        LambdaPolish(labels=True).refine(base, [Batch(items.ids, items.x, items.y)])
    one_class = Batch(items.ids, items.x, items.y, np.zeros(500, np.int64))
    with pytest.raises(InputError, match="all labels are equal"):
        LambdaPolish(labels=True).refine(base, [one_class])


def test_where_there_is_nothing_to_learn_the_map_stands() -> None:
    batch, _ = upgrade()
    base, same = rotation(batch), np.ones_like(batch.x)
    for rows in (
        batch.select(slice(0, 49)),
        Batch(batch.ids, same, same),
        Batch(batch.ids, batch.x, same),
        Batch(batch.ids, np.tile(batch.x[:5], (100, 1)), np.tile(batch.y[:5], (100, 1))),
    ):
        assert LambdaPolish().refine(base, [rows]) is base
    assert Polish().refine(base, [Batch(batch.ids, batch.x, same)]) is base
    unmoved = Polish().refine(base, [Batch(batch.ids, same, batch.y)])
    np.testing.assert_allclose(unmoved.matrix, base.matrix, atol=1e-6)


@pytest.mark.parametrize("step", [Polish, LambdaPolish])
def test_equal_seeds_give_equal_bytes(step: Any) -> None:
    if step is LambdaPolish:
        pytest.importorskip("torch")
    rows = list(upgrade())
    base = rotation(rows[0])
    extra = {"lam": 10.0} if step is LambdaPolish else {}
    first, again = (step(epochs=3, **extra).refine(base, rows) for _ in range(2))
    assert first is not base
    assert first.matrix.tobytes() == again.matrix.tobytes()


def test_what_diverges_is_an_error() -> None:
    pytest.importorskip("torch")
    rows = list(upgrade())
    longer = [Batch(b.ids, b.x * np.float32(2), b.y * np.float32(2)) for b in rows]
    with pytest.raises(InputError, match="not finite.*Lower the rate"):
        LambdaPolish(rate=1e29, lam=10.0).refine(rotation(rows[0]), longer)
    with pytest.raises(InputError, match="rate of training"):
        Polish(rate=2.0).refine(rotation(rows[0]), longer)


def test_only_what_needs_torch_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    rows = list(upgrade())
    assert isinstance(Polish(epochs=1).refine(rotation(rows[0]), rows), Affine)
    with pytest.raises(MissingExtraError, match=r"isthmus\[torch\]"):
        LambdaPolish().refine(Affine(np.eye(D)), rows)
