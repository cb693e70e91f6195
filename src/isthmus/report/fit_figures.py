"""The figures that only a fit has: its candidates, how they settle, scores and trust."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from isthmus.adapters.budget.curve_reading import LearningCurve
from isthmus.adapters.select import RULE
from isthmus.bridge import Bridge
from isthmus.bridge.tried import Tried
from isthmus.evaluate.arms import words_of
from isthmus.report.blocks import Figure, TextTable
from isthmus.report.plots import (
    NEW,
    OLD,
    QUIET,
    Row,
    axis,
    base_layout,
    dots,
    fixed,
    log_ticks,
    number,
    plain,
    span,
)

__all__ = ["candidate_figures", "curve_figure", "threshold_figures"]

_MOST_ROWS = 12
_MOST_LINES = 4
_FITTED = 5
_NUMBER = re.compile(r"(\w+)=([-+]?\d[\d.]*(?:e[-+]?\d+)?)(?=[,)])")
_LINES = (NEW, OLD, "var(--third)", "var(--fourth)")


def candidate_figures(tried: Sequence[Tried], taken: int | None = None) -> Iterator[Figure]:
    """The leaderboard, and how the score follows the strength of one parameter.

    Args:
        tried: the maps, best first.
        taken: the place of the one that was taken; None if it is not known.
    """
    if len(tried) < 2:
        return
    shared = _Shared.of(tried)
    rows: list[Row] = []
    for i, t in enumerate(tried):
        if i < _MOST_ROWS or i in (taken, len(tried) - 1):
            where = "" if i < _MOST_ROWS else f"{i + 1} of {len(tried)}: "
            colour = "var(--good)" if i == taken else QUIET if where else NEW
            mark = "taken: " if i == taken else ""
            rows.append(Row(f"{mark}{where}{shared.core(t.recipe)}", t.score, colour=colour))
    why = ""
    if taken is not None:
        better = f"{tried[taken].score:.3f} against {tried[0].score:.3f}; " if taken else ""
        why = f" Green: what was taken ({better}{RULE})."
    traces, layout, height = dots(rows, "score on validation queries")
    yield Figure(
        key="candidates",
        title=f"The {len(tried)} maps that were tried",
        caption=f"By their score on validation queries, the best first.{why} The choice was made "
        f"on these queries, so the scores flatter a little; the test queries above do not.{shared}",
        alt=f"Dot plot of validation scores; the best is {fixed(tried[0].score)} of "
        f"{tried[0].recipe}, the last {fixed(tried[-1].score)}.",
        traces=traces,
        layout=layout,
        height=height,
        table=TextTable(
            "Every map",
            ("recipe", "validation score", "relative squared error"),
            tuple(
                (
                    t.recipe,
                    fixed(t.score),
                    "-" if t.squared_error is None else number(t.squared_error),
                )
                for t in tried
            ),
            terms=True,
            marked=frozenset() if taken is None else frozenset({tried[taken].recipe}),
        ),
    )
    yield from _strengths(tried, shared)


class _Shared(NamedTuple):
    """The steps that all recipes begin and end with."""

    first: tuple[str, ...]
    last: tuple[str, ...]

    @classmethod
    def of(cls, tried: Sequence[Tried]) -> Self:
        split = [t.recipe.split(" | ") for t in tried]
        shortest = min(map(len, split))
        first = last = 0
        while first < shortest - 1 and len({parts[first] for parts in split}) == 1:
            first += 1
        while last < shortest - 1 - first and len({parts[-1 - last] for parts in split}) == 1:
            last += 1
        parts = split[0]
        return cls(tuple(parts[:first]), tuple(parts[len(parts) - last :]))

    def core(self, recipe: str) -> str:
        """A recipe without them."""
        parts = recipe.split(" | ")
        return " | ".join(parts[len(self.first) : len(parts) - len(self.last)])

    def __str__(self) -> str:
        if not self.first and not self.last:
            return ""
        return f" Each stands in: {' | '.join([*self.first, '…', *self.last])}."


def _families(tried: Sequence[Tried]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Recipes that differ in one number alone: by its place, then by the rest of the recipe."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for one in tried:
        for match in _NUMBER.finditer(one.recipe):
            rest = one.recipe[: match.start(2)] + "…" + one.recipe[match.end(2) :]
            place = f"{one.recipe[: match.start(1)].rpartition('|')[2].strip()}{match[1]}"
            step = place.partition("(")[0]
            lines = found.setdefault(f"{match[1]} of {step}", {})
            lines.setdefault(rest, []).append((float(match[2]), one.score))
    return found


def _strengths(tried: Sequence[Tried], shared: _Shared) -> Iterator[Figure]:
    families = {
        name: [(rest, sorted(points)) for rest, points in lines.items() if len(points) >= 3]
        for name, lines in _families(tried).items()
    }
    families = {name: lines for name, lines in families.items() if lines}
    if not families:
        return
    best = {n: max(s for _, points in lines for _, s in points) for n, lines in families.items()}
    # of equal bests the parameter with the longest line tells most
    name = max(families, key=lambda n: (best[n], max(len(p) for _, p in families[n])))
    lines = sorted(families[name], key=lambda line: -max(s for _, s in line[1]))[:_MOST_LINES]
    values = [v for _, points in lines for v, _ in points]
    log = min(values) > 0 and max(values) / min(values) > 20
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "lines+markers", "name": plain(shared.core(rest), 36),
            "x": [v for v, _ in points], "y": [s for _, s in points],
            "line": {"color": colour, "width": 2}, "marker": {"size": 7, "color": colour},
            "hoverinfo": "text",
            "hovertext": [f"{plain(rest)}<br>{number(v)}: {s:.3f}" for v, s in points],
        }
        for (rest, points), colour in zip(lines, _LINES, strict=False)
    ]  # fmt: skip
    yield Figure(
        key="strengths",
        title=f"How the score follows {name}",
        caption="Recipes that differ in this number alone. A flat top means that the choice does "
        "not matter much; a best value at an end, that a wider range may do better.",
        alt=f"Line plot of validation scores over {name}, {len(lines)} lines; the best score is "
        f"{fixed(best[name])}.",
        traces=tuple(traces),
        layout=base_layout(
            showlegend=True,
            legend={"orientation": "h", "x": 0, "y": -0.28, "yanchor": "top", "xanchor": "left"},
            margin={"l": 12, "r": 14, "t": 10, "b": 70 + 20 * len(lines)},
            xaxis=axis(
                plain(name), zeroline=False, **(log_ticks(min(values), max(values)) if log else {})
            ),
            yaxis=axis("validation score"),
        ),
        height=320 + 20 * len(lines),
        table=TextTable(
            "Scores",
            ("recipe", "value", "score"),
            tuple((rest, number(v), fixed(s)) for rest, points in lines for v, s in points),
        ),
    )


def curve_figure(curve: LearningCurve) -> Figure:
    """Quality by number of pairs, with the law that was fitted to it."""
    a, b, c = curve.law
    last = curve.budgets[-1]
    # the law was fitted to the largest budgets alone
    over = np.geomspace(curve.budgets[-_FITTED:][0], 2 * last, 60)
    law = a - b * over**-c
    quality = [q.value or 0.0 for q in curve.quality]
    low = [
        v - (q.low if q.low is not None else v) for q, v in zip(curve.quality, quality, strict=True)
    ]
    high = [
        (q.high if q.high is not None else v) - v
        for q, v in zip(curve.quality, quality, strict=True)
    ]
    return Figure(
        key="curve",
        title="How the map settles as pairs are added",
        caption=f"What unseen {curve.asked} find behind maps of so many pairs. "
        f"{curve.answer[0].upper()}{curve.answer[1:]}.",
        alt=f"Line plot of {curve.metric} by number of pairs, from {fixed(quality[0])} with "
        f"{curve.budgets[0]:,} to {fixed(quality[-1])} with {last:,}; a power law levels off at "
        f"{number(curve.asymptote.value)}.",
        traces=(
            {
                "type": "scatter", "mode": "lines", "name": "fitted law, to twice the pairs",
                "x": over.tolist(), "y": law.tolist(), "hoverinfo": "skip",
                "line": {"color": QUIET, "width": 1.5, "dash": "dot"},
            },
            {
                "type": "scatter", "mode": "lines+markers", "name": "measured",
                "x": list(curve.budgets), "y": quality,
                "error_y": {
                    "type": "data", "symmetric": False, "array": high, "arrayminus": low,
                    "color": NEW, "thickness": 1.5, "width": 3,
                },
                "line": {"color": NEW, "width": 2}, "marker": {"size": 8, "color": NEW},
                "hoverinfo": "text",
                "hovertext": [
                    f"{n:,} pairs<br>{q}" for n, q in zip(curve.budgets, curve.quality, strict=True)
                ],
            },
        ),
        layout=base_layout(
            showlegend=True,
            margin={"l": 12, "r": 14, "t": 34, "b": 46},
            xaxis=axis("pairs", **log_ticks(curve.budgets[0], 2 * last)),
            yaxis=axis(f"{curve.metric} of {curve.n_queries:,} unseen {curve.asked.split(',')[0]}"),
        ),
        height=340,
        table=TextTable(
            f"{curve.recipe}; enough: {span(curve.enough)} pairs; at best {span(curve.asymptote)}",
            ("pairs", curve.metric),
            tuple((f"{n:,}", span(q)) for n, q in zip(curve.budgets, curve.quality, strict=True)),
        ),
    )  # fmt: skip


def threshold_figures(bridge: Bridge) -> Iterator[Figure]:
    """What thresholds on the old model's scores become for the way that is judged."""
    found = bridge.thresholds
    if found is None:
        return
    way = "bridge" if bridge.recommended is None else bridge.recommended[0]
    for keep in found.keeps(way):
        old, new = found.tables[keep][way][:2].astype(np.float64)
        if len(old) < 2:
            continue
        let_through = "the same share of results" if keep == "share" else "as many right results"
        yield _curve(
            f"threshold-{keep}",
            f"Thresholds that let {let_through} through: {words_of(way)}",
            f"A threshold tuned on the old model is to be read through this curve (isthmus "
            f"threshold). The dotted line would need no translation; the errors are those on "
            f"{found.queries:,} unseen queries.",
            list(zip(old.tolist(), new.tolist(), strict=True)),
            "threshold of the old model",
            f"threshold of {words_of(way)}",
        )


