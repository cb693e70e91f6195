"""What the page of a fit adds to that of its evidence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.adapters.budget.curve_reading import LearningCurve
from isthmus.adapters.budget.learning_curve import CurveDesign, learning_curve
from isthmus.adapters.select import RULE
from isthmus.bridge import Bridge
from isthmus.bridge.provenance import Provenance
from isthmus.bridge.tried import Tried
from isthmus.errors import InputError
from isthmus.report import write_fit_report
from isthmus.report.fit_figures import candidate_figures, curve_figure, threshold_figures

pytest.importorskip("plotly", reason="reports need plotly")


@pytest.fixture(scope="module")
def curve(data: dict[str, np.ndarray]) -> LearningCurve:
    return learning_curve(data["new"], data["old"], design=CurveDesign(orders=1))


def test_the_leaderboard_is_whole(bridge: Bridge) -> None:
    board = next(iter(candidate_figures(bridge.tried)))
    assert len(board.table.rows) == len(bridge.tried)
    assert board.table.rows[0][0] == bridge.tried[0].recipe
    scores = board.traces[-1]["x"]
    assert scores[:5] == [t.score for t in bridge.tried[:5]]
    assert scores[-1] == bridge.tried[-1].score


def test_the_marked_map_is_the_one_that_was_taken_and_says_why(bridge: Bridge) -> None:
    """The simplest of the best need not be the first, nor among those that are drawn."""
    assert bridge.taken is not None
    assert bridge.tried[bridge.taken].recipe == str(bridge.recipe)
    tried = [Tried(f"ridge(alpha={i}.0)", 0.9 - i / 100) for i in range(20)]
    for taken in (0, 3, 15):
        board = next(iter(candidate_figures(tried, taken)))
        colours = board.traces[-1]["marker"]["color"]
        assert colours.count("var(--good)") == 1
        at = colours.index("var(--good)")
        assert board.traces[-1]["x"][at] == tried[taken].score
        assert board.layout["annotations"][at]["text"].startswith("taken: ")
        assert RULE in board.caption
        assert (f"{tried[taken].score:.3f} against 0.900" in board.caption) is (taken > 0)
        assert board.table.marked == {tried[taken].recipe}
    unknown = next(iter(candidate_figures(tried)))
    assert "var(--good)" not in unknown.traces[-1]["marker"]["color"]


def test_what_all_recipes_share_is_said_once() -> None:
    steps = {"procrustes": 0.5, "center | ridge(alpha=1.0)": 0.4}
    tried = [Tried(f"unit_norm | {step} | unit_norm", score) for step, score in steps.items()]
    (board,) = candidate_figures(tried)
    assert "Each stands in: unit_norm | … | unit_norm." in board.caption
    names = [n["text"] for n in board.layout["annotations"]]
    assert names == ["procrustes", "center | ridge(alpha=1.0)"]
    alone = next(iter(candidate_figures([Tried("procrustes", 0.5), Tried("ridge", 0.4)])))
    assert "Each stands in" not in alone.caption


def test_the_curve_over_a_strength_is_drawn_from_the_candidates() -> None:
    tried = [
        Tried(f"ridge(alpha={alpha:g}, power={power:g})", score)
        for power in (0.5, 1.0)
        for alpha, score in ((0.01, 0.5), (1.0, 0.7 - power / 10), (100.0, 0.2))
    ]
    tried.append(Tried("procrustes", 0.4))
    _, strengths = candidate_figures(tried)
    assert strengths.title == "How the score follows alpha of ridge"
    assert len(strengths.traces) == 2
    best = strengths.traces[0]
    assert best["x"] == [0.01, 1.0, 100.0]
    assert best["y"] == [0.5, pytest.approx(0.65), 0.2]
    assert strengths.layout["xaxis"]["type"] == "log"


def test_one_recipe_has_no_leaderboard() -> None:
    assert list(candidate_figures([Tried("procrustes", 0.5)])) == []
    assert list(candidate_figures([])) == []


def test_the_learning_curve_shows_what_was_measured_and_the_law(curve: LearningCurve) -> None:
    figure = curve_figure(curve)
    law, measured = figure.traces
    assert measured["x"] == list(curve.budgets)
    assert measured["y"] == [q.value for q in curve.quality]
    a, b, c = curve.law
    assert law["y"] == pytest.approx(a - b * np.array(law["x"]) ** -c)
    assert law["x"][-1] == pytest.approx(2 * curve.budgets[-1])
    assert law["x"][0] == pytest.approx(curve.budgets[-5:][0])
    assert curve.answer[1:] in figure.caption


def test_the_curves_of_thresholds_are_those_of_the_bridge(bridge: Bridge) -> None:
    found = bridge.thresholds
    assert found is not None
    way = "bridge" if bridge.recommended is None else bridge.recommended[0]
    figures = {f.key: f for f in threshold_figures(bridge)}
    assert set(figures) == {"threshold-share", "threshold-precision"}
    for keep in found.keeps(way):
        drawn = figures[f"threshold-{keep}"].traces[-1]
        assert drawn["x"] == found.tables[keep][way][0].tolist()
        assert drawn["y"] == found.tables[keep][way][1].tolist()
    assert list(threshold_figures(replace(bridge, thresholds=None))) == []


def test_the_page_holds_recipe_trust_and_provenance(
    pages: dict[str, Path], bridge: Bridge, read: Any
) -> None:
    shown = " ".join(read(pages["fit"]).all("main")[0].text.split())
    assert f"Recipe: {bridge.recipe}" in shown
    assert bridge.provenance.fits[0].data_sha256 in shown
    assert bridge.thresholds is not None
    assert str(bridge.thresholds.examples("bridge")[1].error) in shown
    assert "threshold of trust" in shown


def test_a_bare_bridge_makes_a_page(bridge: Bridge, tmp_path: Path, read: Any) -> None:
    bare = replace(
        bridge, tried=(), trust=None, thresholds=None, recipe=None, provenance=Provenance()
    )
    write_fit_report(bare, tmp_path / "out.html")
    assert len(read(tmp_path / "out.html").all("figure")) == 3


def test_without_evidence_there_is_nothing_to_show(bridge: Bridge, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="never evaluated"):
        write_fit_report(replace(bridge, evidence=None), tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()
