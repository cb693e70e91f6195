"""The figures of a diagnosis: the two spaces together, then each by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.stats import hypergeom

from isthmus.diagnose import Diagnosis, Projection
from isthmus.diagnose.pair_probes import Overlap
from isthmus.evaluate import Estimate
from isthmus.report.blocks import Figure, TextTable
from isthmus.report.plots import (
    NEW,
    OLD,
    QUIET,
    Row,
    axis,
    base_layout,
    dots,
    number,
    plain,
    shortened,
    span,
)
from isthmus.report.side_figures import label_of, side_figures, spectra_figure
from isthmus.similarity import MEASURES, Comparison, Similarity
from isthmus.similarity.null import p_text

__all__ = ["diagnosis_figures", "measure_name", "similarity_figures"]


def measure_name(name: str) -> str:
    """A similarity measure as people write it."""
    return MEASURES[name].words


def diagnosis_figures(found: Diagnosis) -> Iterator[Figure]:
    """Every figure that the numbers allow, the most telling first."""
    if found.projection is not None:
        yield _projection(found, found.projection)
    if found.measured.maps is not None:
        yield _maps(found)
    if found.measured.overlap is not None:
        yield _overlap(found.measured.overlap)
    yield spectra_figure(found)
    yield from similarity_figures(found.comparison)
    yield from side_figures(found)


def _projection(found: Diagnosis, both: Projection) -> Figure:
    x, y = np.array(both.x), np.array(both.y)
    links: list[list[float | None]] = [[], []]
    for a, b in zip(both.x, both.y, strict=True):
        for i in (0, 1):
            links[i] += [a[i], b[i], None]
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "lines", "x": links[0], "y": links[1], "hoverinfo": "skip",
            "line": {"color": "var(--zero)", "width": 0.8}, "opacity": 0.6, "showlegend": False,
        }
    ]  # fmt: skip
    for points, name, colour in (
        (y, label_of(found.y), OLD),
        (x, f"{label_of(found.x)}, mapped", NEW),
    ):
        traces.append(
            {
                "type": "scatter", "mode": "markers", "name": name,
                "x": points[:, 0].tolist(), "y": points[:, 1].tolist(),
                "marker": {"size": 6, "color": colour, "opacity": 0.85},
                "hoverinfo": "text",
                "hovertext": [f"{name}<br>{plain(i, 80)}" for i in both.ids],
            }
        )  # fmt: skip
    apart = np.linalg.norm(x - y, axis=1)
    far = np.argsort(-apart, kind="stable")[:15]
    shares = [f"{s:.0%}" for s in both.explained]
    return Figure(
        key="projection",
        title="Both spaces in one picture",
        caption=f"{len(x)} items, each as a point of either side and a link between the two, on "
        f"the two main axes of {found.y.name}. The map had not seen these items. Short links are "
        "good; all links to one spot mean that the map knows only the mean.",
        alt=f"Scatter plot of {len(x)} items on the main axes of {found.y.name} "
        f"({shares[0]} and {shares[1]} of its variance), {found.x.name} mapped into it; the "
        f"median link is {number(float(np.median(apart)))} long.",
        traces=tuple(traces),
        layout=base_layout(
            showlegend=True,
            margin={"l": 12, "r": 14, "t": 34, "b": 46},
            xaxis=axis(
                f"first axis of {plain(found.y.name, 30)} ({shares[0]})",
                zeroline=False,
                fixedrange=False,
            ),
            yaxis=axis(f"second axis ({shares[1]})", zeroline=False, fixedrange=False),
        ),
        height=440,
        table=TextTable(
            "The items whose two points lie farthest apart here",
            ("item", "distance"),
            tuple((shortened(both.ids[i], 80), number(float(apart[i]))) for i in far),
        ),
        zoom=True,
    )


def _maps(found: Diagnosis) -> Figure:
    maps, curved = found.measured.maps, found.measured.curved
    assert maps is not None
    x, y = found.x.name, found.y.name
    listed: list[tuple[str, Estimate | None, str, str]] = [
        ("none: the same up to scale and offset", maps.same, NEW, "one factor and an offset"),
        ("a factor for each dimension", maps.per_dimension, NEW, "and an offset"),
        ("reordered dimensions", maps.permutation, NEW, "perhaps negated, one factor, an offset"),
        ("a rotation", maps.rigid, NEW, "or reflection, one factor, an offset"),
        ("any matrix", maps.linear, NEW, f"ridge-shrunk, strength {number(maps.alpha)}"),
        (f"any matrix backward, {y} to {x}", maps.backward, OLD, "lower where x holds more"),
    ]
    rows = [
        Row(shortened(name), e.value, e.low, e.high, None, colour, hover)
        for name, e, colour, hover in listed
        if e is not None and e.value is not None
    ]
    table = [(name, span(e)) for name, e, _, _ in listed if e is not None]
    if curved is not None:
        for name, value in (
            (f"linear, from {curved.train:,} rows only", curved.linear),
            (f"curved, from the same {curved.train:,} rows", curved.kernel),
        ):
            rows.append(Row(name, value, colour="var(--third)"))
            table.append((name, f"{value:.3f}"))
    traces, layout, height = dots(
        rows, "share of the variance explained, unseen rows", reach=(0.0, 1.0), percent=True
    )
    best = max(rows, key=lambda row: row.value)
    return Figure(
        key="maps",
        title=f"How much of {y} a map of {x} explains",
        caption="On held-out rows, the simplest map first. Where a simple map does as well as "
        "the best, the two spaces differ by no more than it.",
        alt=f"Dot plot of the variance explained by {len(rows)} kinds of map; the most, "
        f"{best.value:.0%}, by: {best.name}.",
        traces=traces,
        layout=layout,
        height=height,
        table=TextTable(f"Variance explained ({maps.frame})", ("map", "explained"), tuple(table)),
    )


def _overlap(overlap: Overlap) -> Figure:
    kept = np.arange(overlap.k + 1)
    seen = np.array(overlap.histogram) / overlap.n
    expected = np.asarray(hypergeom.pmf(kept, overlap.n - 1, overlap.k, overlap.k))
    return Figure(
        key="overlap",
        title=f"How many of its {overlap.k} nearest neighbours an item keeps",
        caption="From one space to the other, by cosine, before any map. Bars to the right mean "
        "that the two models agree on what is alike; the line is chance.",
        alt=f"Histogram of kept neighbours over {overlap.n:,} items: {overlap.mean:.0%} are kept "
        f"on average, by chance {overlap.chance:.1%}.",
        traces=(
            {
                "type": "bar", "x": kept.tolist(), "y": seen.tolist(), "name": "items",
                "marker": {"color": NEW},
                "hoverinfo": "text",
                "hovertext": [
                    f"{share:.1%} of the items keep {i}" for i, share in enumerate(seen.tolist())
                ],
            },
            {
                "type": "scatter", "mode": "lines+markers", "x": kept.tolist(),
                "y": expected.tolist(), "name": "by chance",
                "line": {"color": QUIET, "width": 1.5, "dash": "dot"}, "marker": {"size": 5},
                "hoverinfo": "text",
                "hovertext": [f"by chance: {share:.1%}" for share in expected.tolist()],
            },
        ),
        layout=base_layout(
            showlegend=True,
            margin={"l": 12, "r": 14, "t": 34, "b": 46},
            bargap=0.25,
            xaxis=axis("neighbours kept", dtick=1 if overlap.k <= 10 else None, zeroline=False),
            yaxis=axis("share of the items", tickformat=".0%", rangemode="tozero"),
        ),
        height=340,
        table=TextTable(
            "Share of the items",
            ("neighbours kept", "items", "by chance"),
            tuple(
                (str(i), f"{a:.1%}", f"{b:.1%}")
                for i, (a, b) in enumerate(zip(seen.tolist(), expected.tolist(), strict=True))
            ),
        ),
    )  # fmt: skip


def similarity_figures(found: Comparison) -> Iterator[Figure]:
    """The measures that are 1 for equal spaces, and those that are 0, each beside its chance."""
    defined = [(name, s) for name, s in found.items() if s.value is not None]
    for higher, key, title, reading in (
        (True, "similarities", "Similarities", "1 for equal spaces"),
        (False, "distances", "Distances", "0 for equal spaces"),
    ):
        chosen = [(name, s) for name, s in defined if s.higher_is_closer == higher]
        if not chosen:
            continue
        rows = [_similarity_row(name, s) for name, s in chosen]
        traces, layout, height = dots(
            rows,
            f"{reading}, {'more' if higher else 'less'} is closer",
            reach=(0.0, 1.0) if higher else (0.0, None),
        )
        best = ", ".join(f"{row.name} {number(row.value)}" for row in rows[:2])
        yield Figure(
            key=key,
            title=title,
            caption="Each measure with its interval, where there is one; the grey band is what "
            "rows in random order give, two standard deviations to either side.",
            alt=f"Dot plot of {len(rows)} measures, among them {best}.",
            traces=traces,
            layout=layout,
            height=height,
            table=TextTable(
                "Values and chance",
                ("measure", "value", "by chance", "p"),
                tuple(
                    (
                        measure_name(name),
                        number(s.value),
                        "-" if s.null is None else f"{number(s.null.mean)}",
                        "-" if s.null is None else p_text(s.null.p, s.null.method),
                    )
                    for name, s in chosen
                ),
            ),
        )


def _similarity_row(name: str, s: Similarity) -> Row:
    assert s.value is not None
    chance = None
    if s.null is not None:
        width = max(2 * s.null.sd, 0.002)
        chance = (s.null.mean - width, s.null.mean + width)
    return Row(measure_name(name), s.value, s.low, s.high, chance, NEW, s.declaration.formula)
