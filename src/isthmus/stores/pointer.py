"""Names that can be moved from one collection to another, for stores that have none of their own.

The pointers of a store are one small JSON file beside it.  It is replaced whole, under a lock that
the system gives back when a process dies, so that of several who move a name one succeeds.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from isthmus.errors import OutputError, StoreError
from isthmus.files import atomic_file, canonical_json
from isthmus.inputs import read_input
from isthmus.json_text import read_json
from isthmus.stores.refusals import alias_moved

__all__ = ["POINTERS", "Pointers", "locked"]

_MOST_BYTES = 16 << 20
POINTERS = "isthmus-aliases.json"
"""Name of the file of pointers inside the folder of a store."""


class Pointers:
    """The aliases kept in ``file``; where it does not exist there are none.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     pointers = Pointers(Path(folder, "isthmus-aliases.json"))
        ...     pointers.swap("live", None, "docs.vector")
        ...     pointers.get("live")
        'docs.vector'
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def all(self) -> dict[str, str]:
        """Every alias and what it stands for.

        Raises:
            StoreError: if the file is not one of pointers.
        """
        try:
            found = read_json(read_input(self.file, _MOST_BYTES))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise self._damaged() from error
        if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
            raise self._damaged()
        return found

    def _damaged(self) -> StoreError:
        return StoreError(
            "the file of aliases cannot be read",
            where=str(self.file),
            mend="Restore it, or remove it and set the aliases again",
        )

    def get(self, name: str) -> str | None:
        """What ``name`` stands for, or None."""
        return self.all().get(name)

    def swap(self, name: str, old: str | None, new: str | None) -> None:
        """Let ``name`` stand for ``new`` if it stands for ``old`` now; see `Store.swap_alias`.

        Raises:
            StoreChangedError: if it stands for something else.
            OutputError: if the file cannot be written.
        """
        with locked(self.file):
            now = self.all()
            if now.get(name) != old:
                raise alias_moved(name, old, now.get(name), str(self.file))
            left = {n: target for n, target in now.items() if n != name}
            with atomic_file(self.file, overwrite=True) as temporary:
                temporary.write_text(
                    canonical_json(left if new is None else {**left, name: new}), encoding="utf-8"
                )


@contextmanager
def locked(file: Path) -> Generator[None]:
    """Inside, nobody else who asks for the lock of ``file`` has it, in any process.

    Raises:
        OutputError: if its folder cannot be written.
    """
    lock = file.with_name(f".{file.name}.lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise OutputError(
            f"the folder cannot be written ({error.strerror})",
            where=str(file),
            mend="Choose a place you may write to",
        ) from error
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Wait until nobody else holds the file; closing it, or dying, gives it back."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        getattr(msvcrt, "locking")(descriptor, getattr(msvcrt, "LK_LOCK"), 1)  # noqa: B009
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
