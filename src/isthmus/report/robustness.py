"""What a report says of a way under other conditions than those it was judged in."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.evaluate.robustness import Robustness
from isthmus.report.blocks import Items, Prose, Section, TextTable
from isthmus.report.plots import fixed, span

__all__ = ["robustness_sections"]


def robustness_sections(found: Robustness | None) -> Iterator[Section]:
    """A table of every condition; nothing where none was tried."""
    if found is None:
        return
    rows = tuple(
        (c.name.replace("_", " "), fixed(c.value), span(c.change), span(c.to_old), c.what)
        for c in found.conditions
    )
    blocks: list[Prose | TextTable | Items] = [
        Prose(
            f"{found.way} has {found.metric} {fixed(found.value)} as judged. Each condition was "
            "run by the code that serves; the intervals of the changes hold together. Of queries "
            "out of the domain the change is what the way gains over the old model there, less "
            "what it gains elsewhere."
        ),
        TextTable(
            "Under other conditions",
            ("condition", found.metric, "change", "minus the old model", "what was done"),
            rows,
        ),
    ]
    if found.absent:
        blocks.append(Items(tuple(f"not tried: {n} ({why})" for n, why in found.absent.items())))
    yield Section("Robustness", blocks)
