"""The folder format: equal objects have equal bytes, and nothing damaged or hostile is loaded."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import shutil
import socket
import stat
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.artefact import (
    FORMAT,
    TENSORS,
    check_place,
    kind_at,
    manifest_name,
    prefixed,
    read,
    write,
)
from isthmus.errors import InputError, IsthmusError, OutputError
from isthmus.files import canonical_json
from isthmus.tensors import BFLOAT16

GOLDEN = Path(__file__).parent / "golden" / "example"
KIND = "example"
MANIFEST = manifest_name(KIND)
CONTENT = {"name": "ü → 日", "numbers": [1, -0.5, 1e-300, 2**60], "none": None, "nested": {"a": []}}
TEXTS = {"CARD.md": "# Example\n"}

_NOBODY = 65534


def _tensors() -> dict[str, np.ndarray]:
    return {
        "half": np.arange(3, dtype=np.float16),
        "single": np.arange(6, dtype=np.float32).reshape(2, 3) / 3,
        "double": np.array(np.pi),
        "brain": np.array([0x3F80, 0xC000], np.uint16).view(BFLOAT16),
        "yes": np.array([True, False]),
        "empty": np.empty((0, 4), np.float32),
        **{f"i{n}": np.arange(2, dtype=f"i{n}") - 1 for n in (1, 2, 4, 8)},
        **{f"u{n}": np.arange(2, dtype=f"u{n}") for n in (1, 2, 4, 8)},
        "part/of/ü": np.ones(1, np.float32),
    }


def _write(folder: Path, **options: Any) -> Path:
    write(folder, KIND, CONTENT, _tensors(), texts=TEXTS, **options)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return _write(tmp_path / "saved")


def _load(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with read(folder, KIND) as stored:
        return stored.content, dict(stored.tensors)


def _bytes(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def _restate(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """A changed manifest with the digest that fits it: what a forger would write."""
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["digest"]
    change(manifest)
    digest = hashlib.sha256(canonical_json(manifest).encode()).hexdigest()
    (folder / MANIFEST).write_text(canonical_json({**manifest, "digest": digest}) + "\n")


# ---- there and back ----------------------------------------------------------------------------


def test_what_was_written_comes_back(folder: Path) -> None:
    content, found = _load(folder)
    assert content == CONTENT
    expected = _tensors()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        np.testing.assert_array_equal(found[name], tensor)
    assert set(_bytes(folder)) == {MANIFEST, TENSORS, "CARD.md"}


def test_equal_objects_have_equal_bytes(folder: Path, tmp_path: Path) -> None:
    """Whatever the order of their keys, the layout in memory or the order of bytes."""
    other = dict(reversed(_tensors().items()))
    other["single"] = np.asfortranarray(other["single"]).astype(">f4")
    write(tmp_path / "b", KIND, dict(reversed(CONTENT.items())), other, texts=TEXTS)
    assert _bytes(tmp_path / "b") == _bytes(folder)


def test_the_golden_artefact_is_read_and_written_alike(folder: Path) -> None:
    """A format that changes by accident is noticed here; a new one gets a number of its own."""
    assert FORMAT == 1
    assert _load(GOLDEN)[0] == CONTENT
    assert _bytes(folder) == _bytes(GOLDEN)


def test_the_tensors_are_a_safetensors_file_without_metadata(folder: Path) -> None:
    from safetensors import safe_open

    with safe_open(folder / TENSORS, framework="np") as file:
        assert file.metadata() is None
        assert set(file.keys()) == set(_tensors())
        for name, tensor in _tensors().items():
            if tensor.dtype != BFLOAT16:
                np.testing.assert_array_equal(file.get_tensor(name), tensor)
    assert struct.unpack("<Q", (folder / TENSORS).read_bytes()[:8])[0] % 8 == 0


def test_torch_reads_bfloat16_as_it_was_meant(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    brain = load_file(folder / TENSORS)["brain"]
    assert brain.dtype == torch.bfloat16
    assert brain.tolist() == [1.0, -2.0]


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077, 0o002])
def test_files_have_the_permissions_of_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        folder = _write(tmp_path / "saved")
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~mask
    for file in folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~mask


def test_a_part_looks_at_its_own_tensors(folder: Path) -> None:
    assert [*prefixed("a", {"b": np.ones(1)})] == ["a/b"]
    with read(folder, KIND) as stored:
        part = stored.tensors.under("part").under("of")
        assert [*part] == part.unused == ["ü"]
        assert part.shape("ü") == (1,)
        assert ("ü" in part, "ü" in stored.tensors, len(part)) == (True, False, 1)
        assert part["ü"] is part["ü"] is stored.tensors["part/of/ü"]
        assert part.unused == []
        with pytest.raises(ValueError, match="'part/of/a' is missing"):
            part["a"]
        stored.tensors.skip()
    with (
        pytest.raises(InputError, match=r"nothing uses the tensors \['brain', "),
        read(folder, KIND) as stored,
    ):
        stored.tensors.under("part").skip()


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "message"),
    [
        ("absent", (1,), "f4", "'absent' is missing"),
        ("single", (2, 4), "f4", r"shape \[2, 3\], expected \[2, 4\]"),
        ("single", (None,), "f4", r"shape \[2, 3\], expected \[any\]"),
        ("single", (2, None), "f8", "is F32, expected F64"),
    ],
)
def test_a_tensor_that_is_not_as_expected(
    folder: Path, name: str, shape: tuple[int | None, ...], dtype: str, message: str
) -> None:
    expected = rf"saved: the example is damaged \(.*{message}\)\."
    with pytest.raises(InputError, match=expected), read(folder, KIND) as stored:
        stored.tensors.take(name, shape, dtype)


def test_what_no_such_artefact_holds_is_refused_before_it_is_read(folder: Path) -> None:
    every = {tensor.dtype for tensor in _tensors().values()}
    size = sum(tensor.nbytes for tensor in _tensors().values())
    with read(folder, KIND) as stored:
        stored.tensors.check(dtypes=every, most_bytes=size)
        assert stored.tensors.take("single", (2, None)).shape == (2, 3)
        with pytest.raises(ValueError, match="'brain' is BF16, expected F32 or I8"):
            stored.tensors.check(dtypes=(np.float32, np.int8), most_bytes=size)
        with pytest.raises(ValueError, match=rf"take {size} bytes, and {size - 1} at the most"):
            stored.tensors.check(dtypes=every, most_bytes=size - 1)
        assert stored.tensors.seen == {"single": None}
        stored.tensors.skip()


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "bf16"])
def test_what_is_not_finite_is_neither_written_nor_read(
    tmp_path: Path, dtype: str, bad: float
) -> None:
    values = np.array([1.0, bad], "f4")
    if dtype == "bf16":
        values = (values.view("u4") >> 16).astype("u2").view(BFLOAT16)
    else:
        values = values.astype(dtype)
    with pytest.raises(InputError, match=r"a: 'x': the example holds a number that is not finite"):
        write(tmp_path / "a", KIND, {}, {"x": values})
    assert not (tmp_path / "a").exists()
    write(tmp_path / "a", KIND, {}, {"x": values}, infinite=["x"])
    with (
        pytest.raises(InputError, match="'x' holds a number that is not finite"),
        read(tmp_path / "a", KIND) as stored,
    ):
        stored.tensors["x"]
    write(tmp_path / "b", KIND, {}, {"part/x": values}, infinite=["part/x"])
    with read(tmp_path / "b", KIND) as stored:
        found = stored.tensors.under("part", finite=False)["x"]
    assert found.tobytes() == values.tobytes()


@pytest.mark.parametrize(
    ("content", "tensors", "message"),
    [
        ({"a": float("nan")}, {}, "not finite"),
        ({"a": [float("inf")]}, {}, "not finite"),
        ({"a": "\ud800"}, {}, "no Unicode"),
        ({}, {"x": np.array(["a"])}, "no tensors of dtype <U1"),
        ({}, {"x": np.array([1j])}, "no tensors of dtype complex128"),
        ({}, {"x": np.array([object()])}, "no tensors of dtype object"),
    ],
)
def test_what_a_file_does_not_hold(
    tmp_path: Path, content: dict[str, Any], tensors: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write(tmp_path / "a", KIND, content, tensors)
    with pytest.raises(InputError, match="no Unicode"):
        write(tmp_path / "a", KIND, {}, {}, texts={"CARD.md": "\ud800"})
    assert not [*tmp_path.iterdir()]


# ---- where it may be written -------------------------------------------------------------------


def test_only_its_own_kind_is_overwritten(folder: Path, tmp_path: Path) -> None:
    before = _bytes(folder)
    with pytest.raises(OutputError, match="the output exists already"):
        _write(folder)
    with pytest.raises(OutputError, match=r"only a thing is overwritten by a thing.*an example"):
        write(folder, "thing", {}, {}, overwrite=True)
    assert _bytes(folder) == before
    write(folder, KIND, {}, {}, overwrite=True)
    assert set(_bytes(folder)) == {MANIFEST, TENSORS}
    (tmp_path / "empty").mkdir()
    _write(tmp_path / "empty", overwrite=True)
    assert _bytes(tmp_path / "empty") == before


@pytest.mark.parametrize("add", ["file", "folder", "link", "namesake"])
def test_what_is_foreign_is_never_deleted(folder: Path, tmp_path: Path, add: str) -> None:
    precious = tmp_path / "precious"
    precious.write_text("data")
    if add == "file":
        (folder / "notes.txt").write_text("mine")
    elif add == "folder":
        (folder / "sub").mkdir()
    elif add == "link":
        (folder / "notes").symlink_to(precious)
    else:
        (folder / "CARD.md").unlink()
        (folder / "CARD.md").symlink_to(precious)
    names = sorted(folder.iterdir())
    with pytest.raises(OutputError, match="also holds '.*', which is no part of the example"):
        _write(folder, overwrite=True)
    assert sorted(folder.iterdir()) == names
    assert precious.read_text() == "data"


@pytest.mark.parametrize("name", [MANIFEST, "bridge.json"])
def test_a_folder_that_merely_holds_a_file_of_that_name(tmp_path: Path, name: str) -> None:
    place = tmp_path / "data"
    place.mkdir()
    (place / name).write_text("{}")
    (place / "vectors.npy").write_bytes(b"precious")
    with pytest.raises(OutputError, match="only an example is overwritten by an example"):
        check_place(place, KIND, overwrite=True)
    assert (place / "vectors.npy").read_bytes() == b"precious"


# ---- damage ------------------------------------------------------------------------------------


def _stands_instead(path: Path, what: str) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "socket":
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's name is short
        try:
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(path.name)
        finally:
            os.chdir(here)
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "dangling":
        path.symlink_to(path.parent / "nowhere")
    elif what == "file":
        path.write_text("x")


@pytest.mark.parametrize("name", ["", MANIFEST, TENSORS])
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nothing", "(is missing|there is nothing here)"),
        ("folder", "(there is a folder here, expected a file|is missing)"),
        ("pipe", "there is a pipe here"),
        ("socket", "there is a socket here"),
        ("device", "there is a device here"),
        ("dangling", "a link to nothing"),
    ],
)
def test_what_stands_where_a_file_should(folder: Path, name: str, what: str, message: str) -> None:
    _stands_instead(folder / name if name else folder, what)
    with pytest.raises(InputError, match=message):
        _load(folder)


def test_a_link_to_an_artefact_is_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert _load(tmp_path / "link")[0] == CONTENT
    with pytest.raises(InputError, match="there is a file here, expected the folder of an example"):
        _load(folder / MANIFEST)


@pytest.mark.parametrize("name", ["", MANIFEST, TENSORS])
def test_permission_denied_is_said_as_such(folder: Path, name: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        copy = shutil.copytree(folder, Path(place) / "x")
        _load(copy)  # and whatever is imported on the way
        (copy / name).chmod(0)
        root = os.geteuid() == 0
        if root:  # who reads everything
            os.seteuid(_NOBODY)
        try:
            with pytest.raises(InputError, match="permission denied"):
                _load(copy)
        finally:
            if root:
                os.seteuid(0)
            (copy / name).chmod(0o700)


@pytest.mark.parametrize("name", [MANIFEST, TENSORS])
def test_permission_denied_by_the_system(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As above, whatever the system allows."""
    whole = os.open

    def refused(path: Any, *rest: Any) -> int:
        if Path(path).name == name:
            raise PermissionError(13, "Permission denied")
        return whole(path, *rest)

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(InputError, match=rf"{name}: permission denied"):
        _load(folder)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", '"x"', "\x00", "[" * 100_000, "9" * 10_000, "{}", '{"kind":1}',
     '{"kind":"example","format":NaN}', '{"kind":"example","format":1}', '{"kind":"example"}',
     '{"kind":"example","format":1,"a":"\\ud800"}', '{"kind":"example","format":1,"a":1e999}'],
    ids=range(16),
)  # fmt: skip
def test_a_manifest_that_is_none(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text)
    with pytest.raises(InputError, match=r"example\.json: "):
        _load(folder)


