"""Parquet and Arrow files as streams of record batches, checked before anything trusts them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from isthmus.errors import missing_extra
from isthmus.spaces.formats.parquet_file import open_parquet_file

__all__ = ["BATCH", "Peeked", "Stream", "ipc_stream", "need_arrow", "orc_stream", "parquet_stream"]

BATCH = 8192
"""Rows that are decoded at once."""


class Stream(NamedTuple):
    """A file as record batches."""

    schema: Any
    read: Callable[[list[str]], Iterable[Any]]
    """Batches with at least the named columns."""
    rows: int | None
    first: Callable[[], Any]
    """A batch of its first rows, such that `read` still begins with them; None of no rows."""
    written: Callable[[str], Stream] | None = None
    """The same file with a column as the text that stands in it, where its types are guessed."""


@contextmanager
def parquet_stream(
    file: Path | Any, groups: Sequence[int] | None = None, *, batch: int = BATCH
) -> Generator[Stream]:
    """A Parquet file, or some of its row groups; ``file`` may be open."""
    with open_parquet_file(file, groups) as opened:
        yield Stream(
            opened.schema_arrow,
            # on one thread: what others took for their batches stays with them when all is read
            lambda columns: opened.iter_batches(  # pyright: ignore[reportUnknownLambdaType]
                batch, row_groups=groups, columns=columns, use_threads=False
            ),
            opened.metadata.num_rows,
            lambda: next(opened.iter_batches(1, row_groups=groups), None),  # pyright: ignore[reportUnknownLambdaType]
        )


@contextmanager
def ipc_stream(path: Path) -> Generator[Stream]:
    """An Arrow file or stream."""
    import pyarrow as pa

    with path.open("rb") as head:
        if head.read(4) == b"FEA1":
            # Feather 1, which R wrote for years, has no batches
            import pyarrow.feather as feather

            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                table: Any = feather.read_table(str(path))  # pyright: ignore[reportUnknownMemberType]
            yield Stream(
                table.schema,
                lambda columns: _validated(table.to_batches(BATCH), columns),  # pyright: ignore[reportUnknownLambdaType]
                table.num_rows,
                Peeked(table.to_batches(1)).first,
            )
            return
    # read through the file: a map of one that is truncated meanwhile kills the process
    with pa.OSFile(str(path)) as file:
        try:
            reader = pa.ipc.open_file(file)
        except pa.ArrowInvalid:
            file.seek(0)
            reader = pa.ipc.open_stream(file)
        if hasattr(reader, "get_batch"):
            numbers = range(reader.num_record_batches)
            yield Stream(
                reader.schema,
                lambda columns: _validated((reader.get_batch(i) for i in numbers), columns),  # pyright: ignore[reportUnknownLambdaType]
                None,
                Peeked(reader.get_batch(i) for i in numbers).first,
            )
        else:
            batches = Peeked(reader)
            yield Stream(
                reader.schema,
                lambda columns: _validated(batches, columns),  # pyright: ignore[reportUnknownLambdaType]
                None,
                batches.first,
            )


@contextmanager
def orc_stream(path: Path) -> Generator[Stream]:
    """An ORC file, stripe by stripe."""
    import pyarrow as pa
    from pyarrow import orc

    with pa.OSFile(str(path)) as raw:
        file: Any = orc.ORCFile(raw)  # pyright: ignore[reportUnknownMemberType]
        stripes = range(file.nstripes)
        yield Stream(
            file.schema,
            lambda columns: _validated(  # pyright: ignore[reportUnknownLambdaType]
                (file.read_stripe(i, list(dict.fromkeys(columns))) for i in stripes), columns
            ),
            file.nrows,
            lambda: next((file.read_stripe(i) for i in stripes), None),  # pyright: ignore[reportUnknownLambdaType]
        )


class Peeked:
    """Batches that are read once, of which the first is looked at before."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self._rest = iter(batches)
        self._held: list[Any] = []

    def first(self) -> Any:
        """The first batch, which is still to come; None of no batches."""
        if not self._held:
            self._held.extend(islice(self._rest, 1))
        return self._held[0] if self._held else None

    def of(self, columns: list[str]) -> Iterator[Any]:
        """Batches with ``columns``, and with all others."""
        return iter(self)

    def __iter__(self) -> Iterator[Any]:
        while self._held:
            yield self._held.pop()
        yield from self._rest


def _validated(batches: Iterable[Any], columns: Sequence[str]) -> Iterator[Any]:
    """Batches whose offsets lie inside their buffers: pyarrow itself trusts a file with them."""
    outer = list(dict.fromkeys(name.partition(".")[0] for name in columns))
    for batch in batches:
        names = [name for name in (*columns, *outer) if name in batch.schema.names]
        whole = batch.select(list(dict.fromkeys(names)))
        whole.validate(full=True)
        yield whole


def need_arrow(kind: str) -> None:
    """Say which package is needed for files of this kind.

    Raises:
        MissingExtraError: without pyarrow.
    """
    try:
        import pyarrow  # pyright: ignore[reportUnusedImport]  # noqa: F401
    except ImportError as error:
        raise missing_extra("pyarrow", "parquet", f"reading {kind} files") from error
