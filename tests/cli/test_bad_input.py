"""What people really pass: each either works, or is one clear line and leaves nothing behind."""

from __future__ import annotations

import json
import os
import pickle
import re
import resource
import shutil
import struct
import subprocess
from collections.abc import Callable, Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from isthmus.bridge import Bridge

Data = dict[str, np.ndarray]
MEND = re.compile(r"^error: .+\. [A-Z'].+\.$", re.MULTILINE)


@pytest.fixture
def refused(cli: Any, here: Path) -> Callable[..., None]:
    """Run, and find one error line with these texts and advice, and nothing new in the folder."""

    def check(*arguments: object, holds: tuple[str, ...], mend: bool = True) -> None:
        before = sorted(path.name for path in here.iterdir())
        done = cli(*arguments)
        done.refused(*holds)
        assert not mend or MEND.search(done.err), done.err
        assert sorted(path.name for path in here.iterdir()) == before

    return check


def _fit(*more: str) -> tuple[str, ...]:
    return ("fit", "old.npy", "new.npy", "-o", "out.bridge", *more)


def _set(row: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def spoil(rows: np.ndarray) -> np.ndarray:
        rows[row, 3:] = value
        if value == 0:
            rows[row] = 0
        return rows

    return spoil


# ---- arrays ------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["old", "new", "q_old", "q_new"])
@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (_set(7, np.nan), "row 7: the row holds nan in component 3"),
        (_set(1499, np.inf), "row 1499: the row holds inf in component 3"),
        (_set(0, -np.inf), "row 0: the row holds -inf in component 3"),
        (_set(7, 0.0), "row 7: the row is all zeros and has no direction under the cosine"),
    ],
    ids=["nan", "inf", "-inf", "zero"],
)
def test_rows_that_cannot_be_used(
    refused: Any, data: Data, queries: Any, side: str, spoil: Any, text: str
) -> None:
    np.save(f"{side}.npy", spoil(data[side].copy()))
    refused(*_fit(*queries), holds=(f"{side}.npy, {text}", "Remove such rows"))


@pytest.mark.parametrize(
    ("spoil", "text", "mend"),
    [
        (lambda x: (x * 100).astype(np.int8), "dtype int8, which looks like quantised codes", True),
        (lambda x: (x * 100).astype(np.int64), "dtype int64, which looks like quantised", True),
        (lambda x: x.astype(object), "pickled Python objects", True),
        (lambda x: x.astype(complex), "dtype complex128, expected float16", True),
        (lambda x: x > 0, "dtype bool", True),
        (lambda x: x.astype("U9"), "dtype ", True),
        (lambda x: x[0], "shape (24,), expected (n, d)", True),
        (lambda x: x[:, None], "shape (1500, 1, 24), expected (n, d)", True),
        (lambda x: x[:0], "empty, of shape (0, 24)", False),
        (lambda x: x[:, :0], "empty, of shape (1500, 0)", False),
        (lambda x: x[:1499], "old.npy has 1,499, and without ids", True),
    ],
)
def test_arrays_of_the_wrong_kind(
    refused: Any, data: Data, spoil: Any, text: str, mend: bool
) -> None:
    np.save("old.npy", spoil(data["old"]), allow_pickle=True)
    refused(*_fit(), holds=("old.npy", text), mend=mend)


def test_one_row(refused: Any, data: Data) -> None:
    for side in ("old", "new"):
        np.save(f"{side}.npy", data[side][:1])
    refused(*_fit(), holds=("cannot be fitted on 1 pair(s)", "Give a few hundred pairs"))


def test_queries_of_another_width(refused: Any, data: Data, queries: Any) -> None:
    np.save("q_old.npy", data["q_old"][:, 1:])
    refused(*_fit(*queries), holds=("queries", "dim_y = 23, the items 24", "same two models"))


