from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from isthmus.encoders import Kind, Vectors, cache_folder, encode_cached
from isthmus.errors import InputError, OutputError
from isthmus.progress import Progress, silent

TEXTS = [f"text {n}" for n in range(10)]  # three chunks of at most four


class Counting:
    """Counts the texts it encodes, and dies after a given number of calls."""

    dim = 3

    def __init__(self, *, name: str = "m", revision: str = "1", calls_left: int = 99) -> None:
        self.name = name
        self.revision = revision
        self.calls_left = calls_left
        self.encoded = 0

    def encode(
        self, texts: Sequence[str], *, kind: Kind = "document", progress: Progress = silent
    ) -> Vectors:
        if self.calls_left == 0:
            raise KeyboardInterrupt
        self.calls_left -= 1
        self.encoded += len(texts)
        progress("inner", len(texts), len(texts))
        sign = -1 if kind == "query" else 1
        return np.array([[sign, len(t), float(t.split()[-1])] for t in texts], np.float32)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isthmus.encoders.cache.CHUNK_ROWS", 4)


def chunks(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.npy"))


def test_the_second_run_encodes_nothing(tmp_path: Path) -> None:
    expected = Counting().encode(TEXTS)
    first, second = Counting(), Counting()
    np.testing.assert_array_equal(encode_cached(first, TEXTS, folder=tmp_path), expected)
    np.testing.assert_array_equal(encode_cached(second, TEXTS, folder=tmp_path), expected)
    assert (first.encoded, second.encoded) == (10, 0)


def test_a_killed_run_resumes_after_its_last_chunk(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        encode_cached(Counting(calls_left=2), TEXTS, folder=tmp_path)
    assert len(chunks(tmp_path)) == 2
    again = Counting()
    vectors = encode_cached(again, TEXTS, folder=tmp_path)
    assert again.encoded == 2
    np.testing.assert_array_equal(vectors, Counting().encode(TEXTS))


def test_a_longer_corpus_encodes_only_what_is_new(tmp_path: Path) -> None:
    encode_cached(Counting(), TEXTS[:8], folder=tmp_path)
    encoder = Counting()
    encode_cached(encoder, TEXTS, folder=tmp_path)
    assert encoder.encoded == 2


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "append", "text"])
def test_a_damaged_chunk_is_encoded_again(tmp_path: Path, damage: str) -> None:
    expected = encode_cached(Counting(), TEXTS, folder=tmp_path)
    victim = chunks(tmp_path)[0]
    rows = len(np.load(victim))
    good = victim.read_bytes()
    victim.write_bytes(
        {
            "flip": good[:150] + bytes([good[150] ^ 1]) + good[151:],
            "cut": good[:-1],
            "empty": b"",
            "append": good + b"\0",
            "text": b"not an array",
        }[damage]
    )
    encoder = Counting()
    np.testing.assert_array_equal(encode_cached(encoder, TEXTS, folder=tmp_path), expected)
    assert encoder.encoded == rows
    assert victim.read_bytes() == good


def test_whatever_shapes_a_vector_is_in_the_key(tmp_path: Path) -> None:
    encode_cached(Counting(), TEXTS, folder=tmp_path)
    for encoder, kind in (
        (Counting(name="other"), "document"),
        (Counting(revision="2"), "document"),
        (Counting(), "query"),
    ):
        vectors = encode_cached(encoder, TEXTS, kind=kind, folder=tmp_path)
        assert encoder.encoded == 10
        np.testing.assert_array_equal(vectors, Counting().encode(TEXTS, kind=kind))
    reversed_texts = Counting()
    encode_cached(reversed_texts, TEXTS[::-1], folder=tmp_path)
    assert reversed_texts.encoded == 10


def test_texts_do_not_run_together(tmp_path: Path) -> None:
    encode_cached(Counting(), ["a 1", "2 3"], folder=tmp_path)
    encoder = Counting()
    encode_cached(encoder, ["a 12", " 3"], folder=tmp_path)
    assert encoder.encoded == 2


def test_progress_counts_cached_rows_too(tmp_path: Path) -> None:
    encode_cached(Counting(), TEXTS[:4], folder=tmp_path)
    seen: list[tuple[int, int | None]] = []
    encode_cached(
        Counting(),
        TEXTS,
        folder=tmp_path,
        progress=lambda task, done, total, /: seen.append((done, total)),
    )
    assert seen == [(4, 10), (8, 10), (8, 10), (10, 10), (10, 10)]


def test_vectors_that_are_not_finite_are_not_kept(tmp_path: Path) -> None:
    class Broken(Counting):
        def encode(
            self, texts: Sequence[str], *, kind: Kind = "document", progress: Progress = silent
        ) -> Vectors:
            return np.full((len(texts), self.dim), np.nan, np.float32)

    with pytest.raises(InputError, match="not finite"):
        encode_cached(Broken(), TEXTS, folder=tmp_path)
    assert chunks(tmp_path) == []


def test_a_name_of_any_characters_stays_inside_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    for name in ("../../up", "..", "a/b:c", "名"):
        encode_cached(Counting(name=name), TEXTS, folder=folder)
    assert len(chunks(folder / "vectors")) == 12
    assert {path.parent.parent for path in chunks(tmp_path)} == {folder / "vectors"}


def test_the_folder_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ISTHMUS_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path.home() / ".cache" / "isthmus"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "isthmus"
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    encode_cached(Counting(), TEXTS)
    assert len(chunks(tmp_path / "own")) == 3


def test_a_folder_that_cannot_be_made_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="ISTHMUS_CACHE"):
        encode_cached(Counting(), TEXTS, folder=tmp_path / "file")
