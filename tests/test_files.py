"""Outputs appear whole or not at all."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from isthmus import files
from isthmus.errors import OutputError
from isthmus.files import atomic_file, atomic_folder, canonical_json, check_output


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


@BOTH
def test_at_every_step_one_of_the_two_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write, new, old
) -> None:
    """Stop dead before each call that changes the folder; the old or the new one is there."""
    path = tmp_path / "out"
    write(path, "old")

    class Killed(BaseException):
        pass

    def dying_at(step: int) -> None:
        done = 0

        def stopped(call):
            def maybe(*args, **options):
                nonlocal done
                done += 1
                if done > step:  # a dead process cleans nothing up either
                    raise Killed
                return call(*args, **options)

            return maybe

        with monkeypatch.context() as patched:
            for owner, name in (
                (Path, "rename"), (Path, "replace"), (Path, "unlink"), (shutil, "rmtree"),
            ):  # fmt: skip
                patched.setattr(owner, name, stopped(getattr(owner, name)))
            write(path, "new", overwrite=True)

    seen = set()
    for step in range(10):
        try:
            dying_at(step)
        except Killed:
            whole = [file for file in tmp_path.iterdir() if ".partial-" not in file.name]
            assert [_content(file) for file in whole if _content(file) in (old, new)]
            seen.add(str(_content(whole[0])))
            for file in tmp_path.iterdir():
                shutil.rmtree(file) if file.is_dir() else file.unlink()
            write(path, "old")
        else:
            break
    assert _content(path) == new
    assert str(old) in seen


@BOTH
def test_a_rename_that_fails_restores_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write, new, old
) -> None:
    path = tmp_path / "out"
    write(path, "old")
    for name in ("rename", "replace"):
        whole = getattr(Path, name)

        def refused(self: Path, target: Path, whole=whole) -> Path:
            if ".partial-" in self.name:
                raise OSError(errno.EROFS, "Read-only file system")
            return whole(self, target)

        monkeypatch.setattr(Path, name, refused)
    with pytest.raises(OutputError, match="out: the file system is read-only"):
        write(path, "new", overwrite=True)
    assert _content(path) == old
    assert _names(tmp_path) == ["out"]


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


def test_a_killed_process_leaves_no_output(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from isthmus.files import atomic_folder\n"
        "with atomic_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'a').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "out")], check=False)
    assert done.returncode == -9
    (leftover,) = _names(tmp_path)
    assert leftover.startswith("out.partial-")
    _folder(tmp_path / "out", "new")
    assert _content(tmp_path / "out") == {"a": "new"}


def test_what_is_renamed_was_synced_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    sync, rename, replace = files.sync_file, Path.rename, Path.replace
    monkeypatch.setattr(files, "sync_file", lambda p: order.append(f"sync {p.name[:3]}") or sync(p))
    monkeypatch.setattr(Path, "rename", lambda s, t: order.append("rename") or rename(s, t))
    monkeypatch.setattr(Path, "replace", lambda s, t: order.append("rename") or replace(s, t))
    _file(tmp_path / "out", "new")
    assert order == ["sync out", "rename", f"sync {tmp_path.name[:3]}"]
    order.clear()
    _folder(tmp_path / "dir", "new")
    assert order == ["sync a", "sync dir", "rename", f"sync {tmp_path.name[:3]}"]


def test_equal_values_are_equal_texts() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "ü"}) == '{"a":"ü","b":[1,2.5]}'
    assert canonical_json({"a": 1, "b": 2}) == canonical_json({"b": 2, "a": 1})
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))
