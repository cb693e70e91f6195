"""Folders whose own index says which files count: what else lies there is old, or no rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, cast
from urllib.parse import unquote

from isthmus.errors import InputError
from isthmus.inputs import read_input
from isthmus.json_text import read_json
from isthmus.spaces.formats.contents import reading

__all__ = ["INDEX_FILES", "listed_files"]

_MOST_INDEX = 64 << 20
INDEX_FILES = ("state.json", "dataset_info.json", "dataset_dict.json")
_READ_OTHERWISE = (
    (
        ("metadata/*.metadata.json", "metadata/version-hint.text"),
        "a table of Iceberg, whose index says which rows were deleted",
        "pyiceberg's table.scan().to_arrow()",
    ),
    ((".hoodie/hoodie.properties",), "a table of Hudi, which keeps old versions of rows", "Spark"),
)
"""Tables whose index is not read: what gives it away, what it is, and who writes its rows out."""
_LANCE = ("_versions/*.manifest", "data/*.lance")


def listed_files(folder: Path) -> list[Path]:
    """The files that the folder's own index names; empty where it has none.

    Raises:
        InputError: for an index that is damaged, names a file that is missing, or asks for more
            than reading files, such as leaving out rows.
    """
    for marks, what, writer in _READ_OTHERWISE:
        if any(next(folder.glob(mark), None) is not None for mark in marks):
            raise InputError(
                f"this is {what}",
                where=str(folder),
                mend=f"Write the rows that are there now to one Parquet file, such as by {writer}",
            )
    if all(next(folder.glob(mark), None) is not None for mark in _LANCE):
        raise InputError(
            "a table of LanceDB is a store",
            where=str(folder),
            mend="Name it as lancedb://FOLDER#TABLE.COLUMN; its folder is called TABLE.lance",
        )
    if (folder / "_delta_log").is_dir():
        return _delta(folder)
    return _hugging_face(folder)


def _hugging_face(folder: Path) -> list[Path]:
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
            return _hugging_face(folder / names[0])
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
    return _present(files, folder)


def _delta(folder: Path) -> list[Path]:
    """The files of a Delta table's latest version, by its log from the first commit on."""
    commits = sorted((folder / "_delta_log").glob("[0-9]*.json"))
    live: set[str] = set()
    with reading(folder / "_delta_log", "Delta log"):
        if [int(commit.stem) for commit in commits] != list(range(len(commits))):
            raise _whole_table(folder, "whose first commits are kept in a checkpoint")
        for commit in commits:
            for line in read_input(commit, _MOST_INDEX).splitlines():
                action: Any = read_json(line) if line.strip() else {}
                if "add" in action:
                    if action["add"].get("deletionVector"):
                        raise _whole_table(folder, "of which single rows were deleted")
                    live.add(unquote(action["add"]["path"]))
                if "remove" in action:
                    live.discard(unquote(action["remove"]["path"]))
                settings = action.get("metaData", {}).get("configuration", {})
                if settings.get("delta.columnMapping.mode", "none") != "none":
                    raise _whole_table(folder, "whose columns have other names in its files")
        paths = [PurePosixPath(name) for name in sorted(live)]
        if not paths or any(path.is_absolute() or ".." in path.parts for path in paths):
            raise _whole_table(folder, "without a file, or with files elsewhere")
    return _present([folder / path for path in paths], folder)


def _whole_table(folder: Path, why: str) -> InputError:
    return InputError(
        f"this is a Delta table {why}",
        where=str(folder),
        mend="Write its rows to one Parquet file, such as by "
        "pyarrow.parquet.write_table(deltalake.DeltaTable(folder).to_pyarrow_table(), file)",
    )


def _present(files: Sequence[Path], folder: Path) -> list[Path]:
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise InputError(f"the file '{missing[0]}' of its index is missing", where=str(folder))
    return list(files)
