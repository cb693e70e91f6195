"""``isthmus evaluate``: judge a bridge that exists; exit code 1 when a gate fails."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.console import ProgressBar, say, show, show_json, warn
from isthmus.cli.disturbance_inputs import (
    PrefixModel,
    QueryVariants,
    Robustness,
    disturbances_of,
)
from isthmus.cli.inputs import (
    AllArms,
    Files,
    Gates,
    Groups,
    HorizonFigures,
    Ids,
    Json,
    Labels,
    New,
    Old,
    OldEncoder,
    Overwrite,
    Primary,
    Qrels,
    QueriesNew,
    QueriesOld,
    open_for,
    read_groups,
)
from isthmus.cli.next_steps import Asked, after_evaluation
from isthmus.cli.reports import QueryTexts, Report, Texts, check_report_options, texts_of
from isthmus.cli.results import show_commands, show_evaluation

__all__ = ["evaluate_command"]


def evaluate_command(
    bridge: Annotated[
        Path, typer.Argument(metavar="BRIDGE", help="A folder that isthmus fit wrote.")
    ],
    old: Old,
    new: New,
    ids: Ids = None,
    queries_old: QueriesOld = None,
    queries_new: QueriesNew = None,
    qrels: Qrels = None,
    labels: Labels = None,
    groups: Groups = None,
    primary: Primary = None,
    horizon: HorizonFigures = None,
    gate: Gates = None,
    old_encoder: OldEncoder = True,
    all_rows: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Judge on every row. By default the data of the fit are recognised and judged "
            "on the part the fit did not see, and other data on every row.",
            rich_help_panel="Judging",
        ),
    ] = False,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="BRIDGE",
            help="The version before: fail where a loss against it beyond --margin cannot be ruled "
            "out, query by query.",
            rich_help_panel="Judging",
        ),
    ] = None,
    margin: Annotated[
        float,
        typer.Option(
            min=0, help="The loss against it that is still called none.", rich_help_panel="Judging"
        ),
    ] = 0.01,
    robustness: Robustness = False,
    query_variant: QueryVariants = None,
    prefix_model: PrefixModel = None,
    report: Report = None,
    texts: Texts = None,
    query_texts: QueryTexts = None,
    overwrite: Overwrite = False,
    all_arms: AllArms = False,
    as_json: Json = False,
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
    from isthmus.bridge.held_out_samples import Queries
    from isthmus.bridge.regress import regress
    from isthmus.evaluate import DEFAULT_METRICS, Judging, VerdictRule, WayLimits
    from isthmus.evaluate.gates import DEFAULT_GATES, asks_robustness, metrics_of
    from isthmus.evaluate.horizon import parse_horizon

    metrics = [*DEFAULT_METRICS, *metrics_of(gate or ())]
    if prefix_model is None or report is not None:
        check_report_options(report, texts, query_texts, overwrite=overwrite)
    disturbances = disturbances_of(
        wanted=robustness or asks_robustness(gate or ()),
        variants=query_variant or (),
        prefix_model=prefix_model,
        texts=query_texts or (texts if queries_old is None else None),
        queries=queries_new or new,
    )
    grouped = read_groups(groups)
    loaded = Bridge.load(bridge)
    progress = ProgressBar()
    files = Files(old, new, ids, queries_old, queries_new, qrels, labels, primary)
    inputs = open_for(loaded, files, progress)
    say(repr(inputs.pairs))
    known = loaded.evidence
    another_question = bool(
        inputs.queries is None and labels is None and known and known.compatible is not None
    )
    if another_question:
        warn(
            "warning: the evidence of this bridge stands on queries with their answers, or on "
            "labels, and none are given: another question is asked, that of agreement with the old "
            "model's results alone, and its verdict can differ. Give those of the fit with "
            "--queries-old and --queries-new, --qrels or --labels"
            + ("" if gate else "; no gate is held, name one with --gate to have one")
        )
    evaluation = assess(
        loaded,
        inputs.pairs,
        queries=inputs.queries,
        qrels=inputs.qrels,
        all_rows=True if all_rows else None,
        progress=progress,
        judging=Judging(
            primary=primary,
            metrics=metrics,
            limits=WayLimits(old_encoder=old_encoder),
            groups=grouped,
            disturbances=disturbances,
            rule=VerdictRule(horizon=parse_horizon(horizon or ())),
        ),
    )
    progress.close()
    gates = gate or (() if another_question else DEFAULT_GATES)
    results = check_bridge(loaded, evaluation, gates)
    regression = None
    if against is not None:
        asked = None if inputs.queries is None else Queries(inputs.queries, inputs.qrels)
        regression = regress(
            loaded, Bridge.load(against), inputs.pairs, asked, primary=primary, margin=margin
        )
    given = {"--ids": ids, "--queries-old": queries_old, "--queries-new": queries_new}
    commands: tuple[str, ...] = ()
    if not another_question and all(result.passed for result in results):
        commands = after_evaluation(loaded, evaluation, bridge, Asked(old, new, given))
    if as_json:
        show_json(
            {
                "evidence": evaluation.model_dump(mode="json"),
                "gates": [r.__dict__ for r in results],
                "regression": None if regression is None else regression.model_dump(mode="json"),
            }
        )
    else:
        show_evaluation(evaluation, results, all_arms=all_arms)
        if regression is not None:
            show(str(regression))
        show_commands(commands)
    if report is not None:
        from isthmus.report import write_evaluation_report

        shown = texts_of(evaluation, texts, query_texts, own_queries=queries_old is not None)
        write_evaluation_report(
            evaluation,
            report,
            title=f"Evaluation of {bridge.name}",
            gates=results,
            commands=commands,
            overwrite=overwrite,
            **shown,
        )
        say(f"written: {report}")
    if not all(result.passed for result in results) or (regression and not regression.passed):
        raise typer.Exit(1)
