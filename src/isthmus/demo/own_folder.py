"""The folder of a demo, in which it replaces what an earlier run left, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from isthmus.errors import OutputError

__all__ = ["claim", "renew"]

_MARK = ".isthmus-demo"


def claim(folder: Path) -> None:
    """Make the folder, or take one that a demo made before.

    Raises:
        OutputError: for a folder that holds what no demo wrote, or a file of this name.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError("a file has this name", where=str(folder), mend="Name another with -o")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _MARK).is_file():
        raise OutputError(
            "this folder holds files that no demo wrote",
            where=str(folder),
            mend="Name a new one with -o",
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).write_text("isthmus demo replaces what is here\n", encoding="utf-8")


def renew(folder: Path, own: Sequence[str]) -> None:
    """Make a folder, or empty it of what an earlier demo made there.

    Args:
        folder: in one that was claimed.
        own: patterns of the names that a demo makes.

    Raises:
        OutputError: for a folder that holds anything else.
    """
    folder.mkdir(exist_ok=True)
    entries = sorted(folder.iterdir())
    for entry in entries:
        if not any(fnmatchcase(entry.name, pattern) for pattern in own):
            raise OutputError(
                f"this folder also holds '{entry.name}', which no demo wrote",
                where=str(folder),
                mend="Move it elsewhere, or name a new folder with -o",
            )
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