def test_other_kinds_and_later_formats(folder: Path) -> None:
    with (
        pytest.raises(InputError, match="this is no bridge, but an example"),
        read(folder, "bridge"),
    ):
        pass
    _restate(folder, lambda m: m.update(format=2))
    with pytest.raises(InputError, match=r"format 2 is not known \(this version reads 1\)"):
        _load(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.replace('"none":null', '"none":true'),
        lambda t: t + " ",
        lambda t: t[:-1],
        lambda t: t.replace(":", ": ", 1),
        lambda t: t.replace('"none":null', '"none":null,"none":null'),
        lambda t: t.replace('"digest":"', '"digest":"0'),
        lambda t: t.replace('"digest"', '"digset"'),
        lambda t: t.replace("1e-300", "NaN"),
        lambda t: t.replace("1e-300", "1e300000"),
        lambda t: t.encode("utf-16").decode("latin-1"),
    ],
    ids=range(10),
)
def test_a_manifest_that_was_changed(folder: Path, change: Callable[[str], str]) -> None:
    path = folder / MANIFEST
    before = path.read_text(encoding="utf-8")
    path.write_text(change(before), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != before
    with pytest.raises(InputError, match=r"example\.json: (the manifest was changed|a number in)|"
                       r"example\.json: this is no manifest"):  # fmt: skip
        _load(folder)


def _state(*path: Any, to: Any) -> Callable[[dict[str, Any]], Any]:
    def change(manifest: dict[str, Any]) -> None:
        inner: Any = manifest
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = to

    return change


@pytest.mark.parametrize(
    "change",
    [
        _state("content", to=[]),
        _state("tensors", to=[]),
        _state("tensors", "single", to=3),
        _state("tensors", "single", to=["F32", [2, 3]]),
        _state("tensors", "single", 0, to="F31"),
        _state("tensors", "single", 0, to=["F32"]),
        _state("tensors", "single", 1, to=[2, -3]),
        _state("tensors", "single", 1, to=[2, 3.0]),
        _state("tensors", "single", 1, to=[2, True]),
        _state("tensors", "single", 1, to=[2**50]),
        _state("tensors", "single", 1, to=[1] * 9),
        _state("tensors", "single", 2, to=None),
        _state("texts", to=None),
        _state("texts", "CARD.md", to=3),
        _state("texts", "CARD.md", to=[1]),
        _state("texts", "CARD.md", 0, to=True),
        _state("texts", "CARD.md", 0, to=10**9),
        _state("texts", "../CARD.md", to=[1, ""]),
        _state("texts", "", to=[1, ""]),
        _state("texts", "..", to=[1, ""]),
        _state("texts", MANIFEST, to=[1, ""]),
        _state("texts", "a\x1b[2J", to=[1, ""]),
        _state("texts", to={str(i): [1, ""] for i in range(17)}),
        _state("more", to=1),
        lambda m: m.pop("texts"),
    ],
    ids=range(25),
)
def test_a_forged_manifest(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    _restate(folder, change)
    with pytest.raises(InputError, match=r"example\.json: this is no manifest: "):
        _load(folder)


@pytest.mark.parametrize(
    "change",
    [
        _state("tensors", "single", 1, to=[3, 2]),
        _state("tensors", "single", 1, to=[2**40]),
        _state("tensors", "single", 0, to="I32"),
        _state("tensors", "more", to=["F32", [1], ""]),
        lambda m: m["tensors"].pop("single"),
        lambda m: m["tensors"].update(other=m["tensors"].pop("single")),
    ],
    ids=range(6),
)
def test_tensors_that_are_not_those_of_the_manifest(
    folder: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    _restate(folder, change)
    with pytest.raises(
        InputError, match=r"tensors\.safetensors: the tensors are damaged: the file"
    ):
        _load(folder)


def _claims(size: int) -> bytes:
    entry = {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}
    header = json.dumps({"single": entry}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(64)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[:7],
        lambda whole: whole[:100],
        lambda whole: whole[:-1],
        lambda whole: whole + b"\0",
        lambda whole: struct.pack("<Q", 2**63) + whole[8:],
        lambda whole: _claims(10**12),
        lambda whole: bytes(len(whole)),
        lambda whole: whole[:-1] + bytes([whole[-1] ^ 1]),
    ],
    ids=range(9),
)
def test_tensors_that_are_damaged(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    file = folder / TENSORS
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InputError, match="damaged"):
        _load(folder)


def test_a_hole_of_a_terabyte_is_refused_by_its_shape(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    write(folder, KIND, {}, {"x": np.zeros(4, np.uint8)})
    _restate(folder, _state("tensors", "x", 1, to=[2**40]))
    header = json.dumps(
        {"x": {"dtype": "U8", "shape": [2**40], "data_offsets": [0, 2**40]}}, separators=(",", ":")
    ).encode()
    header += b" " * (-len(header) % 8)
    with (folder / TENSORS).open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + 2**40)
    with (
        pytest.raises(InputError, match=r"shape \[1099511627776\], expected \[4\]"),
        read(folder, KIND) as stored,
    ):
        stored.tensors.take("x", (4,), np.uint8)


def test_a_manifest_is_bounded_before_it_is_parsed(folder: Path) -> None:
    with (folder / MANIFEST).open("wb") as file:
        file.truncate(2**40)  # a hole: one terabyte of zeros
    with pytest.raises(InputError, match="larger than that of any example"):
        _load(folder)
    (folder / MANIFEST).write_text("[" + "{}," * 500_000 + "{}]")
    with pytest.raises(InputError, match="larger than that of any example"):
        _load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: os.truncate(file, 100_000), "'x' ends early"),
        (lambda file: file.write_bytes(bytes(file.stat().st_size)), "'x' was changed after it was"),
        (lambda file: (file.unlink(), file.write_bytes(b"")), None),
    ],
    ids=["shrinks", "changes", "is replaced"],
)
def test_a_file_that_changes_while_it_is_open(
    tmp_path: Path, change: Callable[[Path], Any], message: str | None
) -> None:
    write(tmp_path / "a", KIND, {}, {"x": np.ones(2**16, np.float32)})
    with contextlib.ExitStack() as stack:
        if message is not None:
            stack.enter_context(pytest.raises(InputError, match=message))
        stored = stack.enter_context(read(tmp_path / "a", KIND))
        change(tmp_path / "a" / TENSORS)
        assert stored.tensors["x"].sum() == 2**16


