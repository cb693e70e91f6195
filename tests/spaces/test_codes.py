"""Codes stand for numbers only with their ranges, and packed signs for plus and minus one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.spaces.readers import open_vectors

ROWS = np.random.default_rng(3).standard_normal((40, 16)).astype(np.float32)
RANGES = np.stack([ROWS.min(axis=0), ROWS.max(axis=0)])


def _coded(dtype: str) -> np.ndarray:
    """As sentence-transformers' ``quantize_embeddings`` does, rounded instead of cut."""
    steps = (RANGES[1] - RANGES[0]) / 255
    codes = np.rint((ROWS - RANGES[0]) / steps)
    return (codes - (128 if dtype == "int8" else 0)).astype(dtype)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_scalar_codes_are_within_half_a_step(tmp_path: Path, dtype: str) -> None:
    np.savez(tmp_path / "a.npz", embeddings=_coded(dtype), ranges=RANGES)
    np.save(tmp_path / "a.npy", _coded(dtype))
    half = (RANGES[1] - RANGES[0]) / 255 / 2
    for source, given in (
        (tmp_path / "a.npz", None),
        (tmp_path / "a.npy", RANGES),
        (_coded(dtype), RANGES),
    ):
        found = open_vectors(source, codes=given)
        assert (found.dim, found.dtype, found.stored_dtype) == (16, np.float32, dtype)
        assert (np.abs(found.rows(0, 40) - ROWS) <= half * 1.001 + 1e-6).all()
        np.testing.assert_array_equal(found.take(np.array([9, 2])), found.rows(0, 40)[[9, 2]])
        np.testing.assert_array_equal(found.without_ids().rows(3, 5), found.rows(3, 5))


def test_packed_signs() -> None:
    packed = np.packbits(ROWS > 0, axis=1)
    for codes in (packed, (packed.astype(np.int16) - 128).astype(np.int8)):
        found = open_vectors(codes, codes="binary")
        assert found.dim == 16
        np.testing.assert_array_equal(found.rows(0, 40), np.where(ROWS > 0, 1, -1))


@pytest.mark.parametrize(
    ("array", "codes", "message"),
    [
        (_coded("int8"), None, "looks like quantised codes.*ranges"),
        (_coded("int8"), RANGES[:, :3], "of 3 dimensions, the codes of 16"),
        (_coded("int8"), RANGES[::-1], "greatest values first"),
        (_coded("int8"), RANGES * np.nan, "expected finite"),
        (_coded("int8"), "ternary", "unknown codes 'ternary'"),
        (_coded("int8").astype(np.int16), RANGES, "int8 or uint8, found int16"),
    ],
)
def test_codes_that_do_not_fit(array: Any, codes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_vectors(array, codes=codes)
