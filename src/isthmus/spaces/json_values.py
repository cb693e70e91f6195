"""JSON values one after the other out of a text of any length, however its lines are broken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from isthmus.errors import InputError
from isthmus.json_text import read_json_at

__all__ = ["json_values"]

_BETWEEN = " \t\r\n\x1e"  # what stands between values, the mark of RFC 7464 among it
_NUMBERS = "-0123456789NI"  # how numbers begin, NaN and Infinity among them
_PIECE = 1 << 20
_LONGEST = 1 << 28
"""Characters of one value: a service's answer with 2,048 vectors of 4,096 numbers has fewer."""
_MOST_MEMORY = 1 << 29
"""Bytes of one value, once it is read."""
_TAKES = {",": 32, "[": 120, "{": 300}
"""Bytes of a number, of a list and of an object, by the mark before it."""
_LONGEST_PART = 1 << 23
"""Characters of one text, or of one list of numbers."""
_CUT = 16
"""Characters before the end of what was read where a value that goes on may seem wrong."""


def json_values(file: TextIO, path: Path) -> Iterator[tuple[Any, str]]:
    """The values of a file and where each begins, as they are read.

    Values stand one a line, one behind the other, or in one list, which is a value itself where
    numbers stand in it.  What is held in memory is one value.

    Raises:
        InputError: naming the line where something else begins, or a value longer than any row or
            answer of a service.
    """
    window = _Window(file, path)
    while begin := window.next_mark():
        if begin == "[" and not window.holds_numbers():
            yield from window.elements()
        else:
            where = window.where
            yield window.value(), where


class _Window:
    """What is held of a text: the value that is being read, and what was read behind it."""

    def __init__(self, file: TextIO, path: Path) -> None:
        self._file, self._path = file, path
        self._text = ""
        self._at = 0
        self._line = 1

    @property
    def where(self) -> str:
        return f"{self._path}, line {self._line}"

    def next_mark(self) -> str:
        """The next character that is not blank, and becomes the current one; empty at the end."""
        while True:
            self._advance(self._behind_blanks(0))
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def holds_numbers(self) -> bool:
        """Whether the list that begins here holds a number first."""
        while True:
            first = self._at + self._behind_blanks(1)
            if first < len(self._text) or not self._more():
                return self._text[first : first + 1] in tuple(_NUMBERS)

    def value(self) -> Any:
        """The value that begins here."""
        while True:
            found = self._decoded()
            length, whole = found[1] - self._at, found[1] < len(self._text)
            # a number may go on behind what was read
            if whole or not self._more():
                self._check(length)
                self._advance(length)
                return found[0]

    def _decoded(self) -> tuple[Any, int]:
        """The value that begins here, as far as it was read, and where it ends."""
        while True:
            try:
                return read_json_at(self._text, self._at)
            except json.JSONDecodeError as error:
                message = error.msg
                cut = "Unterminated" in message or error.pos >= len(self._text) - _CUT
            except ValueError as error:
                cut, message = False, str(error)
            if not cut or not self._more():
                raise InputError(f"this is not JSON ({message})", where=self.where)

    def elements(self) -> Iterator[tuple[Any, str]]:
        """The values of the list that begins here."""
        self._advance(1)
        mark = self.next_mark()
        while mark != "]":
            where = self.where
            yield self.value(), where
            mark = self.next_mark()
            if mark == ",":
                self._advance(1)
                self.next_mark()
            elif mark != "]":
                told = f"found {mark!r}" if mark else "the file ends"
                raise InputError(
                    f"this is not JSON (expected a comma or the end of the list, {told})",
                    where=self.where,
                )
        self._advance(1)

    def _behind_blanks(self, ahead: int) -> int:
        """How far ahead something stands that is not blank, or what was read ends."""
        while self._at + ahead < len(self._text) and self._text[self._at + ahead] in _BETWEEN:
            ahead += 1
        return ahead

    def _advance(self, by: int) -> None:
        self._line += self._text.count("\n", self._at, self._at + by)
        self._at += by

    def _more(self) -> bool:
        """Read on, as much again as is held; whether there was more."""
        held = self._text[self._at :]
        self._check(len(held))
        piece = self._file.read(max(_PIECE, len(held)))
        self._text, self._at = held + piece, 0
        return bool(piece)

    def _check(self, length: int) -> None:
        """Refuse a value that has so many characters, or goes on behind them, as no row does."""
        if length <= min(_LONGEST, _LONGEST_PART, _MOST_MEMORY // max(_TAKES.values())):
            return
        start, end = self._at, self._at + length
        memory = sum(size * self._text.count(mark, start, end) for mark, size in _TAKES.items())
        last = max(self._text.rfind(mark, start, end) for mark in "[]{}")
        for count, most, what in (
            (length, _LONGEST, "the value has more than {:,} characters"),
            (memory, _MOST_MEMORY, "the value would take more than {:,} bytes of memory"),
            (end - max(start, last), _LONGEST_PART, "a text or list has more than {:,} characters"),
        ):
            if count > most:
                raise InputError(
                    what.format(most), where=self.where, mend="Write one object a line"
                )
