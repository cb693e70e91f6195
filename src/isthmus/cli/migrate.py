"""``isthmus migrate``: a plan carried out on a live index, and undone."""

from __future__ import annotations

import re
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.console import ProgressBar, say, show, show_fitted, show_json, show_json_line
from isthmus.cli.inputs import Json
from isthmus.cli.model_options import EncodingEngine, KeyEnv, opened_model
from isthmus.cli.next_steps import command, option_words
from isthmus.cli.option_groups import grouped, option_name
from isthmus.cli.priority import giving_way
from isthmus.cli.webhook import Webhook, check_hook, post_alarm
from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.migrate import Limits, Migration, State

__all__ = ["after_run", "migrate_app"]

migrate_app = typer.Typer(
    no_args_is_help=True,
    help="Carry out a plan on a live index: run, status, pause, resume, search, cutover, watch, "
    "rollback, clean.",
)

PlanFile = Annotated[
    Path, typer.Argument(metavar="PLAN", help="What isthmus plan wrote.", show_default=False)
]
StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="The store's URL, if it has another address now than when the plan was made.",
    ),
]
TakeOver = Annotated[
    bool,
    typer.Option(
        "--take-over", help="Go on with a migration that was begun on a machine that is lost."
    ),
]


@dataclass(frozen=True)
class LimitOptions:
    """When a run pauses by itself, and how fast it is."""

    rate: Annotated[float | None, typer.Option(min=0.001, help="Items a second, at most.")] = None
    max_money: Annotated[
        float | None,
        typer.Option(min=0, help="Pause before more is spent, in the currency of the plan."),
    ] = None
    until: Annotated[
        str | None,
        typer.Option(
            help="Pause at a time of day (06:30), at a moment (2026-12-01T06:30), or once a share "
            "is filled (25%)."
        ),
    ] = None

    def limits(self) -> Limits:
        """What `Migration.run` is told."""
        from isthmus.migrate import Limits

        share, seconds = _until(self.until)
        return Limits(rate=self.rate, max_money=self.max_money, share=share, seconds=seconds)


@dataclass(frozen=True)
class PlaceOptions:
    """Where the store and the models of the plan are now."""

    store: StoreUrl = None
    new: Annotated[
        str | None,
        typer.Option(
            "--new", metavar="ENC", help="The new model, if it is spelled otherwise here."
        ),
    ] = None
    old: Annotated[
        str | None, typer.Option("--old", metavar="ENC", help="The old model, likewise.")
    ] = None
    no_old: Annotated[
        bool, typer.Option("--no-old", help="The old model does not run any more.")
    ] = False
    key_env: KeyEnv = None

    def typed(self) -> dict[str, object]:
        """The options as they are typed; None for one that was not given."""
        return {option_name(PlaceOptions, f.name): getattr(self, f.name) for f in fields(self)}


@contextmanager
def _opened(
    path: Path,
    at: PlaceOptions,
    *,
    encoders: bool = True,
    engine: str | None = None,
    take_over: bool = False,
) -> Generator[Migration]:
    from isthmus.encoders import Spending, open_encoder
    from isthmus.migrate import Migration, Models, Plan
    from isthmus.migrate.opening import open_planned

    plan = Plan.load(path)
    progress = ProgressBar()
    spending = Spending(key_env=at.key_env)
    if engine is not None and plan.mapped_by is not None:
        raise InputError(
            "this plan maps the old vectors, which takes less than to send them to workers",
            where="--engine",
            mend="Leave --engine out",
        )
    with ExitStack() as open_now:
        models = Models()
        if encoders:
            new = open_now.enter_context(
                opened_model(
                    at.new or plan.new.spelling, engine, spending=spending, progress=progress
                )
            )
            spelled = at.old or (None if plan.old is None or at.no_old else plan.old.spelling)
            old = None if spelled is None else open_encoder(spelled, spending=spending)
            models = Models(new, old)
        opened = open_now.enter_context(open_planned(plan, at.store))
        yield Migration(plan, path, opened, models, progress, take_over)
    progress.close()


