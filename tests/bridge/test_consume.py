"""Consumers behind a bridge, the head bridge, and estimators by name."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.bridge import Bridge, fit
from isthmus.bridge.consume import consume
from isthmus.bridge.head_bridge import fit_head_bridge
from isthmus.bridge.open_estimator import open_estimator
from isthmus.errors import InputError, WrongSpaceError
from isthmus.spaces.pairs import Pairs

linear = pytest.importorskip("sklearn.linear_model")

N, D, CLASSES = 3000, 24, 4


class Data:
    """Items of four classes in two spaces, the new one seeing them better."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.classes = np.array([f"class {i}" for i in rng.integers(0, CLASSES, N)])
        centres = rng.standard_normal((CLASSES, 10))
        latent = centres[[int(c[-1]) for c in self.classes]] + rng.standard_normal((N, 10))
        self.numbers = latent[:, 0]

        def seen(noise: float) -> np.ndarray:
            rows = np.tanh(0.4 * latent @ rng.standard_normal((10, D)))
            rows += noise * rng.standard_normal((N, D))
            return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

        self.old, self.new = seen(0.3), seen(0.1)


@pytest.fixture(scope="module")
def data() -> Data:
    return Data()


@pytest.fixture(scope="module")
def bridge(data: Data) -> Bridge:
    return fit(Pairs(data.new, data.old), recipe="unit_norm | procrustes | unit_norm")


@pytest.fixture(scope="module")
def head(data: Data) -> Any:
    return linear.LogisticRegression(max_iter=300).fit(data.old, data.classes)


def test_a_head_bridge_serves_its_head_better_than_the_bridge(
    data: Data, bridge: Bridge, head: Any, tmp_path: Path
) -> None:
    pairs = Pairs(data.new, data.old, labels=data.classes)
    found = consume(bridge, head, pairs, head_bridge=True)
    assert found.report.rows == pairs.split(bridge.provenance.fits[0].shares).counts["test"]
    arms = found.report.arms
    assert list(arms) == ["own", "bridge", "naive", "head bridge"]
    gain = {n: arms[n].metrics["accuracy"].value for n in ("bridge", "naive", "head bridge")}
    assert gain["head bridge"] > gain["bridge"] + 0.02 > gain["naive"] + 0.2
    made = found.head_bridge
    assert made is not None
    made.save(tmp_path / "head.bridge")
    again = Bridge.load(tmp_path / "head.bridge")
    np.testing.assert_array_equal(again.transform(data.new[:9]), made.transform(data.new[:9]))
    assert again.evidence is None


def test_without_answers_it_says_what_the_head_said(data: Data, bridge: Bridge, head: Any) -> None:
    half = slice(0, N // 2)
    made = fit_head_bridge(bridge, head, data.new[half], data.old[half])
    fresh = slice(N // 2, N)
    said, mapped = head.predict(data.old[fresh]), bridge.chain(data.new[fresh])
    agreed = [
        float((head.predict(rows) == said).mean()) for rows in (made.chain(data.new[fresh]), mapped)
    ]
    assert agreed[0] > agreed[1] + 0.02


def test_a_scaler_and_a_regressor_are_affine_heads_too(data: Data, bridge: Bridge) -> None:
    pipeline = pytest.importorskip("sklearn.pipeline")
    scaler = pytest.importorskip("sklearn.preprocessing")
    head = pipeline.make_pipeline(scaler.StandardScaler(), linear.Ridge(0.1))
    head.fit(data.old, data.numbers)
    found = consume(
        bridge, head, Pairs(data.new, data.old, labels=data.numbers), head_bridge=True
    ).report
    r2 = {name: arm.metrics["r2"].value for name, arm in found.arms.items()}
    assert r2["head bridge"] > r2["bridge"] + 0.01


def test_answers_of_a_file_of_text_are_numbers_where_the_head_says_numbers(
    data: Data, bridge: Bridge
) -> None:
    def judged(head: Any, answers: Any) -> dict[str, Any]:
        pairs = Pairs(data.new, data.old, labels=answers)
        return consume(bridge, head, pairs, head_bridge=True).report.model_dump()

    classes = np.array([int(name[-1]) for name in data.classes])
    classifier = linear.LogisticRegression(max_iter=300).fit(data.old, classes)
    assert judged(classifier, classes.astype(str)) == judged(classifier, classes)
    regressor = linear.Ridge(0.1).fit(data.old, data.numbers)
    texts = np.array([repr(float(number)) for number in data.numbers])
    assert judged(regressor, texts) == judged(regressor, data.numbers)
    texts[2] = "many"
    with pytest.raises(InputError, match="judged by numbers, found 'many'"):
        judged(regressor, texts)
    classes[:] = 7
    with pytest.raises(InputError, match="no class 7. Call .* 0, 1, 2, 3"):
        judged(classifier, classes)


def test_a_head_that_is_not_affine_is_refused(data: Data, bridge: Bridge) -> None:
    tree = pytest.importorskip("sklearn.tree")
    forest = tree.DecisionTreeRegressor(max_depth=3).fit(data.old, data.numbers)
    with pytest.raises(InputError, match="this DecisionTreeRegressor is not affine"):
        fit_head_bridge(bridge, forest, data.new, data.old)
    plain = consume(bridge, forest, Pairs(data.new, data.old, labels=data.numbers)).report
    assert plain.arms["bridge"].metrics["r2"].value is not None


def test_vectors_of_another_model_are_refused(data: Data, bridge: Bridge, head: Any) -> None:
    with pytest.raises(WrongSpaceError):
        consume(bridge, head, Pairs(data.old[:, ::-1].copy(), data.old))
    nothing = replace(bridge, canary=None)
    assert consume(nothing, head, Pairs(data.new, data.old)).report.known_answers is False


# ---- estimators by name ------------------------------------------------------------------------


def test_a_saved_head_comes_back_and_a_pickle_is_not_read(
    head: Any, data: Data, tmp_path: Path
) -> None:
    io = pytest.importorskip("skops.io")
    io.dump(head, tmp_path / "head.skops")
    again = open_estimator(str(tmp_path / "head.skops"))
    np.testing.assert_array_equal(again.predict(data.old), head.predict(data.old))
    (tmp_path / "head.pkl").write_bytes(pickle.dumps(head))
    with pytest.raises(InputError, match="a pickle is not read"):
        open_estimator(str(tmp_path / "head.pkl"))
    (tmp_path / "not.skops").write_bytes(b"PK")
    with pytest.raises(InputError, match="no estimator that skops saved"):
        open_estimator(str(tmp_path / "not.skops"))
    with pytest.raises(InputError, match="no such file"):
        open_estimator(str(tmp_path / "gone.skops"))


class Unknown:
    """A type that no reader vouches for."""

    def predict(self, X: Any) -> Any:
        return X


def test_a_type_that_nobody_vouches_for_is_not_made(tmp_path: Path) -> None:
    io = pytest.importorskip("skops.io")
    io.dump(Unknown(), tmp_path / "head.skops")
    with pytest.raises(InputError, match="types that nobody vouches for"):
        open_estimator(str(tmp_path / "head.skops"))


def test_a_function_on_the_path_makes_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made_heads.py").write_text(
        "class Head:\n    def predict(self, X):\n        return X.sum(axis=1)\n"
        "def make():\n    return Head()\nready = Head()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("make", "ready"):
        found = open_estimator(f"made_heads:{name}")
        assert found.predict(np.ones((2, 3))).tolist() == [3, 3]
    with pytest.raises(InputError, match="cannot be imported"):
        open_estimator("made_heads:gone")