@pytest.mark.parametrize("dtype", ["<f2", "<f8", ">f4"])
def test_other_floats_work(cli: Any, here: Path, data: Data, queries: Any, dtype: str) -> None:
    for name, rows in data.items():
        np.save(f"{name}.npy", rows.astype(dtype))
    done = cli(*_fit(*queries, "--json"))
    assert done.code == 0, done.err
    assert done.json["evidence"]["arms"]["bridge"]["metrics"]["recall@10"]["value"] > 0.8


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_constant_columns_and_missing_ranks_work(
    cli: Any, here: Path, data: Data, queries: Any, metric: str
) -> None:
    for name, rows in data.items():
        spoilt = rows.copy()
        spoilt[:, 4] = 0.25  # constant
        spoilt[:, 5] = 0.0
        spoilt[:, 6] = 2 * spoilt[:, 7]
        np.save(f"{name}.npy", spoilt)
    done = cli(*_fit(*queries, "--json", "--metric", metric))
    assert done.code == 0, done.err
    arms = {
        arm: a["metrics"]["recall@10"]["value"] for arm, a in done.json["evidence"]["arms"].items()
    }
    assert arms["bridge"] > 0.85 * arms["old"] > 0.5
    mapped = Bridge.load(here / "out.bridge").transform(np.load("new.npy"))
    assert np.isfinite(mapped).all()


def test_vectors_that_are_all_the_same(cli: Any, here: Path, data: Data) -> None:
    """A broken pipeline; no verdict may come of it, and no crash."""
    np.save("old.npy", np.tile(data["old"][:1], (1500, 1)))
    done = cli("fit", "old.npy", "new.npy", "-o", "out.bridge", "--json")
    if done.code == 0:
        assert done.json["evidence"]["verdict"] not in ("use the bridge", "bridge and rescore")
    else:
        done.refused()
    assert "Warning" not in done.err


@pytest.mark.parametrize("offset", [1e2, 1e4])
def test_a_mean_far_larger_than_the_spread(
    cli: Any, here: Path, data: Data, queries: Any, offset: float
) -> None:
    """Float64 input, so that the input itself keeps its digits."""
    place = offset * np.random.default_rng(0).choice([-1.0, 1.0], 24)
    for name, rows in data.items():
        np.save(f"{name}.npy", rows.astype(np.float64) + place)
    done = cli(*_fit(*queries, "--json", "--metric", "l2"))
    assert done.code == 0, done.err
    arms = {
        arm: a["metrics"]["recall@10"]["value"] for arm, a in done.json["evidence"]["arms"].items()
    }
    assert arms["bridge"] > 0.9 * arms["old"] > 0.7
    bridge = Bridge.load(here / "out.bridge")
    error = bridge.transform(np.load("new.npy")) - np.load("old.npy")
    assert np.sqrt((error**2).mean()) < 0.3 * data["old"].std()


# ---- ids ---------------------------------------------------------------------------------------


def _ids(side: str, ids: Any) -> None:
    if isinstance(ids, list):
        Path(f"{side}.ids.txt").write_text("\n".join(ids))
    else:
        np.save(f"{side}.ids.npy", ids)


def test_permuted_rows_are_joined_by_id(cli: Any, here: Path, data: Data, queries: Any) -> None:
    straight = cli(*_fit(*queries, "--json")).json["evidence"]
    order = np.random.default_rng(0).permutation(1500)
    np.save("old.npy", data["old"][order])
    _ids("old", order)
    _ids("new", np.arange(1500))
    joined = cli("fit", "old.npy", "new.npy", "-o", "joined", *queries, "--json").json["evidence"]
    assert joined == straight
    without = here / "old.ids.npy"
    without.unlink()
    (here / "new.ids.npy").unlink()
    lost = cli("fit", "old.npy", "new.npy", "-o", "lost", *queries, "--json").json["evidence"]
    assert lost["verdict"] == "not enough evidence"
    assert "not of the same items" in lost["reason"]


def test_ids_that_are_wrong(refused: Any, here: Path) -> None:
    names = [f"i{n}" for n in range(1500)]
    _ids("old", names)
    others = [f"other {n}" for n in range(1500)]
    twice = "new.npy, row 1499: the id 'i7' occurs twice, first in row 7"
    for ids, texts in (
        ([*names[:-1], "i7"], (twice, "Keep one")),
        (others, ("new.npy and old.npy have no id in common", "same way")),
        (names[:-1], ("1,499 ids for 1,500 rows",)),
        ([*names[:3], "", *names[4:]], ("new.ids.txt, line 4", "the id is missing")),
    ):
        _ids("new", ids)
        refused(*_fit(), holds=texts, mend=len(texts) > 1 and "line" not in texts[0])
    (here / "new.ids.txt").unlink()
    _ids("new", np.arange(1500))
    refused(*_fit(), holds=("ids of new.npy are integers, those of old.npy are strings",))
    _ids("new", names)
    refused(*_fit(), holds=("two files of ids", "Remove one"))


