"""``isthmus budget``: how many pairs are enough, and which items to encode next."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.cli.console import ProgressBar, say, show, show_fitted, show_json
from isthmus.cli.inputs import (
    EngineName,
    Json,
    MetricOption,
    New,
    Old,
    Overwrite,
    QueryOptions,
    RelevanceOptions,
    open_inputs,
)
from isthmus.cli.option_groups import grouped
from isthmus.cli.outputs import WRITTEN
from isthmus.errors import InputError

__all__ = ["budget_command"]

_NEXT = "What to encode next"


@dataclass(frozen=True)
class NextOptions:
    """Which items to encode next."""

    candidates: Annotated[
        str | None,
        typer.Option(
            help="Old vectors of everything that could be encoded, with ids.",
            rich_help_panel=_NEXT,
        ),
    ] = None
    count: Annotated[
        int,
        typer.Option("--next", min=1, help="How many items to choose.", rich_help_panel=_NEXT),
    ] = 1000
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write the chosen ids, one on a line.", rich_help_panel=_NEXT
        ),
        WRITTEN,
    ] = None
    overwrite: Overwrite = False


@dataclass(frozen=True)
class CurveOptions:
    """What the curve is of."""

    metric: MetricOption = "cosine"
    recipe: Annotated[
        str | None,
        typer.Option(help="The map whose curve is drawn, without auto. By default a rotation."),
    ] = None
    measure: Annotated[
        str, typer.Option(help="recall@k, cmc@k, mrr or ndcg@k of queries, or of held-out pairs.")
    ] = "recall@1"
    seed: Annotated[int, typer.Option(help="Of the orders, samples and intervals.")] = 0


@grouped
def budget_command(
    old: Old,
    new: New,
    drawn: CurveOptions,
    chosen_from: NextOptions,
    asked: QueryOptions,
    engine: EngineName = None,
    as_json: Json = False,
) -> None:
    """Say whether more pairs would make a better map, and which to make first.

    Fits the map on ever more of the pairs, measures each by queries that held-out items answer (or,
    without queries, by how often a held-out item finds its own vector), says what twice the pairs
    would add, and counts what enough of them cost: all that the new model has to encode, what
    chooses and judges among it. With --candidates it also chooses the items whose new vectors would
    tell most.

    Examples:

        isthmus budget old.npy new.npy --queries-old q_old.npy --queries-new q_new.npy

        isthmus budget some_old.npy some_new.npy --candidates all_old.npy --next 500 -o ids.txt
    """
    from isthmus.adapters.budget.learning_curve import CurveDesign
    from isthmus.adapters.budget.next_ids import next_ids
    from isthmus.bridge.copied import overlooked_copies, share_of_copies
    from isthmus.bridge.pair_curve import pair_curve
    from isthmus.files import atomic_file, check_output
    from isthmus.spaces.readers import open_vectors

    candidates, output = chosen_from.candidates, chosen_from.output
    if output is not None:
        if candidates is None:
            raise InputError(
                "there is nothing to choose from", where="--output", mend="Give --candidates"
            )
        check_output(output, overwrite=chosen_from.overwrite)
    progress = ProgressBar()
    inputs = open_inputs(
        old, new, RelevanceOptions(**vars(asked), engine=engine), kind="query", metric=drawn.metric,
        progress=progress,
    )  # fmt: skip
    say(repr(inputs.pairs))
    for told in overlooked_copies(inputs.pairs):
        say(f"notice: {told}")
    for told in share_of_copies(inputs.pairs):
        done = (
            "left out" if inputs.queries is None else "held out with them, or fitted on with them"
        )
        say(f"notice: {told}: they are {done}")
    curve = pair_curve(
        inputs.pairs,
        inputs.queries,
        recipe=drawn.recipe, design=CurveDesign(metric=drawn.measure), seed=drawn.seed,
        progress=progress,
    )  # fmt: skip
    chosen: Any = None
    if candidates is not None:
        pool = open_vectors(candidates)
        known = inputs.pairs.ids_at(slice(0, len(inputs.pairs)))
        chosen = next_ids(
            pool.rows(0, pool.n), pool.ids, chosen_from.count, already=known,
            cosine=drawn.metric == "cosine",
            seed=drawn.seed,
            progress=progress,
        )  # fmt: skip
    progress.close()
    if output is not None:
        with atomic_file(output, overwrite=chosen_from.overwrite) as file:
            file.write_text("".join(f"{i}\n" for i in chosen.ids.tolist()), encoding="utf-8")
        say(f"written: {output}")
    if as_json:
        show_json(
            {
                "recipe": curve.recipe,
                "metric": curve.metric,
                "budgets": list(curve.budgets),
                "quality": [q.model_dump() for q in curve.quality],
                "doubling": curve.doubling.model_dump(),
                "asymptote": curve.asymptote.model_dump(),
                "enough": curve.enough.model_dump(),
                "encode": [e.__dict__ for e in curve.encodings],
                "answer": curve.answer,
                "next": None if chosen is None else chosen.ids.tolist(),
            }
        )
        return
    show_fitted(str(curve))
    if chosen is not None:
        show("", str(chosen))
