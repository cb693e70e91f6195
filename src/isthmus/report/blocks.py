"""What a page is made of: an answer, then sections of prose, cards, commands, tables, figures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

__all__ = [
    "Block",
    "Card",
    "Cards",
    "Commands",
    "Figure",
    "Headline",
    "Items",
    "Page",
    "Prose",
    "Section",
    "TextTable",
    "Tile",
    "Tone",
]

Tone = Literal["good", "caution", "bad", "plain"]
"""The colour of a badge; its text always says the same in words."""

_NUMBER = re.compile(r"([<≤] )?[-+−]?[\d,.]+(e[-+]?\d+)?( ?%)?( \[.*\])?( ± .*)?|-|")  # noqa: RUF001


@dataclass(frozen=True)
class Tile:
    """One number of the summary."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Headline:
    """The question a reader comes with, answered before anything else."""

    question: str
    short: str
    sentence: str
    tone: Tone
    tiles: tuple[Tile, ...] = ()


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    kind: ClassVar = "prose"
    text: str


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    kind: ClassVar = "items"
    items: tuple[str, ...]


@dataclass(frozen=True)
class Commands:
    """What to type, one after the other."""

    kind: ClassVar = "commands"
    commands: tuple[str, ...]


@dataclass(frozen=True)
class Card:
    """One finding."""

    badge: str
    tone: Tone
    title: str
    lines: tuple[str, ...]
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Cards:
    """Findings, the gravest first."""

    kind: ClassVar = "cards"
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class TextTable:
    """Cells as they are shown; the first of each row is its heading."""

    kind: ClassVar = "table"
    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    folded: bool = False
    """Whether it opens only when asked for."""
    marked: frozenset[str] = frozenset()
    """Headings of the rows to stand out."""
    terms: bool = False
    """Whether the headings of rows are words of ours, to be explained where they are new."""

    def is_number(self, column: int) -> bool:
        """Whether every cell of a column is a number, to be set flush right."""
        cells = [row[column] for row in self.rows]
        return any(cells) and all(_NUMBER.fullmatch(cell) for cell in cells)


@dataclass(frozen=True)
class Figure:
    """A plot, what it shows in words, and its numbers as a table.

    ``traces`` and ``layout`` are plotly's, with colours written as ``var(--name)`` of the style
    sheet; strings that plotly would read as markup come from `isthmus.report.plots.plain`.
    """

    kind: ClassVar = "figure"
    key: str
    title: str
    caption: str
    """How to read it."""
    alt: str
    """What it shows, for those who cannot see it."""
    traces: tuple[dict[str, Any], ...]
    layout: dict[str, Any]
    height: int
    table: TextTable
    zoom: bool = False
    """Whether a region can be enlarged with a mouse."""
    loose: bool = False
    """Whether notes inside the plot are left out where they do not fit beside each other."""


Block = Prose | Items | Commands | Cards | TextTable | Figure


@dataclass(frozen=True)
class Section:
    """Blocks under a heading."""

    title: str
    blocks: Sequence[Block]

    @property
    def arrangement(self) -> str:
        """How figures alone share the width of a large screen; none where they do not."""
        if len(self.blocks) < 2 or not all(isinstance(block, Figure) for block in self.blocks):
            return ""
        return "pairs" if len(self.blocks) <= 3 else "columns"


@dataclass(frozen=True)
class Page:
    """A whole report."""

    title: str
    subtitle: str
    answer: Headline
    sections: Sequence[Section] = field(default_factory=tuple[Section, ...])

    @property
    def figures(self) -> list[Figure]:
        """Every figure, in order."""
        return [b for section in self.sections for b in section.blocks if isinstance(b, Figure)]
