"""Vectors from the files of word2vec, GloVe and fastText: words and their numbers.

As text, a word and its numbers on a line; or as word2vec's binary files have them: a first line
``n d`` of text, then each word, a space and ``d`` float32.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.spaces.formats.contents import Contents, IdFile, RowFile, Wanted, in_blocks, reading
from isthmus.spaces.ids import written_ids
from isthmus.spaces.text_files import is_packed, lines_of, open_text, suffix_of, unpacked

__all__ = ["open_word2vec"]

_BLOCK = 4096
_BLOCK_BYTES = 1 << 26
"""Most bytes of a block whose width a file announces: what is packed may announce any."""
_LONGEST_WORD = 4096
_BROKEN = re.compile(r"-?\d+\.\d+(e[+-]?\d+)?")


def open_word2vec(files: Sequence[Path], wanted: Wanted) -> Contents:
    """The vectors of words, whose ids are the words; a first line ``n d`` is checked and left out.

    Raises:
        InputError: naming the first line that is not a word and as many numbers as those before.
    """
    starts: list[tuple[str, int]] = []
    with ExitStack() as stack:
        rows, ids = RowFile(stack, files), IdFile(stack)
        for path in files:
            starts.append((str(path), rows.n))
            if _binary_header(path) is not None:
                with reading(path, "word2vec"):
                    _read_binary(path, rows, ids, wanted)
                continue
            if suffix_of(path) == ".bin":
                raise InputError(
                    "nothing tells what numbers these bytes are: this is no binary file of "
                    "word2vec, which begins with the numbers of words and of dimensions",
                    where=str(path),
                    mend="Save the vectors as a float32 .npy file with numpy.save, or those of a "
                    "fastText model as text (.vec)",
                )
            with reading(path, "word vector"), open_text(path) as file:
                lines = enumerate(lines_of(file, path), 1)
                head = next(lines, (1, ""))
                announced = _announced(head[1])
                if announced is None:
                    lines = chain([head], lines)
                first = 0
                width = None if announced is None else announced[1]
                for block in in_blocks(_words(lines, path, width), _BLOCK, lambda row: len(row[1])):
                    where = str(path)
                    width = len(block[0][1])
                    if all(_BROKEN.fullmatch(word) for word, _ in block):
                        raise InputError(
                            "the lines hold numbers alone, and no words before them",
                            where=where,
                            mend="Name the file .csv",
                        )
                    for line, (_, numbers) in enumerate(block, first + 1):
                        if len(numbers) != width:
                            raise InputError(
                                f"the word has {len(numbers)} numbers, those before have {width}",
                                where=f"{path}, word {line}",
                            )
                    rows.add(np.array([n for _, n in block], dtype=np.float32), where, first)
                    ids.add(written_ids([word for word, _ in block], where), where)
                    first += len(block)
                    wanted.progress("reading vectors", rows.n, None)
                if announced is not None and announced != (first, rows.dim):
                    raise InputError(
                        f"the file announces {announced[0]:,} words of {announced[1]} numbers, and "
                        f"holds {first:,} of {rows.dim}",
                        where=str(path),
                        mend="Copy it again: it is cut off",
                    )
        where = str(files[0] if len(files) == 1 else files[0].parent)
        known = ids.map() if wanted.find_ids else None
        return Contents(rows.map(where), where, "float32", known, tuple(starts))


def _binary_header(path: Path) -> tuple[int, int, int] | None:
    """Words, dimensions and where the first word begins, of a binary file; None for any other."""
    with reading(path, "word vector"), unpacked(path) as file:
        line = file.readline(64)
        found = re.fullmatch(rb"(\d{1,12}) (\d{1,7})\r?\n", line)
        if found is None:
            return None
        words, width = int(found[1]), int(found[2])
        packed = is_packed(path)
        rest = path.stat().st_size - len(line)
        # the shortest word and its space; text takes two characters for a number at the least
        if not words or not width or (not packed and rest < words * (4 * width + 2)):
            return (words, width, len(line)) if suffix_of(path) == ".bin" else None
        start = file.read(4096)
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        # a text may be cut within a letter at the end of what was read
        return (words, width, len(line)) if error.start < len(start) - 4 else None
    return (words, width, len(line)) if b"\0" in start else None


def _read_binary(path: Path, rows: RowFile, ids: IdFile, wanted: Wanted) -> None:
    found = _binary_header(path)
    assert found is not None
    count, width, begin = found
    where, size = str(path), 4 * width
    step = max(1, min(_BLOCK, _BLOCK_BYTES // size))
    with unpacked(path) as file:
        file.read(begin)
        for first in range(0, count, step):
            words: list[str] = []
            numbers: list[NDArray[np.float32]] = []
            for number in range(first, min(first + step, count)):
                word = bytearray()
                while (letter := file.read(1)) not in (b" ", b""):
                    word += letter
                    if len(word) > _LONGEST_WORD:
                        break
                vector = file.read(size)
                if len(vector) < size:
                    raise InputError(
                        f"the file announces {count:,} words of {width} numbers, and ends in word "
                        f"{number + 1:,}",
                        where=where,
                        mend="Copy it again: it is cut off",
                    )
                # word2vec itself ends each word with a line, gensim does not
                words.append(bytes(word).lstrip(b"\n").decode("utf-8"))
                numbers.append(np.frombuffer(vector, dtype="<f4"))
            rows.add(np.stack(numbers), where, first)
            ids.add(written_ids(words, where), where)
            wanted.progress("reading vectors", rows.n, count)


def _numbers_at_end(parts: Sequence[str]) -> int:
    """How many parts behind the first are numbers, counted from the end."""
    count = 0
    for part in reversed(parts[1:]):
        try:
            float(part)
        except ValueError:
            break
        count += 1
    return count


def _announced(line: str) -> tuple[int, int] | None:
    parts = line.split()
    if len(parts) == 2 and all(part.isdigit() for part in parts):
        return int(parts[0]), int(parts[1])
    return None


def _words(
    lines: Iterator[tuple[int, str]], path: Path, width: int | None
) -> Iterator[tuple[str, list[float]]]:
    """Words and their numbers, ``width`` of them; words may hold spaces, as some of GloVe's do."""
    for number, line in lines:
        # words may hold other spaces too, numbers are parted by plain ones or tabs
        parts = re.split("[ \t]", line.rstrip(" \t\r\n"))
        if parts == [""]:
            continue
        if width is None:
            width = _numbers_at_end(parts)
        cut = max(1, len(parts) - width) if _numbers_at_end(parts) >= width > 0 else 1
        word, numbers = " ".join(parts[:cut]), parts[cut:]
        try:
            if not numbers:
                raise ValueError
            yield word, [float(n) for n in numbers]
        except ValueError as error:
            raise InputError(
                "expected a word and its numbers",
                where=f"{path}, line {number}",
                mend="Texts and ids are no vectors: encode the texts first",
            ) from error
