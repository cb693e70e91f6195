"""The study of budgets: nobody is asked who was fitted on, and the bridge keeps up with others."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.budget_study import DECIDES, OURS, Cell, Drawn, ours, single_maps, table
from benchmarks.study.upgrade import Upgrade, unit
from benchmarks.study.verdicts import Told, judged, rates

N, D = 800, 24


@pytest.fixture(scope="module")
def upgrade() -> Upgrade:
    """Two models that see the same facts, each with noise of its own; queries lie elsewhere."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((N, D)) * np.arange(1, D + 1) ** -0.4
    asked = z + 0.3 * rng.standard_normal((N, D)) * np.arange(1, D + 1) ** -0.4
    sides = []
    for _ in ("old", "new"):
        basis, away = rng.standard_normal((D, D)) / D**0.5, 0.5 * rng.standard_normal(D)
        items = z @ basis + 0.1 * rng.standard_normal((N, D))
        queries = asked @ basis + away + 0.1 * rng.standard_normal((N, D))
        sides.append((unit(queries), unit(items)))
    (old_queries, old_items), (new_queries, new_items) = sides
    return Upgrade("made", old_queries, new_queries, old_items, new_items)


def test_a_draw_asks_about_nothing_that_it_fits_on(upgrade: Upgrade) -> None:
    drawn = Drawn.of(upgrade, 100, 0)
    assert drawn is not None
    assert len(drawn.fitted) == 100
    assert not set(drawn.fitted) & set(drawn.asked)
    assert Drawn.of(upgrade, N, 0) is None


def test_the_bridge_keeps_up_with_the_best_single_map(upgrade: Upgrade) -> None:
    drawn = Drawn.of(upgrade, 100, 0)
    assert drawn is not None
    bridge = ours(drawn, whole_index=False)
    mine = drawn.values(bridge.transform)
    others = {way: drawn.values(other) for way, other in single_maps(drawn)}
    assert mine[DECIDES] >= max(v[DECIDES] for v in others.values()) - 0.03, (bridge.recipe, others)


def test_the_table_counts_where_the_bridge_is_not_behind() -> None:
    def cell(budget: int, way: str, value: float) -> Cell:
        return Cell("made", budget, 0, way, dict.fromkeys(("recall@1", DECIDES, "mrr"), value), 0.0)

    found = [
        cell(100, OURS, 0.5),
        cell(100, "other", 0.4),
        cell(250, OURS, 0.5),
        cell(250, "other", 0.503),
        cell(500, OURS, 0.5),
        cell(500, "other", 0.6),
    ]
    assert "below the best in 2 of 3 cells, above it in 1." in table(found)


def test_what_is_recommended_is_run_on_fresh_queries_in_the_whole_index(upgrade: Upgrade) -> None:
    drawn = Drawn.of(upgrade, 250, 0)
    assert drawn is not None
    bridge = ours(drawn, whole_index=False)
    told = judged(bridge, upgrade, drawn.fitted, drawn.asked)
    assert bridge.evidence is not None
    assert told.verdict == bridge.evidence.verdict
    assert told.recommended is None or told.recommended in told.gains
    # no more is found than by the model that orders what the old one recalls
    assert told.gains["old_rescore"] <= max(0.0, told.gains["new"]) + 2 * told.errors["new"]


def test_rates_count_what_was_due_and_what_loses_beyond_its_interval() -> None:
    def told(verdict: str, recommended: str | None, low: float | None, gain: float) -> Told:
        gains = {"new": 0.05, "old_rescore": 0.01, "mixed": gain}
        return Told(verdict, recommended, low, gains, dict.fromkeys(gains, 0.01))

    found = [
        (100, told("not enough evidence", None, None, 0.0)),
        (100, told("mix the queries", "mixed", 0.01, -0.02)),
        (100, told("mix the queries", "mixed", -0.009, -0.005)),
        (250, told("keep the old model", None, None, 0.0)),
    ]
    assert list(rates(found))[2:] == [
        "| 100 | 3 | 3 | 1 | 0 | 2 | 1 |",
        "| 250 | 1 | 1 | 0 | 1 | 0 | 0 |",
        "| all | 4 | 4 | 1 | 1 | 2 | 1 |",
    ]
