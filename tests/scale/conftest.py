"""Pairs of two related spaces, written to files however they are cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isthmus.bridge import Bridge


class World(NamedTuple):
    ids: np.ndarray
    new: np.ndarray
    old: np.ndarray


Write = Callable[..., Path]


@pytest.fixture(scope="session")
def world() -> World:
    rng = np.random.default_rng(5)
    n, d = 1500, 12
    latent = rng.standard_normal((n, d)) * np.linspace(2, 0.4, d)
    turn = np.linalg.qr(rng.standard_normal((d, d)))[0]
    noise = 0.4 * rng.standard_normal((2, n, d))
    new, old = latent + noise[0], latent @ turn + noise[1]
    ids = np.array([f"doc-{i}" for i in rng.permutation(10 * n)[:n]])
    return World(ids, new.astype(np.float32), old.astype(np.float32))


@pytest.fixture(scope="session")
def write() -> Write:
    def write(
        folder: Path,
        rows: np.ndarray,
        ids: np.ndarray | None = None,
        cuts: Sequence[int] = (),
        groups: int = 10_000,
    ) -> Path:
        """Rows as Parquet files that end at ``cuts``, in row groups of at most ``groups``."""
        folder.mkdir(parents=True, exist_ok=True)
        edges = [0, *sorted(set(cuts) - {0, len(rows)}), len(rows)]
        for number, (start, stop) in enumerate(pairwise(edges)):
            flat = pa.array(np.ascontiguousarray(rows[start:stop]).reshape(-1))
            columns = {"embedding": pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])}
            if ids is not None:
                columns = {"id": pa.array(ids[start:stop]), **columns}
            pq.write_table(
                pa.table(columns), folder / f"part-{number}.parquet", row_group_size=groups
            )
        return folder

    return write


def same_bridge(found: Bridge, expected: Bridge) -> None:
    """The same recipe, verdict and data, and the same map."""
    assert found.recipe == expected.recipe
    assert found.evidence is not None
    assert expected.evidence is not None
    assert found.evidence.verdict == expected.evidence.verdict
    assert found.provenance.fit.data_sha256 == expected.provenance.fit.data_sha256  # type: ignore
    eye = np.eye(expected.source.dim, dtype=np.float32)
    np.testing.assert_allclose(found.chain(eye), expected.chain(eye), atol=1e-6)
