"""The user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path

from isthmus.errors import OutputError

__all__ = ["cache_folder", "make_folder"]


def cache_folder() -> Path:
    """``$ISTHMUS_CACHE``, else ``$XDG_CACHE_HOME/isthmus``, else ``~/.cache/isthmus``.

    Example:
        >>> from unittest.mock import patch
        >>> with patch.dict(os.environ, ISTHMUS_CACHE="/var/vectors"):
        ...     cache_folder().as_posix()
        '/var/vectors'
    """
    if own := os.environ.get("ISTHMUS_CACHE"):
        return Path(own)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "isthmus"
    return Path.home() / ".cache" / "isthmus"


def make_folder(path: Path) -> Path:
    """``path``, made with its parents if it is absent.

    Raises:
        OutputError: if it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"the cache folder cannot be made ({error.strerror})",
            where=str(path),
            mend="Set ISTHMUS_CACHE to a folder you may write to",
        ) from error
    return path
