"""The few kinds of plot that reports use, and how numbers and names are written in them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from isthmus.evaluate import Estimate

__all__ = [
    "GRID",
    "NEW",
    "OLD",
    "QUIET",
    "Row",
    "axis",
    "base_layout",
    "count",
    "dots",
    "fixed",
    "log_ticks",
    "number",
    "plain",
    "shortened",
    "span",
]

NEW, OLD, QUIET, GRID = "var(--new)", "var(--old)", "var(--quiet)", "var(--grid)"

_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
_WIDE = 42
_NOTE = 56  # characters of a small line that a phone has room for
_ROW, _LINE = 46, 16


def plain(text: str, most: int = 160) -> str:
    """Text that plotly shows as it is: what it would read as markup is escaped."""
    cut = shortened(text, most)
    return cut.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def shortened(text: str, most: int = 160) -> str:
    """Text on one line, cut where it is longer than ``most``."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def number(value: float | None, digits: int = 3) -> str:
    """A number to three significant digits; without exponent between 0.001 and a million."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e6 else f"{value:.{digits}g}"
    if abs(value) < 1e-3:
        return f"{value:.1e}"
    whole = len(f"{abs(value):.0f}") if abs(value) >= 1 else 1
    return f"{value:.{max(digits - whole + (abs(value) < 1), 0)}f}"


def count(value: float) -> str:
    """A whole number with separators."""
    return f"{value:,.0f}"


def fixed(value: float, digits: int = 3) -> str:
    """A number with so many decimals; 0 without a sign."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if not text.strip("-0.") else text


def span(estimate: Estimate | None) -> str:
    """A value with its interval, or why there is none."""
    return "-" if estimate is None else str(estimate)


def base_layout(**more: Any) -> dict[str, Any]:
    """What every plot has in common."""
    return {
        "font": {"family": _FONT, "size": 13, "color": "var(--ink)"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 12, "r": 14, "t": 10, "b": 46},
        "hovermode": "closest",
        "hoverlabel": {
            "bgcolor": "var(--surface)",
            "bordercolor": "var(--zero)",
            "font": {"color": "var(--ink)", "size": 13},
            "align": "left",
            "namelength": -1,
        },
        "showlegend": False,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "xanchor": "left"},
        **more,
    }


def axis(title: str, **more: Any) -> dict[str, Any]:
    """One axis with a quiet grid."""
    return {
        "title": {"text": title, "font": {"size": 13, "color": QUIET}, "standoff": 8},
        "gridcolor": GRID,
        "zerolinecolor": GRID,
        "linecolor": "var(--zero)",
        "tickfont": {"color": QUIET, "size": 12},
        "automargin": True,
        "nticks": 7,
        "fixedrange": True,
        **more,
    }


def log_ticks(low: float, high: float, *, percent: bool = False) -> dict[str, Any]:
    """Round values for a logarithmic axis from ``low`` to ``high``, few enough to be read."""
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    chosen: list[float] = []
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
        ticks = [float(f"{step}e{d}") for d in decades for step in steps]
        chosen = [tick for tick in ticks if 0.99 * low <= tick <= 1.01 * high]
        if len(chosen) >= 3:
            break
    # two digits would lie up to a twentieth beside a narrow axis
    chosen = chosen or [float(f"{low:.3g}")]
    text = [f"{100 * t:.4g}%" if percent else f"{t / 1000:g}k" if t >= 1000 else f"{t:g}"
            for t in chosen]  # fmt: skip
    return {"type": "log", "tickmode": "array", "tickvals": chosen, "ticktext": text}