def test_ids_in_part_in_common_are_counted(cli: Any, here: Path) -> None:
    _ids("old", np.arange(1500))
    _ids("new", np.arange(300, 1800))
    done = cli(*_fit())
    assert done.code == 0, done.err
    assert "1,200 x 24→24" in done.err
    assert "300 source and 300 target rows unmatched" in done.err


# ---- files -------------------------------------------------------------------------------------


def _damaged(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


def _npy(shape: str) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + bytes(64)


@pytest.mark.parametrize(
    ("content", "text", "mend"),
    [
        (b"", "there are no rows: the file is empty", True),
        (b"a text", "not a readable .npy file", False),
        (pickle.dumps(np.ones((3, 24))), "pickled Python objects", True),
        (_npy("(1500, 24)"), "truncated", True),
        (
            _npy("(1000000000, 250)"),
            "truncated: its header announces shape (1000000000, 250)",
            True,
        ),
        (_npy("(-1, 24)"), "not a readable .npy file", False),
        (_npy("__import__('os').abort()"), "not a readable .npy file", False),
    ],
    ids=range(7),
)
def test_damaged_npy_files(refused: Any, here: Path, content: bytes, text: str, mend: bool) -> None:
    (here / "old.npy").write_bytes(content)
    refused(*_fit(), holds=("old.npy", text), mend=mend)


def _safetensors(size: int, header: bytes | None = None) -> bytes:
    if header is None:
        header = json.dumps(
            {"v": {"dtype": "F32", "shape": [size // 96, 24], "data_offsets": [0, size]}}
        ).encode()
    return struct.pack("<Q", len(header)) + header + bytes(960)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "there are no rows: the file is empty"),
        (b"\xff" * 8 + bytes(100), "header claims 18,446,744,073,709,551,615 bytes"),
        (struct.pack("<Q", 10**12) + bytes(100), "header claims 1,000,000,000,000 bytes"),
        (_safetensors(960)[:60], "header claims"),
        (_safetensors(96 * 10**10), "not a readable .safetensors file"),
        (_safetensors(960)[:-1], "not a readable .safetensors file"),
        (_safetensors(0, b"{not json}"), "not a readable .safetensors file"),
        (pickle.dumps([1, 2, 3] * 9), "header claims"),
    ],
    ids=range(8),
)
def test_damaged_safetensors_files(refused: Any, here: Path, content: bytes, text: str) -> None:
    (here / "old.safetensors").write_bytes(content)
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (8 << 30, hard))  # far less than is announced
    try:
        refused("fit", "old.safetensors", "new.npy", "-o", "o", holds=("old.safetensors", text))
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def test_parquet_rows_that_cannot_be_used(refused: Any, here: Path, data: Data) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    vectors = data["old"].tolist()

    def write(rows: Any, **columns: Any) -> None:
        kind = pa.list_(pa.float32())
        pq.write_table(pa.table({"embedding": pa.array(rows, kind), **columns}), "old.parquet")

    command = ("fit", "old.parquet", "new.npy", "-o", "out.bridge")
    holed, gap, ragged = ([list(row) for row in vectors] for _ in range(3))
    holed[5] = None  # type: ignore[call-overload]
    gap[6][2] = None  # type: ignore[call-overload]
    ragged[7] = ragged[7][:-1]
    for rows, text in (
        (holed, "old.parquet:embedding, row 5: the vector is null"),
        (gap, "old.parquet:embedding, row 6: the vector holds a null"),
        (ragged, "old.parquet:embedding, row 7: the vector has 23 numbers, those before have 24"),
    ):
        write(rows)
        refused(*command, holds=(text, "Drop the row"))
    write(vectors, id=pa.array([*range(9), None, *range(10, 1500)]))
    refused(*command, holds=("old.parquet:id, row 9: the id is null",))
    write(vectors)
    refused(*command[:1], "old.parquet:vectors", *command[2:], mend=False,
            holds=("old.parquet: there is no column 'vectors'",))  # fmt: skip
    (here / "old.parquet").write_bytes(b"PAR1 or not")
    refused(*command, holds=("old.parquet: not a readable Parquet file",), mend=False)


