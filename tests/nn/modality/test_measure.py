import json

import numpy as np
import pytest
from sklearn.metrics import log_loss, top_k_accuracy_score

pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from isthmus.errors import InputError
from isthmus.nn.modality.measure import (
    Measured,
    RetrievalTask,
    best_temperature,
    compare_measured,
    measure_classes,
    measure_retrieval,
)


def logits(n=400, classes=8, seed=0, sharpness=3.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    scores = rng.normal(size=(n, classes))
    scores[np.arange(n), labels] += 1.5
    return scores * sharpness, labels


def test_classes_are_measured_as_scikit_learn_does():
    scores, labels = logits()
    found = measure_classes(scores, labels)
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    assert found.values["accuracy"].mean() == pytest.approx((scores.argmax(1) == labels).mean())
    top5 = top_k_accuracy_score(labels, scores, k=5)
    assert found.values["accuracy@5"].mean() == pytest.approx(top5)
    assert found.values["log loss"].mean() == pytest.approx(log_loss(labels, p))
    np.testing.assert_allclose(found.confidence, p.max(1))


def test_the_calibration_error_is_that_of_its_definition():
    scores, labels = logits()
    found = measure_classes(scores, labels)
    error = 0.0
    for b in range(15):
        inside = (found.confidence >= b / 15) & (found.confidence < (b + 1) / 15)
        if inside.any():
            apart = abs(found.correct[inside].mean() - found.confidence[inside].mean())
            error += apart * inside.mean()
    assert found.calibration_error == pytest.approx(error)
    # of these logits a right probability is the softmax of half: 1.5 a score of spread 1, times 3
    cooler = measure_classes(scores, labels, temperature=2.0)
    assert cooler.calibration_error < 0.5 * found.calibration_error


def test_equal_scores_earn_nothing():
    flat = measure_classes(np.zeros((10, 4)), np.zeros(10, int))
    assert flat.values["accuracy"].sum() == 0
    same = np.ones((6, 3))
    found = measure_retrieval(same, np.arange(6), same, np.arange(6))
    assert found.values["new→frozen recall@1"].sum() == 0 and found.correct.sum() == 0


def test_both_ways_of_retrieval_count_all_partners():
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(30, 12))
    mapped = np.repeat(gallery, 2, axis=0)
    found = measure_retrieval(mapped, np.repeat(np.arange(30), 2), gallery, np.arange(30))
    assert found.values["new→frozen recall@1"].mean() == 1
    # of two right rows only one can be first
    assert found.values["frozen→new recall@1"].mean() == 0.5
    assert found.values["frozen→new recall@10"].mean() == 1
    assert found.gap.distance == pytest.approx(0, abs=1e-6)
    moved = measure_retrieval(mapped + 4.0, np.repeat(np.arange(30), 2), gallery, np.arange(30))
    assert moved.gap.distance > 0.5 and moved.gap.separability > 0.9


def test_rows_without_a_partner_only_distract():
    rng = np.random.default_rng(1)
    gallery = rng.normal(size=(20, 6))
    mapped = np.vstack([gallery[:5], rng.normal(size=(3, 6))])
    found = measure_retrieval(mapped, [0, 1, 2, 3, 4, 90, 91, 92], gallery, np.arange(20))
    assert len(found.values["new→frozen mrr"]) == len(found.values["frozen→new mrr"]) == 5


def test_the_best_temperature_is_that_of_the_data():
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(40, 10))
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    queries = rng.normal(size=(4000, 10))
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    # answers drawn from a softmax of temperature 0.2
    noise = rng.gumbel(size=(4000, 40))
    asked = (queries @ gallery.T / 0.2 + noise).argmax(axis=1)
    task = RetrievalTask(queries, asked, gallery, np.arange(40))
    assert best_temperature([task]) == pytest.approx(0.2, rel=0.05)
    rows = np.split(np.arange(4000), 2)
    halves = [RetrievalTask(queries[r], asked[r], gallery, np.arange(40)) for r in rows]
    assert best_temperature(halves) == pytest.approx(best_temperature([task]), rel=1e-3)


def test_a_change_is_printed_with_intervals_and_paired():
    scores, labels = logits(n=300)
    worse = scores.copy()
    worse[:60] = 0
    found = compare_measured(measure_classes(worse, labels), measure_classes(scores, labels))
    difference = found.difference["accuracy"]
    assert difference.low > 0 and difference.low < difference.value < difference.high
    assert difference.value == pytest.approx(
        found.after["accuracy"].value - found.before["accuracy"].value
    )
    error = found.after["calibration error"]
    assert error.low <= error.value * 1.2 and error.high >= error.value * 0.8
    assert "accuracy" in str(found) and "before" in str(found)
    assert json.loads(found.to_json())["queries"]["accuracy"] == 300
    # queries of one item move together: the interval is wider
    groups = np.repeat(np.arange(30), 10)
    grouped = compare_measured(
        measure_classes(worse, labels, groups=groups),
        measure_classes(scores, labels, groups=groups),
    )
    wide = grouped.difference["accuracy"]
    assert wide.high - wide.low > 1.2 * (difference.high - difference.low)


def test_parts_are_joined():
    scores, labels = logits(n=100)
    whole = measure_classes(scores, labels)
    parts = [measure_classes(scores[r], labels[r]) for r in (slice(0, 30), slice(30, 100))]
    joined = Measured.joined(parts)
    np.testing.assert_array_equal(joined.values["accuracy"], whole.values["accuracy"])
    assert joined.calibration_error == pytest.approx(whole.calibration_error)


def test_bad_input_is_refused():
    scores, labels = logits(n=20)
    broken = scores.copy()
    broken[3, 1] = np.nan
    with pytest.raises(InputError, match="row 3"):
        measure_classes(broken, labels)
    with pytest.raises(InputError, match="from 0 to 7"):
        measure_classes(scores, labels + 7)
    with pytest.raises(InputError, match="shape"):
        measure_classes(scores, labels[:-1])
    with pytest.raises(InputError, match="different queries"):
        compare_measured(measure_classes(scores, labels), measure_classes(scores[:9], labels[:9]))
    with pytest.raises(InputError, match="no item"):
        measure_retrieval(scores, np.arange(20), scores, np.arange(20, 40))
    with pytest.raises(InputError, match="one per row"):
        measure_retrieval(scores, np.arange(19), scores, np.arange(20))
