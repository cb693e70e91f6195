"""``isthmus fit``: from two files, or a live index, to a bridge with its evidence."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.console import (
    SCORES_DIFFER,
    ProgressBar,
    say,
    show,
    show_block,
    show_json,
    text_width,
    warn,
)
from isthmus.cli.inputs import Inputs, RelevanceOptions, open_inputs
from isthmus.cli.judging_options import JudgingOptions, check_judging
from isthmus.cli.map_options import MapOptions
from isthmus.cli.next_steps import Asked, after_fit, after_live_fit
from isthmus.cli.option_groups import grouped
from isthmus.cli.outputs import WRITTEN
from isthmus.cli.reports import EvaluationOptions, ShownTexts
from isthmus.cli.results import show_commands, show_evaluation
from isthmus.cli.store_inputs import (
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
    from isthmus.bridge import Bridge, StoreSample
    from isthmus.bridge.held_out_samples import Queries
    from isthmus.progress import Progress
    from isthmus.spaces.pairs import Pairs

__all__ = ["fit_command"]

_SHOWN = 8


@grouped
def fit_command(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The folder to write the bridge to."),
        WRITTEN,
    ],
    maps: MapOptions,
    relevance: RelevanceOptions,
    judged_by: JudgingOptions,
    live: StoreOptions,
    shown: EvaluationOptions,
    old: Annotated[
        str | None,
        typer.Argument(
            metavar="OLD",
            help="Items as the old model encoded them, or the URL of a store; not given with "
            "--moments.",
            show_default=False,
        ),
    ] = None,
    new: Annotated[
        str | None,
        typer.Argument(
            metavar="NEW",
            help="The same items as the new model encodes them; not given where OLD is the URL of "
            "a store.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Fit a bridge between two models, judge it on held-out data, and write it.

    Up to 5,000 pairs with queries, all are fitted on, and judged by maps that have not seen them.
    Else a hash of the ids splits the pairs: 80 % to fit, 10 % to choose, 10 % to judge.

    OLD may hold more items than NEW, joined by id: all of them are then searched.

    Keeping the old model, a naive swap, the bridge, queries of both models mixed, candidates
    rescored by the new model, a part of the index re-embedded, and full re-embedding are compared,
    each with its price. The table shows the old model, the bridge, what is recommended and the new
    model, with the verdict, its reason and what to type next; --all-arms shows the rest.

    Examples:

        isthmus fit old.npy new.npy -o my.bridge

        isthmus fit old.npy new.npy -o my.bridge --queries-old q_old.npy --queries-new q_new.npy

        isthmus fit old.npy new.npy -o b --pool-old all_old.npy --pool-new some_new.npy

        isthmus fit old.parquet:embedding new.parquet:embedding -o my.bridge --labels classes.txt

        isthmus fit old.npy new.npy -o my.bridge --report out.html --texts items.jsonl

        isthmus fit lancedb://db#docs.vector --old st:OLD --new st:NEW --queries log.jsonl -o b
    """
    from isthmus.artefact import check_place
    from isthmus.bridge.packing import KIND
    from isthmus.evaluate.gates import check_gates
    from isthmus.files import together
    from isthmus.stores import is_store_url

    check_place(output, KIND, overwrite=shown.overwrite)
    shown.check()
    judged_by.check()
    progress = ProgressBar()
    old, new = maps.sides(old, new)
    options = {**maps.fitting(old, progress), "progress": progress}
    if is_store_url(old) and relevance.engine is None and maps.moments is None:
        of_files = {k: v for k, v in relevance.typed().items() if k != "--qrels"}
        refuse_file_options(
            {"NEW": new, **of_files, "--texts": shown.texts, "--query-texts": shown.query_texts}
        )
        check_judging(
            maps.kind, judged_by.primary, judged=live.query_log is not None, by="--queries"
        )
        if maps.kind == "query":
            check_cut_offs(judged_by.asked_metrics())
        options["judging"] = judged_by.judging()
        fitted = _fit_live(old, live, relevance.qrels, options)
    else:
        live.refuse()
        if new is None:
            raise InputError(
                "the items as the new model encodes them are missing",
                where="NEW",
                mend="Give two files, or the URL of a store and --new",
            )
        fitted = _fit_files(old, new, maps, relevance, judged_by, shown, options)
    progress.close()
    bridge, sample = fitted.bridge, fitted.sample
    evidence = bridge.evidence
    assert evidence is not None
    gate = judged_by.gate
    results = check_gates(evidence, gate) if gate else []
    if new is None:
        known = None if sample is None or sample.queries is None else sample.queries.texts[0]
        typed: dict[str, object] = {
            "--old": live.old_model,
            "--new": live.new_model,
            "--key-env": live.key_env,
            "--queries": live.query_log,
            "--qrels": relevance.qrels,
        }
        commands = after_live_fit(bridge, output, Asked(old, None, typed), known)
    else:
        if maps.moments is not None:
            relevance = replace(relevance, engine=relevance.engine or "threads:1")
        given = {**relevance.typed(), **judged_by.typed()}
        commands = after_fit(
            bridge, output, Asked(old, new, given), passed=all(r.passed for r in results)
        )
    # shown first: nothing that happens to the files loses it
    if shown.as_json:
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
        show_block(leaderboard(bridge))
        show("", f"recipe: {bridge.recipe}", "")
        show_evaluation(evidence, results, all_arms=shown.all_arms)
    with together():
        bridge.save(output, overwrite=shown.overwrite)
        if shown.report is not None:
            from isthmus.report import write_fit_report

            curve = _curve(fitted, maps.seed, progress)
            progress.close()
            write_fit_report(
                bridge,
                shown.report,
                curve=curve,
                gates=results,
                commands=commands,
                overwrite=shown.overwrite,
                **fitted.texts(shown),
            )
    if bridge.search_only:
        warn(f"notice: {SCORES_DIFFER}")
    if not shown.as_json:
        show_commands(commands)
    for written in (shown.report, output):
        if written is not None:
            say(f"written: {written}")
    if not all(result.passed for result in results):
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Fitted:
    """A bridge, and what it was fitted on."""

    bridge: Bridge
    pairs: Pairs
    queries: Queries | None = None
    sample: StoreSample | None = None
    inputs: Inputs | None = None

    def texts(self, shown: EvaluationOptions) -> ShownTexts:
        """What the page shows of the queries that lose most."""
        if self.sample is not None:
            return sampled_texts(self.sample)
        assert self.inputs is not None and self.bridge.evidence is not None
        return shown.shown_texts(self.bridge.evidence, self.inputs)


