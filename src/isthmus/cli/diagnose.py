"""``isthmus diagnose``: how alike two spaces are, what separates them, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from isthmus.cli.console import ProgressBar, say, show_fitted, show_json, warn
from isthmus.cli.inputs import MetricOption, New, Old, RelevanceOptions, open_inputs
from isthmus.cli.judging_options import Primary
from isthmus.cli.next_steps import Asked, after_diagnosis
from isthmus.cli.option_groups import grouped
from isthmus.cli.reports import PageOptions
from isthmus.cli.results import show_commands
from isthmus.errors import InputError

__all__ = ["diagnose_command"]


@dataclass(frozen=True)
class DiagnosisOptions:
    """What is told beside the vectors, and how many rows are held."""

    primary: Primary = None
    metric: MetricOption = "cosine"
    sample: Annotated[
        int,
        typer.Option(
            help="Rows held for what needs rows: neighbours, ranks, kernels. Everything else "
            "reads every row once."
        ),
    ] = 4000
    modalities: Annotated[
        str | None,
        typer.Option(
            help="What kinds of items OLD and NEW encode, such as image,text: where they differ, "
            "the gap between them is judged."
        ),
    ] = None
    seed: Annotated[int, typer.Option(help="Of the sample, the folds and every draw.")] = 0


@grouped
def diagnose_command(
    old: Old,
    new: New,
    relevance: RelevanceOptions,
    told: DiagnosisOptions,
    shown: PageOptions,
) -> None:
    """Measure how alike two spaces are, name what separates them, and recommend a recipe.

    Nothing is changed and nothing is fitted for use. A rotation, a rescale, an offset, reordered
    or truncated dimensions, quantised or overflown numbers, a collapsed or anisotropic model,
    wrongly paired rows and a bent space are told apart, each with its number, its threshold and
    its remedy; and what these data cannot show is listed. Queries and their answers are only
    checked against the items, and handed on to the commands that it ends with.

    Examples:

        isthmus diagnose old.npy new.npy --queries-old q_old.npy --queries-new q_new.npy

        isthmus diagnose old.parquet:embedding new.parquet:embedding --report out.html
    """
    from isthmus.diagnose import diagnose

    shown.check()
    kinds = _kinds(told.modalities)
    progress = ProgressBar()
    # in the direction of the bridge that isthmus fit makes: from the new space to the old
    inputs = open_inputs(
        old, new, relevance, kind="query", metric=told.metric, primary=told.primary,
        progress=progress,
    )  # fmt: skip
    say(repr(inputs.pairs))
    found = diagnose(
        inputs.pairs,
        names=("new", "old"),
        modalities=kinds,
        sample=told.sample,
        seed=told.seed,
        progress=progress,
    )
    progress.close()
    if inputs.queries is not None:
        from isthmus.bridge.belonging import unmatched

        for notice in unmatched(inputs.pairs, inputs.queries):
            warn(f"notice: {notice}")
    options = {
        "--metric": None if told.metric == "cosine" else told.metric,
        **relevance.typed(),
        "--primary": told.primary,
    }
    commands = after_diagnosis(found, Asked(old, new, options))
    if shown.as_json:
        show_json(found.model_dump(mode="json"))
    else:
        show_fitted(str(found))
        show_commands(commands)
    if shown.report is not None:
        from isthmus.report import write_diagnosis_report

        write_diagnosis_report(found, shown.report, commands=commands, overwrite=shown.overwrite)
        say(f"written: {shown.report}")


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
