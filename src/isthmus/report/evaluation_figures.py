"""The figures of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from isthmus.evaluate import Evaluation, GateResult
from isthmus.evaluate.arms import ARMS, of_role, words_of
from isthmus.evaluate.as_text import distinct_metrics
from isthmus.evaluate.gates import parse_gate
from isthmus.evaluate.price import Price
from isthmus.report.blocks import Figure, TextTable
from isthmus.report.plots import NEW, OLD, QUIET, Row, dots, fixed, number, span

__all__ = ["arm_name", "evaluation_figures", "price_in_short"]


def arm_name(found: Evaluation, name: str) -> str:
    """An arm in words, with its parameters."""
    return words_of(name, found.arms[name].label)


def price_in_short(price: Price | None) -> str:
    """A price on one short line, with its units."""
    if price is None:
        return ""
    parts: list[str] = []
    if price.reembedded:
        parts.append(f"{100 * price.reembedded:.3g}% re-embedded")
    if price.old_query:
        parts.append("old encoder")
    if price.encodings:
        parts.append(f"{price.encodings:.0f} items a query")
    return ", ".join(parts) or "no extra cost"


def _colour(found: Evaluation, name: str) -> str:
    if name == found.recommended:
        return "var(--good)"
    return OLD if name == "old" else QUIET if name in of_role("check") else NEW


def evaluation_figures(found: Evaluation, gates: Sequence[GateResult] = ()) -> Iterator[Figure]:
    """Every figure that the numbers allow."""
    yield _arms(found)
    if found.evidence_kind == "agreement":
        # where the old model's results are the standard, a difference to them is not a loss
        return
    yield from _gains(found)
    yield from _retention(found, gates)


def _arms(found: Evaluation) -> Figure:
    rows = [
        Row(arm_name(found, name), e.value, e.low, e.high, None, _colour(found, name))
        for name in found.shown
        if (e := found.arms[name].metrics[found.primary]).value is not None
    ]
    old = found.arms["old"].metrics[found.primary].value
    lines = [] if old is None else [(old, "old model")]
    traces, layout, height = dots(rows, found.primary, lines=lines, reach=(0.0, None))
    best = max(rows, key=lambda row: row.value)
    shown, note = distinct_metrics(found)
    return Figure(
        key="arms",
        title=f"{found.primary} of every way to serve",
        caption=f"On the same {found.n_queries:,} unseen queries, with {found.level:.0%} "
        "intervals. "
        + (
            "How much of the old model's results each way finds again: fewer are other results, "
            "not worse ones, and those of a re-embedded index may well be better."
            if found.evidence_kind == "agreement"
            else "Green: what the verdict recommends."
        ),
        alt=f"Dot plot of {found.primary} for {len(rows)} ways to serve; the highest is "
        f"{number(best.value)}, by: {best.name}.",
        traces=traces,
        layout=layout,
        height=height,
        table=TextTable(
            "All metrics" + (f"; {note}" if note else ""),
            ("way to serve", *shown),
            tuple(
                (arm_name(found, n), *(fixed(found.arms[n].metrics[m].value or 0.0) for m in shown))
                for n in found.shown
            ),
        ),
    )


def _gains(found: Evaluation) -> Iterator[Figure]:
    order = sorted(
        (n for n in found.arms if n != "old" and n not in of_role("check")),
        key=lambda n: (found.load(n), found.shown.index(n)),
    )
    rows: list[Row] = []
    table: list[tuple[str, ...]] = []
    for name in order:
        arm = found.arms[name]
        if arm.to_old is None or arm.to_old.value is None:
            continue
        rows.append(
            Row(
                words_of(name) if name in ARMS else arm_name(found, name),
                arm.to_old.value, arm.to_old.low, arm.to_old.high, None, _colour(found, name),
                "" if arm.price is None else f"price: {arm.price}", price_in_short(arm.price),
            )
        )  # fmt: skip
        table.append((arm_name(found, name), span(arm.to_old), str(arm.price or "none")))
    if not rows:
        return
    margin = found.rule.margin
    traces, layout, height = dots(
        rows, f"{found.primary} minus the old model's", lines=((0.0, "no change"),)
    )
    best = max(rows, key=lambda row: row.value)
    yield Figure(
        key="gains",
        title="What each way gains, and what it costs",
        caption="Cheapest first. Right of the line is better than the old model; a way is "
        f"recommended where its whole interval is. Losses of up to {margin:g} count as none. The "
        "price is what comes on top of encoding the query by the new model; items a query are "
        f"encoded while it waits.{_at_once(found)}",
        alt=f"Dot plot of the difference to the old model for {len(rows)} ways to serve, cheapest "
        f"first; the largest is {number(best.value)}, by: {best.name}.",
        traces=traces,
        layout=layout,
        height=height,
        table=TextTable(
            "Differences to the old model", ("way to serve", "difference", "price"), tuple(table)
        ),
    )


def _at_once(found: Evaluation) -> str:
    """Why the verdict states another interval of the same difference."""
    chosen = None if found.recommended is None else found.arms[found.recommended]
    if chosen is None or chosen.to_old_at_once is None:
        return ""
    return (
        f" Each interval holds by itself; that of the verdict, {span(chosen.to_old_at_once)}, "
        "holds beside all ways that compete."
    )


def _retention(found: Evaluation, gates: Sequence[GateResult]) -> Iterator[Figure]:
    names = [n for n in found.shown if n != "new" and n not in of_role("check")]
    rows = [
        Row(arm_name(found, n), e.value, e.low, e.high, None, _colour(found, n))
        for n in names
        if (e := found.arms[n].retention) is not None and e.value is not None
    ]
    if not rows:
        return
    asked = [parse_gate(g.condition) for g in gates if g.condition.startswith(_GATED)]
    lines = [(1.0, "re-embedded")]
    bounds = dict.fromkeys(g.bound for g in asked if g.name == "retention")
    lines += [(bound, f"gate {bound:g}") for bound in bounds]
    traces, layout, height = dots(rows, "retention", lines=lines)
    yield Figure(
        key="retention",
        title="What is kept of a full re-embedding",
        caption=f"{found.primary} over that of the new model with everything re-embedded. 1 is "
        "all of it; above 1, the old model adds something.",
        alt=f"Dot plot of retention for {len(rows)} ways to serve; of the bridge: "
        f"{span(found.arms['bridge'].retention)}.",
        traces=traces,
        layout=layout,
        height=height,
        table=TextTable(
            "Retention and update gain",
            ("way to serve", "retention", "update gain"),
            tuple(
                (arm_name(found, n), span(a.retention), span(a.update_gain))
                for n in names
                if (a := found.arms[n]).retention is not None
            ),
        ),
    )


_GATED = ("retention", *(f"{arm}.retention" for arm in ARMS))
