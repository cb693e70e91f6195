"""``isthmus fit``: from two files, or a live index, to a bridge with its evidence."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.console import SCORES_DIFFER, ProgressBar, say, show, show_json, text_width, warn
from isthmus.cli.disturbance_inputs import Robustness, disturbances_of
from isthmus.cli.inputs import (
    AllArms,
    Files,
    Gates,
    Groups,
    HorizonFigures,
    Ids,
    Json,
    Labels,
    MetricOption,
    Old,
    OldEncoder,
    Overwrite,
    Primary,
    Qrels,
    QueriesNew,
    QueriesOld,
    check_judging,
    open_inputs,
    read_groups,
)
from isthmus.cli.next_steps import Asked, after_fit, after_live_fit
from isthmus.cli.reports import QueryTexts, Report, Texts, check_report_options, texts_of
from isthmus.cli.results import show_commands, show_evaluation
from isthmus.cli.store_inputs import (
    KeyEnv,
    MaxItems,
    MaxQueries,
    MaxTokens,
    NewModel,
    OldModel,
    PairCount,
    QueryLogFile,
    StoreOptions,
    check_cut_offs,
    judged_live,
    open_sample,
    refuse_file_options,
    sampled_texts,
)
from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.adapters.budget.curve_reading import LearningCurve
    from isthmus.bridge.bridge import Bridge
    from isthmus.progress import Progress
    from isthmus.spaces.pairs import Pairs

__all__ = ["fit_command"]

_MAP = "Map"
_REFIT = "prior_ridge(alpha=auto)"
_SHOWN = 8
_MOST = 20_000  # pairs held for the learning curve


def fit_command(
    old: Old,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder to write the bridge to.")
    ],
    new: Annotated[
        str | None,
        typer.Argument(
            metavar="[NEW]",
            help="The same items as the new model encodes them; not given where OLD is the URL of "
            "a store.",
            show_default=False,
        ),
    ] = None,
    kind: Annotated[
        str,
        typer.Option(
            help="query: new model's queries search the old index, which stays as it is. "
            "corpus: the stored old vectors are mapped for native queries of the new model.",
            rich_help_panel=_MAP,
        ),
    ] = "query",
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            help="Steps joined by |, as in 'unit_norm | procrustes | unit_norm'. Repeatable, "
            "simplest first: the best by held-out ranks is taken. Without it: rotations, ridge "
            "maps, for queries canonical correlations, and the best of these trained by contrast.",
            rich_help_panel=_MAP,
        ),
    ] = None,
    prior: Annotated[
        Path | None,
        typer.Option(
            help="A bridge that runs already between the two models: a refit on few new pairs "
            "stays near it (recipes with prior_ridge).",
            rich_help_panel=_MAP,
        ),
    ] = None,
    query_weight: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="How much a query counts in the fit where an item counts 1.",
            rich_help_panel=_MAP,
        ),
    ] = None,
    ids: Ids = None,
    metric: MetricOption = "cosine",
    queries_old: QueriesOld = None,
    queries_new: QueriesNew = None,
    qrels: Qrels = None,
    labels: Labels = None,
    groups: Groups = None,
    primary: Primary = None,
    horizon: HorizonFigures = None,
    gate: Gates = None,
    robustness: Robustness = False,
    old_encoder: OldEncoder = True,
    old_model: OldModel = None,
    new_model: NewModel = None,
    pair_count: PairCount = None,
    query_log: QueryLogFile = None,
    max_queries: MaxQueries = None,
    max_items: MaxItems = None,
    max_tokens: MaxTokens = None,
    key_env: KeyEnv = None,
    old_name: Annotated[
        str, typer.Option(help="What the old space is called.", rich_help_panel=_MAP)
    ] = "old",
    new_name: Annotated[
        str, typer.Option(help="What the new space is called.", rich_help_panel=_MAP)
    ] = "new",
    seed: Annotated[
        int, typer.Option(help="Of the split and the samples.", rich_help_panel=_MAP)
    ] = 0,
    report: Report = None,
    texts: Texts = None,
    query_texts: QueryTexts = None,
    overwrite: Overwrite = False,
    all_arms: AllArms = False,
    as_json: Json = False,
) -> None:
    """Fit a bridge between two models, judge it on held-out data, and write it.

    Up to 5,000 pairs with queries, all are fitted on, and judged by maps that have not seen them.
    Else a hash of the ids splits the pairs: 80 % to fit, 10 % to choose, 10 % to judge.

    Keeping the old model, a naive swap, the bridge, queries of both models mixed, candidates
    rescored by the new model, a part of the index re-embedded, and full re-embedding are compared,
    each with its price. The table shows the old model, the bridge, what is recommended and the new
    model, with the verdict, its reason and what to type next; --all-arms shows the rest.

    Examples:

        isthmus fit old.npy new.npy -o my.bridge

        isthmus fit old.npy new.npy -o my.bridge --queries-old q_old.npy --queries-new q_new.npy

        isthmus fit old.parquet:embedding new.parquet:embedding -o my.bridge --labels classes.txt

        isthmus fit old.npy new.npy -o my.bridge --report out.html --texts items.jsonl

        isthmus fit lancedb://db#docs.vector --old st:OLD --new st:NEW --queries log.jsonl -o b
    """
    from isthmus.artefact import check_place
    from isthmus.bridge import Bridge, Fitting, fit, fit_sample
    from isthmus.bridge.bridge import KIND
    from isthmus.evaluate import DEFAULT_METRICS, Judging, VerdictRule, WayLimits
    from isthmus.evaluate.gates import asks_robustness, check_gates, metrics_of
    from isthmus.evaluate.horizon import parse_horizon
    from isthmus.files import together
    from isthmus.stores import is_store_url

    running = None if prior is None else Bridge.load(prior)
    if running is not None and not recipe:
        recipe = [_REFIT if metric != "cosine" else f"unit_norm | {_REFIT} | unit_norm"]
    metrics = [*DEFAULT_METRICS, *metrics_of(gate or ())]
    check_place(output, KIND, overwrite=overwrite)
    check_report_options(report, texts, query_texts, overwrite=overwrite)
    progress = ProgressBar()
    options: dict[str, Any] = {
        "kind": kind,
        "recipe": recipe or "auto",
        "judging": Judging(
            primary,
            metrics,
            rule=VerdictRule(horizon=parse_horizon(horizon or ())),
            limits=WayLimits(old_encoder),
            groups=read_groups(groups),
            disturbances=disturbances_of(wanted=robustness or asks_robustness(gate or ())),
        ),
        "fitting": Fitting(weighting=query_weight, prior=running),
        "seed": seed,
        "progress": progress,
    }
    asked = StoreOptions(
        old_model,
        new_model,
        pair_count,
        query_log,
        max_queries,
        max_items,
        max_tokens,
        key_env,
    )
    sample = None
    if is_store_url(old):
        refuse_file_options(
            {
                "NEW": new,
                "--ids": ids,
                "--queries-old": queries_old,
                "--queries-new": queries_new,
                "--labels": labels,
                "--texts": texts,
                "--query-texts": query_texts,
            }
        )
        check_judging(kind, primary, judged=query_log is not None, by="--queries")
        if kind == "query":
            check_cut_offs([*([primary] if primary else []), *metrics_of(gate or ())])
        with open_sample(old, asked, qrels=qrels, seed=seed, progress=progress) as opened:
            store, models, sample = opened
            pairs = sample.pairs(kind)
            say(repr(pairs))
            bridge = fit_sample(sample, models, **options)
            bridge = judged_live(bridge, store, models, sample, progress)
    else:
        asked.refuse()
        if new is None:
            raise InputError(
                "the items as the new model encodes them are missing",
                where="NEW",
                mend="Give two files, or the URL of a store and --new",
            )
        files = Files(old, new, ids, queries_old, queries_new, qrels, labels, primary)
        inputs = open_inputs(files, kind=kind, metric=metric, progress=progress)
        pairs = inputs.pairs
        say(repr(pairs))
        names = (new_name, old_name) if kind == "query" else (old_name, new_name)
        bridge = fit(
            pairs,
            queries=inputs.queries,
            qrels=inputs.qrels,
            source=names[0],
            target=names[1],
            **options,
        )
    progress.close()
    evidence = bridge.evidence
    assert evidence is not None
    results = check_gates(evidence, gate) if gate else []
    if new is None:
        known = None if sample is None or sample.queries is None else sample.queries.texts[0]
        named = {"old": old_model, "new": new_model}
        commands = after_live_fit(bridge, output, old, named, known)
    else:
        given: dict[str, object] = {
            "--ids": ids,
            "--queries-old": queries_old,
            "--queries-new": queries_new,
            "--qrels": qrels,
            "--labels": labels,
            "--primary": primary,
            "--no-old-encoder": not old_encoder,
            "--gate": gate,
            "--robustness": robustness,
        }
        commands = after_fit(
            bridge, output, Asked(old, new, given), passed=all(r.passed for r in results)
        )
    # shown first: nothing that happens to the files loses it
    if as_json:
        show_json(
            {
                "bridge": str(output),
                "recipe": str(bridge.recipe),
                "tried": [t.__dict__ for t in bridge.tried],
                "evidence": evidence.model_dump(mode="json"),
                "gates": [r.__dict__ for r in results],
            }
        )
    else:
        show(f"{leaderboard(bridge)}\n\nrecipe: {bridge.recipe}\n")
        show_evaluation(evidence, results, all_arms=all_arms)
    with together():
        bridge.save(output, overwrite=overwrite)
        if report is not None:
            from isthmus.report import write_fit_report

            curve = _curve(pairs, bridge, seed, progress)
            progress.close()
            shown = (
                texts_of(evidence, texts, query_texts, own_queries=queries_old is not None)
                if sample is None
                else sampled_texts(sample)
            )
            write_fit_report(
                bridge,
                report,
                curve=curve,
                gates=results,
                commands=commands,
                overwrite=overwrite,
                **shown,
            )
    if bridge.search_only:
        warn(f"notice: {SCORES_DIFFER}")
    if not as_json:
        show_commands(commands)
    for written in (report, output):
        if written is not None:
            say(f"written: {written}")
    if not all(result.passed for result in results):
        raise typer.Exit(1)


def _curve(pairs: Pairs, bridge: Bridge, seed: int, progress: Progress) -> LearningCurve | None:
    """What more pairs are worth to the map that was chosen, where a curve can be drawn."""
    from isthmus.adapters.budget.learning_curve import CurveDesign, learning_curve

    held = pairs.sample(min(len(pairs), _MOST), seed=seed)
    try:
        return learning_curve(
            held.x,
            held.y,
            ids=held.ids,
            recipe=bridge.recipe,
            cosine=pairs.metric == "cosine",
            design=CurveDesign(orders=1),
            seed=seed,
            progress=progress,
        )
    except InputError as error:
        say(f"the report has no learning curve: {error}")
        return None


def leaderboard(bridge: Bridge) -> str:
    """The best maps by what chose between them, the one that was taken, and why."""
    from isthmus.adapters.select import RULE

    tried = bridge.tried
    at = bridge.taken
    fit = bridge.provenance.fit
    by = "held-out queries" if fit is None or not fit.chosen_by else fit.chosen_by
    lines = [f"{len(tried)} maps tried, best by {by}:"]
    for i, t in enumerate(tried):
        if i < _SHOWN or i in (at, len(tried) - 1):
            gap = i > _SHOWN and i in (at, len(tried) - 1)
            lines += ["  ..."] * gap
            lines.append(f"{'*' if i == at else ' '} {t.score:.3f}  {t.recipe}")
    if at is not None and len(tried) > 1:
        lines += textwrap.wrap(f"* taken: {RULE}", text_width(), subsequent_indent="  ")
    return "\n".join(lines)
