"""Labels that no class has are refused, with their row."""

from __future__ import annotations

import pytest
import torch

from isthmus.errors import InputError
from isthmus.training.losses import check_labels


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_labels(torch.tensor([0, -1]), 3), "row 1: the label is -1"),
        (lambda: check_labels(torch.tensor([0.0]), 3), "one integer per row"),
    ],
)
def test_bad_input_says_what_does_not_fit(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]