@dataclass(frozen=True)
class Row:
    """One line of a plot of dots: a value, where known its interval and the values of chance."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    chance: tuple[float, float] | None = None
    colour: str = NEW
    hover: str = ""
    """More about it, plain text."""
    note: str = ""
    """A second line under the name, such as a price with its unit; never wrapped."""


def dots(
    rows: Sequence[Row],
    title: str,
    *,
    lines: Sequence[tuple[float, str]] = (),
    reach: tuple[float | None, float | None] = (None, None),
    percent: bool = False,
    mark_chance: bool = True,
) -> tuple[tuple[dict[str, Any], ...], dict[str, Any], int]:
    """Values with intervals, one below the other, each under its name; traces, layout, height.

    Args:
        rows: from the top.
        title: of the axis.
        lines: values marked from top to bottom, with what they are.
        reach: ends of the axis; None is free.
        percent: whether ticks are written so.
        mark_chance: whether the middle of the values of chance is marked.
    """
    names = [textwrap.wrap(shortened(row.name, 3 * _WIDE), _WIDE) or [""] for row in rows]
    places: list[float] = []
    at = 0.0
    for row, name in zip(rows, names, strict=True):
        at -= _ROW + _LINE * (len(name) - 1 + bool(row.note))
        places.append(at)
    height = -int(at) + 16
    known = [
        v for r in rows for v in (r.value, r.low, r.high, *(r.chance or ())) if v is not None
    ] + [value for value, _ in lines]
    low, high = min(known), max(known)
    pad = 0.04 * ((high - low) or abs(high) or 1.0)
    low = low - pad if reach[0] is None else min(reach[0], low - pad * (low < reach[0]))
    high = high + pad if reach[1] is None else max(reach[1], high + pad * (high > reach[1]))
    edge = 0.012 * (high - low)
    shapes: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    for i, (value, text) in enumerate(lines):
        shapes.append(
            {
                "type": "line", "x0": value, "x1": value, "yref": "paper", "y0": 0, "y1": 1,
                "line": {"color": "var(--zero)", "width": 1.5, "dash": "dot"}, "layer": "below",
            }
        )  # fmt: skip
        notes.append(
            {
                "x": value, "yref": "paper", "y": 1, "yanchor": "bottom", "text": plain(text),
                "yshift": _LINE * i, "xanchor": _anchor((value - low) / (high - low)),
                "showarrow": False, "font": {"size": 11.5, "color": QUIET},
            }
        )  # fmt: skip
    for row, name, place in zip(rows, names, places, strict=True):
        notes.append(
            {
                "xref": "paper", "x": 0, "xanchor": "left", "y": place, "yanchor": "bottom",
                "yshift": 6, "text": "<br>".join(_label(row, name)), "align": "left",
                "showarrow": False, "font": {"size": 12.5}, "bgcolor": "var(--surface)",
                "borderpad": 1,
            }
        )  # fmt: skip
        shapes.append(
            {
                "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": place, "y1": place,
                "line": {"color": GRID, "width": 1}, "layer": "below",
            }
        )  # fmt: skip
        if row.chance is not None:
            shapes.append(
                {
                    "type": "line", "x0": row.chance[0], "x1": row.chance[1], "y0": place,
                    "y1": place, "line": {"color": "var(--band)", "width": 12}, "layer": "below",
                }
            )  # fmt: skip
    by_chance = [(sum(row.chance) / 2, place) for row, place in zip(rows, places, strict=True)
                 if row.chance is not None and mark_chance]  # fmt: skip
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "markers", "x": [x for x, _ in by_chance],
            "y": [y for _, y in by_chance], "hoverinfo": "text",
            "hovertext": [f"by chance {number(x)}" for x, _ in by_chance],
            "marker": {"symbol": "line-ns-open", "size": 12, "color": QUIET,
                       "line": {"width": 2}},
        }
    ] if by_chance else []  # fmt: skip
    traces += [
        {
            "type": "scatter", "mode": "lines", "hoverinfo": "skip",
            "x": [row.low, row.high], "y": [place, place],
            "line": {"color": row.colour, "width": 2.5},
        }
        for row, place in zip(rows, places, strict=True)
        if row.low is not None and row.high is not None
    ]  # fmt: skip
    traces.append(
        {
            "type": "scatter", "mode": "markers", "x": [row.value for row in rows], "y": places,
            "marker": {"size": 10, "color": [row.colour for row in rows]},
            "hoverinfo": "text",
            "hovertext": [_hover(row, percent) for row in rows],
        }
    )  # fmt: skip
    top = 14 + _LINE * len(lines) if lines else 6
    layout = base_layout(
        margin={"l": 14, "r": 18, "t": top, "b": 46},
        xaxis=axis(
            title,
            range=[low - edge, high + edge],
            zeroline=low < 0 < high,
            zerolinecolor="var(--zero)",
            tickformat=".0%" if percent else None,
        ),
        yaxis={
            "visible": False, "range": [-height, 0], "fixedrange": True,
        },
        shapes=shapes,
        annotations=notes,
    )  # fmt: skip
    return tuple(traces), layout, height + top + 46


def _anchor(place: float) -> str:
    """Which side of a note stands at a place from 0 to 1 of the axis, so that it is not cut."""
    return "left" if place < 0.25 else "right" if place > 0.75 else "center"


def _label(row: Row, name: Sequence[str]) -> list[str]:
    note = f'<span style="font-size:11px">{plain(row.note, _NOTE)}</span>'
    return [*(plain(part) for part in name), *([note] if row.note else [])]


def _hover(row: Row, percent: bool) -> str:
    def written(value: float) -> str:
        return f"{value:.1%}" if percent else number(value)

    text = f"{plain(row.name)}<br>{written(row.value)}"
    if row.low is not None and row.high is not None:
        text += f" [{written(row.low)}, {written(row.high)}]"
    if row.hover:
        text += "<br>" + "<br>".join(plain(p) for p in textwrap.wrap(row.hover, 60))
    return text