def _curve(
    key: str,
    title: str,
    caption: str,
    knots: Sequence[tuple[float, float]],
    x: str,
    y: str,
) -> Figure:
    diagonal = [knots[0][0], knots[-1][0]]
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "lines", "x": diagonal, "y": diagonal,
            "line": {"color": QUIET, "width": 1.5, "dash": "dot"}, "hoverinfo": "skip",
        }
    ]  # fmt: skip
    traces.append(
        {
            "type": "scatter", "mode": "lines", "x": [a for a, _ in knots],
            "y": [b for _, b in knots], "line": {"color": NEW, "width": 2.5},
            "hoverinfo": "text",
            "hovertext": [f"{number(a)} means {number(b)}" for a, b in knots],
        }
    )  # fmt: skip
    chosen = np.unique(np.linspace(0, len(knots) - 1, 12).astype(int)).tolist()
    return Figure(
        key=key,
        title=title,
        caption=caption,
        alt=f"Rising curve of the {y} over the {x}, from {number(knots[0][1])} to "
        f"{number(knots[-1][1])}.",
        traces=tuple(traces),
        layout=base_layout(
            xaxis=axis(x, zeroline=False), yaxis=axis(y, rangemode="normal", zeroline=False)
        ),
        height=320,
        table=TextTable(
            "Points of the curve",
            (x, y),
            tuple((number(knots[i][0]), number(knots[i][1])) for i in chosen),
        ),
    )
