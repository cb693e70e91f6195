"""Samples: a function of the set of ids and the seed, in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.spaces.sample import Batch, Sampler, sampled, smallest_hashes
from isthmus.spaces.split import assign_parts


def _data(n: int, order: np.ndarray | None = None) -> Batch:
    ids = np.arange(n) if order is None else order
    x = np.stack([ids, ids + 0.5], axis=1).astype(np.float32)
    return Batch(np.char.add("item-", ids.astype(str)), x, x * 2, ids * 10)


def _streamed(batch: Batch, size: int, step: int, seed: int = 0) -> Sampler:
    sampler = Sampler(size, seed=seed)
    for start in range(0, len(batch), step):
        sampler.update(batch.select(slice(start, start + step)))
    return sampler


def test_a_sample_of_batches_has_labels_if_every_row_has() -> None:
    labelled, other = _data(60), _data(30)
    bare = Batch(other.ids, other.x, other.y)
    whole = sampled([labelled, other], 40, seed=1)
    assert len(whole) == 40
    assert whole.labels is not None
    np.testing.assert_array_equal(whole.labels, whole.x[:, 0] * 10)
    for batches in ([labelled, bare], [bare, labelled]):
        assert sampled(batches, 40, seed=1).labels is None
    with pytest.raises(InputError, match="no row to sample from"):
        sampled([], 5, seed=0)


@given(st.integers(1, 300), st.integers(1, 80), st.integers(1, 90), st.integers(0, 3))
def test_neither_order_nor_batches_matter(n: int, size: int, step: int, seed: int) -> None:
    whole = _data(n)
    shuffled = _data(n, np.random.default_rng(n).permutation(n))
    expected = whole.select(smallest_hashes(whole.ids, size, seed))
    found = _streamed(shuffled, size, step, seed).sample()
    assert len(found) == min(size, n)
    assert found.labels is not None and expected.labels is not None
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.x, expected.x)
    np.testing.assert_array_equal(found.y, expected.y)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert found.digest() == expected.digest()


@given(st.integers(2, 200), st.integers(1, 40))
def test_samplers_merge(n: int, size: int) -> None:
    whole = _data(n)
    first = _streamed(whole.select(slice(0, n // 2)), size, 7)
    first.merge(_streamed(whole.select(slice(n // 2, n)), size, 11))
    np.testing.assert_array_equal(first.sample().ids, _streamed(whole, size, 13).sample().ids)


def test_memory_is_bounded_by_the_size() -> None:
    sampler = Sampler(50, seed=0)
    for start in range(0, 100_000, 100):
        ids = np.arange(start, start + 100)
        rows = np.zeros((100, 1), np.float32)
        sampler.update(Batch(ids, rows, rows))
        assert sampler._rows <= 200
    assert len(sampler.sample()) == 50


def test_the_sample_is_uniform_and_independent_of_the_split() -> None:
    ids = np.arange(100_000)
    kept = smallest_hashes(ids, 20_000, 0)
    assert len(np.unique(kept)) == 20_000
    np.testing.assert_allclose(np.histogram(kept, 10)[0], 2000, atol=5 * np.sqrt(2000))
    share = assign_parts(kept, {"a": 0.5, "b": 0.5}, 0).mean()
    np.testing.assert_allclose(share, 0.5, atol=0.02)
    assert set(kept[:1000]) != set(smallest_hashes(ids, 1000, 1))


def test_the_sample_copies_what_it_keeps() -> None:
    batch = _data(5)
    sampler = Sampler(10, seed=0)
    sampler.update(batch)
    batch.x[:] = 0
    assert sampler.sample().x.max() > 0


def test_the_digest_sees_every_value_and_no_width() -> None:
    batch = _data(20)
    digest = batch.digest()
    assert Batch(batch.ids.astype("U90"), batch.x, batch.y, batch.labels).digest() == digest
    changed = batch.y.copy()
    changed[19, 1] = np.nextafter(changed[19, 1], 1)
    others = [
        Batch(batch.ids, batch.x, changed, batch.labels),
        Batch(batch.ids, batch.y, batch.x, batch.labels),
        Batch(batch.ids, batch.x, batch.y),
        batch.select(slice(None, None, -1)),
        batch.select(slice(0, 19)),
    ]
    assert digest not in {other.digest() for other in others}


def test_bad_samples_are_refused() -> None:
    with pytest.raises(InputError, match="at least 1 row, got size=0"):
        Sampler(0, seed=0)
    with pytest.raises(InputError, match="no row to sample"):
        Sampler(3, seed=0).sample()
    with pytest.raises(InputError, match="do not join"):
        Sampler(3, seed=0).merge(Sampler(3, seed=1))
