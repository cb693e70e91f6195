from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.encoders.checks import check_encoded, check_texts
from isthmus.errors import InputError


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (None, "type NoneType"),
        (float("nan"), "type float"),
        (b"bytes", "type bytes"),
        ("", "blank"),
        (" \n\t", "blank"),
        ("ab\ud800", "not valid Unicode at character 2"),
    ],
)
def test_the_first_unusable_text_is_named(bad: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"row 2: .*{message}"):
        check_texts(["a", "b", bad, bad])


def test_one_string_is_not_a_sequence_of_texts() -> None:
    with pytest.raises(InputError, match="one string"):
        check_texts("abc")


def test_good_texts_pass() -> None:
    check_texts(["a", "東京", "😀 "])
    check_texts([])


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((3, 2)), r"shape is \(3, 2\), expected \(2, 2\)"),
        (np.zeros(2), r"shape is \(2,\)"),
        (np.zeros((2, 3)), r"shape is \(2, 3\)"),
        ([["a", "b"], ["c", "d"]], "dtype"),
        (np.zeros((2, 2), complex), "dtype is complex128"),
        ([[0, 1], [0, np.nan]], "row 1: .*not finite"),
        ([[1e300, 0], [0, 1]], "row 0: .*not finite as float32"),
    ],
)
def test_unusable_vectors_are_refused(vectors: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_encoded(vectors, rows=2, dim=2, name="m")


def test_float32_vectors_are_not_copied() -> None:
    vectors = np.ones((2, 2), np.float32)
    assert check_encoded(vectors, rows=2, dim=2, name="m") is vectors
    assert check_encoded([[1, 2], [3, 4]], rows=2, dim=2, name="m").dtype == np.float32
