"""Two models, layer by layer, as a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.errors import InputError
from isthmus.report.blocks import Commands, Figure, Headline, Page, Prose, Section, TextTable, Tile
from isthmus.report.diagnosis_figures import measure_name
from isthmus.report.plots import axis, base_layout, fixed, number, plain, shortened
from isthmus.report.write import write_page
from isthmus.similarity import MEASURES, Grid
from isthmus.similarity.null import least_p, p_text

if TYPE_CHECKING:
    from isthmus.nn.look.layers import Stitch

__all__ = ["grid_figures", "grid_headline", "write_layers_report"]

_MOST_CELLS_WRITTEN = 100
_CHANCE = 0.05
_TURN = 0.55  # where text on the heat map changes its colour
_HEAT = [f"var(--heat-{i})" for i in range(5)]


def write_layers_report(
    grid: Grid,
    path: str | Path,
    *,
    names: tuple[str, str] = ("the first model", "the second model"),
    cuts: Sequence[Stitch] = (),
    commands: Sequence[str] = (),
    overwrite: bool = False,
) -> None:
    """Write the similarity of every pair of layers as one self-contained HTML file.

    Args:
        grid: from `isthmus.similarity_grid`, or ``isthmus.nn.compare_layers(...).grid``.
        path: of the file.
        names: what the models are called.
        cuts: where they could be stitched, best first: ``compare_layers(...).stitches()``.
        commands: what to type next, shown as given.
        overwrite: replace a file that exists.

    Raises:
        InputError: for a grid of no measure.
        MissingExtraError: without plotly (extra ``report``).
        OutputError: if ``path`` exists and ``overwrite`` is false, or cannot be written.

    Example:
        >>> import numpy as np
        >>> from isthmus.report import write_layers_report
        >>> from isthmus.similarity import GridMoments, similarity_grid
        >>> x, y = np.random.default_rng(0).standard_normal((2, 100, 6))
        >>> moments = GridMoments().update({"first": x, "second": y}, {"only": y**3})
        >>> grid = similarity_grid(moments, measures=["linear_cka"])
        >>> write_layers_report(grid, "layers.html", names=("old", "new"))
    """
    if not grid.values:
        raise InputError("the grid holds no measure", where="grid")
    write_page(_page(grid, names, cuts, commands), path, overwrite=overwrite)


def _page(
    grid: Grid, names: tuple[str, str], cuts: Sequence[Stitch], commands: Sequence[str]
) -> Page:
    sections = [Section("Plots", tuple(grid_figures(grid, names)))]
    if cuts:
        sections.insert(0, Section("Where to cut", (*_cuts(grid, cuts, names),)))
    if commands:
        sections.insert(0, Section("What to do next", (Commands(tuple(commands)),)))
    sections.append(
        Section(
            "The closest layer of each",
            (
                Prose(
                    f"p is the probability that layers without any relation come so close "
                    f"somewhere in the grid; above {_CHANCE:g} a match is no better than luck."
                    f"{_floor(grid)}"
                ),
                *(_matches(grid, m, names) for m in grid.values),
            ),
        )
    )
    one, other = (shortened(name, 60) for name in names)
    return Page(
        title=f"Layers of {one} and of {other}",
        subtitle=f"{len(grid.names_x)} and {len(grid.names_y)} layers, {grid.n:,} rows; "
        + "; ".join(f"{measure_name(m)} corrected by {grid.corrected_by[m]}" for m in grid.values),
        answer=grid_headline(grid),
        sections=tuple(sections),
    )


def grid_figures(
    grid: Grid, names: tuple[str, str] = ("the first model", "the second model")
) -> Iterator[Figure]:
    """A heat map of each measure."""
    yield from (_map(grid, measure, names) for measure in grid.values)


def _cuts(
    grid: Grid, cuts: Sequence[Stitch], names: tuple[str, str]
) -> Iterator[Prose | TextTable | Commands]:
    yield Prose(
        "The front of the first model up to a layer can supply the back of the second from a layer "
        "on, where a linear map of the one explains the other. Layers that hold the same thing on "
        "both sides are left out: a cut there changes nothing. The share is an estimate for fresh "
        "items; what the stitched network loses is measured by isthmus.nn.stitch_grid."
    )
    yield TextTable(
        "Cuts, best first",
        (f"front: {names[0]}", f"back: {names[1]}", "explained", "CKA", "p, corrected"),
        tuple(
            (c.front, c.back, fixed(c.explained), fixed(c.cka), _p(grid, "debiased_cka", c.p))
            for c in cuts
        ),
    )
    best = cuts[0]
    yield Commands((f"stitch(first, {best.front!r}, second, {best.back!r}, batches)",))


def grid_headline(grid: Grid) -> Headline:
    """Which layers correspond?"""
    measure = next(iter(grid.values))
    matches = grid.best(measure)
    higher = MEASURES[measure].higher_is_closer
    a, b, value, p = (max if higher else min)(matches, key=lambda match: match[2])
    sure = [match for match in matches if match[3] <= _CHANCE]
    return Headline(
        question="Which layers correspond?",
        short=f"{len(sure)} of {len(matches)} layers have a match beyond luck."
        if sure
        else "None that these rows show.",
        sentence=f"The closest pair by {measure_name(measure)} is {a} and {b}: {number(value)}, "
        f"p {_p(grid, measure, p)} after looking at all pairs.",
        tone="good" if len(sure) == len(matches) else "caution" if sure else "bad",
        tiles=tuple(_tiles(grid, higher)),
    )


def _tiles(grid: Grid, higher: bool) -> Iterator[Tile]:
    for measure, values in grid.values.items():
        best = values.max() if MEASURES[measure].higher_is_closer else values.min()
        way = "more" if MEASURES[measure].higher_is_closer else "less"
        yield Tile(f"closest by {measure_name(measure)}", number(float(best)), f"{way} is closer")


def _p(grid: Grid, measure: str, p: float) -> str:
    return p_text(p, grid.corrected_by[measure])


def _floor(grid: Grid) -> str:
    """Why no p is smaller than it is, where it was drawn."""
    floors = {least_p(how) for how in grid.corrected_by.values()} - {None}
    if not floors:
        return ""
    least = max(floor for floor in floors if floor is not None)
    return (
        f" Where no random order of the items came so close, p is at its floor, ≤ {least:.2g}: "
        "one over the orders that were drawn, and one more. Draw more of them to see below it."
    )


def _map(grid: Grid, measure: str, names: tuple[str, str]) -> Figure:
    values, p = grid.values[measure], grid.p_max[measure]
    higher = MEASURES[measure].higher_is_closer
    written = values.size <= _MOST_CELLS_WRITTEN
    x, of_x = _short(grid.names_y)
    y, of_y = _short(grid.names_x)
    scale = [[i / 4, colour] for i, colour in enumerate(_HEAT if higher else _HEAT[::-1])]
    low, high = float(values.min()), float(values.max())
    shown_x, shown_y = ([plain(n) for n in side] for side in (grid.names_y, grid.names_x))
    name = measure_name(measure)
    hover = [
        [
            f"{a}<br>{b}<br>{name} {number(float(values[i, j]))}"
            f"<br>p {_p(grid, measure, float(p[i, j]))} after looking at all pairs"
            for j, b in enumerate(shown_x)
        ]
        for i, a in enumerate(shown_y)
    ]
    cell = 34 if len(y) <= 12 else 22 if len(y) <= 30 else 14
    notes: list[dict[str, Any]] = []
    if written:
        nearness = (values - low if higher else high - values) / max(high - low, 1e-12)
        for i, j in np.ndindex(*values.shape):
            close = nearness[i, j] > _TURN
            notes.append(
                {
                    "x": j, "y": i, "text": f"{values[i, j]:.2f}", "showarrow": False,
                    "font": {"size": 11, "color": f"var(--on-heat-{'close' if close else 'far'})"},
                }
            )  # fmt: skip
    best = grid.best(measure)
    a, b, value, _ = (max if higher else min)(best, key=lambda match: match[2])
    side = {"tickmode": "array", "showgrid": False, "zeroline": False, "ticks": ""}
    step_x, step_y = -(-len(x) // 16), -(-len(y) // 40)
    return Figure(
        key=measure,
        title=measure_name(measure)[0].upper() + measure_name(measure)[1:],
        caption=f"Every layer of {names[0]} (rows) against every layer of {names[1]} (columns); "
        f"{'more' if higher else 'less'} is closer, and stands out from the page.",
        alt=f"Heat map of {measure_name(measure)}, {len(y)} by {len(x)} layers, from {number(low)} "
        f"to {number(high)}; the closest pair is {a} and {b}, {number(value)}.",
        traces=(
            {
                "type": "heatmap", "z": [[float(f"{v:.4g}") for v in r] for r in values.tolist()],
                "x": list(range(len(x))), "y": list(range(len(y))),
                "colorscale": scale, "zmin": low, "zmax": high if high > low else low + 1,
                "xgap": 1, "ygap": 1, "hoverinfo": "text", "text": hover,
                "colorbar": {
                    "thickness": 10, "outlinewidth": 0, "nticks": 5, "len": 1.0,
                    "tickfont": {"size": 12, "color": "var(--quiet)"},
                },
            },
        ),
        layout=base_layout(
            margin={"l": 12, "r": 8, "t": 8, "b": 46},
            annotations=notes,
            xaxis=axis(
                plain(names[1], 30) + of_x,
                tickvals=list(range(0, len(x), step_x)), ticktext=x[::step_x], tickangle=-45,
                **side,
            ),
            yaxis=axis(
                plain(names[0], 30) + of_y, autorange="reversed",
                tickvals=list(range(0, len(y), step_y)), ticktext=y[::step_y],
                **side,
            ),
        ),
        height=max(240, 130 + cell * len(y)),
        table=_matches(grid, measure, names),
        loose=True,
    )  # fmt: skip


def _short(names: Sequence[str]) -> tuple[list[str], str]:
    """Layers without the parts of their dotted names that all share, and those parts."""
    split = [name.split(".") for name in names]
    shortest = min(map(len, split))
    first = last = 0
    if len(split) > 1:
        while first < shortest - 1 and len({parts[first] for parts in split}) == 1:
            first += 1
        while last < shortest - 1 - first and len({parts[-1 - last] for parts in split}) == 1:
            last += 1
    short = [plain(".".join(p[first : len(p) - last]), 24) for p in split]
    if not first and not last:
        return short, ""
    shared = ".".join([*split[0][:first], "*", *split[0][len(split[0]) - last :]])
    return short, f": {plain(shared, 40)}"


def _matches(grid: Grid, measure: str, names: tuple[str, str]) -> TextTable:
    matches = grid.best(measure)
    return TextTable(
        f"By {measure_name(measure)}",
        (f"layer of {names[0]}", f"closest of {names[1]}", "value", "p, corrected"),
        tuple((a, b, fixed(value), _p(grid, measure, p)) for a, b, value, p in matches),
    )