def _fit_live(url: str, live: StoreOptions, qrels: Path | None, options: dict[str, Any]) -> _Fitted:
    from isthmus.bridge import fit_sample
    from isthmus.bridge.store_sample import PAIRS

    if live.pair_count is None and options["kind"] == "corpus":
        live = replace(live, pair_count=PAIRS)  # its fit holds queries out, whatever is sampled
    seed, progress = options["fitting"].seed, options["progress"]
    with open_sample(url, live, qrels=qrels, seed=seed, progress=progress) as opened:
        store, models, sample = opened
        pairs = sample.pairs(options["kind"])
        say(repr(pairs))
        bridge = fit_sample(sample, models, **options)
        return _Fitted(judged_live(bridge, store, models, sample, progress), pairs, sample=sample)


def _fit_files(
    old: str,
    new: str,
    maps: MapOptions,
    relevance: RelevanceOptions,
    judged_by: JudgingOptions,
    shown: EvaluationOptions,
    options: dict[str, Any],
) -> _Fitted:
    from isthmus.bridge import fit

    if maps.moments is not None:
        relevance = replace(relevance, engine=relevance.engine or "threads:1")
    inputs = open_inputs(
        old, new, relevance, kind=maps.kind, metric=maps.metric, primary=judged_by.primary,
        progress=options["progress"],
    )  # fmt: skip
    say(repr(inputs.pairs))
    shown.check_rows(inputs)
    options = {**options, "judging": judged_by.judging(inputs.asked)}
    if maps.moments is not None:
        from isthmus.bridge import StoredMoments
        from isthmus.scale import PartedPairs

        assert isinstance(inputs.pairs, PartedPairs)
        inputs.pairs.use(StoredMoments.of(maps.moments, inputs.pairs))
    names = (maps.new_name, maps.old_name)
    source, target = names if maps.kind == "query" else names[::-1]
    fitting = replace(options["fitting"], source=source, target=target)
    bridge = fit(inputs.pairs, queries=inputs.queries, **{**options, "fitting": fitting})
    queries = inputs.queries if maps.kind == "query" else None
    return _Fitted(bridge, inputs.pairs, queries, inputs=inputs)


def _curve(fitted: _Fitted, seed: int, progress: Progress) -> LearningCurve | None:
    """What more pairs are worth to the map that was chosen, where a curve can be drawn."""
    from isthmus.adapters.budget.learning_curve import CurveDesign
    from isthmus.bridge.pair_curve import pair_curve

    try:
        return pair_curve(
            fitted.pairs,
            fitted.queries,
            recipe=fitted.bridge.recipe,
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
