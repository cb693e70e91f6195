"""``isthmus plan``: what moving a live index to a new model takes and brings; changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.console import ProgressBar, say, show, show_fitted, show_json
from isthmus.cli.model_options import (
    MODELS,
    SPELLINGS,
    EncodingEngine,
    KeyEnv,
    OldModel,
    opened_model,
)
from isthmus.cli.next_steps import command, option_words
from isthmus.cli.option_groups import grouped
from isthmus.cli.outputs import WRITTEN
from isthmus.cli.reports import PageOptions
from isthmus.cli.store_inputs import read_asked
from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.migrate import Plan

__all__ = ["lines_of", "plan_command"]

_NAMES = "Names"
_PAPER = "A plan on paper"
_UNITS = {"k": 10**3, "M": 10**6, "B": 10**9}


@dataclass(frozen=True)
class PlannedOptions:
    """Both models, the bridge between them, and what people ask."""

    new: Annotated[
        str | None,
        typer.Option(
            "--new",
            metavar="ENC",
            help=f"The model that is to come: {SPELLINGS}.",
            rich_help_panel=MODELS,
        ),
    ] = None
    old: OldModel = None
    bridge: Annotated[
        Path | None,
        typer.Option(
            help="A bridge of queries that isthmus fit wrote; else one is fitted on a sample and "
            "written beside the plan. Where the texts of the items are gone: a corpus bridge; it "
            "maps the old vectors, if --queries show that this finds more than the old model.",
            rich_help_panel=MODELS,
        ),
    ] = None
    key_env: KeyEnv = None
    engine: EncodingEngine = None
    queries: Annotated[
        Path | None,
        typer.Option(
            help="A log of queries with the ids that were clicked, as for isthmus fit. It says "
            "what is filled first, and judges the plan and the cut-over. Or texts of queries by "
            "id, with --qrels."
        ),
    ] = None
    qrels: Annotated[
        Path | None,
        typer.Option(help="Which items answer which of those queries, as for isthmus fit."),
    ] = None


@dataclass(frozen=True)
class ReckoningOptions:
    """What is measured, and what is reckoned from it."""

    alias: Annotated[
        str | None,
        typer.Option(
            help="The name that the application reads, which the cut-over moves; by default the "
            "collection's with _live behind.",
            rich_help_panel=_NAMES,
        ),
    ] = None
    new_column: Annotated[
        str, typer.Option(help="What the new vectors are called.", rich_help_panel=_NAMES)
    ] = "new"
    pairs: Annotated[
        int, typer.Option(min=50, help="Items that are sampled, and encoded by the new model.")
    ] = 3000
    assume_rows: Annotated[
        str | None,
        typer.Option(
            help="Reckon with this many items instead, such as 100M, from what was measured here."
        ),
    ] = None
    price: Annotated[
        float | None,
        typer.Option(
            min=0, help="Money for a million tokens of the new model, of four characters each."
        ),
    ] = None
    seed: Annotated[int, typer.Option(help="Of the samples.")] = 0


@dataclass(frozen=True)
class PaperOptions:
    """Files that no machine holds, reckoned with from what one worker does here."""

    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Without STORE: hours and cost of a fit and a transform of --assume-rows vectors "
            "in files, on a cluster with so many workers.",
            rich_help_panel=_PAPER,
        ),
    ] = None
    dim: Annotated[
        int, typer.Option(min=2, max=16384, help="Of those vectors.", rich_help_panel=_PAPER)
    ] = 768


@grouped
def plan_command(
    asked: PlannedOptions,
    reckoned: ReckoningOptions,
    paper: PaperOptions,
    shown: PageOptions,
    store: Annotated[
        str | None,
        typer.Argument(
            metavar="STORE",
            help="The URL of the index, such as lancedb://folder#table.column or "
            "postgresql://user@host/database#table.column.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The file of the plan, such as plan.json."),
        WRITTEN,
    ] = Path("plan.json"),
) -> None:
    """Plan the migration of a live index: measure it and both models, and change nothing.

    Printed are the steps with what is sent for them, hours, money, disk, the quality to be expected
    while the index fills, a verdict, and what needs a person. isthmus migrate carries it out.

    Examples:

        isthmus plan lancedb://db#docs.vector --old st:OLD --new st:NEW --queries log.jsonl
          -o plan.json

        isthmus plan postgresql://user@host/app#docs --old st:OLD --new openai:MODEL
          --queries log.csv --price 0.02 --assume-rows 100M

        isthmus plan --assume-rows 1e9 --workers 64
    """  # fmt: skip
    from isthmus.encoders import Spending, open_encoder
    from isthmus.files import together
    from isthmus.migrate import PlanOptions, make_plan
    from isthmus.migrate.planning import PlannedModels, check_places
    from isthmus.stores import open_store

    if paper.workers is not None:
        _on_paper(store, asked, reckoned.assume_rows, paper.workers, paper.dim, shown.as_json)
        return
    if store is None or asked.new is None:
        raise InputError(
            "a plan is of the index of a store and the model that is to come",
            where="STORE" if store is None else "--new",
            mend="Give both; or --assume-rows and --workers for a plan on paper",
        )
    options = PlanOptions(
        asked.bridge,
        reckoned.alias,
        reckoned.new_column,
        reckoned.pairs,
        None if reckoned.assume_rows is None else _rows(reckoned.assume_rows),
        reckoned.price,
        reckoned.seed,
    )
    check_places(output, options, overwrite=shown.overwrite)
    shown.check()
    progress = ProgressBar()
    log = read_asked(asked.queries, asked.qrels)
    spending = Spending(key_env=asked.key_env)
    if log is not None and asked.old is None:
        say("without --old the queries cannot be judged: the log is not used")
    with (
        opened_model(asked.new, asked.engine, spending=spending, progress=progress) as new,
        open_store(store) as opened,
    ):
        old = None
        if asked.old is not None:
            old = open_encoder(asked.old, spending=spending, progress=progress)
        models = PlannedModels(new, asked.new, old, asked.old)
        planned = make_plan(opened, models, output, log=log, options=options, progress=progress)
    progress.close()
    plan = planned.plan
    commands = _go_on(output, asked)
    with together():
        planned.save(output, overwrite=shown.overwrite)
        if shown.report is not None:
            from isthmus.report.migration import write_plan_report

            write_plan_report(plan, shown.report, commands=commands, overwrite=shown.overwrite)
    if shown.as_json:
        show_json(plan.model_dump(mode="json"))
    else:
        show(*lines_of(plan), fitted=True)
    if shown.report is not None:
        say(f"written: {shown.report}")
    say(f"written to {output}; nothing was changed. Go on with: {commands[0]}")


def _go_on(output: Path, asked: PlannedOptions) -> tuple[str, ...]:
    """The commands of the migration in their order, with the options that each takes over."""
    key = option_words({"--key-env": asked.key_env})
    taken = {
        "run": [*key, *option_words({"--engine": asked.engine})],
        "status": [],
        "cutover": key,
        "rollback": key,
    }
    return tuple(command("migrate", step, str(output), *words) for step, words in taken.items())


def _on_paper(
    store: str | None,
    asked: PlannedOptions,
    assume_rows: str | None,
    workers: int,
    dim: int,
    as_json: bool,
) -> None:
    from isthmus.migrate.paper_plan import measured_rates, paper_plan

    if store is not None or asked != PlannedOptions():
        raise InputError(
            "a plan on paper is of no store and no model",
            where="--workers",
            mend="Leave --workers out to plan the migration of an index",
        )
    if assume_rows is None:
        raise InputError(
            "a plan on paper reckons with a number of rows",
            where="--workers",
            mend="Give --assume-rows, such as 1B",
        )
    found = paper_plan(_rows(assume_rows), dim, workers, measured_rates(dim))
    if as_json:
        show_json(found.as_dict())
    else:
        show_fitted(str(found))


def lines_of(plan: Plan) -> list[str]:
    """The plan as a terminal shows it."""
    from isthmus.migrate.units import bytes_in_words, hours_in_words

    target, estimated = plan.target, plan.estimated
    old = "a model that is gone" if plan.old is None else plan.old.name
    lines = [
        f"{target.count:,} items of {target.store}",
        f"from {old} ({target.old_column}, {target.old_dim} dimensions) to {plan.new.name} "
        f"({target.new_column}, {target.new_dim} dimensions)",
        "",
        f"verdict: {plan.verdict}",
        "",
        "steps, and what is sent:",
    ]
    for number, (step, sent) in enumerate(plan.steps, 1):
        lines += [f"  {number}. {step}", f"     {sent}"]
    made = "texts a second were encoded"
    if plan.mapped_by is not None:
        made = "old vectors a second were mapped"
    assumed = " (assumed)" if estimated.assumed else ""
    lines += ["", f"what it takes for {estimated.rows:,} items{assumed}:"]
    lines.append(
        f"  {hours_in_words(estimated.hours)}: {estimated.encode_rate:,.0f} {made} here, "
        f"{estimated.scan_rate:,.0f} rows a second read, a search takes "
        f"{estimated.search_ms:.1f} ms"
    )
    lines.append(f"  {bytes_in_words(estimated.disk)} of disk for the new vectors")
    if estimated.money is not None:
        lines.append(
            f"  {estimated.money:,.4g} of money, at {estimated.price:g} for a million tokens"
        )
    if plan.curve and plan.kept is not None:
        lines += ["", f"{plan.queries.metric} expected while it fills (on the sampled items; "
                  f"keeping the old model: {plan.kept:.3f}):"]  # fmt: skip
        for point in plan.curve:
            at = estimated.hours * point.share
            low, high = point.low or 0.0, point.high or 0.0
            lines.append(
                f"  {point.share:>5.0%}  {point.value:.3f}  gain {point.gain:+.3f} "
                f"[{low:+.3f}, {high:+.3f}]  after {hours_in_words(at)}"
            )
    if plan.order_why:
        lines += ["", f"filled first: {plan.order_why}"]
        for one in plan.orders:
            reached = ", ".join(
                f"{share:.0%} {value:.3f}"
                for share, value in zip(one.shares, one.values, strict=True)
            )
            lines.append(f"  {one.order}: {reached}")
    lines += ["", "what needs a person:", *(f"  - {line}" for line in plan.by_hand)]
    return lines


def _rows(text: str) -> int:
    unit = _UNITS.get(text[-1:], 1)
    number = text[:-1] if text[-1:] in _UNITS else text
    try:
        rows = round(float(number.replace(",", "").replace("_", "")) * unit)
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"'{text}' is no number of rows", where="--assume-rows", mend="Write it as 100M"
        ) from error
    if rows < 1:
        raise InputError(f"'{text}' is no number of rows", where="--assume-rows")
    return rows
