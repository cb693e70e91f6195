"""Ids: what is accepted, what is refused, and joining two sides by them."""

from __future__ import annotations

import unicodedata
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.spaces import ids as ids_module
from isthmus.spaces.ids import (
    check_same_kind,
    check_unique,
    composed_ids,
    join,
    join_hashes,
    normalise_ids,
    read_ids_text,
    same_ids,
    written_ids,
)
from isthmus.spaces.text_ids import TextIdWriter

WORDS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=8)
NUMBERS = st.integers(-(2**63), 2**63 - 1)
IDS = st.one_of(
    *(
        st.tuples(st.lists(kind, min_size=1, unique=True), st.lists(kind, min_size=1, unique=True))
        for kind in (WORDS, NUMBERS, st.integers(0, 20))
    )
)


def expected(source: list[Any], target: list[Any]) -> list[tuple[int, int]]:
    where = {value: row for row, value in enumerate(target)}
    return [(row, where[value]) for row, value in enumerate(source) if value in where]


@given(IDS)
def test_ids_that_join_and_no_others_have_one_hash(both: tuple[list[Any], list[Any]]) -> None:
    source, target = (np.array(ids) for ids in both)
    rows, columns = join(source, target)
    paired = np.zeros((len(source), len(target)), bool)
    paired[np.arange(len(source)) if rows is None else rows, columns] = True
    same = join_hashes(source)[:, None] == join_hashes(target)
    np.testing.assert_array_equal(paired, same)


@given(IDS)
def test_join_agrees_with_a_dictionary(sides: tuple[list[Any], list[Any]]) -> None:
    source, target = sides
    source_rows, target_rows = join(np.array(source), np.array(target))
    rows = np.arange(len(source)) if source_rows is None else source_rows
    assert list(zip(rows.tolist(), target_rows.tolist(), strict=True)) == expected(source, target)
    assert (source_rows is None) == (set(source) <= set(target))


@pytest.mark.parametrize("text", [False, True])
def test_join_in_many_buckets_and_blocks(
    text: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ids_module, "_BUCKET", 64)
    monkeypatch.setattr(ids_module, "blocks", lambda n: ids_module_blocks(n, 100))
    source, target = rng.permutation(3000)[:2000], rng.permutation(3000)[:2500]
    if text:
        source, target = source.astype(str), target.astype(str)
    rows, found = join(source, target)
    assert rows is not None
    assert list(zip(rows, found, strict=True)) == expected(source.tolist(), target.tolist())
    check_unique(source, str)
    with pytest.raises(InputError, match="occurs twice, first in row 700"):
        check_unique(np.concatenate([source, source[700:701]]), str)


ids_module_blocks = ids_module.blocks


def test_colliding_hashes_join_nothing_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = ids_module.hash_ids

    def poor(ids: np.ndarray, seed: int = 0) -> np.ndarray:
        return honest(ids, seed) if seed > 2 else honest(ids, seed) % np.uint64(5)

    monkeypatch.setattr(ids_module, "hash_ids", poor)
    source, target = np.arange(100)[::-1].copy(), np.arange(50, 150)
    rows, found = join(source, target)
    assert rows is not None
    np.testing.assert_array_equal(source[rows], target[found])
    assert len(rows) == 50
    check_unique(source, str)
    # no two target hashes are equal here: only the ids themselves show that the partner is wrong
    confused = next(i for i in range(4, 100) if poor(np.array([i]))[0] == poor(np.array([3]))[0])
    assert len(join(np.array([3]), np.array([confused]))[1]) == 0


def test_ids_that_no_hash_tells_apart_end_in_an_error() -> None:
    with pytest.raises(InputError, match="cannot be told apart"):
        join(np.array(["c", "ab"]), np.array(["a\0b", "ab"]))


@given(st.lists(st.integers(0, 30), min_size=1))
def test_the_first_duplicate_is_named(numbers: list[int]) -> None:
    seen: dict[int, int] = {}
    duplicate = None
    for row, value in enumerate(numbers):
        if value in seen:
            duplicate = row, seen[value], value
            break
        seen[value] = row
    ids = np.array(numbers)
    if duplicate is None:
        check_unique(ids, str)
        return
    with pytest.raises(InputError) as error:
        check_unique(ids, lambda row: f"file, row {row}")
    row, first, value = duplicate
    assert error.value.where == f"file, row {row}"
    assert error.value.what == f"the id {value} occurs twice, first in row {first}"


@pytest.mark.parametrize(
    ("given_ids", "dtype"),
    [
        (["a", "bcd"], "<U3"),
        ([1, 2], "int64"),
        (np.array(["a", "bé"], dtype=object), "<U2"),
        (np.array([1, 2], dtype=object), "int64"),
        (np.array(["a", "bé"]).astype(object), "<U2"),
        (np.char.encode(np.array(["a", "bé"]), "utf-8"), "<U2"),
        (np.array([1, 2], dtype=">i4"), "int32"),
        (np.array([1, 2], dtype=np.uint64), "int64"),
        (np.array([1, 2], dtype=np.uint16), "uint16"),
        (np.array(["a", "b"], dtype=">U1"), "<U1"),
    ],
)
def test_integers_and_strings_are_accepted(given_ids: Any, dtype: str) -> None:
    found = normalise_ids(given_ids, "x")
    assert found.dtype == np.dtype(dtype) and found.dtype.isnative
    values = list(given_ids)
    if isinstance(values[0], bytes):
        values = [value.decode() for value in values]
    assert found.tolist() == values