def test_truth_has_two_values(tmp_path: Path) -> None:
    write(tmp_path / "a", KIND, {}, {"x": np.array([2], np.uint8)})
    _restate(tmp_path / "a", _state("tensors", "x", 0, to="BOOL"))
    content = (tmp_path / "a" / TENSORS).read_bytes()
    header = content[:-1].replace(b'"U8"', b'"BOOL"')[8:].rstrip()
    header += b" " * (-len(header) % 8)
    (tmp_path / "a" / TENSORS).write_bytes(struct.pack("<Q", len(header)) + header + content[-1:])
    with (
        pytest.raises(InputError, match="more than true and false"),
        read(tmp_path / "a", KIND) as stored,
    ):
        stored.tensors["x"]


def test_texts_that_were_changed_are_known(folder: Path) -> None:
    def texts() -> dict[str, str | None]:
        with read(folder, KIND) as stored:
            stored.tensors.skip()
        return stored.texts

    assert texts() == TEXTS
    (folder / "CARD.md").write_text("# Exampel\n")
    assert texts() == {"CARD.md": None}
    (folder / "CARD.md").unlink()
    assert texts() == {"CARD.md": None}


def test_the_kind_of_a_folder(folder: Path, tmp_path: Path) -> None:
    assert kind_at(folder) == KIND
    with pytest.raises(InputError, match="expected the folder of an artefact"):
        kind_at(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no manifest is here"):
        kind_at(tmp_path)


def test_a_manifest_is_called_after_what_it_is_of(folder: Path, tmp_path: Path) -> None:
    assert manifest_name("training checkpoint") == "training-checkpoint.json"
    # notes of others in a folder do not hide it
    (folder / "a.json").write_text('{"kind": "bridge", "format": 1}')
    (folder / "b.json").write_text("{")
    assert kind_at(folder) == KIND
    with (
        pytest.raises(InputError, match="this is no bridge, but an example"),
        read(folder, "bridge"),
    ):
        pass
    (folder / MANIFEST).rename(folder / "bridge.json")
    with (
        pytest.raises(InputError, match="this is no bridge, but an example"),
        read(folder, "bridge"),
    ):
        pass
    with pytest.raises(InputError, match=r"example\.json is missing"), read(folder, KIND):
        pass


def test_all_tensors_are_verified_without_being_kept(folder: Path) -> None:
    with read(folder, KIND) as stored:
        stored.tensors.verify()
        assert set(stored.tensors.seen.values()) == {None}
    content = bytearray((folder / TENSORS).read_bytes())
    content[-1] ^= 1
    (folder / TENSORS).write_bytes(content)
    with (
        pytest.raises(InputError, match="was changed after it was written"),
        read(folder, KIND) as stored,
    ):
        stored.tensors.verify()


@pytest.mark.parametrize(
    "error",
    [KeyError("a"), IndexError("a"), TypeError("a"), ValueError("a\nb"), AttributeError("a"),
     OverflowError("a"), ZeroDivisionError("a"), RecursionError("a"), InputError("a")],
    ids=lambda e: type(e).__name__,
)  # fmt: skip
def test_what_goes_wrong_in_unpacking_is_damage(folder: Path, error: Exception) -> None:
    with (
        pytest.raises(InputError, match=r"saved: the example is damaged \(.*a.*\)\. Copy it"),
        read(folder, KIND),
    ):
        raise error


@pytest.mark.parametrize("error", [OutputError("a"), KeyboardInterrupt(), AssertionError("a")])
def test_what_is_no_fault_of_the_folder_passes(folder: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), read(folder, KIND):
        raise error


class _Harm:
    """Would write a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_a_pickle_is_never_loaded(folder: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    for name in (TENSORS, MANIFEST):
        (folder / name).write_bytes(pickle.dumps(_Harm(trap)))
        with pytest.raises(InputError):
            _load(folder)
    assert not trap.exists()
    pickle.loads((folder / MANIFEST).read_bytes())
    assert trap.exists()  # it would have gone off


@given(st.data())
def test_any_damage_is_one_error_or_none(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """One byte changed, removed or added, anywhere: refused; in the card: told."""
    folder = tmp_path_factory.mktemp("f") / "saved"
    shutil.copytree(GOLDEN, folder)
    file = folder / data.draw(st.sampled_from([MANIFEST, TENSORS]))
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    how = data.draw(st.sampled_from(["flip", "cut", "add"]))
    if how == "flip":
        content[place] ^= data.draw(st.integers(1, 255))
    elif how == "cut":
        del content[place]
    else:
        content.insert(place, data.draw(st.integers(0, 255)))
    file.write_bytes(content)
    with pytest.raises(IsthmusError):
        _load(folder)


def test_whole_numbers_that_become_no_float_are_neither_written_nor_read(tmp_path: Path) -> None:
    write(tmp_path / "seed", "thing", {"seed": -(2**128)}, {})
    with read(tmp_path / "seed", "thing") as stored:
        assert stored.content["seed"] == -(2**128)
    with pytest.raises(InputError, match="a number of 401 digits"):
        write(tmp_path / "huge", "thing", {"n": 10**400}, {})
    assert not (tmp_path / "huge").exists()
