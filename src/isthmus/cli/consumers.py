"""``isthmus consumers``: does a classifier, regressor, clustering or reranker survive the swap?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.console import ProgressBar, say, show, show_json
from isthmus.cli.inputs import (
    Files,
    Ids,
    Json,
    New,
    Old,
    Overwrite,
    Qrels,
    QueriesNew,
    QueriesOld,
    open_for,
)
from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.evaluate.consumers import ConsumerReport

__all__ = ["consumers_command"]

_LIMITS = "Limits"


def consumers_command(
    bridge: Annotated[
        Path, typer.Argument(metavar="BRIDGE", help="A folder that isthmus fit wrote.")
    ],
    old: Old,
    new: New,
    estimator: Annotated[
        str,
        typer.Option(
            metavar="FILE|NAME",
            help="What was made on the bridge's target vectors (the old model's, for a query "
            "bridge): a .skops file, or package.module:function that returns it. Pickles are not "
            "read. A reranker has score(queries (n, d), items (n, k, d)), and no predict.",
        ),
    ],
    answers: Annotated[
        Path | None,
        typer.Option(
            help="What is right for each row of OLD: classes, numbers or groups (.npy, or .txt "
            "with one a line). Without it only agreement is measured."
        ),
    ] = None,
    retrained: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|NAME", help="Another one, made on the source vectors, to compare with."
        ),
    ] = None,
    head_bridge: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Also fit a bridge for this consumer alone (linear heads) on the rows of the fit, "
            "judge it, and write it here.",
        ),
    ] = None,
    max_loss: Annotated[
        float | None,
        typer.Option(
            help="Fail where the bridge may lose more than this in accuracy, R2, Rand index or "
            "reciprocal rank: by the careful end of the interval.",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    max_flips: Annotated[
        float | None,
        typer.Option(
            help="Fail where more than this share of rows may turn from right to wrong.",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    ids: Ids = None,
    queries_old: QueriesOld = None,
    queries_new: QueriesNew = None,
    qrels: Qrels = None,
    candidates: Annotated[
        int,
        typer.Option(
            min=2,
            help="Items that a reranker is given for each query: what the bridge finds.",
            rich_help_panel="Judging",
        ),
    ] = 20,
    overwrite: Overwrite = False,
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
    from isthmus.bridge.bridge import KIND
    from isthmus.bridge.consume import Consumed, consume, consume_reranker
    from isthmus.bridge.held_out_samples import Queries
    from isthmus.bridge.open_estimator import open_estimator
    from isthmus.evaluate.consumers import kind_of_consumer

    if head_bridge is not None:
        artefact.check_place(head_bridge, KIND, overwrite=overwrite)
    loaded = Bridge.load(bridge)
    eaten = open_estimator(estimator)
    other = None if retrained is None else open_estimator(retrained)
    ranks = kind_of_consumer(eaten) == "reranker"
    _check_options(ranks, queries=queries_old is not None, answers=answers, head_bridge=head_bridge)
    progress = ProgressBar()
    files = Files(old, new, ids, queries_old, queries_new, qrels, labels=answers)
    inputs = open_for(loaded, files, progress)
    if ranks:
        assert inputs.queries is not None
        asked = Queries(inputs.queries, inputs.qrels)
        report = consume_reranker(
            loaded, eaten, inputs.pairs, asked, retrained=other, candidates=candidates
        )
        found = Consumed(report)
    else:
        found = consume(
            loaded, eaten, inputs.pairs, retrained=other, head_bridge=head_bridge is not None
        )
    progress.close()
    if head_bridge is not None and found.head_bridge is not None:
        found.head_bridge.save(head_bridge, overwrite=overwrite)
        say(f"written: {head_bridge}")
    broken = _broken(
        found.report,
        "bridge" if head_bridge is None else "head bridge",
        max_loss=max_loss,
        max_flips=max_flips,
    )
    if as_json:
        show_json({**found.report.model_dump(mode="json"), "broken_limits": broken})
    else:
        show(str(found.report))
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


def _broken(
    report: ConsumerReport, judged: str, *, max_loss: float | None, max_flips: float | None
) -> list[str]:
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
