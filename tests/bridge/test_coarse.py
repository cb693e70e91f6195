"""A bridge without a known pair maps, says what it is, and passes no gate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isthmus.bridge import Bridge, assess
from isthmus.bridge.coarse import align, check_bridge
from isthmus.bridge.provenance import Provenance
from isthmus.errors import InputError
from isthmus.spaces.pairs import Pairs


def _clustered(n: int, d: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((25, d)) * rng.uniform(0.5, 2, 25)[:, None]
    which = np.repeat(np.arange(25), rng.multinomial(n, rng.dirichlet(np.full(25, 3.0))))
    return (centres[which] + 0.3 * rng.standard_normal((n, d))).astype(np.float32)


@pytest.fixture(scope="module")
def turned() -> tuple[np.ndarray, np.ndarray]:
    rows = _clustered(1500, 16, seed=3)
    turn = np.linalg.qr(np.random.default_rng(4).standard_normal((16, 16)))[0]
    return rows, (rows @ turn).astype(np.float32)


def test_no_gate_lets_it_pass(turned: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    x, y = turned
    bridge = align(x, y[np.random.default_rng(5).permutation(len(y))])
    bridge.save(tmp_path / "coarse")
    loaded = Bridge.load(tmp_path / "coarse")
    np.testing.assert_array_equal(loaded.transform(x), bridge.transform(x))
    evaluation = assess(loaded, Pairs(x, y), all_rows=True)
    results = check_bridge(loaded, evaluation, ["overlap@10>=0"])
    assert [r.passed for r in results] == [True, False]
    assert "coarse, unverified" in str(results[-1])
    behind = replace(loaded, provenance=Provenance(composed_of=(Provenance(), loaded.provenance)))
    assert not check_bridge(behind, evaluation, [])[-1].passed


def test_what_has_nothing_in_common_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError):
        align(rng.standard_normal((600, 12)), rng.standard_normal((600, 12)))
