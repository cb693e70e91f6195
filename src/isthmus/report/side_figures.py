"""The figures of a diagnosis that show each of the two spaces by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from isthmus.diagnose import Diagnosis, SideProbes
from isthmus.report.blocks import Figure, TextTable
from isthmus.report.plots import (
    NEW,
    OLD,
    Row,
    axis,
    base_layout,
    dots,
    log_ticks,
    number,
    plain,
    shortened,
)

__all__ = ["label_of", "side_figures", "sides_of", "spectra_figure"]

_MOST_POINTS = 250
_FLOOR = 1e-6
_COLOURS = (NEW, OLD)


def side_figures(found: Diagnosis) -> Iterator[Figure]:
    """How long the vectors are, how alike different items look, and which are hubs."""
    if not (found.x.norms.unit and found.y.norms.unit):
        yield _norms(found)
    if found.x.isotropy is not None or found.y.isotropy is not None:
        yield _cosines(found)
    if found.x.hubness is not None and found.y.hubness is not None:
        yield _hubs(found)


def sides_of(found: Diagnosis) -> tuple[tuple[SideProbes, str], ...]:
    """Both sides, each with its colour."""
    return ((found.x, _COLOURS[0]), (found.y, _COLOURS[1]))


def label_of(side: SideProbes) -> str:
    """The name of a side for legends, short enough for a phone."""
    return plain(side.name, 22)


def spectra_figure(found: Diagnosis) -> Figure:
    """How the variance of each side is spread over its principal components."""
    traces: list[dict[str, Any]] = []
    rows: list[tuple[str, ...]] = []
    ends: list[float] = []
    for side, colour in sides_of(found):
        shares = side.spectrum.shares
        # what is left of a dead direction is rounding
        used = np.flatnonzero(shares > _FLOOR * shares[0])
        chosen = np.unique(np.geomspace(1, len(used), _MOST_POINTS).astype(int)) - 1
        ends += [float(shares[chosen[0]]), float(shares[chosen[-1]])]
        traces.append(
            {
                "type": "scatter", "mode": "lines" if len(chosen) > 1 else "markers",
                "name": label_of(side),
                "x": (chosen + 1).tolist(), "y": shares[chosen].tolist(),
                "line": {"color": colour, "width": 2.5}, "marker": {"color": colour},
                "hoverinfo": "text",
                "hovertext": [
                    f"{label_of(side)}<br>component {i + 1:,}: {shares[i]:.2%}"
                    for i in chosen.tolist()
                ],
            }
        )  # fmt: skip
        at = side.spectrum.components
        rows.append(
            (
                shortened(side.name, 40), f"{side.dim:,}", f"{side.spectrum.effective_rank:.1f}",
                *(f"{at[share]:,}" for share in ("90%", "95%", "99%")),
            )
        )  # fmt: skip
    ranks = [f"{s.name} {s.spectrum.effective_rank:.0f} of {s.dim}" for s in (found.x, found.y)]
    return Figure(
        key="spectra",
        title="How the variance is spread",
        caption="Share of the variance on each principal component, both axes logarithmic. "
        "A steep line means that few directions hold most of it; a cliff, that the others are "
        "empty.",
        alt=f"Line plot of both variance spectra; effective ranks: {ranks[0]}, {ranks[1]}.",
        traces=tuple(traces),
        layout=base_layout(
            showlegend=True,
            margin={"l": 12, "r": 14, "t": 34, "b": 46},
            xaxis=axis("principal component", **log_ticks(1, max(found.x.dim, found.y.dim))),
            yaxis=axis("share of the variance", **log_ticks(min(ends), max(ends), percent=True)),
        ),
        height=340,
        table=TextTable(
            "Components that hold so much of the variance",
            ("side", "dimensions", "effective rank", "90%", "95%", "99%"),
            tuple(rows),
        ),
    )


def _norms(found: Diagnosis) -> Figure:
    traces: list[dict[str, Any]] = []
    rows: list[tuple[str, ...]] = []
    for side, colour in sides_of(found):
        norms = side.norms
        at = dict(norms.quantiles)
        rows.append(
            (
                shortened(side.name, 40),
                *(number(v, 4) for v in (norms.lowest, at[0.05], norms.median, at[0.95])),
                number(norms.highest, 4),
            )
        )
        if norms.unit or len(norms.counts) < 2:
            continue
        edges = np.array(norms.edges) / norms.median
        shares = np.array(norms.counts) / sum(norms.counts)
        density = shares / np.diff(edges)
        traces.append(
            {
                "type": "scatter", "mode": "lines", "fill": "tozeroy", "name": label_of(side),
                "x": edges.tolist(), "y": [*density.tolist(), float(density[-1])],
                "line": {"color": colour, "width": 2, "shape": "hv"}, "opacity": 0.9,
                "fillcolor": "rgba(128,128,128,0.12)",
                "hoverinfo": "text",
                "hovertext": [
                    f"{label_of(side)}<br>norm {number(a)} to {number(b)}: {share:.1%}"
                    for a, b, share in zip(
                        norms.edges[:-1], norms.edges[1:], shares.tolist(), strict=True
                    )
                ] + [label_of(side)],
            }
        )  # fmt: skip
    equal = [s.name for s in (found.x, found.y) if s.norms.unit or len(s.norms.counts) < 2]
    same = f" All rows of {' and '.join(equal)} are equally long." if equal else ""
    medians = ", ".join(f"{s.name} {number(s.norms.median)}" for s in (found.x, found.y))
    return Figure(
        key="norms",
        title="How long the vectors are",
        caption=f"Norms over the median of their side (medians: {medians}).{same}",
        alt=f"Histogram of the row norms of each side; medians: {medians}.{same}",
        traces=tuple(traces),
        layout=base_layout(
            showlegend=True,
            margin={"l": 12, "r": 14, "t": 34, "b": 46},
            xaxis=axis("norm over the median", zeroline=False),
            yaxis=axis("density of rows", showticklabels=False, rangemode="tozero"),
        ),
        height=320,
        table=TextTable(
            "Norms", ("side", "lowest", "5%", "median", "95%", "highest"), tuple(rows)
        ),
    )  # fmt: skip


def _cosines(found: Diagnosis) -> Figure:
    traces: list[dict[str, Any]] = []
    rows: list[Row] = []
    table: list[tuple[str, ...]] = []
    for side, colour in sides_of(found):
        if side.isotropy is None:
            continue
        at = dict(side.isotropy.cosine_quantiles)
        mean = side.isotropy.mean_cosine
        rows.append(
            Row(
                side.name, at[0.5], at[0.25], at[0.75], (at[0.01], at[0.99]), colour,
                f"median; the line holds half of the pairs, the band 98%; mean {mean:.3f}",
            )
        )  # fmt: skip
        shown = (at[0.01], at[0.25], at[0.5], at[0.75], at[0.99])
        table.append((shortened(side.name, 40), *(f"{v:.3f}" for v in shown), f"{mean:.3f}"))
    drawn, layout, height = dots(
        rows,
        "cosine between two different items",
        reach=(0.0, None),
        mark_chance=False,
    )
    traces += drawn
    means = ", ".join(
        f"{s.name} {s.isotropy.mean_cosine:.2f}"
        for s, _ in sides_of(found)
        if s.isotropy is not None
    )
    return Figure(
        key="cosines",
        title="How alike different items look",
        caption="Cosines of random pairs: the dot is the median, the line holds half of them and "
        "the band 98%. Far from 0, all vectors share a direction and cosines are squeezed.",
        alt=f"Ranges of the cosine between different items of each side; means: {means}.",
        traces=tuple(traces),
        layout=layout,
        height=height,
        table=TextTable(
            "Cosines", ("side", "1%", "25%", "median", "75%", "99%", "mean"), tuple(table)
        ),
    )


def _hubs(found: Diagnosis) -> Figure:
    traces: list[dict[str, Any]] = []
    rows: list[tuple[str, ...]] = []
    lowest = 1.0
    for side, colour in sides_of(found):
        hubs = side.hubness
        assert hubs is not None
        times = np.array(hubs.histogram)
        shares = np.cumsum(times[::-1])[::-1] / hubs.n
        lowest = min(lowest, float(shares[-1]))
        used = np.flatnonzero(times)
        chosen = used[np.unique(np.linspace(0, len(used) - 1, _MOST_POINTS).astype(int))]
        traces.append(
            {
                "type": "scatter", "mode": "lines", "name": label_of(side),
                "x": chosen.tolist(), "y": shares[chosen].tolist(),
                "line": {"color": colour, "width": 2},
                "hoverinfo": "text",
                "hovertext": [
                    f"{label_of(side)}<br>{shares[i]:.2%} of the items: {i} times or more"
                    for i in chosen.tolist()
                ],
            }
        )  # fmt: skip
        rows.append(
            (
                shortened(side.name, 40), f"{hubs.skewness:.2f}", f"{hubs.largest:,}",
                f"{hubs.anti_hubs:.1%}", f"{hubs.top_share:.1%}",
            )
        )  # fmt: skip
    k = found.x.hubness.k if found.x.hubness is not None else 0
    worst = ", ".join(f"{row[0]} {row[1]}" for row in rows)
    return Figure(
        key="hubness",
        title="Hubs: items that turn up everywhere",
        caption=f"Share of the items that are at least so often among the {k} nearest of the "
        "others. A long tail means that a few items crowd the results of many queries.",
        alt=f"Distribution of neighbour counts of each side; skewness: {worst}.",
        traces=tuple(traces),
        layout=base_layout(
            showlegend=True,
            margin={"l": 12, "r": 14, "t": 34, "b": 46},
            xaxis=axis("at least so often among the nearest", zeroline=False),
            yaxis=axis("share of the items", **log_ticks(lowest, 1.0, percent=True)),
        ),
        height=320,
        table=TextTable(
            f"Counts of {k} nearest neighbours",
            ("side", "skewness", "largest", "nobody's neighbour", "lists of the top 1%"),
            tuple(rows),
        ),
    )
