"""What the compatibility study concludes, from numbers made so that the conclusion is known."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from benchmarks.study.compat_adapters import EQUAL, OURS, PAPER, TRIED
from benchmarks.study.compat_experiments import Outcome
from benchmarks.study.compat_report import report

N = 300


def outcome(seed: int, ours: float = 0.0, forgetting: float = 0.1) -> Outcome:
    """A middle λ gains .05 and keeps all; affine gains .1; ours is better than the paper's by so
    much in every search."""
    rng = np.random.default_rng(seed)
    base = np.clip(0.5 + 0.2 * rng.standard_normal((N, 2)), 0, 1)
    out = Outcome()

    def put(experiment: str, method: str, column: str, shift: float) -> None:
        out.values[experiment, method, column] = base + shift

    for t in range(3):
        for k in range(t + 1):
            put("series", "BCT", f"{t}/{k}", 0.1 * t - 0.02 * (t - k))
    out.seconds["series", "BCT"] = 1.0
    for experiment in ("extension", "architecture", "downstream"):
        put(experiment, "old", "old/old", 0.0)
        put(experiment, "new", "new/new", 0.1)
        put(experiment, "new", "elsewhere", 0.0)
        for name, more, seconds in ((PAPER, 0.0, 10.0), (OURS, ours, 0.2), (EQUAL, ours, 0.2)):
            for lam in (*TRIED, np.inf) if experiment == "downstream" else (None,):
                method = name if lam is None else f"{name} {lam:g}"
                gain = 0.0 if lam == 0 else 0.1 if lam == np.inf else 0.05
                # the same for both methods: equal ones must never differ by chance
                luck = np.random.default_rng(seed + 100)
                for column in ("B/old", "B/B", "F/F", "B/F"):
                    noise = 0.02 * luck.standard_normal((N, 1))
                    put(experiment, method, column, 0.1 + gain + more + noise)
                put(experiment, method, "elsewhere", -forgetting if lam == np.inf else 0.0)
                out.seconds[experiment, method] = seconds
                out.departures[experiment, method] = 1.0 if lam is None else min(lam, 5.0)
    for metric in ("cmc@1", "map"):
        out.areas[metric, "random"] = 0.5
    return out


def test_the_shape_of_the_paper_is_seen_where_it_is_and_denied_where_it_is_not() -> None:
    found = report([outcome(s) for s in range(3)])
    assert found.shape[OURS].startswith("reproduced: relative λ")
    assert "affine gains +10.0 and forgets -10.0" in found.shape[PAPER]
    kept = report([outcome(s, forgetting=0.0) for s in range(3)])
    assert kept.shape[OURS] == "NOT reproduced: the affine map does not forget"


@pytest.mark.parametrize(
    ("ours", "verdict"), [(0.05, "better"), (0.0, "within the interval"), (-0.05, "WORSE")]
)
def test_the_comparison_says_which_is_better(ours: float, verdict: str) -> None:
    found = report([outcome(s, ours) for s in range(3)])
    searched = [c for c in found.comparisons if c.column != "elsewhere"]
    assert {c.verdict for c in searched} == {verdict}
    assert all(c.apart == pytest.approx(100 * ours, abs=0.5) for c in searched)
    assert found.faster["extension"] == pytest.approx(50)
    text = str(found)
    for at in ("λ", "departure"):
        every = [c for c in found.comparisons if c.at == at]
        count = sum(c.verdict != "WORSE" for c in every)
        assert (count < len(every)) == (verdict == "WORSE")
        assert f"at the same {at}, same queries" in text
        assert f"at least as good on {count} of {len(every)} metrics" in text
    assert "50 times less processor time (20 wanted: ok)" in text
    json.dumps(found.as_json(), allow_nan=False)


def test_the_series_has_the_summaries_of_its_matrix() -> None:
    found = report([outcome(s) for s in range(2)]).series["BCT"]["map"]
    assert found["AC"] == 1.0
    assert found["update_gain"]["1/0"] == pytest.approx(0.8)
    assert found["above_old"]["2/0"][0] == pytest.approx(16.0)
