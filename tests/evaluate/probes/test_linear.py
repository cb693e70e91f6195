"""Linear probes: scikit-learn's ridge classifier and leave-one-out as outside witnesses."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.evaluate.probes import concept_stability, linear_probe
from isthmus.evaluate.probes.linear import STRENGTHS, LabelledRows, learn_probe


def made(seed: int = 0, n: int = 500, d: int = 12, classes: int = 4):
    rng = np.random.default_rng(seed)
    labels = np.array([f"class {i}" for i in rng.integers(0, classes, n)])
    centres = rng.standard_normal((classes, d))
    rows = centres[[int(name[-1]) for name in labels]] + 1.3 * rng.standard_normal((n, d))
    return rows + 3, labels


@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_the_ridge_classifier_whose_strength_leaving_one_out_chooses(classes: int) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    rows, labels = made(classes=classes)
    probe = learn_probe(LabelledRows(rows, labels))
    theirs = linear.RidgeClassifier(alpha=probe.strength).fit(rows, labels)
    asked, _ = made(1, classes=classes)
    assert (probe(asked) == theirs.predict(asked)).all()
    # the strength: brute force over rows that are left out
    scale = np.linalg.eigvalsh(np.cov(rows.T, bias=True) * len(rows)).mean()
    wanted = (labels[:, None] == np.unique(labels)).astype(float)
    errors = []
    for strength in STRENGTHS:
        ridge = linear.Ridge(alpha=strength * scale, solver="cholesky")
        missed = 0.0
        for row in range(60):
            others = np.arange(len(rows)) != row
            fitted = ridge.fit(rows[others], wanted[others])
            missed += np.square(wanted[row] - fitted.predict(rows[row : row + 1])).sum()
        errors.append(missed)
    at = [np.isclose(probe.strength, s * scale) for s in STRENGTHS].index(True)
    assert errors[at] <= min(errors) * 1.05


def test_what_is_kept_is_told_with_an_interval_and_beside_the_source() -> None:
    rows, labels = made(n=1200)
    rng = np.random.default_rng(5)
    turn = np.linalg.qr(rng.standard_normal((12, 12)))[0]
    half = slice(0, 600), slice(600, 1200)
    known, asked = (LabelledRows(rows[part], labels[part]) for part in half)
    source = (LabelledRows(known.rows @ turn, known.labels), asked.rows @ turn)
    same = linear_probe(known, asked, asked.rows, source=source)
    assert same.change.value == 0
    assert same.agreement.value == 1
    assert same.source is not None and same.source.value == pytest.approx(same.own.value, abs=0.02)
    worse = linear_probe(known, asked, asked.rows + 2 * rng.standard_normal(asked.rows.shape))
    assert worse.change.high is not None and worse.change.high < 0
    assert worse.bridged.value == pytest.approx((worse.own.value or 0) + (worse.change.value or 0))
    assert 0.2 < worse.chance < 0.35
    assert "through the bridge" in str(worse)


def test_directions_point_the_same_way_or_do_not() -> None:
    rows, labels = made(n=1200)
    held_out = np.arange(1200) >= 600
    same = concept_stability(rows, rows * 2 + 1, labels, held_out)
    assert same is not None
    assert all(c.cosine == pytest.approx(1) for c in same.concepts)
    against = concept_stability(rows, -rows, labels, held_out)
    assert against is not None
    assert all(c.cosine == pytest.approx(-1) for c in against.concepts)
    assert "cosine -1.000" in str(against)


def test_what_cannot_be_learned_is_refused() -> None:
    rows, labels = made(n=100)
    with pytest.raises(InputError, match="there are 1"):
        learn_probe(LabelledRows(rows, np.zeros(100)))
    with pytest.raises(InputError, match="labels of shape"):
        learn_probe(LabelledRows(rows, labels[:50]))
    with pytest.raises(InputError, match="mapped rows"):
        linear_probe(LabelledRows(rows, labels), LabelledRows(rows, labels), rows[:, :5])
