"""A plan of a migration as a page: the verdict, the curve of quality over time, steps and costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from isthmus.migrate.plan import Plan
from isthmus.migrate.units import bytes_in_words, hours_in_words
from isthmus.report.blocks import (
    Commands,
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
from isthmus.report.plots import (
    NEW,
    OLD,
    QUIET,
    Row,
    axis,
    base_layout,
    count,
    dots,
    fixed,
    shortened,
)
from isthmus.report.write import write_page

__all__ = ["write_migration_steps", "write_plan_report"]


def write_plan_report(
    plan: Plan,
    path: str | Path,
    *,
    commands: Sequence[str] = (),
    overwrite: bool = False,
) -> None:
    """Write a plan as one self-contained HTML file, with the quality to be expected over time.

    Args:
        plan: from `make_plan`.
        path: of the page.
        commands: what to type next, shown as given.
        overwrite: replace a page that exists.

    Raises:
        MissingExtraError: without plotly (extra ``report``).
        OutputError: if ``path`` exists and ``overwrite`` is false, or cannot be written.
    """
    target = plan.target
    old = "a model that is gone" if plan.old is None else shortened(plan.old.name, 60)
    page = Page(
        title=f"Migration of {shortened(target.collection, 60)}",
        subtitle=f"{count(target.count)} items, from {old} ({target.old_dim} dimensions) to "
        f"{shortened(plan.new.name, 60)} ({target.new_dim})",
        answer=_answer(plan),
        sections=tuple(_sections(plan, commands)),
    )
    write_page(page, path, overwrite=overwrite)


def write_migration_steps(
    steps: Sequence[tuple[str, float]], path: str | Path, *, asked: int, restored: str
) -> None:
    """Write what readers found at each step of a migration as one self-contained HTML file.

    Args:
        steps: what was done, and the recall at 10 behind it; the first is the old model's.
        path: of the page, which is replaced.
        asked: queries behind each value.
        restored: what the rollback proved.

    Raises:
        MissingExtraError: without plotly (extra ``report``).
    """
    values = [value for _, value in steps]
    kept, last = values[0], values[-1]
    least, most = (pick(steps, key=lambda step: step[1])[0] for pick in (min, max))
    rows = [
        Row(f"{i}. {name}", value, colour=OLD if i == 1 else NEW)
        for i, (name, value) in enumerate(steps, 1)
    ]
    points, layout, height = dots(rows, "recall@10", lines=[(kept, "the old model, before")])
    figure = Figure(
        key="steps",
        title="recall@10, step by step",
        caption=f"What a reader found behind each step, from the top, on the same {count(asked)} "
        "queries, which chose nothing; the dotted line is the old model before anything was done.",
        alt=f"Plot of recall at 10 over {len(steps)} steps, from {fixed(kept)} to "
        f"{fixed(values[-1])}, between {fixed(min(values))} and {fixed(max(values))}.",
        traces=points,
        layout=layout,
        height=height,
        table=TextTable(
            "Each step", ("step", "", "recall@10"),
            tuple((str(i), n, fixed(v)) for i, (n, v) in enumerate(steps, 1)),
        ),
    )  # fmt: skip
    page = Page(
        title="A live index moved, and moved back",
        subtitle=f"{len(steps)} steps, {count(asked)} queries",
        answer=Headline(
            "What did readers find?",
            f"{fixed(min(values))} to {fixed(max(values))}",
            f"Least: {least}; most: {most}. The old model reached {fixed(kept)} before anything "
            f"was done, and {fixed(last)} after the way back: {restored}.",
            "good" if last == kept else "bad",
        ),
        sections=(Section("Step by step", (figure,)),),
    )
    write_page(page, path, overwrite=True)


def _answer(plan: Plan) -> Headline:
    word = plan.verdict.partition(":")[0]
    tone: Tone = "good" if word == "migrate" else "bad" if word.startswith("keep") else "caution"
    found = plan.estimated
    tiles = [
        Tile(
            "time", hours_in_words(found.hours), f"{found.encode_rate:,.0f} {_made(plan)} a second"
        ),
        Tile("disk", bytes_in_words(found.disk), "the new vectors"),
    ]
    if found.money is not None and found.price is not None:
        tiles.append(Tile("money", f"{found.money:,.4g}", f"{found.price:g} a million tokens"))
    answer = f"{word[:1].upper()}{word[1:]}."
    why = plan.verdict.partition(":")[2].strip() or plan.verdict
    return Headline("Is it worth moving?", answer, _sentence(why).text, tone, tuple(tiles))


def _sentence(text: str) -> Prose:
    return Prose(f"{text[:1].upper()}{text[1:].rstrip('.')}.")


def _orders(plan: Plan) -> Iterator[TextTable]:
    """What each order reaches: a row for each, a column for each share."""
    shares = sorted({share for one in plan.orders for share in one.shares})
    rows: list[tuple[str, ...]] = []
    for one in plan.orders:
        found = dict(zip(one.shares, one.values, strict=True))
        values = (fixed(found[share]) if share in found else "-" for share in shares)
        rows.append((one.order, *values))
    if rows:
        yield TextTable(
            f"{plan.queries.metric} in each order, by what is filled",
            ("order", *(f"{share:.0%}" for share in shares)),
            tuple(rows),
            terms=True,
        )


def _made(plan: Plan) -> str:
    """What new vectors are made from."""
    return "texts" if plan.mapped_by is None else "old vectors"


def _sections(plan: Plan, commands: Sequence[str]) -> list[Section]:
    found = plan.estimated
    out: list[Section] = []
    if plan.curve and plan.kept is not None:
        out.append(Section("Quality while it fills", (_curve(plan),)))
    out.append(
        Section(
            "What will happen",
            (TextTable("Steps, and what is sent", ("step", "sent"), plan.steps),),
        )
    )
    if plan.order_why:
        out.append(Section("What is filled first", (_sentence(plan.order_why), *_orders(plan))))
    out.append(
        Section(
            "What it takes",
            (
                Prose(
                    f"Reckoned for {count(found.rows)} items"
                    f"{' (assumed)' if found.assumed else ''}: {found.scan_rate:,.0f} rows a "
                    f"second were read here, {found.encode_rate:,.0f} {_made(plan)} a second "
                    f"{'encoded' if plan.mapped_by is None else 'mapped'}, and a search took "
                    f"{found.search_ms:.1f} ms."
                ),
            ),
        )
    )
    out.append(Section("What needs a person", (Items(plan.by_hand),)))
    if commands:
        out.append(Section("Go on with", (Commands(tuple(commands)),)))
    return out


def _curve(plan: Plan) -> Figure:
    hours = [point.share * plan.estimated.hours for point in plan.curve]
    values = [point.value for point in plan.curve]
    kept = plan.kept or 0.0
    up = [(p.high if p.high is not None else p.gain) - p.gain for p in plan.curve]
    down = [p.gain - (p.low if p.low is not None else p.gain) for p in plan.curve]
    shown = [
        f"{p.share:.0%} filled<br>{p.value:.3f}, gain {p.gain:+.3f}<br>after {hours_in_words(h)}"
        for p, h in zip(plan.curve, hours, strict=True)
    ]
    unit, scale = ("hours", 1.0) if hours[-1] >= 1.5 else ("minutes", 60.0)
    at = [scale * hour for hour in hours]
    return Figure(
        key="filling",
        title=f"{plan.queries.metric} over time",
        caption="Each point is what the search of both columns reaches once so much is filled, on "
        "queries that chose nothing, among the sampled items; bars show the interval of the gain "
        "over keeping the old model, the dotted line.",
        alt=f"Line plot of {plan.queries.metric} from {fixed(values[0])} with nothing filled to "
        f"{fixed(values[-1])} with everything filled; keeping the old model reaches {fixed(kept)}.",
        traces=(
            {
                "type": "scatter", "mode": "lines", "name": "keeping the old model",
                "x": [at[0], at[-1]], "y": [kept, kept], "hoverinfo": "skip",
                "line": {"color": QUIET, "width": 1.5, "dash": "dot"},
            },
            {
                "type": "scatter", "mode": "lines+markers", "name": "migrating",
                "x": at, "y": values,
                "error_y": {
                    "type": "data", "symmetric": False, "array": up, "arrayminus": down,
                    "color": NEW, "thickness": 1.5, "width": 3,
                },
                "line": {"color": NEW, "width": 2}, "marker": {"size": 8, "color": NEW},
                "hoverinfo": "text", "hovertext": shown,
            },
        ),
        layout=base_layout(
            showlegend=True,
            margin={"l": 12, "r": 14, "t": 34, "b": 46},
            xaxis=axis(unit),
            yaxis=axis(plan.queries.metric),
        ),
        height=340,
        table=TextTable(
            f"Keeping the old model: {fixed(kept)}",
            ("filled", plan.queries.metric, "gain", "from", "to", "after"),
            tuple(
                (
                    f"{p.share:.0%}", fixed(p.value), f"{p.gain:+.3f}",
                    "-" if p.low is None else f"{p.low:+.3f}",
                    "-" if p.high is None else f"{p.high:+.3f}", hours_in_words(h),
                )
                for p, h in zip(plan.curve, hours, strict=True)
            ),
        ),
    )  # fmt: skip
