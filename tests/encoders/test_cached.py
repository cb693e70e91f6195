from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tests.encoders.counting import Counting

from isthmus.array_types import Embeddings
from isthmus.encoders import CachedEncoder, Kind, VectorCache
from isthmus.errors import InputError, ServiceError
from isthmus.progress import Progress, silent

TEXTS = [f"text {n}" for n in range(10)]  # three parts of at most four


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isthmus.encoders.cached.CHUNK_ROWS", 4)


@pytest.fixture
def cache(tmp_path: Path) -> VectorCache:
    return VectorCache(tmp_path)


def test_the_second_run_encodes_nothing(tmp_path: Path) -> None:
    expected = Counting().encode(TEXTS)
    first, second = Counting(), Counting()
    for encoder in (first, second):
        cached = CachedEncoder(encoder, VectorCache(tmp_path))
        np.testing.assert_array_equal(cached.encode(TEXTS), expected)
        assert (cached.name, cached.revision, cached.dim) == ("m", "1", 3)
    assert (first.encoded, second.encoded) == (10, 0)


def test_zeros_are_not_kept_and_a_text_without_numbers_is_named(cache: VectorCache) -> None:
    class Mishap(Counting):
        value = 0.0

        def encode(
            self, texts: Sequence[str], *, kind: Kind = "document", progress: Progress = silent
        ) -> Embeddings:
            rows = super().encode(texts, kind=kind)
            rows[[t == TEXTS[5] for t in texts]] = self.value
            return rows

    encoder, right = Mishap(), Counting().encode(TEXTS)
    assert not CachedEncoder(encoder, cache).encode(TEXTS)[5].any()
    # of what is asked for again, the row is another
    encoder.value = np.nan
    with pytest.raises(InputError, match=f"text '{TEXTS[5]}': .*not finite"):
        CachedEncoder(encoder, cache).encode(TEXTS)
    np.testing.assert_array_equal(CachedEncoder(Counting(), cache).encode(TEXTS), right)


def test_a_killed_run_resumes_after_its_last_part(cache: VectorCache) -> None:
    with pytest.raises(KeyboardInterrupt):
        CachedEncoder(Counting(calls_left=2), cache).encode(TEXTS)
    assert len(cache) == 8
    again = Counting()
    vectors = CachedEncoder(again, cache).encode(TEXTS)
    assert again.encoded == 2
    np.testing.assert_array_equal(vectors, Counting().encode(TEXTS))


def test_only_what_is_new_is_encoded_in_any_order(cache: VectorCache) -> None:
    CachedEncoder(Counting(), cache).encode(TEXTS[:8])
    encoder = Counting()
    vectors = CachedEncoder(encoder, cache).encode(TEXTS[::-1])
    assert sorted(encoder.seen) == ["text 8", "text 9"]
    np.testing.assert_array_equal(vectors, Counting().encode(TEXTS[::-1]))


def test_a_text_that_stands_twice_is_encoded_once(cache: VectorCache) -> None:
    encoder = Counting()
    texts = ["b 1", "a 2", "b 1", "b 1", "a 2", "c 3"]
    np.testing.assert_array_equal(
        CachedEncoder(encoder, cache).encode(texts), Counting().encode(texts)
    )
    assert sorted(encoder.seen) == ["a 2", "b 1", "c 3"]


def test_whatever_shapes_a_vector_is_in_the_key(cache: VectorCache) -> None:
    CachedEncoder(Counting(), cache).encode(TEXTS)
    kinds: list[tuple[Counting, Kind]] = [
        (Counting(name="other"), "document"),
        (Counting(revision="2"), "document"),
        (Counting(), "query"),
    ]
    for encoder, kind in kinds:
        vectors = CachedEncoder(encoder, cache).encode(TEXTS, kind=kind)
        assert encoder.encoded == 10
        np.testing.assert_array_equal(vectors, Counting().encode(TEXTS, kind=kind))


def test_name_and_text_do_not_run_together(cache: VectorCache) -> None:
    CachedEncoder(Counting(name="m", revision="12"), cache).encode(["a 1"])
    encoder = Counting(name="m1", revision="2")
    CachedEncoder(encoder, cache).encode(["a 1"])
    assert encoder.encoded == 1


def test_progress_counts_cached_texts_too(cache: VectorCache) -> None:
    CachedEncoder(Counting(), cache).encode(TEXTS[:4])
    seen: list[tuple[int, int | None]] = []
    CachedEncoder(Counting(), cache).encode(
        TEXTS, progress=lambda task, done, total, /: seen.append((done, total))
    )
    assert seen == [(4, 10), (8, 10), (10, 10)]


def test_vectors_that_are_not_finite_are_not_kept(cache: VectorCache) -> None:
    class Broken(Counting):
        def encode(
            self, texts: Sequence[str], *, kind: Kind = "document", progress: Progress = silent
        ) -> Embeddings:
            return np.full((len(texts), self.dim), np.nan, np.float32)

    with pytest.raises(InputError, match="not finite"):
        CachedEncoder(Broken(), cache).encode(TEXTS)
    assert len(cache) == 0


def test_no_text_is_encoded_twice_by_concurrent_callers(cache: VectorCache) -> None:
    together = threading.Barrier(8)

    class Slow(Counting):
        def encode(
            self, texts: Sequence[str], *, kind: Kind = "document", progress: Progress = silent
        ) -> Embeddings:
            threading.Event().wait(0.01)  # so that the others come in the meantime
            return super().encode(texts, kind=kind)

    encoder = Slow()
    texts = [f"text {n}" for n in range(40)]
    expected = Counting().encode(texts)

    def ask(caller: int) -> None:
        order = np.random.default_rng(caller).permutation(len(texts))
        together.wait()
        # each caller has an encoder of its own around the one model, as a server's threads do
        got = CachedEncoder(encoder, cache).encode([texts[i] for i in order])
        np.testing.assert_array_equal(got, expected[order])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
    assert sorted(encoder.seen) == sorted(texts)


def test_who_waited_for_a_caller_that_failed_encodes_himself(cache: VectorCache) -> None:
    started, fail = threading.Event(), threading.Event()

    class Fails(Counting):
        def encode(
            self, texts: Sequence[str], *, kind: Kind = "document", progress: Progress = silent
        ) -> Embeddings:
            started.set()
            fail.wait(5)
            raise ServiceError("gone")

    good = Counting()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(CachedEncoder(Fails(), cache).encode, TEXTS[:3])
        started.wait(5)
        second = pool.submit(CachedEncoder(good, cache).encode, TEXTS[:3])
        fail.set()
        with pytest.raises(ServiceError):
            first.result(5)
        np.testing.assert_array_equal(second.result(5), Counting().encode(TEXTS[:3]))
    assert good.encoded == 3


def test_batches_are_kept_as_they_come(cache: VectorCache) -> None:
    class Batched(Counting):
        def batches(
            self, texts: Sequence[str], *, kind: Kind = "document"
        ) -> Iterator[tuple[slice, Embeddings]]:
            for rows in (slice(3, 5), slice(0, 3)):
                yield rows, self.encode(texts[rows], kind=kind)
            raise ServiceError("the rest is lost")

    with pytest.raises(ServiceError):
        CachedEncoder(Batched(), cache).encode(TEXTS)
    encoder = Counting()
    np.testing.assert_array_equal(
        CachedEncoder(encoder, cache).encode(TEXTS), Counting().encode(TEXTS)
    )
    assert encoder.seen == TEXTS[5:]


def test_no_text_gives_no_rows(cache: VectorCache) -> None:
    assert CachedEncoder(Counting(), cache).encode([]).shape == (0, 3)
