"""Outcomes under conditions: intervals that hold, slices of queries, gates, and changed vectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.evaluate.bootstrap import Resampling
from isthmus.evaluate.gates import asks_robustness, check_gates, metrics_of, parse_gate
from isthmus.evaluate.robustness import (
    Disturbances,
    Outcomes,
    binary_rows,
    judge_robustness,
    masked_rows,
    noisy_rows,
)

from .test_gates import evaluation as evaluation


def outcomes(seed: int, n: int, old: float, kept: float) -> tuple[Outcomes, Outcomes]:
    rng = np.random.default_rng(seed)
    way = (rng.random(n) < 0.9).astype(float)
    was = (rng.random(n) < old).astype(float)
    return Outcomes("", way, was), Outcomes("", way * (rng.random(n) < kept), was)


def test_changes_are_paired_with_what_was_judged_and_hold_in_19_of_20() -> None:
    missed = 0
    for seed in range(200):
        plain, under = outcomes(seed, 150, 0.7, 0.8)
        found = judge_robustness("bridge", "recall@10", plain, {"noise": under})
        change = found.conditions[0].change
        assert change.value == pytest.approx(under.way.mean() - plain.way.mean())
        assert change.low is not None and change.high is not None
        missed += not change.low <= -0.9 * 0.2 <= change.high
    assert missed <= 20  # 10 are expected of 200 at 95 %


def test_a_slice_is_held_against_all_other_queries_by_what_is_gained_over_the_old_model() -> None:
    n = 400
    inside = np.arange(n) < 100
    old = np.full(n, 0.5)
    way = np.where(inside, 0.3, 0.9)
    part = ("a hundred of them", inside)
    found = judge_robustness("mixed", "mrr", Outcomes("", way, old), {}, part=part)
    (only,) = found.conditions
    assert (only.name, only.queries, only.value) == ("out_of_domain", 100, pytest.approx(0.3))
    assert only.change.value == pytest.approx(-0.6)
    assert only.to_old.value == pytest.approx(-0.2)
    # a domain that is harder for both models is none where the swap loses
    hard = judge_robustness("mixed", "mrr", Outcomes("", way, way - 0.1), {}, part=part)
    assert hard.conditions[0].change.value == pytest.approx(0)


def test_the_worst_is_the_one_that_may_lose_most_and_gates_read_it(evaluation) -> None:
    plain, worse = outcomes(0, 300, 0.7, 0.5)
    found = judge_robustness(
        "bridge",
        "recall@10",
        plain,
        {"int8": Outcomes("rounded", plain.way, plain.old), "noise": worse},
        absent={"prefix": "none was given"},
        resampling=Resampling(500),
    )
    assert found.worst.name == "noise"
    assert found.named("prefix") is None
    judged = evaluation.model_copy(update={"robustness": found})
    gates = ["robustness.int8 >= -0.05", "robustness.worst>=-0.2", "robustness.prefix >= -1"]
    assert [r.passed for r in check_gates(judged, gates)] == [True, False, False]
    assert "noise: -0.4" in check_gates(judged, gates)[1].found
    assert not check_gates(evaluation, gates[:1])[0].passed  # not measured
    assert asks_robustness(gates)
    assert not asks_robustness(["retention>=0.9"])
    assert metrics_of([*gates, "recall@5>=0"]) == ["recall@5"]
    assert parse_gate(gates[0]).name == "int8"
    told = str(found)
    assert "no prefix: none was given" in told
    assert max(map(len, told.splitlines())) <= 100


def test_what_cannot_be_judged_is_refused() -> None:
    plain, under = outcomes(0, 50, 0.5, 0.5)
    with pytest.raises(InputError, match="no condition"):
        judge_robustness("bridge", "mrr", plain, {})
    short = Outcomes("", under.way[:40], under.old[:40])
    with pytest.raises(InputError, match="same queries"):
        judge_robustness("bridge", "mrr", plain, {"noise": short})
    for wrong in ({"noise": 0.0}, {"kept": 1.0}, {"variants": {"Worst!": lambda ids: ids}}):
        with pytest.raises(InputError):
            Disturbances(**wrong)  # pyright: ignore[reportArgumentType]


@given(
    st.integers(0, 1000),
    st.integers(2, 40),
    st.floats(0.05, 0.9),
    st.sampled_from([np.float32, np.float64]),
)
@settings(max_examples=50, deadline=None)
def test_what_is_done_to_vectors(seed: int, d: int, share: float, dtype: type) -> None:
    rng = np.random.default_rng(seed)
    rows = (rng.standard_normal((7, d)) * 10.0 ** rng.integers(-3, 4)).astype(dtype)
    moved = noisy_rows(rows, share, rng)
    apart = np.linalg.norm((moved - rows).astype(float), axis=1)
    np.testing.assert_allclose(apart, share * np.linalg.norm(rows, axis=1), rtol=1e-3)
    masked = masked_rows(rows, share, rng)
    hidden = masked == 0
    assert (hidden.sum(axis=1) == min(max(1, round(share * d)), d - 1)).all()
    assert (masked[~hidden] == rows[~hidden]).all()
    signs = binary_rows(rows)
    assert (np.sign(signs) == np.where(rows > 0, 1, -1)).all()
    np.testing.assert_allclose(np.abs(signs).mean(axis=1), np.abs(rows).mean(axis=1), rtol=1e-5)
    assert moved.dtype == masked.dtype == signs.dtype == dtype
    # the one coordinate that a row has is not hidden
    lonely = np.zeros((1, d), dtype)
    lonely[0, 0] = 1
    assert masked_rows(lonely, 0.99, rng).any()
