"""The fixtures of the plugin, in a run of pytest as a user has it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from isthmus import Bridge, Pairs, Space, fit
from isthmus.bridge import Fitting
from isthmus.bridge.held_out_samples import Queries
from isthmus.bridge.regress import regress
from isthmus.errors import InputError
from isthmus.testing import assert_compatible, assert_no_regression

PINNED = Space(name="docs", version="1.2.0", dim=6, metric="cosine")


def made(noise: float) -> Bridge:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((900, 6)).astype(np.float32)
    y = x[:, ::-1] + noise * rng.standard_normal(x.shape).astype(np.float32)
    return fit(Pairs(x, y), recipe="procrustes", fitting=Fitting(target=PINNED))


@pytest.fixture(scope="module")
def good() -> Bridge:
    return made(0.02)


def test_contracts_and_vectors(good: Bridge, tmp_path: Path) -> None:
    PINNED.save(tmp_path / "pinned.json")
    good.save(tmp_path / "b")
    rows = np.random.default_rng(1).standard_normal((50, 6)).astype(np.float32)
    assert_compatible(tmp_path / "pinned.json", tmp_path / "b", vectors=rows)
    assert_compatible(PINNED, good, vectors=rows)
    with pytest.raises(AssertionError, match="version.major: expected 2.x"):
        assert_compatible(PINNED.revise(version="2.0.0"), good)
    rows[7] = 0
    with pytest.raises(AssertionError, match="no vector is zero: 1 of 50.*row 7"):
        assert_compatible(PINNED, PINNED, vectors=rows)
    with pytest.raises(AssertionError, match="width and dtype"):
        assert_compatible(PINNED, PINNED, vectors=rows[:, :5])


def fresh(rows: int = 700) -> tuple[np.ndarray, np.ndarray]:
    new = np.random.default_rng(5).standard_normal((rows, 6)).astype(np.float32)
    return new[:, ::-1].copy(), new


def test_regressions_are_those_of_evaluate_against(good: Bridge, tmp_path: Path) -> None:
    worse = made(8.0)
    for name, bridge in {"good": good, "worse": worse}.items():
        bridge.save(tmp_path / name)
    items = fresh()
    noise = 0.3 * np.random.default_rng(6).standard_normal((700, 6)).astype(np.float32)
    asked = items[0] + noise[:, ::-1], items[1] + noise
    assert_no_regression(good, good, items, queries=asked)
    assert_no_regression(tmp_path / "worse", tmp_path / "good", items, queries=asked)
    with pytest.raises(AssertionError, match="a loss cannot be ruled out beyond") as told:
        assert_no_regression(good, worse, items, queries=asked)
    old, new = items
    pairs = Pairs(new, old)
    found = regress(worse, good, pairs, Queries(Pairs(asked[1], asked[0])))
    assert str(told.value) == str(found)
    assert_no_regression(good, worse, items, queries=asked, margin=1.0)
    # by labels, where there are no queries
    labels = np.arange(700) // 2
    assert_no_regression(good, good, Pairs(new, old, labels=labels), margin=0.05)
    with pytest.raises(InputError, match="without relevance"):
        assert_no_regression(good, good, items)


def test_a_map_is_not_compared_on_the_queries_that_it_was_fitted_on() -> None:
    """One that fits 100 pairs to the last is worse on others than the rotation before it."""
    rng = np.random.default_rng(0)
    items, noise = rng.standard_normal((2, 100, 90)).astype(np.float32)
    turn = np.linalg.qr(rng.standard_normal((90, 90)))[0].astype(np.float32)
    asked = items + 2 * noise
    pairs = Pairs(items @ turn + 0.5 * rng.standard_normal(items.shape).astype("f4"), items)
    queries = Pairs(asked @ turn + 0.5 * rng.standard_normal(items.shape).astype("f4"), asked)
    before = fit(pairs, queries=queries, recipe="procrustes")
    closely = fit(pairs, queries=queries, recipe="ridge(alpha=0.0001)")
    assert before.out_of_fold is not None and closely.out_of_fold is not None
    better = regress(before, closely, pairs, Queries(queries), primary="recall@1")
    assert better.passed and better.change.value is not None and better.change.value > 0.05
    assert not regress(closely, before, pairs, Queries(queries), primary="recall@1").passed


def test_pytest_offers_them_as_fixtures(good: Bridge, tmp_path: Path) -> None:
    PINNED.save(tmp_path / "pinned.json")
    good.save(tmp_path / "b")
    for name, rows in zip(("old", "new"), fresh(), strict=True):
        np.save(tmp_path / f"{name}.npy", rows)
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["isthmus.testing.plugin"]\n')
    (tmp_path / "test_theirs.py").write_text(
        "def test_kept(assert_compatible, assert_no_regression):\n"
        "    assert_compatible('pinned.json', 'b')\n"
        "    items = ('old.npy', 'new.npy')\n"
        "    assert_no_regression('b', 'b', items, queries=items, margin=0.05)\n"
        "def test_broken(assert_compatible):\n"
        "    from isthmus import Space\n"
        "    assert_compatible(Space.load('pinned.json').revise(dim=7), 'b')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**os.environ, "ISTHMUS_NO_SKIPS": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout
    assert "dim: expected 7, found 6: the vectors do not fit" in done.stdout
