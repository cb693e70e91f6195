"""Thresholds of one model in the ways of another: counted, on queries that fitted nothing."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from tests.ways.conftest import make_trials

from isthmus.errors import InputError
from isthmus.ways import choose_ways
from isthmus.ways.judge import judge_ways
from isthmus.ways.thresholds import Thresholds, fit_thresholds

K = 10


def world(n: int = 2000, seed: int = 0, *, shift: float = 0.3, scale: float = 0.4) -> Any:
    """Results whose relevance follows a truth that two ways see, on scales of their own."""
    rng = np.random.default_rng([seed, 5])
    truth = np.sort(rng.normal(0.4, 0.2, (n, K)), axis=1)[:, ::-1]
    relevant = rng.random((n, K)) < 1 / (1 + np.exp(-12 * (truth - 0.5)))
    seen = shift + scale * (truth + rng.normal(0, 0.05, (n, K)))
    order = np.argsort(-seen, axis=1)
    scores = {"old": truth, "bridge": np.take_along_axis(seen, order, axis=1)}
    return scores, {"old": relevant, "bridge": np.take_along_axis(relevant, order, axis=1)}


@pytest.fixture(scope="module")
def fitted() -> Thresholds:
    found = fit_thresholds(*world())
    assert found is not None
    return found


@pytest.mark.parametrize("old", [0.2, 0.4, 0.6])
def test_what_passes_is_kept_on_other_queries(fitted: Thresholds, old: float) -> None:
    scores, relevant = world(4000, seed=1)
    for keep in ("share", "precision"):
        found = fitted.translate(old, "bridge", keep)
        assert found.new is not None
        passes = {"old": scores["old"] >= old, "bridge": scores["bridge"] >= found.new}
        kept = {
            name: float(p.mean()) if keep == "share" else float(relevant[name][p].mean())
            for name, p in passes.items()
        }
        assert kept["bridge"] == pytest.approx(kept["old"], abs=0.03)
        assert found.kept == pytest.approx(kept["old"], abs=0.03)
        assert found.error is not None
        assert found.error.low is not None
        assert found.error.high is not None
        assert found.error.low <= 0.03
        assert found.error.high >= -0.03
        assert found.error.high - found.error.low < 0.1


def test_the_errors_cover_what_further_queries_show() -> None:
    """Of fits on few queries, nine in ten intervals and more hold the error of the many."""
    scores, _ = world(20_000, seed=99)
    held = total = 0
    for seed in range(60):
        found = fit_thresholds(world(200, seed=seed + 2)[0], seed=seed)
        assert found is not None
        for old in (0.3, 0.5):
            t = found.translate(old)
            assert t.new is not None
            assert t.error is not None
            assert t.error.low is not None
            assert t.error.high is not None
            true = float((scores["bridge"] >= t.new).mean() - (scores["old"] >= old).mean())
            held += t.error.low <= true <= t.error.high
            total += 1
    assert held / total > 0.85


def test_every_query_fits_the_translation_that_is_served() -> None:
    """Its error on further queries is that of so many, not of half as many."""
    scores, _ = world(20_000, seed=99)

    def error(seed: int, rows: slice) -> float:
        mine = {name: s[rows] for name, s in world(300, seed=seed + 2)[0].items()}
        found = fit_thresholds(mine, seed=seed)
        assert found is not None and found.queries == len(mine["old"])
        new = found.translate(0.4).new
        assert new is not None
        return float((scores["bridge"] >= new).mean() - (scores["old"] >= 0.4).mean())

    def spread(rows: slice) -> float:
        return float(np.sqrt(np.mean([error(seed, rows) ** 2 for seed in range(80)])))

    every = [spread(slice(0, 300)), spread(slice(0, 150))]
    assert every[0] < 0.85 * every[1]


def test_a_line_between_two_scales_is_found(fitted: Thresholds) -> None:
    """Without noise the quantile map is the line itself, and scores go back along it."""
    scores, _ = world(1000)
    exact = {"old": scores["old"], "bridge": 0.3 + 0.4 * scores["old"]}
    found = fit_thresholds(exact)
    assert found is not None
    for old in (0.1, 0.45, 0.7):
        translated = found.translate(old)
        assert translated.new == pytest.approx(0.3 + 0.4 * old, abs=1e-3)
        assert translated.error is not None
        assert translated.error.value == pytest.approx(0, abs=1e-3)
        assert found.to_old_scale(np.array([translated.new]))[0] == pytest.approx(old, abs=1e-3)
    rising = found.to_old_scale(np.linspace(-3, 3, 99))
    assert (np.diff(rising) > 0).all()


def test_a_threshold_beyond_all_scores_has_no_counterpart(fitted: Thresholds) -> None:
    for beyond in (-5.0, 5.0):
        found = fitted.translate(beyond)
        assert found.new is None
        assert "too few results beyond" in (found.reason or "")
    with pytest.raises(InputError, match="a threshold is a number"):
        fitted.translate(float("nan"))
    with pytest.raises(InputError, match="no thresholds are known for the way 'mixed'"):
        fitted.translate(0.5, "mixed")
    with pytest.raises(InputError, match="keeps the share or the precision"):
        fitted.translate(0.5, "bridge", "recall")  # type: ignore[arg-type]


def test_precision_needs_relevance_and_thresholds_need_queries() -> None:
    scores, relevant = world(300)
    found = fit_thresholds(scores)
    assert found is not None
    assert found.keeps("bridge") == ("share",)
    with pytest.raises(InputError, match="precision needs to know what is relevant"):
        found.translate(0.5, "bridge", "precision")
    few = {name: s[:19] for name, s in scores.items()}
    assert fit_thresholds(few, {name: r[:19] for name, r in relevant.items()}) is None


def test_results_that_are_missing_pass_no_threshold() -> None:
    scores, relevant = world(400)
    scores["bridge"][:, 5:] = -np.inf
    found = fit_thresholds(scores, relevant)
    assert found is not None
    # half of the results at most can pass
    assert found.tables["share"]["bridge"][2].max() <= 0.56
    assert np.isfinite(found.tables["share"]["bridge"]).all()


def test_every_way_that_is_judged_has_thresholds_of_its_own_scale() -> None:
    validation, test = make_trials(queries=(150, 200), gallery=300)
    chosen = choose_ways(validation, test)
    judged = judge_ways(test, chosen=chosen)
    found = judged.thresholds
    assert found is not None
    assert set(found.ways) == set(judged.evaluation.arms) - {"old", "naive", "control"}
    for way in found.ways:
        middle = found.examples(way)[2]
        assert middle.error is not None
        assert abs(middle.error.value or 0.0) < 0.1


def test_they_come_back_from_their_parts(fitted: Thresholds) -> None:
    described, tensors = fitted.pack()
    again = Thresholds.unpack(json.loads(json.dumps(described)), tensors)
    assert again.translate(0.5) == fitted.translate(0.5)
    assert again.translate(0.5, "bridge", "precision") == fitted.translate(
        0.5, "bridge", "precision"
    )
