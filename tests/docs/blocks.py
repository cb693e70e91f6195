"""The code blocks of a page in Markdown, and what each of them is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["python", "shell", "output"]

COMMANDS = ("isthmus", "python", "pip", "make")
"""A block of lines that begin so is typed in a shell; any other without a language is output."""


@dataclass(frozen=True)
class Block:
    """One block.

    Attributes:
        line: of the page on which its code begins, counted from 1.
        kind: what it is.
        text: its code, without indentation.
    """

    line: int
    kind: Kind
    text: str

    @property
    def commands(self) -> list[str]:
        """The commands of a shell block, each on one line, with their comments."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def code_blocks(page: str) -> list[Block]:
    """The fenced and the indented blocks of a page, in order."""
    found: list[Block] = []
    lines = page.splitlines()
    at = 0
    while at < len(lines):
        fence = re.match(r"\s*(```+|~~~+)\s*(\w*)", lines[at])
        if fence:
            start = at + 1
            at = start
            while at < len(lines) and not lines[at].strip().startswith(fence[1]):
                at += 1
            if at == len(lines):
                raise ValueError(f"line {start}: the block is not closed")
            found.append(_block(start + 1, fence[2], lines[start:at]))
        elif lines[at].startswith("    ") and (at == 0 or not lines[at - 1].strip()):
            start = at
            while at + 1 < len(lines) and lines[at + 1].startswith("    "):
                at += 1
            found.append(_block(start + 1, "", [line[4:] for line in lines[start : at + 1]]))
        at += 1
    return found


def _block(line: int, language: str, lines: list[str]) -> Block:
    text = "\n".join(lines)
    if language in ("python", "py"):
        return Block(line, "python", text)
    if language in ("sh", "bash", "shell", "console"):
        return Block(line, "shell", text)
    first = next((one for one in lines if one.strip() and not one.startswith("#")), "")
    typed = first.split() and first.split()[0] in COMMANDS
    if language and not typed:
        raise ValueError(f"line {line}: say how a block of {language!r} is checked")
    return Block(line, "shell" if typed else "output", text)
