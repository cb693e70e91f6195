"""Consumers of vectors: flips and agreement against counting, intervals by simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.evaluate.consumers import judge_consumer, kind_of_consumer

N, D = 400, 6


class Told:
    """A classifier that says what stands in the first column."""

    classes_ = np.array([0, 1, 2])

    def predict(self, X: np.ndarray) -> np.ndarray:
        return X[:, 0].astype(int)


class Sum:
    def predict(self, X: np.ndarray) -> np.ndarray:
        return X.sum(axis=1)


def columns(*values: Any) -> np.ndarray:
    return np.column_stack(values).astype(float)


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=5, max_size=60))
def test_shares_are_those_counted(rows: list[tuple[int, int, int]]) -> None:
    own, mapped, true = (np.array(v) for v in zip(*rows, strict=True))
    found = judge_consumer(Told(), {"own": columns(own), "bridge": columns(mapped)}, true)
    arm, n = found.arms["bridge"], len(rows)
    assert arm.metrics["accuracy"].value == pytest.approx(sum(mapped == true) / n)
    assert arm.agreement is not None
    assert arm.agreement.value == pytest.approx(sum(mapped == own) / n)
    assert arm.negative_flips is not None
    assert arm.positive_flips is not None
    lost = sum(o == t != m for o, m, t in rows) / n
    won = sum(m == t != o for o, m, t in rows) / n
    assert arm.negative_flips.value == pytest.approx(lost)
    assert arm.positive_flips.value == pytest.approx(won)
    assert arm.change["accuracy"].value == pytest.approx(won - lost)
    for e in (arm.agreement, arm.negative_flips, arm.change["accuracy"]):
        assert e.low is not None
        assert e.high is not None
        assert e.low <= e.value <= e.high
        assert e.high - e.low > 0  # nothing seen is not nothing there


def test_intervals_of_flips_and_of_the_change_cover_the_truth() -> None:
    rng = np.random.default_rng(0)
    lost, won, draws, held = 0.04, 0.02, 300, np.zeros(2)
    for _ in range(draws):
        u = rng.random(150)
        own = np.where((u >= lost) & (u < lost + won), 1, 0)
        mapped = np.where(u < lost, 1, 0)
        truth = np.zeros(150, dtype=int)
        arm = judge_consumer(Told(), {"own": columns(own), "bridge": columns(mapped)}, truth).arms[
            "bridge"
        ]
        for i, (e, true) in enumerate(
            ((arm.negative_flips, lost), (arm.change["accuracy"], won - lost))
        ):
            assert e is not None
            assert e.low is not None
            assert e.high is not None
            held[i] += e.low <= true <= e.high
    assert (held / draws > 0.91).all()


def test_a_regressor_is_judged_by_what_scikit_learn_says() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    own = rng.standard_normal((N, D))
    mapped = own + 0.2 * rng.standard_normal((N, D))
    true = own.sum(axis=1) + 0.3 * rng.standard_normal(N)
    arm = judge_consumer(Sum(), {"own": own, "bridge": mapped}, true).arms["bridge"]
    said = mapped.sum(axis=1)
    assert arm.metrics["r2"].value == pytest.approx(metrics.r2_score(true, said))
    rmse = metrics.root_mean_squared_error(true, said)
    assert arm.metrics["rmse"].value == pytest.approx(rmse)
    was = metrics.r2_score(true, own.sum(axis=1))
    assert arm.change["r2"].value == pytest.approx(metrics.r2_score(true, said) - was)
    assert arm.agreement is not None
    assert arm.agreement.value == pytest.approx(metrics.r2_score(own.sum(axis=1), said))
    assert arm.negative_flips is None


def test_a_clustering_is_judged_by_the_adjusted_rand_index() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(2)
    own, true = rng.integers(0, 3, N), rng.integers(0, 4, N)
    mapped = np.where(rng.random(N) < 0.8, (own + 1) % 3, rng.integers(0, 3, N))
    arms = {"own": columns(own), "bridge": columns(mapped)}
    eater = type("Clusters", (), {"cluster_centers_": 0, "predict": Told.predict})()
    found = judge_consumer(eater, arms, true)
    assert found.kind == "clustering"
    arm = found.arms["bridge"]
    assert arm.agreement is not None
    assert arm.agreement.value == pytest.approx(metrics.adjusted_rand_score(own, mapped))
    expected = metrics.adjusted_rand_score(true, mapped)
    assert arm.metrics["adjusted rand index"].value == pytest.approx(expected)


def test_calibration_is_measured_where_there_are_probabilities() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((3000, D))
    truth = (rows[:, 0] + rng.logistic(size=3000) * 0.5 > 0).astype(int)
    head = linear.LogisticRegression().fit(rows[:1500], truth[:1500])
    test = rows[1500:]
    found = judge_consumer(head, {"own": test, "bridge": 4 * test}, truth[1500:])
    errors = [found.arms[a].metrics["calibration error"].value for a in ("own", "bridge")]
    assert errors[0] is not None
    assert errors[1] is not None
    assert errors[0] < 0.03 < 0.07 < errors[1]  # four times too sure


def test_another_consumer_may_have_an_arm_of_its_own() -> None:
    rows = columns(np.arange(90) % 3)
    answers = np.arange(90) % 3
    found = judge_consumer(
        Told(), {"own": rows}, answers, others={"retrained": (Told(), (rows + 1) % 3)}
    )
    assert found.arms["retrained"].metrics["accuracy"].value == 0


def test_what_is_no_consumer_and_arms_that_do_not_fit() -> None:
    rows = np.ones((4, 2))
    with pytest.raises(InputError, match="a int is no consumer"):
        kind_of_consumer(3)
    with pytest.raises(InputError, match="the arm 'own' is missing"):
        judge_consumer(Sum(), {"bridge": rows})
    with pytest.raises(InputError, match="arm 'bridge': 3 rows, but 'own' has 4"):
        judge_consumer(Sum(), {"own": rows, "bridge": rows[:3]})
    with pytest.raises(InputError, match="3 answers for 4 rows"):
        judge_consumer(Sum(), {"own": rows}, np.ones(3))
    with pytest.raises(InputError, match="no rows"):
        judge_consumer(Sum(), {"own": rows[:0]})

    class Narrow:
        def predict(self, X: np.ndarray) -> np.ndarray:
            raise ValueError("X has 2 features, but 3 are expected")

    with pytest.raises(InputError, match="refuses these vectors .X has 2 features"):
        judge_consumer(Narrow(), {"own": rows})


def test_a_row_of_several_labels_is_right_where_all_are() -> None:
    tree = pytest.importorskip("sklearn.tree")
    multioutput = pytest.importorskip("sklearn.multioutput")
    accuracy_score = pytest.importorskip("sklearn.metrics").accuracy_score
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, D))
    labels = (x[:, :3] + 0.5 * rng.standard_normal((N, 3)) > 0).astype(int)
    moved = x + 0.1 * rng.standard_normal(x.shape)
    alone = tree.DecisionTreeClassifier(max_depth=4, random_state=0)
    for estimator in (alone, multioutput.MultiOutputClassifier(alone)):
        estimator.fit(x, labels)
        found = judge_consumer(estimator, {"own": x, "bridge": moved}, labels)
        assert found.kind == "classifier"
        for name, rows in (("own", x), ("bridge", moved)):
            accuracy = found.arms[name].metrics["accuracy"].value
            assert accuracy == pytest.approx(accuracy_score(labels, estimator.predict(rows)))
        agreement = found.arms["bridge"].agreement
        assert agreement is not None
        same = (estimator.predict(x) == estimator.predict(moved)).all(axis=1)
        assert agreement.value == pytest.approx(same.mean())


def test_answers_of_another_kind_than_the_consumer_gives_are_refused() -> None:
    rows = np.ones((4, 2))
    found = judge_consumer(Told(), {"own": rows}, np.array(["1"] * 4))
    assert found.arms["own"].metrics["accuracy"].value == 1
    with pytest.raises(InputError, match=r"says such as \[1\], the answers are such as \['a'\]"):
        judge_consumer(Told(), {"own": rows}, np.array(["a"] * 4))
    with pytest.raises(InputError, match=r"answers of shape \(4, 2\) for a classifier"):
        judge_consumer(Told(), {"own": rows}, np.ones((4, 2)))


@pytest.mark.parametrize("says", ["x", None, RuntimeError("out of luck")])
def test_whatever_an_estimator_does_is_said_in_a_sentence(says: Any) -> None:
    class Odd:
        def predict(self, X: np.ndarray) -> Any:
            if isinstance(says, Exception):
                raise says
            return says

    with pytest.raises(InputError, match=r"arm 'own': the regressor (refuses .*out of luck|gives)"):
        judge_consumer(Odd(), {"own": np.ones((4, 2))})