def _until(text: str | None) -> tuple[float | None, float | None]:
    """A share, or the seconds from now to a time."""
    now = datetime.now().astimezone()
    if text is None:
        return None, None
    if re.fullmatch(r"\d+(\.\d+)?%", text) and 0 < float(text[:-1]) <= 100:
        return float(text[:-1]) / 100, None
    try:
        if re.fullmatch(r"\d{1,2}:\d{2}", text):
            hour, minute = map(int, text.split(":"))
            at = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
            return None, ((at if at > now else at + timedelta(days=1)) - now).total_seconds()
        return None, (datetime.fromisoformat(text).astimezone() - now).total_seconds()
    except ValueError as error:
        raise InputError(
            f"'{text}' is neither a time nor a share",
            where="--until",
            mend="Write 06:30, 2026-12-01T06:30 or 25%",
        ) from error


def _told(migration: Migration, *, as_json: bool) -> None:
    status = migration.status()
    if as_json:
        show_json(status.as_json())
    else:
        show_fitted(str(status))


@migrate_app.command("run")
@grouped
def run_command(
    plan: PlanFile,
    limited: LimitOptions,
    at: PlaceOptions,
    engine: EncodingEngine = None,
    as_json: Json = False,
) -> None:
    """Begin: prepare, serve by the bridge, and fill until every item has its new vector.

    It may be stopped or killed at any moment; isthmus migrate resume goes on. The alias stays on
    the old vectors until isthmus migrate cutover.
    """
    with _opened(plan, at, engine=engine) as migration:
        state = migration.run(limited.limits())
        _told(migration, as_json=as_json)
    say(after_run(state, plan, limited, at, engine))


@migrate_app.command("resume")
@grouped
def resume_command(
    plan: PlanFile,
    limited: LimitOptions,
    at: PlaceOptions,
    engine: EncodingEngine = None,
    take_over: TakeOver = False,
    as_json: Json = False,
) -> None:
    """Go on after a pause, a stop or a crash; or follow what came in since the index was full."""
    with _opened(plan, at, engine=engine, take_over=take_over) as migration:
        state = migration.run(limited.limits(), resume=True)
        _told(migration, as_json=as_json)
    say(after_run(state, plan, limited, at, engine))


def after_run(
    state: State, plan: Path, limited: LimitOptions, at: PlaceOptions, engine: str | None
) -> str:
    """What to type next, with what holds as it did; where it paused is not asked for again."""
    from isthmus.migrate import State

    same = at.typed()
    if state == State.FULL:
        cutover = command("migrate", "cutover", str(plan), *option_words(same))
        return f"every item has its new vector. Go on with: {cutover}"
    same = {**same, "--engine": engine, "--rate": limited.rate}
    return f"go on with: {command('migrate', 'resume', str(plan), *option_words(same))}"


@migrate_app.command("status")
def status_command(plan: PlanFile, store: StoreUrl = None, as_json: Json = False) -> None:
    """Say how far it is, how fast, what was spent, and what the quality was."""
    with _opened(plan, PlaceOptions(store), encoders=False) as migration:
        _told(migration, as_json=as_json)


@migrate_app.command("pause")
def pause_command(plan: PlanFile) -> None:
    """Ask a run on this machine to pause behind its present batch."""
    from isthmus.migrate import Plan
    from isthmus.migrate.filling import pause_file

    Plan.load(plan)
    pause_file(plan).touch()
    resume = command("migrate", "resume", str(plan))
    say(f"the run pauses behind its present batch; go on with: {resume}")


@migrate_app.command("search")
@grouped
def search_command(
    plan: PlanFile,
    at: PlaceOptions,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to search for.")],
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="Results.")] = 10,
    model: Annotated[
        str, typer.Option(help="Which model encodes the query: new, or old for callers that wait.")
    ] = "new",
    as_json: Json = False,
) -> None:
    """Search as the application would at this moment of the migration."""
    from isthmus.migrate import LiveSearch

    if model not in ("new", "old"):
        raise InputError(f"'{model}' is neither new nor old", where="--model")
    with _opened(plan, at) as migration:
        search = LiveSearch(
            migration.plan, migration.store, new=migration.models.new, old=migration.models.old
        )
        asked = "old" if model == "old" else "new"
        answer = search([text], k, model=asked)
        some = answer.scores[0] > float("-inf")
        ids = answer.ids[0][some]
        scores = [float(s) for s in answer.scores[0][some]]
        texts = search.store.texts(ids) if search.store.describe().has_texts else [None] * len(ids)
        rows = list(zip(ids.tolist(), scores, texts, strict=True))
        way = str(search.way(asked))
        if as_json:
            results = [{"id": i, "score": s, "text": t} for i, s, t in rows]
            show_json({"query": text, "way": way, "results": results})
            return
        show(f"way: {way}")
        for rank, (name, score, found) in enumerate(rows, 1):
            show(f"{rank:>3}. {score:.4f}  {name}  {' '.join((found or '').split())[:120]}")


