"""Vectors from the text files of word2vec, GloVe and fastText: a word and its numbers on a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np

from isthmus.errors import InputError
from isthmus.spaces.formats.contents import Contents, IdFile, RowFile, Wanted, open_text, reading
from isthmus.spaces.ids import normalise_ids

__all__ = ["open_word2vec"]

_BLOCK = 4096


def open_word2vec(files: Sequence[Path], wanted: Wanted) -> Contents:
    """The vectors of words, whose ids are the words; a first line ``n d`` is checked and left out.

    Raises:
        InputError: naming the first line that is not a word and as many numbers as those before.
    """
    starts: list[tuple[str, int]] = []
    with ExitStack() as stack:
        rows, ids = RowFile(stack), IdFile(stack)
        for path in files:
            starts.append((str(path), rows.n))
            with reading(path, "word vector"), open_text(path) as file:
                announced = _announced(file.readline())
                if announced is None:
                    file.seek(0)
                first = 0
                lines = enumerate(file, 1 if announced is None else 2)
                while block := list(islice(_words(lines, path), _BLOCK)):
                    where = str(path)
                    width = len(block[0][1])
                    for line, (_, numbers) in enumerate(block, first + 1):
                        if len(numbers) != width:
                            raise InputError(
                                f"the word has {len(numbers)} numbers, those before have {width}",
                                where=f"{path}, word {line}",
                            )
                    rows.add(np.array([n for _, n in block], dtype=np.float32), where, first)
                    ids.add(normalise_ids([word for word, _ in block], where), where)
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


def _announced(line: str) -> tuple[int, int] | None:
    parts = line.split()
    if len(parts) == 2 and all(part.isdigit() for part in parts):
        return int(parts[0]), int(parts[1])
    return None


def _words(lines: Iterator[tuple[int, str]], path: Path) -> Iterator[tuple[str, list[float]]]:
    for number, line in lines:
        # words may hold other spaces, numbers are parted by plain ones
        word, *numbers = line.rstrip("\n").rstrip(" ").split(" ")
        if not word and not numbers:
            continue
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