@pytest.mark.parametrize(
    ("given_ids", "message"),
    [
        (["a", None, None], "x, row 1: the id is missing"),
        ([1, float("nan")], "x, row 1: the id is missing"),
        (["a", "b", ""], "x, row 2: the id is missing"),
        (["a", 1], "of type int, str, expected all integers or all strings"),
        ([True, False], "of type bool"),
        (np.array([1.0, 2.0]), "dtype float64, expected integers or strings"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "expected integers or strings"),
        (np.array([[1], [2]]), r"shape \(2, 1\), expected \(n,\)"),
        (np.array([b"\xff"]), "not UTF-8"),
    ],
)
def test_other_ids_are_refused(given_ids: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        normalise_ids(given_ids, "x")


def test_a_text_file_holds_one_id_a_line(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_bytes("a\r\nbé b\n17".encode())
    assert read_ids_text(path).tolist() == ["a", "bé b", "17"]
    path.write_bytes(b"a\n\nb\n")
    with pytest.raises(InputError, match=r"ids.txt, line 2: the id is missing"):
        read_ids_text(path)
    path.write_bytes(b"a\n\xff\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_ids_text(path)


def test_same_ids_looks_at_values_only() -> None:
    assert same_ids(np.array(["a", "b"]), np.array(["a", "b"], dtype="U9"))
    assert not same_ids(np.array([1, 2]), np.array([2, 1]))
    assert not same_ids(np.array([1, 2]), np.array([1, 2, 3]))


def test_integers_do_not_join_strings() -> None:
    with pytest.raises(InputError, match=r"old\.npy are integers.*new\.npy are strings.*Convert"):
        check_same_kind(np.array([1]), np.array(["1"]), ("old.npy", "new.npy"))
    for text, told in (("00001", "zeros in front"), ("1.0", "'.0' at their ends")):
        with pytest.raises(InputError, match=f"strings; they are alike but for {told}, too"):
            check_same_kind(np.array([1]), np.array([text]))


def test_ids_beyond_int64_are_text_and_join(tmp_path: Path) -> None:
    hashes = np.arange(1, 51, dtype=np.uint64) * np.uint64(11400714819323198485)
    found = normalise_ids(hashes, "x")
    assert found.tolist() == [str(h) for h in hashes.tolist()]
    assert normalise_ids(hashes.tolist(), "x").tolist() == found.tolist()
    assert normalise_ids(hashes.astype(">u8"), "x").tolist() == found.tolist()
    rows, places = join(found, found[::-1])
    assert rows is None
    assert places.tolist() == list(range(49, -1, -1))


def test_one_name_is_one_id_whatever_system_wrote_it(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9 \u00fc", "cafe\u0301 u\u0308"
    assert normalise_ids([decomposed, "a"], "x").tolist() == [composed, "a"]
    plain = np.array(["b", composed])
    assert normalise_ids(plain, "x") is plain
    expected = [composed, "z"]
    for name, content in (
        ("windows.txt", f"{composed}\r\nz\r\n".encode("utf-8-sig")),
        ("notepad.txt", f"{composed}\r\nz\r\n".encode("utf-16")),
        ("mac.txt", f"{decomposed}\nz\n".encode()),
    ):
        (tmp_path / name).write_bytes(content)
        assert normalise_ids(read_ids_text(tmp_path / name), name).tolist() == expected


def test_a_letter_that_is_composed_of_more_is_kept_whole(tmp_path: Path) -> None:
    longer = "\ufb2c"  # three letters in the normal form C
    composed = unicodedata.normalize("NFC", longer)
    assert len(composed) == 3
    for ids in ([longer, "a"], np.array([longer, "a"])):
        assert normalise_ids(ids, "x").tolist() == [composed, "a"]
    (tmp_path / "ids.txt").write_text(f"{longer}\na\n", "utf-8")
    read = read_ids_text(tmp_path / "ids.txt")
    assert written_ids(read, "x").tolist() == [longer, "a"]
    assert normalise_ids(read, "x")[np.array([1, 0])].tolist() == ["a", composed]


@given(st.lists(st.text("aeé\u0301\u0327\u1100\u1161\ufb2c", min_size=1), min_size=1, unique=True))
def test_composed_ids_are_the_normal_form_wherever_they_are_kept(names: list[str]) -> None:
    expected = [unicodedata.normalize("NFC", name) for name in names]
    with ExitStack() as stack:
        writer = TextIdWriter(stack)
        writer.add(names, "x")
        read = writer.ids()
    for kept in (read, np.array(names)):
        assert kept.tolist() == names
        assert composed_ids(kept).tolist() == expected
        assert composed_ids(kept)[:2].tolist() == expected[:2]


def test_uuids_are_text() -> None:
    values = [uuid.UUID(int=i) for i in range(3)]
    assert normalise_ids(values, "x").tolist() == [str(v) for v in values]


def test_ids_that_are_all_alike_are_found_without_sorting_them_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from isthmus.spaces import ids as module

    looked_at: list[int] = []
    whole = module.repeated_hashes

    def counted(hashes: np.ndarray) -> np.ndarray:
        looked_at.append(len(hashes))
        return whole(hashes)

    monkeypatch.setattr(module, "repeated_hashes", counted)
    found = np.arange(3_000_000)
    found[300_000:] = 7
    with pytest.raises(InputError, match="row 300000: the id 7 occurs twice, first in row 7"):
        module.check_unique(found, lambda row: f"row {row}")
    assert looked_at == [2 << 18]


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        (["a", "b\0", "c"], "row 1: the id holds a null character"),
        (["a", "b", "\ud800"], "row 2: the id is no Unicode text"),
        (np.array(["a\udfff", "b"]), "row 0: the id is no Unicode text"),
    ],
)
def test_text_that_no_file_can_hold_is_no_id(ids: object, told: str) -> None:
    with pytest.raises(InputError, match=told):
        normalise_ids(ids, "ids")
