"""Which files a path stands for, and the format of each: by its suffix, else by how it begins."""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import Any, cast

from isthmus.errors import InputError
from isthmus.file_records import current, in_the_making
from isthmus.inputs import check_file, open_input, read_input
from isthmus.json_text import read_json
from isthmus.spaces.formats.contents import reading
from isthmus.spaces.formats.table import FORMATS, Format
from isthmus.spaces.text_files import COMPRESSIONS

__all__ = ["format_of", "is_listed", "vector_files"]

_MOST_INDEX = 64 << 20
_AS_FLOATS = "Save the vectors as a float32 .npy file with numpy.save"
_REFUSED = {
    **dict.fromkeys(
        (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib"),
        ("pickled objects run code when they are loaded", _AS_FLOATS),
    ),
    **dict.fromkeys(
        (".mat", ".zarr", ".db", ".sqlite", ".xlsx", ".tfrecord", ".avro", ".orc", ".msgpack"),
        ("this kind of file is not read", "Export the vectors to .parquet or .npy"),
    ),
    **dict.fromkeys(
        (".h5", ".hdf5", ".hdf"),
        (
            "HDF5 is not read",
            "Save one of its data sets, with numpy.save('old.npy', h5py.File(path)['train'][:])",
        ),
    ),
    **dict.fromkeys(
        (".usearch", ".hnsw", ".hnswlib", ".ann", ".annoy", ".nmslib", ".scann", ".voyager"),
        (
            "an index of another library is not read",
            "Ask it for its vectors, such as index.get(keys) or index.get_items(ids), and save "
            "them with numpy.save",
        ),
    ),
    ".lance": ("a table of LanceDB is a store", "Name it as lancedb://FOLDER#TABLE.COLUMN"),
    **dict.fromkeys(
        (".fvecs", ".bvecs", ".ivecs"),
        (
            "the width before each row does not say of what numbers it is",
            "Save the rows, with numpy.save('old.npy', numpy.fromfile(path, 'float32')"
            ".reshape(-1, width + 1)[:, 1:]) for .fvecs",
        ),
    ),
    **dict.fromkeys(
        (".fbin", ".u8bin", ".i8bin", ".ibin"),
        (
            "numbers whose kind stands in the name alone are not read",
            "Save the rows, with numpy.save('old.npy', numpy.fromfile(path, 'float32', "
            "offset=8).reshape(-1, width)) for .fbin",
        ),
    ),
    **dict.fromkeys(
        (".memmap", ".dat", ".raw"), ("raw numbers without a header are not read", _AS_FLOATS)
    ),
    **dict.fromkeys(
        (".tar", ".tgz", ".7z", ".rar"),
        ("files inside an archive are not reached into", "Unpack it, and name what was in it"),
    ),
    ".txt": (
        "a .txt file may hold ids, texts or word vectors",
        "Name word vectors .vec, and give ids with ids= (--ids)",
    ),
}
_MISTAKEN = (
    (
        (b"version https://git-lfs",),
        "this is the pointer that Git LFS keeps in place of the file",
        "Fetch the file itself: git lfs pull",
    ),
    (
        (b"<!DOCTYPE", b"<!doctype", b"<html", b"<HTML", b"<?xml"),
        "this is a web page, not the file that was to be downloaded from there",
        "Download it again, signed in where that is asked for",
    ),
)
"""What is found under the name of a file of vectors, by how it begins."""
_INDEX_FILES = ("state.json", "dataset_info.json", "dataset_dict.json")


def format_of(path: Path) -> Format:
    """The format of a file.

    Raises:
        InputError: for a kind that is not read, saying why and what to do.
    """
    suffix = path.suffix.lower()
    packed = suffix in COMPRESSIONS or suffix in (".snappy", ".zst", ".zstd", ".brotli", ".lz4")
    if packed:
        suffix = Path(path.stem).suffix.lower()
    found = next((f for f in FORMATS if suffix in f.suffixes), None)
    if found is not None and packed and not found.text:
        # writers put the inner compression into the name: what counts is how the file begins
        with reading(path, found.name):
            begins = _begins(path)
        if not begins.startswith(found.magic or (b"\0",)):
            raise InputError(
                f"a packed {suffix} file cannot be reached into",
                where=str(path),
                mend="Unpack it first, such as with gunzip",
            )
    if found is None:
        with reading(path, "vector"):
            begins = _begins(path)
        found = next((f for f in FORMATS if f.magic and begins.startswith(f.magic)), None)
    if found is None:
        why, mend = _REFUSED.get(suffix, ("this kind of file is not read", None))
        known = ", ".join(s for f in FORMATS for s in f.suffixes)
        raise InputError(
            f"files of the kind '{suffix or 'without a suffix'}' are not read: {why}",
            where=str(path),
            mend=mend or f"Use {known}",
        )
    return found


def _begins(path: Path) -> bytes:
    with open_input(path) as file:
        return file.read(64)


def vector_files(source: Path) -> list[Path]:
    """The files of vectors that a path, a folder or a glob pattern stands for, in their order.

    Numbers in names count as numbers: ``part-10`` stands behind ``part-9``.  A dataset that Hugging
    Face saved is read by its own list of files, not by what lies beside them.

    Raises:
        InputError: where there is none, or files of two kinds.
    """
    if source.is_dir():
        files = _listed(source) or _lying(source)
    elif current(source).exists():
        check_file(source)
        _check_begin(source)
        return [source]
    else:
        found = glob.glob(str(source), recursive=True)  # noqa: PTH207
        files = [path for path in map(Path, found) if path.is_file()]
    files = sorted(files, key=_natural)
    if not files and source.suffix.lower() in _REFUSED:
        why, mend = _REFUSED[source.suffix.lower()]
        raise InputError(why, where=str(source), mend=mend)
    if not files:
        raise InputError("no Parquet, Arrow or other file of vectors is found", where=str(source))
    for path in files:
        _check_begin(path)
    kinds = {format_of(path).name: path for path in files}
    if len(kinds) > 1:
        names = " and ".join(f"{name} ({path.name})" for name, path in sorted(kinds.items()))
        raise InputError(
            f"there are files of several kinds: {names}",
            where=str(source),
            mend=f"Name one kind, as in '{source}/*.parquet'",
        )
    return files


def _check_begin(path: Path) -> None:
    """Refuse what no format can be: nothing at all, or what stands in place of a file.

    Raises:
        InputError: saying what it is.
    """
    with reading(path, "vector"):
        begins = _begins(path)
    if not begins:
        raise InputError(
            "there are no rows: the file is empty", where=str(path), mend="Copy or write it again"
        )
    for marks, what, mend in _MISTAKEN:
        if begins.lstrip().startswith(marks):
            raise InputError(what, where=str(path), mend=mend)


def _lying(folder: Path) -> list[Path]:
    known = {suffix for f in FORMATS for suffix in f.suffixes}
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [
        path
        for path in files
        if path.suffix.lower() in known
        and not in_the_making(path.relative_to(folder))
        and is_listed(str(path.relative_to(folder)))
    ]


def is_listed(name: str) -> bool:
    """Whether a file of a folder, by its name in it, may hold vectors: no ids, index or mark."""
    path = Path(name)
    return (
        path.name not in _INDEX_FILES
        and not _is_ids(path)
        and not any(part.startswith(("_", ".")) for part in path.parts)
    )


def _is_ids(path: Path) -> bool:
    return path.name.lower().endswith((".ids.npy", ".ids.txt")) or path.stem.lower() == "ids"


def _listed(folder: Path) -> list[Path]:
    """The files of a saved Hugging Face dataset; empty for other folders."""
    state, splits = folder / "state.json", folder / "dataset_dict.json"
    with reading(state if state.is_file() else splits, "Hugging Face index"):
        if splits.is_file():
            names = cast(list[str], read_json(read_input(splits, _MOST_INDEX))["splits"])
            if len(names) > 1:
                raise InputError(
                    f"the dataset has several splits: {', '.join(names)}",
                    where=str(folder),
                    mend=f"Name one, as in '{folder / names[0]}'",
                )
            return _listed(folder / names[0])
        if not state.is_file():
            return []
        found: Any = read_json(read_input(state, _MOST_INDEX))
        files = [folder / Path(entry["filename"]).name for entry in found["_data_files"]]
        if found.get("_indices_data_files"):
            raise InputError(
                "the dataset was shuffled or filtered, and its order lies in another file",
                where=str(folder),
                mend="Save it again after dataset.flatten_indices()",
            )
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise InputError(f"the file '{missing[0]}' of its index is missing", where=str(folder))
    return files


def _natural(path: Path) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts]
