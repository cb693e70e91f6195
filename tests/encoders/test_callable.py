from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.encoders import CallableEncoder, Encoder
from isthmus.errors import InputError


def lengths(texts: list[str]) -> list[list[int]]:
    return [[len(text), 1] for text in texts]


def make(function: Any = lengths, **options: Any) -> Encoder:
    return CallableEncoder(function, name="lengths", revision="1", dim=2, **options)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_the_size_of_the_batches_does_not_show(batch_size: int) -> None:
    texts = ["x" * n for n in range(1, 8)]
    vectors = make(batch_size=batch_size).encode(texts)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, lengths(texts))


def test_queries_may_be_encoded_by_another_function() -> None:
    encoder = make(query_function=lambda texts: np.zeros((len(texts), 2)))
    np.testing.assert_array_equal(encoder.encode(["ab"], kind="query"), [[0, 0]])
    np.testing.assert_array_equal(encoder.encode(["ab"], kind="document"), [[2, 1]])
    np.testing.assert_array_equal(make().encode(["ab"], kind="query"), [[2, 1]])


def test_a_function_that_drops_a_text_is_caught() -> None:
    with pytest.raises(InputError, match=r"'lengths'.*shape"):
        make(lambda texts: lengths(texts)[1:]).encode(["a", "b"])


def test_texts_are_checked_before_the_function_is_called() -> None:
    def never(texts: list[str]) -> Any:
        raise AssertionError(texts)

    with pytest.raises(InputError, match="row 1"):
        make(never, batch_size=1).encode(["a", ""])


def test_progress_counts_texts() -> None:
    seen: list[tuple[int, int | None]] = []
    make(batch_size=2).encode(
        ["a"] * 5, progress=lambda task, done, total, /: seen.append((done, total))
    )
    assert seen == [(2, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize("option", ["dim", "batch_size"])
def test_sizes_must_be_positive(option: str) -> None:
    options: dict[str, int] = {"dim": 2, option: 0}
    with pytest.raises(InputError, match=option):
        CallableEncoder(lengths, name="lengths", revision="1", **options)
