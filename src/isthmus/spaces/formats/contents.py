"""What a reader of any format is asked for, what it hands on, and how a damaged file ends."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError, IsthmusError
from isthmus.inputs import SHORT_OF, unreadable
from isthmus.progress import Progress, silent
from isthmus.spaces.file_rows import FileRows
from isthmus.spaces.scratch import map_file, scratch_file
from isthmus.spaces.text_ids import TextIdWriter, id_blocks

__all__ = [
    "ID_NAMES",
    "VECTOR_NAMES",
    "Contents",
    "IdFile",
    "RowFile",
    "Wanted",
    "check_unpacked",
    "id_name",
    "in_blocks",
    "reading",
    "whole_numbers",
]

T = TypeVar("T")

VECTOR_NAMES = ("vectors", "embeddings", "vector", "embedding")
"""What people call the array or column of vectors, where there are several."""

ID_NAMES = ("id", "ids", "_id", "__index_level_0__")
"""What people call the array or column of ids; one of these is found without being named.

The last is what pandas calls an index without a name.
"""

_ALIKE = re.compile(r"((doc|document|item|custom|chunk|point|row|pass(age)?)_?id|[pgu]u?id|key|pk)")
"""Names that are ids as well, though not surely of these rows: said, not used."""


@dataclass(frozen=True)
class Wanted:
    """What `isthmus.spaces.readers.open_vectors` asks a format for."""

    key: str | None = None
    """The array or column of vectors; None for the only one that can be meant."""
    id_column: str | None = None
    """The array or column of ids."""
    find_ids: bool = True
    """Whether ids are looked for where no column is named."""
    progress: Progress = silent


@dataclass(frozen=True, eq=False)
class Contents:
    """The vectors of a file, or of several as one."""

    vectors: NDArray[Any] | FileRows
    """``(n, d)`` as stored, read from its file as it is asked for where that is possible."""
    name: str
    """What messages call it: the path, and the array or column where it has a name."""
    stored_dtype: str
    ids: NDArray[Any] | Sequence[Any] | None = None
    files: tuple[tuple[str, int], ...] = ()
    """Every file with the number of its first row."""
    ranges: NDArray[Any] | None = None
    """``(2, d)``: the least and the greatest value that 8-bit codes stand for."""
    overlooked: str | None = None
    """A column that looks like ids, and was not used as such."""


def id_name(names: Sequence[str], wanted: Wanted, vectors: str) -> tuple[str | None, str | None]:
    """The column of ids among ``names``, and one that looks like ids and is not used."""
    if wanted.id_column is not None or not wanted.find_ids:
        return wanted.id_column, None
    candidates = [(ID_NAMES.index(n.lower()), n) for n in names if n.lower() in ID_NAMES]
    found = min(((at, n) for at, n in candidates if n != vectors), default=(0, None))[1]
    alike = next((n for n in names if _ALIKE.fullmatch(n.lower()) and n != vectors), None)
    return found, None if found is not None else alike


@contextmanager
def reading(path: Path | str, kind: str) -> Generator[None]:
    """The one place where whatever a damaged file makes a library raise becomes an `InputError`.

    Raises:
        InputError: naming the file, and what the library said of it.
    """
    try:
        yield
    except IsthmusError:
        raise
    except FileNotFoundError as error:
        raise InputError("the file does not exist", where=str(path)) from error
    except PermissionError as error:
        raise InputError(
            "permission denied", where=str(path), mend="Ask its owner, or change its mode"
        ) from error
    except MemoryError as error:
        raise InputError(
            f"the {kind} file announces more than this machine's memory holds", where=str(path)
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"not a readable {kind} file: it is not UTF-8 text at byte {error.start}",
            where=str(path),
            mend="Save it as UTF-8",
        ) from error
    except OSError as error:
        if error.errno in SHORT_OF:
            raise unreadable(error, path) from error
        raise _damaged(error, path, kind) from error
    # libraries raise anything at all over damaged bytes: zlib.error, struct.error, TypeError ...
    except Exception as error:
        raise _damaged(error, path, kind) from error


def _damaged(error: Exception, path: Path | str, kind: str) -> InputError:
    text = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return InputError(
        f"not a readable {kind} file ({text})", where=str(path), mend="Copy or write it again"
    )


_MOST_TIMES = 500
_UNPACKED_FREELY = 1 << 28


def check_unpacked(size: int, packed: int, where: str) -> None:
    """Refuse what grows, when it is unpacked, far beyond what the numbers of a model could.

    Packers shrink vectors by a half, sparse ones a hundred times, and nothing but zeros a thousand
    times: a small file of them would fill the disk.

    Args:
        size: bytes, once they are unpacked; 256 MB are none to ask about.
        packed: bytes of the file.
        where: what is unpacked.

    Raises:
        InputError: for more than 500 times the size.
    """
    if size > max(_UNPACKED_FREELY, _MOST_TIMES * packed):
        raise InputError(
            f"{packed:,} bytes unpack to {size:,} or more, over {_MOST_TIMES} times as many, as no "
            "vectors of a model do",
            where=where,
            mend="Save them unpacked, as .npy, if they are what you want",
        )


_BLOCK_VALUES = 1 << 22


def in_blocks(rows: Iterable[T], most: int, size: Callable[[T], int]) -> Iterator[list[T]]:
    """Rows as they are read, ``most`` at a time, or fewer where they are large.

    A small file may unpack to thousands of rows of millions of numbers: they are looked at before
    there are so many.

    Args:
        rows: one after the other.
        most: rows of a block.
        size: the numbers, or characters, of a row; a block ends where it has 4,194,304.
    """
    block: list[T] = []
    held = 0
    for row in rows:
        block.append(row)
        held += size(row)
        if len(block) == most or held >= _BLOCK_VALUES:
            yield block
            block, held = [], 0
    if block:
        yield block


class RowFile:
    """Vectors of one width and dtype, appended to a scratch file that is mapped in the end.

    Args:
        stack: closes the scratch file.
        files: that the vectors are unpacked from.
    """

    def __init__(self, stack: ExitStack, files: Sequence[Path]) -> None:
        self._file: IO[bytes] = stack.enter_context(scratch_file())
        self._packed = sum(path.stat().st_size for path in files if path.is_file())
        self.n = 0
        self.dim: int | None = None
        self.dtype: np.dtype[Any] | None = None

    def add(self, block: NDArray[Any], where: str, first: int = 0) -> None:
        """Append ``block (m, d)``, whose first row is row ``first`` of its file.

        Raises:
            InputError: if its width or dtype is not that of the blocks before.
        """
        if not len(block):
            return
        dtype = block.dtype.newbyteorder("=")
        if self.dtype not in (None, dtype):
            raise InputError(f"the vectors are {dtype}, those before {self.dtype}", where=where)
        if self.dim not in (None, block.shape[1]):
            raise InputError(
                f"the vector has {block.shape[1]} numbers, those before have {self.dim}",
                where=f"{where}, row {first}",
                mend="Drop the row, or encode it again",
            )
        check_unpacked((self.n * block.shape[1] + block.size) * dtype.itemsize, self._packed, where)
        self.dtype, self.dim = dtype, block.shape[1]
        self._file.write(np.ascontiguousarray(block, dtype=dtype).data)
        self.n += len(block)

    def map(self, where: str) -> FileRows:
        """All rows ``(n, d)``.

        Raises:
            InputError: if there is none.
        """
        if self.dtype is None or self.dim is None:
            raise InputError("there are no rows", where=where)
        self._file.flush()
        return FileRows(cast(BinaryIO, self._file), None, self.dtype, (self.n, self.dim))


def whole_numbers(ids: NDArray[Any]) -> bool:
    """Whether every text is a whole number as it is written, which ``007`` and ``1.0`` are not."""
    return all(_WHOLE.fullmatch(name) is not None for name in ids.tolist())


_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")  # such that int64 holds it


class IdFile:
    """Ids appended to scratch files: integers as they are, strings as text in bounded blocks."""

    def __init__(self, stack: ExitStack) -> None:
        self._file = stack.enter_context(scratch_file())
        self._texts = TextIdWriter(stack)
        self.n = 0
        self._kind: str | None = None
        self.numbers_as_text = False
        """Whether the texts are whole numbers where all of them are written as such."""

    def add(self, ids: NDArray[Any], where: str) -> None:
        """Append ids as `isthmus.spaces.ids.written_ids` returns them.

        Raises:
            InputError: if these are integers and those before strings, or the other way round.
        """
        kind = "strings" if ids.dtype.kind == "U" else "integers"
        if self._kind not in (None, kind):
            raise InputError(
                f"the ids are {self._kind} in one file, {kind} in another", where=where
            )
        self._kind = kind
        if kind == "strings":
            self._texts.add(ids, where)
            self.numbers_as_text = self.numbers_as_text and whole_numbers(ids)
        else:
            self._file.write(np.ascontiguousarray(ids, dtype=np.int64).data)
        self.n += len(ids)

    def map(self) -> NDArray[Any]:
        """All ids ``(n,)``."""
        if self._kind == "strings" and self.numbers_as_text:
            texts = self._texts.ids()
            for part in id_blocks(texts):
                self._file.write(texts[part].astype(np.int64).data)
            self._kind = "integers"
        if self._kind != "strings":
            return map_file(self._file, np.int64, (self.n,))
        return cast(Any, self._texts.ids())
