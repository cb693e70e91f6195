"""Text ids of files are those of an array of text, in room that follows their bytes."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus import Pairs
from isthmus.errors import InputError
from isthmus.spaces import text_ids
from isthmus.spaces.ids import normalise_ids, read_ids_text
from isthmus.spaces.readers import open_vectors
from isthmus.spaces.text_ids import LONGEST, TextIds, TextIdWriter, id_blocks

NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), min_size=1,
    max_size=9,
)  # fmt: skip


def _made(names: list[str], cut: int = 3) -> TextIds:
    with ExitStack() as stack:
        writer = TextIdWriter(stack)
        for start in range(0, len(names), cut):
            writer.add(names[start : start + cut], "ids")
        return writer.ids()


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    monkeypatch.setattr(text_ids, "_GATHERED", 5)
    monkeypatch.setattr(text_ids, "_SPARSE", 3)
    yield


@given(names=st.lists(NAMES, min_size=1, max_size=60), data=st.data())
def test_they_are_those_of_an_array(names: list[str], data: st.DataObject) -> None:
    array, ids = np.array(names), _made(names)
    n = len(names)
    assert (len(ids), ids.shape, ids.ndim, ids.dtype) == (n, (n,), 1, array.dtype)
    assert ids.tolist() == names
    np.testing.assert_array_equal(np.asarray(ids), array)
    start, stop = sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))
    np.testing.assert_array_equal(ids[start:stop], array[start:stop])
    table = np.arange(2 * n).reshape(2, n) % n  # as the answer of a search
    np.testing.assert_array_equal(ids[table], array[table])
    np.testing.assert_array_equal(ids[start:stop:2], array[start:stop:2])
    places = np.array(data.draw(st.lists(st.integers(-n, n - 1), max_size=40)), np.int64)
    np.testing.assert_array_equal(ids[places], array[places])
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    np.testing.assert_array_equal(ids[mask], array[mask])
    one = data.draw(st.integers(-n, n - 1))
    assert ids[one] == array[one]
    assert ids[one].item() == names[one]
    for bad in (n, -n - 1):
        with pytest.raises(IndexError):
            ids[bad]
        with pytest.raises(IndexError):
            ids[np.array([bad])]


@pytest.mark.parametrize("length", [1, 36])
def test_ids_of_one_length_take_the_short_way(length: int) -> None:
    names = [f"{i:0{length}d}"[-length:] for i in range(200)]
    ids = _made(names, 64)
    assert ids[7:190].tolist() == names[7:190]
    assert ids[np.arange(199, -1, -1)].tolist() == names[::-1]


def test_blocks_are_bounded_in_rows_and_bytes() -> None:
    for width, rows in ((1, 1 << 18), (36, 116508), (1000, 4194)):
        ids = np.broadcast_to(np.array("x", dtype=f"U{width}"), (600_000,))
        found = list(id_blocks(ids))
        assert found[0] == slice(0, rows)
        assert found[-1].stop == 600_000
        assert all(a.stop == b.start for a, b in itertools.pairwise(found))
    assert list(id_blocks(np.array(["a"]), total=3)) == [slice(0, 3)]
    assert list(id_blocks(np.empty(0, "U3"))) == []


LONG = "x" * (LONGEST + 1)


@pytest.mark.parametrize("ids", [["a", LONG, "b"], np.array(["a", LONG, "b"])])
def test_an_id_that_is_too_long_names_its_row(ids: object) -> None:
    with pytest.raises(InputError, match=r"row 1: the id has 1,001 characters, and 1,000 at"):
        normalise_ids(ids, "ids")  # type: ignore[arg-type]
    longest = ["a", LONG[1:]]
    assert normalise_ids(longest, "ids").tolist() == longest
    assert normalise_ids(np.array(["a"], dtype="U5000"), "ids").tolist() == ["a"]


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_an_id_that_is_too_long_in_a_file(tmp_path: Path, end: str) -> None:
    np.save(tmp_path / "x.npy", np.eye(3, dtype=np.float32))
    file = tmp_path / "x.ids.txt"
    file.write_text(f"a\n{LONG}\nb{end}", newline="")
    with pytest.raises(InputError, match=r"x\.ids\.txt, row 1: the id has 1,001 characters"):
        open_vectors(tmp_path / "x.npy")
    # it is not waited for the end of the line
    file.write_text(f"a\nb\n{'y' * (5 << 20)}{end}", newline="")
    with pytest.raises(InputError, match=r"row 2: the id has [\d,]+ characters"):
        open_vectors(tmp_path / "x.npy")
    file.write_text(f"a\n{LONG[1:]}\nb{end}", newline="")
    assert open_vectors(tmp_path / "x.npy").ids.tolist() == ["a", LONG[1:], "b"]


def test_lines_that_lie_across_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from isthmus.spaces import ids as module

    names = [f"{'é' * (i % 7)}{i}" for i in range(300)]
    for piece in (1, 2, 7, 1 << 20):
        monkeypatch.setattr(module, "_PIECE", piece)
        for end in ("\n", "\r\n"):
            (tmp_path / "i.txt").write_bytes((end.join(names) + end).encode())
            assert read_ids_text(tmp_path / "i.txt").tolist() == names
    (tmp_path / "i.txt").write_text("a\n\nb\n")
    with pytest.raises(InputError, match="line 2: the id is missing"):
        read_ids_text(tmp_path / "i.txt")


def test_one_long_id_costs_no_room_for_all(tmp_path: Path) -> None:
    """An array would take 4,000 bytes for each: 400 MB."""
    import resource

    n = 100_000
    for name, order in (("a", 1), ("b", -1)):
        np.save(tmp_path / f"{name}.npy", np.ones((n, 2), np.float32))
        names = [f"id {i}" if i else "z" * LONGEST for i in range(n)][::order]
        (tmp_path / f"{name}.ids.txt").write_text("\n".join(names))
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (used + (350 << 20), hard))
    try:
        pairs = Pairs(tmp_path / "a.npy", tmp_path / "b.npy")
        assert len(pairs) == n
        assert pairs.head(2).ids.tolist() == ["z" * LONGEST, "id 1"]
        assert sum(pairs.split({"a": 0.5, "b": 0.5}).counts.values()) == n
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
