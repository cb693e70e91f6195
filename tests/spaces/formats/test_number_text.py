"""Lists as text are read in every form that tools print, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.spaces.formats.number_text import is_vector_text, numbers_of

ROW = np.array([0.5, -1.25e-7, 3.0], dtype=np.float32)


@pytest.mark.parametrize(
    "text",
    [
        str(ROW.tolist()),
        str(tuple(ROW.tolist())),
        str(list(ROW)),
        str(ROW),
        repr(ROW),
        f"tensor({ROW.tolist()}, device='cuda:0')",
        "{0.5,-1.25e-07,3}",
        "0.5;-1.25e-07;3",
        "0.5, -1.25e-07, 3",
        "0.5 -1.25e-07\n 3",
    ],
)
def test_every_printed_form_is_the_row(text: str) -> None:
    np.testing.assert_allclose(numbers_of(text), ROW, rtol=1e-6)
    assert is_vector_text(text) == (text[-1] in ")]}")


@pytest.mark.parametrize(
    "text", ["[0.1 0.2 ... 0.9]", "[0.1,,0.2]", "", "[]x", "__import__('os')", "[[1, 2], [3, 4]]"]
)
def test_what_is_no_list_of_numbers_is_refused(text: str) -> None:
    assert not is_vector_text(text)
    if text:
        with pytest.raises((ValueError, TypeError)):
            numbers_of(text)
