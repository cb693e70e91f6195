"""Outputs appear whole or not at all."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from benchmarks.killing import INTERRUPTED, killed_everywhere
from isthmus.errors import InputError, OutputError
from isthmus.file_records import current, settle
from isthmus.files import (
    atomic_file,
    atomic_folder,
    canonical_json,
    check_output,
    discard_unfinished,
    removed_with,
    together,
)


def _names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def _content(path: Path) -> str | dict[str, str]:
    if path.is_dir():
        return {file.name: file.read_text() for file in path.iterdir()}
    return path.read_text()


def _file(path: Path, text: str, *, overwrite: bool = False) -> None:
    with atomic_file(path, overwrite=overwrite) as temporary:
        temporary.write_text(text)


def _folder(path: Path, text: str, *, overwrite: bool = False) -> None:
    with atomic_folder(path, overwrite=overwrite) as temporary:
        (temporary / "a").write_text(text)


BOTH = pytest.mark.parametrize(
    ("write", "new", "old"),
    [(_file, "new", "old"), (_folder, {"a": "new"}, {"a": "old"})],
    ids=["file", "folder"],
)


@BOTH
def test_it_appears_under_its_name_alone(tmp_path: Path, write, new, old) -> None:
    path = tmp_path / "out"
    write(path, "old")
    assert _content(path) == old
    with pytest.raises(OutputError, match=r"out: the output exists already.*--overwrite"):
        write(path, "new")
    assert _content(path) == old
    write(path, "new", overwrite=True)
    assert _content(path) == new
    assert _names(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize("context", [atomic_file, atomic_folder])
def test_an_exception_leaves_what_was_there(tmp_path: Path, context, error) -> None:
    path = tmp_path / "out"
    write = _file if context is atomic_file else _folder
    for before in ([], ["out"]):
        with pytest.raises(error), context(path, overwrite=True) as temporary:
            if context is atomic_folder:
                (temporary / "b").write_text("half")
            else:
                temporary.write_text("half")
            raise error
        assert _names(tmp_path) == before
        if not before:
            write(path, "old")
    assert "half" not in str(_content(path))


def _pair(path: Path, text: str, *, ids: str, overwrite: bool = True) -> None:
    """Vectors and their ids, which are of one kind or the other, as `open_writer` writes them."""
    with together():
        with atomic_file(path, overwrite=overwrite) as temporary:
            temporary.write_text(text)
        for kind in ("npy", "txt"):
            beside = path.with_name(f"{path.stem}.ids.{kind}")
            if kind == ids:
                with atomic_file(beside, overwrite=overwrite) as temporary:
                    temporary.write_text(text)
            else:
                removed_with(beside, overwrite=overwrite)


def _seen(path: Path) -> dict[str, str]:
    """What a reader sees of the pair, or of one output."""
    found = {}
    for name in (path.name, f"{path.stem}.ids.npy", f"{path.stem}.ids.txt"):
        place = current(path.with_name(name), path)
        if place.exists():
            found[name] = _content(place) if place.is_file() else (place / "a").read_text()
    return found


WRITES = {
    "a new file": (None, lambda p: _file(p, "new")),
    "a new folder": (None, lambda p: _folder(p, "new")),
    "a file over another": (lambda p: _file(p, "old"), lambda p: _file(p, "new", overwrite=True)),
    "a folder over another": (
        lambda p: _folder(p, "old"),
        lambda p: _folder(p, "new", overwrite=True),
    ),
    "a new pair": (None, lambda p: _pair(p, "new", ids="npy", overwrite=False)),
    "a pair over another": (
        lambda p: _pair(p, "old", ids="npy"),
        lambda p: _pair(p, "new", ids="npy"),
    ),
    "a pair over another with ids of the other kind": (
        lambda p: _pair(p, "old", ids="npy"),
        lambda p: _pair(p, "new", ids="txt"),
    ),
    "a file over a pair": (lambda p: _pair(p, "old", ids="npy"), lambda p: _pair(p, "new", ids="")),
}


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
@pytest.mark.parametrize("name", WRITES)
def test_whenever_the_writer_dies_a_reader_sees_one_run_or_the_other(
    tmp_path: Path, name: str, by: int
) -> None:
    before, write = WRITES[name]
    place = tmp_path / "place"
    path = place / "out.npy"
    whole = tmp_path / "whole"
    whole.mkdir()
    write(whole / "out.npy")
    new = _seen(whole / "out.npy")

    def prepare() -> None:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        if before is not None:
            before(path)

    prepare()
    old = _seen(path)
    states = []
    for _, code in killed_everywhere(lambda: write(path), prepare, by=by):
        assert code == (-by if by == signal.SIGKILL else INTERRUPTED)
        seen = _seen(path)
        assert seen in (old, new)
        states.append(seen == new)
        if by != signal.SIGKILL:
            # whoever is interrupted cleans up; only what is committed stays to be completed
            assert not [f for f in _names(place) if ".partial-" in f]
        # whoever writes it again completes or removes what was left
        if before is None and seen == new:
            with pytest.raises(OutputError, match="exists already"):
                write(path)
            for name in new:
                with pytest.raises(OutputError, match="exists already"):
                    check_output(place / name)
        else:
            write(path)
        assert _seen(path) == new
        assert _names(place) == _names(whole)
    assert states == sorted(states) or by != signal.SIGKILL
    assert not states[0]
    prepare()
    write(path)
    assert _seen(path) == new
    assert _names(place) == _names(whole)


@pytest.mark.parametrize("name", ["a folder over another", "a pair over another"])
def test_what_cannot_be_moved_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before, write = WRITES[name]
    path = tmp_path / "out.npy"
    before(path)
    old, names = _seen(path), _names(tmp_path)
    whole = Path.replace
    for refused_at in range(1, 4):
        left = refused_at

        def refused(self: Path, target: Path) -> Path:
            nonlocal left
            left -= self.name != ".commit" and ".partial-" in str(self.parent)
            if not left:
                left -= 1
                raise OSError(errno.EROFS, "Read-only file system")
            return whole(self, target)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", refused)
            if ("pair" in name and refused_at <= 2) or refused_at == 1:
                with pytest.raises(OutputError, match="the file system is read-only"):
                    write(path)
                assert _seen(path) == old
                assert _names(tmp_path) == names


@pytest.mark.parametrize("context", [atomic_file, atomic_folder])
@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, "the disk is full. Free some space"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "the folder cannot be written"),
        (errno.EFBIG, "larger than this system allows"),
    ],
)
def test_what_the_disk_refuses_is_explained(tmp_path: Path, context, code, message) -> None:
    with (
        pytest.raises(OutputError, match=f"out: .*{message}") as caught,
        context(tmp_path / "out"),
    ):
        raise OSError(code, os.strerror(code))
    assert isinstance(caught.value.__cause__, OSError)
    assert not _names(tmp_path)


@pytest.mark.parametrize("context", [atomic_file, atomic_folder])
def test_other_errors_pass_as_they_are(tmp_path: Path, context) -> None:
    for error in (OSError(errno.EIO, "Input/output error"), OutputError("no", where="elsewhere")):
        with pytest.raises(type(error)) as caught, context(tmp_path / "out"):
            raise error
        assert caught.value is error
        assert caught.value.__cause__ is None


def test_a_file_and_a_folder_do_not_replace_each_other(tmp_path: Path) -> None:
    _file(tmp_path / "file", "old")
    _folder(tmp_path / "folder", "old")
    with pytest.raises(OutputError, match="folder: a folder has this name"):
        _file(tmp_path / "folder", "new", overwrite=True)
    with pytest.raises(OutputError, match="file: a file has this name"):
        _folder(tmp_path / "file", "new", overwrite=True)
    assert _names(tmp_path) == ["file", "folder"]


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"missing does not exist\. Create it first"):
        check_output(tmp_path / "missing" / "out")


def test_a_relative_path_is_written_where_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _file(Path("out"), "new")
    _folder(Path("folder"), "new")
    assert _names(tmp_path) == ["folder", "out"]


# ---- real disks --------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A file system of 64 kB; where none can be mounted, as much by a limit on file sizes."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(place)]
    mounted = (
        shutil.which("mount")
        and not subprocess.run(command, check=False, capture_output=True).returncode
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if not mounted:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        yield place
    finally:
        if mounted:
            subprocess.run(["umount", str(place)], check=True)
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk(small_disk: Path) -> None:
    for write in (_file, _folder):
        with pytest.raises(OutputError, match=r"the disk is full|larger than this system allows"):
            write(small_disk / "out", "x" * 200_000)
        assert not _names(small_disk)
        write(small_disk / "out", "small")
        assert _content(small_disk / "out") in ("small", {"a": "small"})
        shutil.rmtree(small_disk / "out") if write is _folder else (small_disk / "out").unlink()


def test_a_place_where_nothing_can_be_written() -> None:
    """``/proc`` refuses even root."""
    for context in (atomic_file, atomic_folder):
        with (
            pytest.raises(OutputError, match=r"/proc/out: the folder.* cannot be written"),
            context(Path("/proc/out")),
        ):
            pytest.fail("no work is done")


def test_a_read_only_file_system(small_disk: Path) -> None:
    if not os.path.ismount(small_disk):
        # nothing can be mounted: the kernel's own read-only files stand in
        small_disk = Path("/sys")
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OutputError, match=r"read-only|cannot be written"):
        check_output(small_disk / "out")


PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from types import FrameType
from typing import Any
from isthmus.files import atomic_folder
with atomic_folder(Path(sys.argv[1]), overwrite=True) as folder:
    (folder / "a").write_text("half")
    print("ready", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def _writer(path: Path, seconds: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", PROGRAM, str(path), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_the_next_run_removes_what_a_dead_one_left_and_nothing_of_a_living_one(
    tmp_path: Path,
) -> None:
    with _writer(tmp_path / "out", 60) as dead, _writer(tmp_path / "out", 2) as living:
        dead.kill()
        dead.wait()
        assert len(_names(tmp_path)) == 2
        _folder(tmp_path / "out", "new", overwrite=True)
        assert _content(tmp_path / "out") == {"a": "new"}
        (partial,) = (name for name in _names(tmp_path) if name != "out")
        assert partial.startswith("out.partial-")
        assert living.wait() == 0
    assert _content(tmp_path / "out") == {"a": "half"}
    assert _names(tmp_path) == ["out"]


def test_what_a_signal_leaves_between_making_and_holding_is_discarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ExitStack, "callback", stopped)
        with pytest.raises(KeyboardInterrupt), atomic_file(tmp_path / "out", overwrite=False):
            pass
    assert [left.name.partition("-")[0] for left in tmp_path.iterdir()] == ["out.partial"]
    discard_unfinished()
    assert not list(tmp_path.iterdir())
    # what is done is nobody's draft
    with atomic_file(tmp_path / "out", overwrite=False) as draft:
        draft.write_text("whole")
    discard_unfinished()
    assert (tmp_path / "out").read_text() == "whole"


def test_leftovers_of_other_outputs_and_files_named_alike_stay(tmp_path: Path) -> None:
    others = ["out.partial-0123456789abcdef", "out.partial-x", "other.partial-0123456789abcdef"]
    (tmp_path / others[0]).write_text("a file")
    (tmp_path / others[1]).mkdir()
    (tmp_path / others[2]).mkdir()
    (tmp_path / "out.partial-0000000000000000").symlink_to(tmp_path / others[1])
    before = _names(tmp_path)
    _file(tmp_path / "out", "new")
    assert _names(tmp_path) == sorted([*before, "out"])


@BOTH
def test_what_appears_while_the_work_runs_survives(tmp_path: Path, write, new, old) -> None:
    path = tmp_path / "out"
    context = atomic_file if write is _file else atomic_folder
    with pytest.raises(OutputError, match="exists already"), context(path) as temporary:
        if write is _file:
            temporary.write_text("new")
        write(path, "old")
    assert _content(path) == old
    assert _names(tmp_path) == ["out"]


@pytest.mark.parametrize("how", ["cleared", "parent removed", "parent replaced by a link"])
def test_what_is_removed_while_it_is_written_is_said_to_be(tmp_path: Path, how: str) -> None:
    parent, other = tmp_path / "parent", tmp_path / "other"
    parent.mkdir()
    other.mkdir()
    (other / "out").write_text("precious")
    with (
        pytest.raises(OutputError, match="out: it was removed while it was written"),
        together(),
        atomic_file(parent / "out", overwrite=True) as draft,
    ):
        draft.write_text("new")
        if how == "cleared":
            shutil.rmtree(draft.parent)
        elif how == "parent removed":
            shutil.rmtree(parent)
        else:
            parent.rename(tmp_path / "moved")
            parent.symlink_to(other)
    assert [file.name for file in other.iterdir()] == ["out"]
    assert (other / "out").read_text() == "precious"


def test_two_writers_of_one_name_cannot_both_succeed(tmp_path: Path) -> None:
    """Many at a time, each told whether it was the one."""
    for write in (_file, _folder):
        for turn in range(5):
            path = tmp_path / f"{write.__name__}-{turn}"
            ready, go = multiprocessing.Barrier(4), []
            for number in range(4):
                pid = os.fork()
                if not pid:
                    code = 1
                    try:
                        ready.wait()
                        write(path, str(number))
                        code = 0
                    except OutputError:
                        code = 2
                    finally:
                        os._exit(code)
                go.append(pid)
            codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in go]
            assert sorted(codes) == [0, 2, 2, 2]
            found = _content(path)
            assert found in (str(codes.index(0)), {"a": str(codes.index(0))})
    assert not [name for name in _names(tmp_path) if ".partial-" in name]


@pytest.mark.parametrize("what", ["pipe", "socket", "device"])
def test_what_is_no_file_is_no_output(tmp_path: Path, what: str) -> None:
    path = tmp_path / "out"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path)[-100:]) if len(str(path)) < 100 else pytest.skip("a long name")
    else:
        path.symlink_to("/dev/null")
    for overwrite in (False, True):
        for refused in (check_output, lambda p, overwrite: _file(p, "x", overwrite=overwrite)):
            with pytest.raises(OutputError, match="a device, a pipe or a socket has this name"):
                refused(path, overwrite=overwrite)
    assert not path.is_file()


def test_links_are_followed_and_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "there" / "out")
    _file(link, "new")
    assert link.is_symlink()
    assert _content(tmp_path / "there" / "out") == "new"
    _file(link, "newer", overwrite=True)
    assert link.is_symlink()
    assert _content(tmp_path / "there" / "out") == "newer"
    assert _names(tmp_path / "there") == ["out"]
    folder = tmp_path / "folder"
    folder.symlink_to(tmp_path / "real")
    _folder(folder, "a")
    _folder(folder, "b", overwrite=True)
    assert folder.is_symlink()
    assert _content(tmp_path / "real") == {"a": "b"}


def test_a_name_that_is_too_long_is_refused_before_the_work(tmp_path: Path) -> None:
    for context in (atomic_file, atomic_folder):
        with (
            pytest.raises(OutputError, match="the name is too long"),
            context(tmp_path / ("x" * 256)),
        ):
            pytest.fail("no work is done")
    for length in (201, 255):
        name = "ü" * (length // 2)
        _file(tmp_path / name, "new")
        _file(tmp_path / name, "newer", overwrite=True)
        assert _content(tmp_path / name) == "newer"
    assert not [name for name in _names(tmp_path) if ".partial-" in name]


@pytest.mark.parametrize(
    "record",
    [
        "{",
        "[]",
        '{"moved":[],"removed":[]}',
        '{"moved":[["/etc/passwd","x"]],"removed":[]}',
        '{"moved":[["OUT","out.partial-0123456789abcdef"],["/etc/passwd","a"]],"removed":[]}',
        '{"moved":[["OUT","../out.partial-0123456789abcdef"]],"removed":[]}',
        '{"moved":[["OUT","out.partial-0123456789abcdef"]],"removed":["precious"]}',
        '{"moved":[["OUT","out.partial-0123456789abcdef"]],"removed":["../precious"]}',
    ],
)
def test_a_record_that_no_writer_wrote_is_refused(tmp_path: Path, record: str) -> None:
    path = tmp_path / "out"
    (tmp_path / "precious").write_text("data")
    (tmp_path / "out.commit").write_text(record.replace("OUT", str(path)))
    for use in (lambda: current(path), lambda: settle(path), lambda: _file(path, "new")):
        with pytest.raises(InputError, match=r"out\.commit: this is no record of an interrupted"):
            use()
    assert (tmp_path / "precious").read_text() == "data"


def test_what_is_renamed_was_synced_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    sync, rename, replace = os.fsync, Path.rename, Path.replace

    def seen(descriptor: int) -> None:
        order.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name[:3]}")  # noqa: PTH115
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", seen)
    monkeypatch.setattr(Path, "rename", lambda s, t: order.append("rename") or rename(s, t))
    monkeypatch.setattr(Path, "replace", lambda s, t: order.append("rename") or replace(s, t))
    _file(tmp_path / "out", "new", overwrite=True)
    parent = f"sync {tmp_path.name[:3]}"
    assert order == ["sync out", "sync out", "rename", parent]
    order.clear()
    _folder(tmp_path / "dir", "new")
    assert order == ["sync a", "sync dir", "sync dir", "rename", parent]


def test_equal_values_are_equal_texts() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "ü"}) == '{"a":"ü","b":[1,2.5]}'
    assert canonical_json({"a": 1, "b": 2}) == canonical_json({"b": 2, "a": 1})
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))


def test_the_root_is_no_output() -> None:
    with pytest.raises(OutputError, match="this is the folder that you work in"):
        check_output(Path("/"), overwrite=True)


def _interrupted_at(number: int, work: Callable[[], object]) -> bool:
    """Whether ``work`` was interrupted before the ``number``-th instruction that writes outputs."""
    left = number

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if Path(frame.f_code.co_filename).name not in ("files.py", "file_records.py"):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            left -= 1
            if not left:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@BOTH
def test_an_interrupt_between_any_two_instructions_leaves_all_or_nothing(
    tmp_path: Path, write: Callable[..., None], new: object, old: object
) -> None:
    number, seen = 0, set[bool]()
    while True:
        number += 1
        place = tmp_path / str(number)
        place.mkdir()
        again = _interrupted_at(number, lambda place=place: write(place / "out", "new"))
        discard_unfinished()
        assert _names(place) in ([], ["out"]), number
        seen.add(bool(_names(place)))
        if _names(place):
            assert _content(place / "out") == new
        if not again:
            break
    assert number > 300 and seen == {True, False}