@migrate_app.command("cutover")
@grouped
def cutover_command(
    plan: PlanFile,
    at: PlaceOptions,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial",
            help="Go no further for now: what is filled stays and is searched with the rest, and "
            "the alias stays on the old vectors. isthmus migrate resume goes on.",
        ),
    ] = False,
    take_over: TakeOver = False,
    as_json: Json = False,
) -> None:
    """Judge the plan's queries on the live index, then move the alias in one step.

    Exit code 1, and nothing moved, where the new model is measured below the old one. What serves
    on the same machine gets the processor first.
    """
    with giving_way(), _opened(plan, at, take_over=take_over) as migration:
        migration.cut_over(partial=partial)
        _told(migration, as_json=as_json)
        target = migration.plan.target
        moved = not migration.in_part
    if moved:
        back = command("migrate", "rollback", str(plan), *option_words(at.typed()))
        say(f"'{target.alias}' stands for {target.alias_new}; back with: {back}")
    else:
        resume = command("migrate", "resume", str(plan), *option_words(at.typed()))
        say(f"both columns are searched as they are; to fill the rest: {resume}")


@migrate_app.command("rollback")
@grouped
def rollback_command(
    plan: PlanFile, at: PlaceOptions, take_over: TakeOver = False, as_json: Json = False
) -> None:
    """Go back to the old vectors, every item having one, and prove that untouched ones are intact.

    Any time until isthmus migrate clean.
    """
    with _opened(plan, at, take_over=take_over) as migration:
        restored = migration.rollback()
        if as_json:
            show_json(restored.as_json())
        else:
            show(f"rolled back: {restored}")


@migrate_app.command("clean")
def clean_command(
    plan: PlanFile,
    drop_old: Annotated[
        bool,
        typer.Option(
            "--drop-old",
            help="Also remove the column of old vectors; PostgreSQL alone, as elsewhere they are "
            "the collection itself.",
        ),
    ] = False,
    store: StoreUrl = None,
    take_over: TakeOver = False,
) -> None:
    """End it: forget what a rollback needs. From here on there is no way back."""
    with _opened(plan, PlaceOptions(store), encoders=False, take_over=take_over) as migration:
        migration.clean(drop_old=drop_old)
    say("cleaned: there is no way back")


@migrate_app.command("watch")
@grouped
def watch_command(
    plan: PlanFile,
    at: PlaceOptions,
    every: Annotated[float, typer.Option(min=0, help="Minutes between two looks.")] = 10.0,
    looks: Annotated[
        int | None, typer.Option(min=1, help="How many; without end by default.")
    ] = None,
    false_alarm: Annotated[
        float,
        typer.Option(min=1e-9, max=0.5, help="Chance of an alarm without a loss, over all looks."),
    ] = 0.01,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Roll back by itself at an alarm.")
    ] = False,
    webhook: Webhook = None,
    as_json: Json = False,
) -> None:
    """Ask the plan's queries again and again; exit code 1 once a loss is shown."""
    from isthmus.migrate import LiveSearch, Watched, watch

    check_hook(webhook)

    def seen(look: Watched) -> None:
        if as_json:
            show_json_line({"look": look.number, "value": look.value, "loss": str(look.loss),
                            "alarm": look.alarm})  # fmt: skip
        else:
            show_fitted(str(look))

    with _opened(plan, at) as migration:
        if not migration.plan.queries.texts:
            raise InputError(
                "this plan has no queries to ask",
                where=str(plan),
                mend="Plan with --queries and --old",
            )
        models = migration.models
        search = LiveSearch(migration.plan, migration.store, new=models.new, old=models.old)
        alarm = watch(
            migration, search, looks=looks, pause=lambda: time.sleep(60 * every),
            false_alarm=false_alarm, seen=seen,
        )  # fmt: skip
        if alarm is None:
            return
        restored = migration.rollback() if rollback else None
        if restored is not None:
            say(f"rolled back: {restored}")
        told = {"look": alarm.number, "value": alarm.value, "loss": str(alarm.loss)}
        done = None if restored is None else restored.as_json()
        post_alarm(webhook, {"plan": str(plan), **told, "rolled_back": done})
    raise typer.Exit(1)
