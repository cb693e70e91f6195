"""Pools are read from arrays, files and stores, a seeded sample of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isthmus.bridge.unpaired_pools import POOL_ROWS, read_pools
from isthmus.errors import InputError
from isthmus.stores import create_store

ROWS = np.random.default_rng(0).standard_normal((2500, 4)).astype(np.float32)


def test_a_pool_is_a_seeded_sample_of_an_array_or_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "new.npy", ROWS)
    pools = read_pools(str(tmp_path / "new.npy"), ROWS[:300], seed=3)
    assert pools.source.shape == (POOL_ROWS, 4)
    np.testing.assert_array_equal(pools.target, ROWS[:300])
    again = read_pools(ROWS, ROWS[:300], seed=3)
    np.testing.assert_array_equal(pools.source, again.source)
    known = {row.tobytes() for row in ROWS}
    assert len({row.tobytes() for row in pools.source} & known) == POOL_ROWS


def test_a_pool_of_a_store_is_a_sample_of_its_column(tmp_path: Path) -> None:
    url = f"lancedb://{tmp_path}/db#docs.vector"
    ids = [f"i{k}" for k in range(len(ROWS))]
    create_store(url, ids, {"vector": ROWS}).close()
    found = read_pools(ROWS[:50], url, seed=1).target
    assert found.shape == (POOL_ROWS, 4)
    assert {row.tobytes() for row in found} <= {row.tobytes() for row in ROWS}


def test_too_few_rows_and_rows_of_zeros_are_refused() -> None:
    with pytest.raises(InputError, match=r"a pool of 5 vector\(s\)"):
        read_pools(ROWS[:5], ROWS)
    zero = ROWS[:20].copy()
    zero[7] = 0
    with pytest.raises(InputError, match="zero"):
        read_pools(zero, ROWS)
