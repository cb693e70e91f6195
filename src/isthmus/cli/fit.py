"""``isthmus fit``: from two files to a bridge with its evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.console import ProgressBar, say, show, show_json
from isthmus.cli.inputs import (
    Gates,
    Ids,
    Json,
    Labels,
    MetricOption,
    New,
    Old,
    Overwrite,
    Primary,
    Qrels,
    QueriesNew,
    QueriesOld,
    open_inputs,
)

__all__ = ["fit_command"]

_MAP = "Map"


def fit_command(
    old: Old,
    new: New,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder to write the bridge to.")
    ],
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
            "simplest first: the best on validation queries is taken. By default rotations, "
            "half-whitened rotations and ridge maps are tried.",
            rich_help_panel=_MAP,
        ),
    ] = None,
    ids: Ids = None,
    metric: MetricOption = "cosine",
    queries_old: QueriesOld = None,
    queries_new: QueriesNew = None,
    qrels: Qrels = None,
    labels: Labels = None,
    primary: Primary = None,
    gate: Gates = None,
    old_name: Annotated[
        str, typer.Option(help="What the old space is called.", rich_help_panel=_MAP)
    ] = "old",
    new_name: Annotated[
        str, typer.Option(help="What the new space is called.", rich_help_panel=_MAP)
    ] = "new",
    seed: Annotated[
        int, typer.Option(help="Of the split and the samples.", rich_help_panel=_MAP)
    ] = 0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Fit a bridge between two models, judge it on held-out data, and write it.

    The pairs are split by a hash of their ids: 80 % to fit, 10 % to choose the map, 10 % to judge
    it. The table compares keeping the old model, a naive swap, the bridge, the bridge rescored by
    the new model, and full re-embedding, and ends in a verdict.

    Examples:

        isthmus fit old.npy new.npy -o my.bridge

        isthmus fit old.npy new.npy -o my.bridge --queries-old q_old.npy --queries-new q_new.npy

        isthmus fit old.parquet:embedding new.parquet:embedding -o my.bridge --labels classes.txt
    """
    from isthmus.bridge import fit
    from isthmus.bridge.storage import check_place
    from isthmus.evaluate import DEFAULT_METRICS
    from isthmus.evaluate.gates import check_gates, metrics_of

    metrics = [*DEFAULT_METRICS, *metrics_of(gate or ())]
    check_place(output, overwrite=overwrite)
    progress = ProgressBar()
    inputs = open_inputs(
        old,
        new,
        kind=kind,
        ids=ids,
        metric=metric,
        queries_old=queries_old,
        queries_new=queries_new,
        qrels=qrels,
        labels=labels,
        primary=primary,
        progress=progress,
    )
    say(repr(inputs.pairs))
    names = (new_name, old_name) if kind == "query" else (old_name, new_name)
    bridge = fit(
        inputs.pairs,
        kind=kind,  # pyright: ignore[reportArgumentType]
        recipe=recipe or "auto",
        queries=inputs.queries,
        qrels=inputs.qrels,
        source=names[0],
        target=names[1],
        primary=primary,
        metrics=metrics,
        seed=seed,
        progress=progress,
    )
    progress.close()
    bridge.save(output, overwrite=overwrite)
    evidence = bridge.evidence
    assert evidence is not None
    results = check_gates(evidence, gate) if gate else []
    if as_json:
        show_json(
            {
                "bridge": str(output),
                "recipe": str(bridge.recipe),
                "evidence": evidence.model_dump(mode="json"),
                "gates": [r.__dict__ for r in results],
            }
        )
    else:
        show(f"recipe: {bridge.recipe}\n")
        show(str(evidence))
        for result in results:
            show(f"gate: {result}")
    say(f"\nwritten: {output}")
    if not all(result.passed for result in results):
        raise typer.Exit(1)
