"""What a monitor found, as a page."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from isthmus.monitor.monitored import Monitored
from isthmus.report.blocks import (
    Figure,
    Headline,
    Items,
    Page,
    Prose,
    Section,
    TextTable,
    Tile,
    Tone,
)
from isthmus.report.plots import NEW, OLD, QUIET, axis, base_layout, count, number, plain
from isthmus.report.write import write_page

__all__ = ["write_monitor_report"]

_ANSWERS: dict[str, tuple[Tone, str]] = {
    "nothing": ("good", "Yes."),
    "refit": ("caution", "Yes, but what is asked has changed."),
    "roll back": ("bad", "No: roll back."),
}
_COLOURS = (NEW, OLD, "var(--ink)", QUIET)
_CUT = 2.0
_DASHES = ("solid", "dash", "dot")


def write_monitor_report(
    found: Monitored, path: str | Path, *, name: str, overwrite: bool = False
) -> None:
    """Write what a monitor found as one self-contained HTML file, with plots.

    Args:
        found: by `Watch.result`.
        path: of the file.
        name: of what is watched.
        overwrite: replace a file that exists.

    Raises:
        MissingExtraError: without plotly (extra ``report``).
        OutputError: if ``path`` exists and ``overwrite`` is false, or cannot be written.

    Example:
        >>> import numpy as np
        >>> import isthmus
        >>> from isthmus.monitor import Watch, write_monitor_report
        >>> new = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
        >>> bridge = isthmus.fit(isthmus.Pairs(new, new[:, ::-1].copy()), recipe="procrustes")
        >>> found = Watch(bridge, reference=new[:150]).result()
        >>> write_monitor_report(found, "monitor.html", name="docs")
    """
    write_page(_page(found, name), path, overwrite=overwrite)


def _page(found: Monitored, name: str) -> Page:
    action, why = found.recommended
    tone, short = _ANSWERS[action]
    if action == "nothing" and found.untested:
        tone, short = "caution", "Not known: there are bounds that nothing tested."
    elif action == "nothing" and found.alarms:
        tone, short = "caution", "Not known: most of it is one query."
    elif action == "nothing" and found.unknown:
        tone, short = "caution", "Not known yet."
    elif action == "refit" and found.lengths_alone:
        short = "Yes, but the lengths of its vectors have changed."
    tiles = [
        Tile("vectors", count(found.rows)),
        Tile("answers", count(found.results)),
        Tile("alarms", count(len(found.alarms))),
    ]
    if found.canary is not None:
        tiles.append(Tile("canary", "same model" if found.canary.same else "another model"))
    if found.retrieval is not None:
        r = found.retrieval
        tiles.append(
            Tile("canary queries find", number(r.hit), f"{number(r.first)} at the first look")
        )
    if found.calibration is not None:
        tiles.append(Tile("calibration error of trust", number(found.calibration.error)))
    if found.scores is not None:
        tiles.append(Tile("calibration error of scores", number(found.scores.error)))
    blocks: list[Prose | Items] = [Prose(f"Recommended: {action}. {why[:1].upper()}{why[1:]}.")]
    if found.alarms:
        blocks.insert(0, Items(found.alarms))
    return Page(
        title=f"Monitor: {name}",
        subtitle=f"{found.rows:,} vectors and {found.results:,} answers; every test may be looked "
        "at as often as one likes",
        answer=Headline(
            "Is the live traffic what the bridge was made for?",
            short,
            f"{why[:1].upper()}{why[1:]}.",
            tone,
            tuple(tiles),
        ),
        sections=(
            Section("What to do", blocks),
            *_lost(found),
            Section("Evidence against each hypothesis", [_money(found), _table(found)]),
            *_scores(found),
            *_effects(found),
        ),
    )


def _lost(found: Monitored) -> Iterator[Section]:
    if found.retrieval is not None and found.retrieval.lost:
        yield Section("Canary queries that find less than they did", [Items(found.retrieval.lost)])


def _table(found: Monitored) -> TextTable:
    unseen = [test.hypothesis for test in found.tests if not test.n]
    told = f"; nothing was seen yet of {', '.join(unseen)}" if unseen else ""
    return TextTable(
        f"Every test as it stands{told}",
        ("hypothesis", "values", "mean", "p at any time", "alarm below", "alarm"),
        tuple(
            (
                test.hypothesis,
                count(test.n),
                number(test.mean),
                test.p_as_text,
                number(test.alpha),
                "yes" if test.alarm else "no",
            )
            for test in found.tests
            if test.n
        ),
        terms=True,
    )


def _money(found: Monitored) -> Figure:
    """The money of each test over the stream, as a share of what raises an alarm."""
    needed = {
        key: -math.log10(test.alpha)
        for test in found.tests
        if test.n
        for key in (test.name, test.hypothesis)
    }
    series: dict[str, list[tuple[int, float]]] = {}
    for n, key, money in found.history:
        if key in needed:
            share = min(_CUT, max(0.0, money / needed[key]))
            series.setdefault(key, []).append((n, share))
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines" if len(points) > 1 else "markers",
            "name": plain(key, 40),
            "x": [n for n, _ in points],
            "y": [value for _, value in points],
            "line": {
                "color": _COLOURS[i % len(_COLOURS)],
                "width": 2,
                "dash": _DASHES[i // len(_COLOURS) % len(_DASHES)],
            },
            "hoverinfo": "text",
            "hovertext": [f"{plain(key, 40)}<br>{value:.0%} of an alarm" for _, value in points],
        }
        for i, (key, points) in enumerate(series.items())
    ]
    top = max((value for points in series.values() for _, value in points), default=0.0)
    return Figure(
        key="money",
        title="Evidence gathered",
        caption="What each test has won by betting against its hypothesis, on a logarithmic scale, "
        "as a share of what raises an alarm. While nothing is wrong, the chance that any line ever "
        "reaches 100% is below the stated rate. Lines are cut at "
        f"{_CUT:.0%}.",
        alt=f"{len(series)} tests; the highest stands at {top:.0%} of an alarm.",
        traces=tuple(traces),
        layout=base_layout(
            showlegend=True,
            margin={"l": 12, "r": 14, "t": 34, "b": 46},
            xaxis=axis("vectors and answers seen"),
            yaxis=axis("of an alarm", tickformat=".0%", rangemode="tozero"),
            shapes=[
                {
                    "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 1, "y1": 1,
                    "line": {"color": QUIET, "dash": "dash", "width": 1.5},
                }
            ],
        ),
        height=360,
        table=TextTable(
            "Where each test stands",
            ("test", "of an alarm"),
            tuple((key, f"{points[-1][1]:.1%}") for key, points in series.items()),
        ),
    )  # fmt: skip


def _scores(found: Monitored) -> Iterator[Section]:
    told = found.scores
    if told is None:
        return
    yield Section(
        "What passes the thresholds on scores",
        [
            Prose(
                f"Of the first results of {told.queries:,} queries: the share that passes a "
                "threshold by the old model's scores, and the share that passes its translation by "
                f"those that were served (way: {told.way})."
            ),
            TextTable(
                "Thresholds in live traffic",
                ("old threshold", "translated", "passes by the old model", "passes as served"),
                tuple(
                    (number(t.old), number(t.served), f"{t.by_old:.1%}", f"{t.by_served:.1%}")
                    for t in told.thresholds
                ),
            ),
        ],
    )


def _effects(found: Monitored) -> Iterator[Section]:
    far = found.difference
    if far is None:
        return
    baseline = (
        f" The first {found.baseline:,} vectors of the stream are the reference."
        if found.baseline
        else ""
    )
    rows = (
        ("shift of the mean, in standard deviations", number(far.mean_shift), ""),
        ("change of the covariance", number(far.covariance_change), ""),
        ("squared maximum mean discrepancy", number(far.kernel_squared), number(far.kernel_p)),
        ("accuracy of a classifier", number(far.classifier_accuracy), number(far.classifier_p)),
    )
    yield Section(
        "How far the newest vectors lie from the reference",
        [
            Prose(
                "The p-values of this table are of permutations and right for one look; the tests "
                f"above are right for all.{baseline}"
            ),
            TextTable("Effect sizes", ("measure", "value", "p at one look"), rows),
        ],
    )
