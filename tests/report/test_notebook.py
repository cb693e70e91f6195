"""Results in a notebook: a table as HTML, and figures of plotly."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from isthmus.adapters.budget.learning_curve import CurveDesign, learning_curve
from isthmus.bridge import Bridge
from isthmus.diagnose import Diagnosis
from isthmus.errors import InputError
from isthmus.report.notebook import figures_of
from isthmus.similarity import Grid

graph_objects = pytest.importorskip("plotly.graph_objects", reason="plots need plotly")


@pytest.fixture(scope="module")
def results(
    data: dict[str, np.ndarray], bridge: Bridge, diagnosis: Diagnosis, grid: Grid
) -> dict[str, Any]:
    return {
        "evaluation": bridge.evidence,
        "bridge": bridge,
        "diagnosis": diagnosis,
        "curve": learning_curve(data["new"], data["old"], design=CurveDesign(orders=1)),
        "grid": grid,
        "comparison": diagnosis.comparison,
    }


@pytest.mark.parametrize(
    "kind", ["evaluation", "bridge", "diagnosis", "curve", "grid", "comparison"]
)
def test_every_result_shows_and_plots_itself(kind: str, results: dict[str, Any]) -> None:
    result = results[kind]
    html = result._repr_html_()
    assert "<table>" in html and "<script" not in html and "<img" not in html
    for name, figure in figures_of(result).items():
        drawn = result.plot(name)
        assert isinstance(drawn, graph_objects.Figure)
        assert drawn.layout.title.text == figure.title
        assert "var(--" not in drawn.to_json()
        assert len(drawn.data) == len(figure.traces)
    assert result.plot().layout.title.text == next(iter(figures_of(result).values())).title
    with pytest.raises(InputError, match=f"There are: {next(iter(figures_of(result)))}"):
        result.plot("nothing")


def test_the_numbers_are_those_of_the_result(results: dict[str, Any]) -> None:
    evidence = results["evaluation"]
    html = evidence._repr_html_()
    for arm in evidence.arms.values():
        assert str(arm.metrics[evidence.primary]) in html
    assert str(evidence.verdict) in html


def test_a_bridge_without_evidence_says_what_it_is(bridge: Bridge) -> None:
    bare = Bridge(bridge.kind, bridge.source, bridge.target, bridge.chain)
    html = bare._repr_html_()
    assert "A query bridge" in html and "&lt;/script&gt;" in html and "</script>" not in html


@pytest.mark.parametrize("kind", ["evaluation", "diagnosis", "comparison"])
def test_a_terminal_is_shown_what_print_shows(kind: str, results: dict[str, Any]) -> None:
    shown: list[str] = []
    results[kind]._repr_pretty_(SimpleNamespace(text=shown.append), False)
    assert shown == [str(results[kind])] and len(shown[0].splitlines()) > 5
