"""The options that say where pairs, queries, relevance and labels come from."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.completions import METRICS, one_of
from isthmus.cli.judging_options import check_judging
from isthmus.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isthmus.bridge.bridge import Bridge
    from isthmus.bridge.held_out_samples import Queries
    from isthmus.progress import Progress
    from isthmus.spaces.pairs import Pairs
    from isthmus.spaces.readers import Vectors
    from isthmus.spaces.texts import NamedRows

__all__ = [
    "BridgeFolder",
    "BridgeOption",
    "EngineName",
    "IdsOption",
    "Inputs",
    "Json",
    "MetricOption",
    "New",
    "Old",
    "Overwrite",
    "QueryOptions",
    "RelevanceOptions",
    "open_for",
    "open_inputs",
]

_DATA = "Data"
_JUDGING = "Judging"

Old = Annotated[
    str,
    typer.Argument(metavar="OLD", help="Items as the old model encoded them.", show_default=False),
]
BridgeOption = Annotated[
    Path,
    typer.Option("--bridge", "-b", help="A folder that isthmus fit wrote.", show_default=False),
]
BridgeFolder = Annotated[
    Path, typer.Argument(metavar="BRIDGE", help="A folder that isthmus fit wrote.")
]
EngineName = Annotated[
    str | None,
    typer.Option(
        metavar="ENGINE",
        help="Read OLD and NEW part by part: processes:4 or threads:4 of this machine, workers of "
        "dask or ray started here, or a running cluster as dask://HOST:8786. Folders, patterns, "
        "s3:// URLs and URLs of stores may then be larger than this machine.",
        rich_help_panel=_DATA,
    ),
]
New = Annotated[
    str,
    typer.Argument(
        metavar="NEW", help="The same items as the new model encodes them.", show_default=False
    ),
]
IdsOption = Annotated[
    str | None,
    typer.Option(
        help="Ids of the rows of both sides: a .npy, .txt or table file, or the name of the id "
        "column of both inputs; 'none' pairs them row by row. Found without being named: members "
        "or columns called ids, id or _id, and old.ids.npy or old.ids.txt beside old.npy.",
        rich_help_panel=_DATA,
    ),
]
MetricOption = Annotated[
    str,
    typer.Option(
        "--metric",
        help="How vectors are compared: cosine, dot or l2.",
        rich_help_panel=_DATA,
        autocompletion=one_of(*METRICS),
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON on stdout instead of a table.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")]


@dataclass(frozen=True)
class QueryOptions:
    """How rows are told apart, queries of both models, and what answers them."""

    ids: IdsOption = None
    queries_old: Annotated[
        str | None,
        typer.Option(
            help="Queries as the old model encodes them. Queries and their answers are what a "
            "verdict stands on: without them or --labels only agreement with the old model can be "
            "measured.",
            rich_help_panel=_JUDGING,
        ),
    ] = None
    queries_new: Annotated[
        str | None,
        typer.Option(
            help="The same queries as the new model encodes them.", rich_help_panel=_JUDGING
        ),
    ] = None
    qrels: Annotated[
        Path | None,
        typer.Option(
            help="Which items answer which query: lines of 'query-id item-id', TREC or BEIR qrels, "
            "CSV, or JSON. "
            "Without it a query is answered by the item of the same id.",
            rich_help_panel=_JUDGING,
        ),
    ] = None


@dataclass(frozen=True)
class RelevanceOptions(QueryOptions):
    """How rows are told apart, and what is relevant to what: answers of queries, or labels."""

    labels: Annotated[
        Path | None,
        typer.Option(
            help="A label for each row of OLD (.npy, .txt with one a line, or a table with label "
            "and perhaps id): items of one label are relevant to each other. For data without "
            "queries.",
            rich_help_panel=_JUDGING,
        ),
    ] = None
    engine: EngineName = None

    def typed(self) -> dict[str, object]:
        """The options as they are typed; None for one that was not given."""
        return {f"--{f.name.replace('_', '-')}": getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True)
class Inputs:
    """What the options stand for."""

    pairs: Pairs
    queries: Queries | None
    items: NamedRows
    """The rows of OLD, which files of lines follow."""
    own_queries: NamedRows | None = None
    """The rows of --queries-old, where they are given."""

    @property
    def asked(self) -> NamedRows:
        """The rows that are queries: items, where there are no others."""
        return self.items if self.own_queries is None else self.own_queries


def open_for(
    bridge: Bridge,
    old: str,
    new: str,
    relevance: RelevanceOptions,
    progress: Progress,
    *,
    primary: str | None = None,
) -> Inputs:
    """Open what a bridge is judged on: in its direction, compared as its source is."""
    return open_inputs(
        old, new, relevance, kind=bridge.kind, metric=bridge.source.metric, primary=primary,
        progress=progress,
    )  # fmt: skip


def open_inputs(
    old: str,
    new: str,
    relevance: RelevanceOptions,
    *,
    kind: str,
    metric: str,
    primary: str | None = None,
    progress: Progress,
) -> Inputs:
    """Open both sides in the direction of the bridge, and check what belongs together.

    With an engine the items are read part by part where its workers are; queries are read here.
    """
    from isthmus.bridge.held_out_samples import Queries
    from isthmus.spaces.label_files import read_labels
    from isthmus.spaces.metric import checked_metric
    from isthmus.spaces.pairs import Pairs
    from isthmus.spaces.qrels import read_qrels

    queries_old, queries_new = relevance.queries_old, relevance.queries_new
    labels, qrels = relevance.labels, relevance.qrels
    check_judging(
        kind,
        primary,
        judged=queries_old is not None or labels is not None,
        by="--queries-old and --queries-new, or --labels",
    )
    if (queries_old is None) != (queries_new is None):
        raise InputError(
            "queries are needed from both models, and only one was given",
            mend="Give --queries-old and --queries-new",
        )
    if queries_old is not None and labels is not None:
        raise InputError("queries and labels are two ways to judge", mend="Give one of them")
    if qrels is not None and queries_old is None:
        raise InputError("--qrels judges queries", mend="Give --queries-old and --queries-new too")

    def paired(a: str, b: str, **more: Any) -> Pairs:
        source, target = (b, a) if kind == "query" else (a, b)
        return Pairs(source, target, metric=metric, progress=progress, **more)  # pyright: ignore[reportArgumentType]

    declined = False if relevance.ids == "none" else relevance.ids
    if relevance.engine is None:
        pairs = paired(old, new, ids=declined)
    else:
        from isthmus.scale import Labels, open_pairs

        sides = (new, old) if kind == "query" else (old, new)
        pairs = open_pairs(
            *sides,
            engine=relevance.engine,
            ids=declined,
            metric=checked_metric(metric),
            labels=None
            if labels is None
            else Labels(read_labels(labels), "target" if kind == "query" else "source"),
        )
    if labels is not None and relevance.engine is None:
        opened = pairs.target if kind == "query" else pairs.source
        given = _for_rows(opened, read_labels(labels, _rows_of_old(pairs, kind)), labels)
        pairs = Pairs(pairs.source, pairs.target, metric=pairs.metric, labels=given)
    if queries_old is None or queries_new is None:
        return Inputs(pairs, None, _rows_of_old(pairs, kind))
    queries = paired(queries_old, queries_new, ids=False if declined is False else None)
    found = None
    if qrels is not None:
        found = read_qrels(qrels, query_ids=queries.head(1).ids, item_ids=pairs.head(1).ids)
    items, asked = _rows_of_old(pairs, kind), _rows_of_old(queries, kind)
    return Inputs(pairs, Queries(queries, found), items, asked)


def _rows_of_old(pairs: Pairs, kind: str) -> NamedRows:
    """The rows of the old model's file, by the ids that its pairs have."""
    from isthmus.spaces.texts import NamedRows

    old, new = (pairs.target, pairs.source) if kind == "query" else (pairs.source, pairs.target)
    # where only one side has ids, the rows are paired one by one
    return NamedRows(old.name, old.n, new.ids if old.ids is None else old.ids)


def _for_rows(side: Vectors, labels: NDArray[Any], path: Path) -> NDArray[Any] | dict[Any, Any]:
    """Labels by id where the rows of ``side`` have ids, and otherwise as they are."""
    if labels.ndim != 1 or len(labels) != side.n:
        raise InputError(
            f"the labels have shape {labels.shape}, expected ({side.n},)",
            where=str(path),
            mend=f"Give one label for each row of {side.name}",
        )
    if side.ids is None:
        return labels
    return dict(zip(side.ids.tolist(), labels.tolist(), strict=True))