def test_files_that_are_not_there_or_not_read(refused: Any, here: Path) -> None:
    (here / "old.xyz").write_text("1,2,3")
    (here / "folder").mkdir()
    (here / "folder.npy").mkdir()
    save_file({"a": np.ones((2, 3), "f4"), "b": np.ones((2, 4), "f4")}, "two.safetensors")
    for name, texts in (
        ("none.npy", ("none.npy: the file does not exist",)),
        ("old.xyz", ("old.xyz: files of the kind '.xyz' are not read", "Use .npy")),
        ("folder", ("folder: no Parquet, Arrow or other file",)),
        ("folder.npy", ("folder.npy",)),
        ("https://a.b/c.npy", ("URLs are read by an engine only", "copy the file")),
        ("two.safetensors", ("two.safetensors: it is not clear which array", "Name it")),
        ("two.safetensors:c", ("there is no array 'c'; the file holds a (2, 3), b (2, 4)",)),
        ("old.npy:key", ("a .npy file has no key 'key'",)),
    ):
        refused("fit", name, "new.npy", "-o", "out.bridge", holds=texts, mend=len(texts) > 1)


def test_the_same_through_apply(refused: Any, bridge: Path, data: Data) -> None:
    for spoil, text in (
        (_set(1400, np.nan), "in.npy, row 1400: the row holds nan"),
        (_set(0, np.inf), "in.npy, row 0: the row holds inf"),
        (_set(999, 0.0), "in.npy, row 999: the row is all zeros"),
        (lambda x: x[:, 2:], "in.npy, row 0: the vectors are 22 wide, expected 24"),
        (lambda x: (100 * x).astype(np.int8), "in.npy: the vectors have dtype int8"),
        (lambda x: np.full_like(x, np.nan), "in.npy, row 0: the row holds nan"),
    ):
        np.save("in.npy", spoil(data["new"].copy()))
        refused("apply", bridge, "in.npy", "out.npy", holds=(text,))
    np.save("in.npy", data["new"])
    content = Path("in.npy").read_bytes()
    Path("in.npy").write_bytes(content[:-1])
    refused("apply", bridge, "in.npy", "out.npy", holds=("in.npy: the file is truncated",))
    np.save("in.npy", data["new"].astype(np.float16))


# ---- places ------------------------------------------------------------------------------------


@pytest.fixture
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path | None]:
    """A file system of 128 kB, or None where none can be mounted."""
    place = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "none", str(place)]
    found = (
        shutil.which("mount")
        and not subprocess.run(command, check=False, capture_output=True).returncode
    )
    yield place if found else None
    if found:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("suffix", [".npy", ".safetensors", ".parquet"])
def test_a_full_disk(cli: Any, bridge: Path, mounted: Path | None, suffix: str) -> None:
    place = mounted or bridge.parent
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if mounted is None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, hard))
    try:
        done = cli("apply", bridge, "new.npy", place / f"out{suffix}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    done.refused(f"out{suffix}")
    assert re.search("disk|larger than this system", done.err)
    assert not [p for p in place.iterdir() if p.name.startswith("out")]


def test_a_disk_that_fills_up_on_the_way(
    cli: Any, bridge: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else takes the room that there was at the start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, hard))
    try:
        parquet = ["out.parquet"] if find_spec("pyarrow") else []
        for name in ["out.npy", *parquet, "out.safetensors"]:
            cli("apply", bridge, "new.npy", name).refused(f"{name}: the file would be larger")
        fit = cli(*_fit("--recipe", "procrustes"))
        assert fit.code == 0  # a bridge of 24 dimensions is small
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [p for p in bridge.parent.iterdir() if p.name.startswith("out.") and p.is_file()]
    assert not [p for p in bridge.parent.iterdir() if ".partial-" in p.name]


def test_a_read_only_place(cli: Any, bridge: Path, mounted: Path | None) -> None:
    places = [Path("/proc")]  # refuses even root
    if mounted is not None:
        subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
        places.append(mounted)
    if os.geteuid():
        closed = bridge.parent / "closed"
        closed.mkdir(mode=0o500)
        places.append(closed)
    for place in places:
        cli("apply", bridge, "new.npy", place / "out.npy").refused(
            f"{place}/out.npy: the f", "Choose a"
        )
        cli("fit", "old.npy", "new.npy", "-o", place / "b").refused(f"{place}/b: the f", "Choose a")


def test_a_folder_that_was_removed(cli: Any, bridge: Path, monkeypatch: Any) -> None:
    gone = Path("gone").absolute()
    gone.mkdir()
    places = bridge.absolute(), Path("new.npy").absolute()
    monkeypatch.chdir(gone)
    gone.rmdir()
    cli("apply", *places, "out.npy").refused("the folder that you work in: it was removed")
