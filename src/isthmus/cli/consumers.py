"""``isthmus consumers``: does a classifier, a regressor or a clustering survive the swap?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.console import ProgressBar, say, show, show_fitted, show_json
from isthmus.cli.inputs import (
    BridgeFolder,
    Json,
    New,
    Old,
    Overwrite,
    QueryOptions,
    RelevanceOptions,
    open_for,
)
from isthmus.cli.option_groups import grouped
from isthmus.cli.outputs import WRITTEN
from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.evaluate.consumers import ConsumerReport

__all__ = ["consumers_command"]

_LIMITS = "Limits"


@dataclass(frozen=True)
class EstimatorOptions:
    """What eats embeddings, and what it should answer."""

    estimator: Annotated[
        str,
        typer.Option(
            metavar="FILE|NAME",
            help="What was made on the bridge's target vectors (the old model's, for a query "
            "bridge): a .skops file, or package.module:function that returns it. Pickles are not "
            "read. A reranker has score(queries (n, d), items (n, k, d)), and no predict.",
        ),
    ]
    answers: Annotated[
        Path | None,
        typer.Option(
            help="What is right for each row of OLD: classes, numbers or groups (.npy, .txt "
            "with one a line, or a table with label and perhaps id). Without it only agreement is "
            "measured."
        ),
    ] = None
    retrained: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|NAME", help="Another one, made on the source vectors, to compare with."
        ),
    ] = None
    candidates: Annotated[
        int,
        typer.Option(
            min=2,
            help="Items that a reranker is given for each query: what the bridge finds.",
            rich_help_panel="Judging",
        ),
    ] = 20


@dataclass(frozen=True)
class HeadBridgeOptions:
    """Where a bridge for this consumer alone goes."""

    head_bridge: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Also fit a bridge for this consumer alone (linear heads) on the rows of the fit, "
            "judge it, and write it here.",
        ),
        WRITTEN,
    ] = None
    overwrite: Overwrite = False


@dataclass(frozen=True)
class LossLimits:
    """What may be lost at most."""

    max_loss: Annotated[
        float | None,
        typer.Option(
            help="Fail where the bridge may lose more than this in accuracy, R2, Rand index or "
            "reciprocal rank: by the careful end of the interval.",
            rich_help_panel=_LIMITS,
        ),
    ] = None
    max_flips: Annotated[
        float | None,
        typer.Option(
            help="Fail where more than this share of rows may turn from right to wrong.",
            rich_help_panel=_LIMITS,
        ),
    ] = None


@grouped
def consumers_command(
    bridge: BridgeFolder,
    old: Old,
    new: New,
    eater: EstimatorOptions,
    limits: LossLimits,
    written: HeadBridgeOptions,
    asked: QueryOptions,
    as_json: Json = False,
) -> None:
    """Judge a classifier, regressor, clustering or reranker of embeddings with a bridge before it.

    It is not retrained: it is given mapped vectors in place of its own. Accuracy, agreement and
    negative flips (rows that were right and become wrong) stand on rows that the bridge was not
    fitted on; give rows that the consumer was not trained on either, or its own answers are
    flattered. A reranker orders what the bridge finds for queries (--queries-old, --queries-new).
    Exit code 1 where a limit is broken.

    Examples:

        isthmus consumers my.bridge old.npy new.npy --estimator head.skops --answers labels.txt

        isthmus consumers my.bridge old.npy new.npy --estimator head.skops --answers labels.txt
        --head-bridge head.bridge --max-loss 0.01

        isthmus consumers my.bridge old.npy new.npy --estimator mine:reranker
        --queries-old q_old.npy --queries-new q_new.npy
    """
    from isthmus import artefact
    from isthmus.bridge import Bridge
    from isthmus.bridge.consume import Consumed, consume, consume_reranker
    from isthmus.bridge.open_estimator import open_estimator
    from isthmus.bridge.packing import KIND
    from isthmus.evaluate.consumers import kind_of_consumer

    head_bridge = written.head_bridge
    if head_bridge is not None:
        artefact.check_place(head_bridge, KIND, overwrite=written.overwrite)
    loaded = Bridge.load(bridge)
    eaten = open_estimator(eater.estimator)
    other = None if eater.retrained is None else open_estimator(eater.retrained)
    ranks = kind_of_consumer(eaten) == "reranker"
    _check_options(
        ranks, queries=asked.queries_old is not None, answers=eater.answers, head_bridge=head_bridge
    )
    progress = ProgressBar()
    relevance = RelevanceOptions(**vars(asked), labels=eater.answers)
    inputs = open_for(loaded, old, new, relevance, progress)
    if ranks:
        assert inputs.queries is not None
        report = consume_reranker(
            loaded,
            eaten,
            inputs.pairs,
            inputs.queries,
            retrained=other,
            candidates=eater.candidates,
        )
        found = Consumed(report)
    else:
        found = consume(
            loaded, eaten, inputs.pairs, retrained=other, head_bridge=head_bridge is not None
        )
    progress.close()
    if head_bridge is not None and found.head_bridge is not None:
        found.head_bridge.save(head_bridge, overwrite=written.overwrite)
        say(f"written: {head_bridge}")
    judged = "bridge" if head_bridge is None else "head bridge"
    broken = _broken(found.report, judged, limits)
    if as_json:
        show_json({**found.report.model_dump(mode="json"), "broken_limits": broken})
    else:
        show_fitted(str(found.report))
        for sentence in broken:
            show(f"FAIL  {sentence}")
    if broken:
        raise typer.Exit(1)


def _check_options(
    ranks: bool, *, queries: bool, answers: Path | None, head_bridge: Path | None
) -> None:
    """Refuse what does not go with the kind of consumer."""
    if ranks and not queries:
        raise InputError(
            "a reranker orders what is found for queries",
            where="--estimator",
            mend="Give --queries-old and --queries-new",
        )
    if ranks and (answers is not None or head_bridge is not None):
        raise InputError(
            "a reranker is judged by what answers queries (--qrels)",
            where="--answers" if answers is not None else "--head-bridge",
            mend="Leave it out",
        )
    if queries and not ranks:
        raise InputError(
            "queries are for a reranker, and this estimator predicts",
            where="--queries-old",
            mend="Leave them out; --answers says what is right",
        )


def _broken(report: ConsumerReport, judged: str, limits: LossLimits) -> list[str]:
    max_loss, max_flips = limits.max_loss, limits.max_flips
    arm = report.arms[judged]
    broken: list[str] = []
    if max_loss is not None:
        metrics = ("accuracy", "r2", "adjusted rand index", "mrr")
        change = next((arm.change[m] for m in metrics if m in arm.change), None)
        if change is None or change.low is None:
            broken.append(f"{judged}: no loss can be measured without answers (--answers, --qrels)")
        elif -change.low > max_loss:
            broken.append(f"{judged}: it may lose {-change.low:.3f}, more than {max_loss:g}")
    if max_flips is not None:
        flips = arm.negative_flips
        if flips is None or flips.high is None:
            broken.append(f"{judged}: flips are known of classifiers with answers alone")
        elif flips.high > max_flips:
            broken.append(
                f"{judged}: {flips.high:.3f} of the rows may turn wrong, more than {max_flips:g}"
            )
    return broken
