"""What a comparison of two spaces ends in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from isthmus.files import canonical_json
from isthmus.notebook import ShownInNotebook
from isthmus.similarity.catalogue import MEASURES
from isthmus.similarity.measure import Basis, Measure
from isthmus.similarity.null import Null

__all__ = ["AT_THIS_N", "Comparison", "Similarity"]


AT_THIS_N = "of the value at this number of rows: few rows look more alike than many"
"""What an interval is of where few rows shift the value."""


class Similarity(BaseModel):
    """One measure of two spaces, with what is needed to judge it.

    Attributes:
        measure: its name, a key of `MEASURES`.
        definition: which formula, with its constants.
        value: None where the measure is not defined on these data; ``reason`` says why.
        n: rows it was computed from.
        dx: width of x.
        dy: width of y.
        preprocessing: what was done to the rows first.
        null: its distribution without any relation of the rows.
        low: lower end of the interval; None where there is none.
        high: its upper end.
        interval_of: ``population``, the value of all rows there could be; or ``this n``, the value
            at as many rows, which more rows would shift.
        level: of the interval.
        warnings: what the reader must know before the value is used.
        details: what the value was made from, such as both directions of PWCCA.

    Example:
        >>> import numpy as np
        >>> from isthmus import compare
        >>> x = np.random.default_rng(0).standard_normal((300, 6))
        >>> found = compare(x, x**3, measures="linear_cka")["linear_cka"]
        >>> found.low < found.value < found.high, found.null.p < 0.01
        (True, True)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    measure: str
    definition: str
    value: float | None
    reason: str | None = None
    higher_is_closer: bool
    basis: Basis
    n: int
    dx: int
    dy: int
    preprocessing: str
    null: Null | None = None
    low: float | None = None
    high: float | None = None
    interval_of: Literal["population", "this n"] = "this n"
    level: float = 0.95
    warnings: tuple[str, ...] = ()
    details: dict[str, float] = {}

    @property
    def declaration(self) -> Measure:
        """What the measure declares about itself."""
        return MEASURES[self.measure]

    def __str__(self) -> str:
        cells = _cells(self)
        return " ".join(cell for cell in cells if cell)


@dataclass(frozen=True)
class Comparison(ShownInNotebook, Mapping[str, Similarity]):
    """Every measure that was asked for, by name, in the order of `MEASURES`; prints as a table.

    Attributes:
        results: the measures.
        n: pairs in all.
        seed: of the sample and the permutations.

    Example:
        >>> import numpy as np
        >>> from isthmus import Comparison, compare
        >>> x = np.random.default_rng(0).standard_normal((300, 6))
        >>> found = compare(x, x, measures=["yanai", "gulp"])
        >>> list(found), Comparison.from_json(found.to_json()) == found
        (['yanai', 'gulp'], True)
    """

    results: dict[str, Similarity]
    n: int
    seed: int

    def __getitem__(self, name: str) -> Similarity:
        return self.results[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        results = {name: found.model_dump(mode="json") for name, found in self.results.items()}
        return canonical_json({"n": self.n, "seed": self.seed, "results": results})

    @classmethod
    def from_json(cls, text: str) -> Comparison:
        """Read what `to_json` wrote; raises pydantic's ``ValidationError`` for anything else."""
        whole = json.loads(text)
        found = {name: Similarity.model_validate(r) for name, r in whole["results"].items()}
        ordered = {name: found[name] for name in MEASURES if name in found}
        return cls(ordered, whole["n"], whole["seed"])

    def __str__(self) -> str:
        shown = [found for found in self.results.values() if found.value is not None]
        head = ("measure", "value", "interval", "closer is", "chance", "p", "rows")
        table = [head, *map(_cells, shown)]
        widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
        lines = [f"{self.n:,} pairs", ""]
        lines += [
            "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
            for row in table
        ]
        notes: dict[str, list[str]] = {}
        if any(found.low is not None and found.interval_of == "this n" for found in shown):
            lines += ["", f"* {AT_THIS_N}"]
        for name, found in self.results.items():
            for warning in found.warnings:
                notes.setdefault(warning, []).append(name)
        lines += [""] * bool(notes)
        lines += [f"{', '.join(names)}: {warning}" for warning, names in notes.items()]
        lines += [
            f"no {name}: {found.reason}"
            for name, found in self.results.items()
            if found.value is None
        ]
        return "\n".join(lines)


def _cells(found: Similarity) -> tuple[str, ...]:
    mark = "*" if found.interval_of == "this n" else ""
    interval = "" if found.low is None else f"[{found.low:.3f}, {found.high:.3f}]{mark}"
    chance = p = ""
    if found.null is not None:
        chance = f"{found.null.mean:.3f} ± {found.null.sd:.2g}"
        p = f"{found.null.p:.2g}"
    value = "undefined" if found.value is None else f"{found.value:.4f}"
    closer = "higher" if found.higher_is_closer else "lower"
    return found.measure, value, interval, closer, chance, p, f"{found.n:,}"
