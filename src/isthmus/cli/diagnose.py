"""``isthmus diagnose``: how alike two spaces are, what separates them, and what to do."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.console import ProgressBar, say, show, show_json
from isthmus.cli.inputs import (
    Ids,
    Json,
    Labels,
    MetricOption,
    New,
    Old,
    Overwrite,
    open_inputs,
)
from isthmus.cli.reports import Report, check_report_options
from isthmus.cli.results import show_commands
from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.diagnose import Diagnosis

__all__ = ["diagnose_command"]


def diagnose_command(
    old: Old,
    new: New,
    ids: Ids = None,
    labels: Labels = None,
    metric: MetricOption = "cosine",
    sample: Annotated[
        int,
        typer.Option(
            help="Rows held for what needs rows: neighbours, ranks, kernels. Everything else "
            "reads every row once."
        ),
    ] = 4000,
    modalities: Annotated[
        str | None,
        typer.Option(
            help="What kinds of items OLD and NEW encode, such as image,text: where they differ, "
            "the gap between them is judged."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the sample, the folds and every draw.")] = 0,
    report: Report = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Measure how alike two spaces are, name what separates them, and recommend a recipe.

    Nothing is changed and nothing is fitted for use. A rotation, a rescale, an offset, reordered
    or truncated dimensions, quantised or overflown numbers, a collapsed or anisotropic model,
    wrongly paired rows and a bent space are told apart, each with its number, its threshold and
    its remedy; and what these data cannot show is listed.

    Examples:

        isthmus diagnose old.npy new.npy

        isthmus diagnose old.parquet:embedding new.parquet:embedding --report out.html
    """
    from isthmus.diagnose import diagnose

    check_report_options(report, None, None, overwrite=overwrite)
    kinds = _kinds(modalities)
    progress = ProgressBar()
    # in the direction of the bridge that isthmus fit makes: from the new space to the old
    inputs = open_inputs(
        old,
        new,
        kind="query",
        ids=ids,
        metric=metric,
        queries_old=None,
        queries_new=None,
        qrels=None,
        labels=labels,
        primary=None,
        progress=progress,
    )
    say(repr(inputs.pairs))
    found = diagnose(
        inputs.pairs,
        names=("new", "old"),
        modalities=kinds,
        sample=sample,
        seed=seed,
        progress=progress,
    )
    progress.close()
    options = {"--ids": ids, "--metric": None if metric == "cosine" else metric}
    commands = _commands(found, old, new, options, labels)
    if as_json:
        show_json(found.model_dump(mode="json"))
    else:
        show(str(found))
        show_commands(commands)
    if report is not None:
        from isthmus.report import write_diagnosis_report

        write_diagnosis_report(found, report, commands=commands, overwrite=overwrite)
        say(f"written: {report}")


def _kinds(given: str | None) -> tuple[str, str] | None:
    """What NEW and OLD encode, in the order in which they are diagnosed."""
    if given is None:
        return None
    kinds = [kind.strip() for kind in given.split(",")]
    if len(kinds) != 2 or not all(kinds):
        raise InputError(
            f"'{given}' does not name two kinds of items",
            where="--modalities",
            mend="Name what OLD and NEW encode, such as image,text",
        )
    return kinds[1], kinds[0]


def _commands(
    found: Diagnosis, old: str, new: str, options: dict[str, str | None], labels: Path | None
) -> tuple[str, ...]:
    """What to type next."""
    given = [text for option, value in options.items() if value for text in (option, value)]
    sides = [old, new]
    if found.recipe is None:
        if found.relation in ("mispaired", "unrelated") and "--ids" not in given:
            again = shlex.join(["isthmus", "diagnose", *sides, *given])
            return (f"{again} --ids IDS",)
        return (shlex.join(["isthmus", "diagnose", *sides, *given, "--report", "out.html"]),)
    judged = [] if labels is None else ["--labels", str(labels)]
    fit = ["isthmus", "fit", *sides, *given, *judged, "--recipe", found.recipe, "-o", "my.bridge"]
    ids = [] if options["--ids"] is None else ["--ids", options["--ids"]]
    return (
        shlex.join(fit),
        shlex.join(["isthmus", "evaluate", "my.bridge", *sides, *ids, *judged]),
    )
