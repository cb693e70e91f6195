"""``isthmus evaluate``: judge a bridge that exists; exit code 1 when a gate fails."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.console import ProgressBar, say, show_block, show_json, warn
from isthmus.cli.inputs import BridgeFolder, New, Old, RelevanceOptions, open_for
from isthmus.cli.judging_options import JudgingOptions
from isthmus.cli.next_steps import Asked, after_evaluation, lacks_recommended
from isthmus.cli.option_groups import grouped
from isthmus.cli.query_variants import VariantOptions
from isthmus.cli.reports import EvaluationOptions
from isthmus.cli.results import show_commands, show_evaluation

__all__ = ["evaluate_command"]

_ANOTHER_QUESTION = (
    "the evidence of this bridge stands on queries with their answers, or on labels, and none are "
    "given: another question is asked, that of agreement with the old model's results alone, and "
    "its verdict can differ"
)
_GIVE_THE_SAME = "Give those of the fit with --queries-old and --queries-new, --qrels or --labels"


@dataclass(frozen=True)
class ExtentOptions:
    """Which rows are judged, and the version that this one must not lose against."""

    all_rows: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Judge on every row. By default the data of the fit are recognised and judged "
            "on the part the fit did not see, and other data on every row.",
            rich_help_panel="Judging",
        ),
    ] = False
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="BRIDGE",
            help="The version before: fail where a loss against it beyond --margin cannot be ruled "
            "out, query by query.",
            rich_help_panel="Judging",
        ),
    ] = None
    margin: Annotated[
        float,
        typer.Option(
            min=0, help="The loss against it that is still called none.", rich_help_panel="Judging"
        ),
    ] = 0.01


@grouped
def evaluate_command(
    bridge: BridgeFolder,
    old: Old,
    new: New,
    relevance: RelevanceOptions,
    judged_by: JudgingOptions,
    extent: ExtentOptions,
    varied: VariantOptions,
    shown: EvaluationOptions,
) -> None:
    """Judge a bridge on data: every way to serve the new model, with intervals and a verdict.

    Without --gate, the verdict must be to put the new model to work in some way: not to keep the
    old one, to re-embed, or that the evidence is not enough. Otherwise the exit code is 1. Where
    the fit was judged by queries or labels and they are not given again, a warning says so and that
    default gate is not held. Exit codes: 0 done, 1 a gate failed, 2 bad usage or input. Made for
    continuous integration: run it on fresh pairs before every release.

    Examples:

        isthmus evaluate my.bridge old.npy new.npy --gate 'retention>=0.95'

        isthmus evaluate my.bridge old.npy new.npy --report out.html --texts items.jsonl

        isthmus evaluate my.bridge old.npy new.npy --queries-old q_old.npy --queries-new q_new.npy
        --robustness --query-variant prefix=q_new_without_prefix.npy
    """
    from isthmus.bridge import Bridge, assess
    from isthmus.bridge.coarse import check_bridge
    from isthmus.bridge.regress import regress
    from isthmus.evaluate.gates import DEFAULT_GATES

    shown.check(texts_are_read=varied.prefix_model is not None)
    judged_by.check()
    own_items = relevance.queries_old is None
    texts = shown.query_texts or (shown.texts if own_items else None)
    varied.check(texts)
    loaded = Bridge.load(bridge)
    progress = ProgressBar()
    inputs = open_for(loaded, old, new, relevance, progress, primary=judged_by.primary)
    say(repr(inputs.pairs))
    shown.check_rows(inputs)
    judging = judged_by.judging(
        inputs.asked,
        varied.disturbances(
            wanted=judged_by.asks_robustness,
            texts=texts,
            queries=relevance.queries_new or new,
            asked=inputs.asked,
        ),
    )
    known = loaded.evidence
    another_question = bool(
        inputs.queries is None
        and relevance.labels is None
        and known
        and known.compatible is not None
    )
    gate = judged_by.gate
    if another_question:
        warn(
            f"warning: {_ANOTHER_QUESTION}. {_GIVE_THE_SAME}"
            + ("" if gate else "; no gate is held, name one with --gate to have one")
        )
    evaluation = assess(
        loaded,
        inputs.pairs,
        queries=inputs.queries,
        all_rows=True if extent.all_rows else None,
        progress=progress,
        judging=judging,
    )
    progress.close()
    told: list[str] = []
    if another_question:
        # who opens the page or the JSON did not see the warning
        told.append(f"{_ANOTHER_QUESTION}. {_GIVE_THE_SAME}.")
    if lacks_recommended(loaded, evaluation):
        told.append(f"this bridge does not hold {evaluation.recommended}: a fit on these data does")
    if told:
        notices = (*evaluation.notices, *told)
        evaluation = evaluation.model_copy(update={"notices": notices})
    results = check_bridge(loaded, evaluation, gate or (() if another_question else DEFAULT_GATES))
    regression = None
    if extent.against is not None:
        regression = regress(
            loaded, Bridge.load(extent.against), inputs.pairs, inputs.queries,
            primary=judged_by.primary, margin=extent.margin,
        )  # fmt: skip
    commands: tuple[str, ...] = ()
    if not another_question and all(result.passed for result in results):
        commands = after_evaluation(loaded, evaluation, bridge, Asked(old, new, relevance.typed()))
    if shown.as_json:
        show_json(
            {
                "evidence": evaluation.model_dump(mode="json"),
                "gates": [r.__dict__ for r in results],
                "regression": None if regression is None else regression.model_dump(mode="json"),
            }
        )
    else:
        show_evaluation(evaluation, results, all_arms=shown.all_arms)
        if regression is not None:
            show_block(str(regression))
        show_commands(commands)
    if shown.report is not None:
        from isthmus.report import write_evaluation_report

        write_evaluation_report(
            evaluation,
            shown.report,
            title=f"Evaluation of {bridge.name}",
            gates=results,
            commands=commands,
            overwrite=shown.overwrite,
            **shown.shown_texts(evaluation, inputs),
        )
        say(f"written: {shown.report}")
    if not all(result.passed for result in results) or (regression and not regression.passed):
        raise typer.Exit(1)
