import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from isthmus.errors import InputError, OutputError
from isthmus.training.run_log import RunLog

HEADER = {"version": "1", "factors": ["a"]}


def written(path, runs=3):
    with RunLog(path, HEADER) as log:
        for seed in range(runs):
            log.add(f"key {seed}", seed, {"a": True}, {"value": seed + 0.1})
    return path


def test_runs_are_on_the_disk_at_once_and_found_again(tmp_path):
    path = tmp_path / "journal.jsonl"
    with RunLog(path, HEADER) as log:
        log.add("k", 0, {"a": 1}, {"value": 0.1})
        # read while it is open
        assert json.loads(path.read_text().splitlines()[1])["found"] == {"value": 0.1}
    written(path, 0)
    with RunLog(path, HEADER) as log:
        assert list(log.known.values()) == [{"value": 0.1}]
        assert list(log.known) == ['{"seed":0,"setting":{"a":1}}']


def test_any_cut_of_its_end_loses_at_most_the_line_that_was_cut(tmp_path):
    whole = written(tmp_path / "whole").read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    for cut in range(0, len(whole) + 1, 7):
        path = tmp_path / "cut"
        path.write_bytes(whole[:cut])
        with RunLog(path, HEADER) as log:
            assert len(log.known) == max(sum(end <= cut for end in ends) - 1, 0)
            log.add("new", 9, {"a": False}, {"value": 1.0})
        with RunLog(path, HEADER) as log:
            assert log.known['{"seed":9,"setting":{"a":false}}'] == {"value": 1.0}


def test_another_journal_a_damaged_one_and_a_place_that_is_not_there_are_refused(tmp_path):
    path = written(tmp_path / "journal")
    with pytest.raises(InputError, match="other factors or another version"), \
            RunLog(path, {"version": "2", "factors": ["a"]}):  # fmt: skip
        pass
    lines = path.read_text().splitlines()
    for line in ("{", '{"seed":1}', '{"seed":1,"setting":{},"found":[1]}', "[1]", "[" * 100_000):
        path.write_text("\n".join([lines[0], lines[1], line, lines[3]]) + "\n")
        with pytest.raises(InputError, match=r"line 3: the journal is damaged"), \
                RunLog(path, HEADER):  # fmt: skip
            pass
    with pytest.raises(OutputError, match="cannot be written"), \
            RunLog(tmp_path / "no" / "journal", HEADER):  # fmt: skip
        pass


def test_without_a_file_runs_are_kept_in_memory():
    with RunLog(None, HEADER) as log:
        log.add("k", 0, {}, {"value": 1.0})
        assert log.known == {"k": {"value": 1.0}}


@pytest.mark.parametrize("content", [b"precious text on one line", b"precious\ntext", b"\x00" * 9])
def test_a_file_that_is_no_journal_is_left_as_it_is(tmp_path, content):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match="or is no journal"), RunLog(path, HEADER):
        pass
    assert path.read_bytes() == content


def test_the_first_line_is_written_again_wherever_a_kill_cut_it(tmp_path):
    path = tmp_path / "journal"
    whole = (RunLog(None, HEADER).header + "\n").encode()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with RunLog(path, HEADER):
            assert path.read_bytes() == whole
