from __future__ import annotations

import base64
import json
import tracemalloc
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import StoreChangedError
from isthmus.migrate.marks import Marks, hashes_of, row_hashes
from isthmus.stores.ledger import FileLedger


def test_the_last_note_of_each_item_counts_in_another_process_too(tmp_path):
    marks = Marks(FileLedger(tmp_path / "m"))
    ids = np.array(["a", "b", "c"])
    assert marks.of(ids).first.tolist() == [0, 0, 0]
    marks.note(ids[:2], np.array([5, 6], np.uint64), np.array([7, 8], np.uint64), characters=10)
    marks.note(ids[1:], np.array([9, 10], np.uint64), np.array([1, 2], np.uint64), characters=3)
    for found in (marks, Marks(FileLedger(tmp_path / "m"))):
        known = found.of(np.array(["c", "b", "a", "x"]))
        assert known.first.tolist() == [10, 9, 5, 0]
        assert known.second.tolist() == [2, 1, 7, 0]
        assert len(found) == 3
        assert found.totals == {"characters": 13}
    marks.erase()
    assert len(marks) == 0
    assert len(Marks(FileLedger(tmp_path / "m"))) == 0


@pytest.mark.parametrize(
    ("second", "widths"),
    [([2**64 - 1] * 3, [8, 6]), ([4, 5, 2**47], [8, 6]), ([4, 5, 2**63], [8, 6, 8])],
)
def test_numbers_that_repeat_and_bytes_that_are_zero_are_not_written_out(tmp_path, second, widths):
    ids, first = np.array(["a", "b", "c"]), np.array([4, 5, 2**47], np.uint64)
    Marks(FileLedger(tmp_path / "m")).note(ids, first, np.array(second, np.uint64))
    known = Marks(FileLedger(tmp_path / "m")).of(ids)
    assert (known.first.tolist(), known.second.tolist()) == (first.tolist(), second)
    assert len(json.loads((tmp_path / "m").read_text())["rows"]) == 3 * sum(widths) * 4 // 3


@given(st.data())
def test_notes_are_the_same_with_and_without_originals(data):
    numbers = st.integers(0, 2**48 - 1)
    count = data.draw(st.integers(0, 30))
    texts = np.array(data.draw(st.lists(numbers, min_size=count, max_size=count)), np.uint64)
    with TemporaryDirectory() as folder:
        ledgers = [FileLedger(Path(folder, name)) for name in ("originals", "brief", "whole")]
        for part in np.array_split(np.arange(count), 3):
            Marks(ledgers[0]).note(part, texts[part] + np.uint64(1), texts[part])
        for _ in range(data.draw(st.integers(1, 4))):
            ids = np.array(
                data.draw(st.lists(st.integers(0, count + 5), unique=True)), dtype=np.int64
            )
            kept = np.array([texts[i] if i < count else 7 for i in ids.tolist()], np.uint64)
            edited = np.array([data.draw(st.booleans()) for _ in ids], dtype=np.uint64)
            first = kept + edited
            second = data.draw(st.sampled_from([np.ones_like(first), first, first // 3]))
            Marks(ledgers[1], ledgers[0]).note(ids, first, second)
            Marks(ledgers[2]).note(ids, first, second)
        asked = np.arange(count + 6)
        brief, whole = Marks(ledgers[1], ledgers[0]).of(asked), Marks(ledgers[2]).of(asked)
    np.testing.assert_array_equal(brief, whole)


def test_unedited_items_hardly_take_room_beside_their_originals(tmp_path):
    ledgers = [FileLedger(tmp_path / name) for name in ("originals", "m")]
    ids, texts = np.arange(2000), np.arange(2000, dtype=np.uint64) * 2**32 + 5
    Marks(ledgers[0]).note(ids, texts, texts + np.uint64(9))
    Marks(ledgers[1], ledgers[0]).note(ids, texts + np.uint64(9), np.ones_like(texts))
    assert (tmp_path / "m").stat().st_size < 400
    ledgers[0].erase()
    with pytest.raises(StoreChangedError, match="edited"):
        Marks(ledgers[1], ledgers[0])


def test_an_edited_line_is_refused(tmp_path):
    marks = Marks(FileLedger(tmp_path / "m"))
    marks.note(np.array([1]), np.array([5], np.uint64), np.array([7], np.uint64))
    for edited in ((tmp_path / "m").read_text()[9:], "[" * 100_000 + "\n"):
        (tmp_path / "m").write_text(edited)
        with pytest.raises(StoreChangedError, match="edited"):
            Marks(FileLedger(tmp_path / "m"))


def test_a_line_unpacks_to_no_more_than_the_originals_have(tmp_path):
    ledgers = [FileLedger(tmp_path / name) for name in ("originals", "m")]
    ids, texts = np.arange(20), np.arange(20, dtype=np.uint64) + np.uint64(5)
    Marks(ledgers[0]).note(ids, texts, texts)
    Marks(ledgers[1], ledgers[0]).note(ids, texts, np.ones_like(texts))
    assert len(Marks(ledgers[1], ledgers[0])) == 20
    said = json.loads((tmp_path / "m").read_text())
    for steps in (bytes(4 * 21), bytes(1 << 27)):
        packed = zlib.compress(steps, 9)
        edited = said | {"places": base64.b64encode(packed).decode()}
        (tmp_path / "m").write_text(json.dumps(edited) + "\n")
        tracemalloc.start()
        with pytest.raises(StoreChangedError, match="was edited: line 0"):
            Marks(ledgers[1], ledgers[0])
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 1 << 22


def test_a_great_batch_is_noted_in_lines_that_a_ledger_takes(tmp_path, monkeypatch):
    monkeypatch.setattr("isthmus.migrate.marks._ROWS_A_LINE", 3)
    ids, first = np.arange(8), np.arange(8, dtype=np.uint64) + np.uint64(5)
    Marks(FileLedger(tmp_path / "m")).note(ids, first, first, encoded=8)
    found = Marks(FileLedger(tmp_path / "m"))
    assert found.of(ids).first.tolist() == first.tolist()
    assert (found.totals, len((tmp_path / "m").read_text().splitlines())) == ({"encoded": 8}, 3)
    found.note(ids[:0], first[:0], first[:0], characters=1)
    assert Marks(FileLedger(tmp_path / "m")).totals == {"encoded": 8, "characters": 1}


@given(st.lists(st.one_of(st.none(), st.text(max_size=5)), max_size=8))
def test_equal_texts_and_no_others_have_equal_hashes(texts):
    found = hashes_of(texts)
    for text, value in zip(texts, found.tolist(), strict=True):
        assert (value == 0) is (text is None)
    assert len(set(found.tolist())) == len(set(texts))


def test_vectors_differ_in_one_bit():
    rows = np.ones((3, 4), np.float32)
    rows[1, 2] = np.nextafter(np.float32(1), np.float32(2))
    found = row_hashes(rows, np.array([True, True, False]))
    assert found[0] != found[1]
    assert found[2] == 0
