"""The statistics of the structure study: what they say of numbers that are known."""

import numpy as np
import pytest
import scipy.stats

from benchmarks.structure_study import QUICK, SCORES, Task, conclusion, differences

SEEDS = 5


def results(**gains):
    """Runs whose structured arm is better by a known share, with noise that both arms share."""
    rng = np.random.default_rng(0)
    found = []
    for seed in range(SEEDS):
        shared = rng.normal(0.6, 0.1, len(SCORES))
        for arm in ("plain", "structured", "shaping only"):
            scores = dict(zip(SCORES, shared, strict=True))
            if arm == "structured":
                for name in SCORES:
                    scores[name] *= 1 + gains.get(name.replace(" ", "_"), 0)
                    scores[name] += rng.normal(0, 0.002)
            found.append((Task(arm, seed, QUICK), scores))
    found.append((Task("structured", 0, QUICK, random_labels=True), {"cka": 99.0}))
    return found


def test_a_difference_is_paired_by_seed_with_students_interval():
    found = results(cka=0.2)
    a, b = (
        np.array([s["cka"] for t, s in found if t.arm == arm and not t.random_labels])
        for arm in ("structured", "plain")
    )
    expected = scipy.stats.ttest_rel(a, b).confidence_interval(0.95)
    got = differences(found, "structured", "cka")
    assert got is not None and got.seeds == SEEDS
    assert (got.low, got.high) == pytest.approx(tuple(expected))
    assert got.relative == pytest.approx(0.2, abs=0.01)
    unpaired = scipy.stats.ttest_ind(a, b).confidence_interval(0.95)
    assert got.high - got.low < (unpaired.high - unpaired.low) / 3
    assert differences(found[:2], "structured", "cka") is None


def test_the_conclusion_says_what_the_intervals_say():
    text = conclusion(results(cka=0.3, stitch_loss=0.2, probe=-0.1, reuse=0.123))
    better, rest = text.split(". worse in ")
    worse, rest = rest.split(". no effect established on ")
    none, claim = rest.split(". A relative gain of 12.3% in transfer is ")
    assert "cka +0." in better and "reuse +0." in better and "probe" not in better
    # a higher loss is worse
    assert "stitch loss +0." in worse and "probe -0." in worse
    assert "accuracy" in none and "distillation" in none
    assert claim.startswith("reached for cka; open for reuse; excluded for ")
    assert "stitch loss" in claim and "accuracy," not in claim.replace("stitch accuracy,", "")


def test_no_effect_is_not_a_finding():
    text = conclusion(results())
    assert "reached for none; open for none" in text
    assert text.count("[") == len(SCORES)
