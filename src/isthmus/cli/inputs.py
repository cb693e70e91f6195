"""The options that say where pairs, queries, relevance and labels come from."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.completions import METRICS, PRIMARIES, one_of
from isthmus.cli.option_groups import option_name
from isthmus.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isthmus.bridge.bridge import Bridge
    from isthmus.bridge.held_out_samples import Queries
    from isthmus.evaluate import Judging
    from isthmus.evaluate.robustness import Disturbances
    from isthmus.progress import Progress
    from isthmus.spaces.pairs import Pairs
    from isthmus.spaces.readers import Vectors
    from isthmus.spaces.texts import NamedRows

__all__ = [
    "BridgeFolder",
    "BridgeOption",
    "EngineName",
    "Gates",
    "IdsOption",
    "Inputs",
    "Json",
    "JudgingOptions",
    "MetricOption",
    "New",
    "Old",
    "Overwrite",
    "Primary",
    "QueryOptions",
    "RelevanceOptions",
    "check_judging",
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
Primary = Annotated[
    str | None,
    typer.Option(
        help="The metric that decides: cmc@k, recall@k, mrr, map or ndcg@k. "
        "By default recall@10, or ndcg@10 where queries have more than ten answers.",
        rich_help_panel=_JUDGING,
        autocompletion=one_of(*PRIMARIES),
    ),
]
Gates = Annotated[
    list[str] | None,
    typer.Option(
        "--gate",
        help="A condition that must hold, as in 'retention>=0.95', 'update_gain>0' or "
        "'recall@10>=0.8'; judged at the careful end of its interval, for the recommended way "
        "unless an arm is named, as in 'bridge.retention>=0.9'. Repeatable; exit code 1 if one "
        "fails.",
        rich_help_panel=_JUDGING,
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
            help="A label for each row of OLD (.npy, or .txt with one a line): items of one label "
            "are relevant to each other. For data without queries.",
            rich_help_panel=_JUDGING,
        ),
    ] = None
    engine: EngineName = None

    def typed(self) -> dict[str, object]:
        """The options as they are typed; None for one that was not given."""
        return {f"--{f.name.replace('_', '-')}": getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True)
class JudgingOptions:
    """What decides, and what must hold."""

    groups: Annotated[
        Path | None,
        typer.Option(
            help="The group of each query, such as its language: .tsv with id and group, or .txt "
            "with one a line for each row of --queries-old, or of OLD without queries. What "
            "each group gains or loses is told, and whether gaps grow.",
            rich_help_panel=_JUDGING,
        ),
    ] = None
    primary: Primary = None
    horizon: Annotated[
        list[str] | None,
        typer.Option(
            help="A figure of your index, as rows=2100000; repeat for queries_per_day, "
            "encodings_per_second, money_per_1000, latency_seconds, days_to_old_off. Metrics are "
            "expected at all rows, and what to run now is told from what to move to.",
            rich_help_panel=_JUDGING,
        ),
    ] = None
    gate: Gates = None
    old_encoder: Annotated[
        bool,
        typer.Option(
            "--old-encoder/--no-old-encoder",
            help="Whether the old model can still encode queries. Without it, mixed queries and "
            "recall by the old model are left out.",
            rich_help_panel=_JUDGING,
        ),
    ] = True
    whole_index: Annotated[
        bool,
        typer.Option(
            "--whole-index/--paired-only",
            help="Where OLD holds many items that NEW lacks, whether they are searched as well: "
            "the evidence is then of the size of the index, and ways that need new vectors of "
            "what they recall are left out.",
            rich_help_panel=_JUDGING,
        ),
    ] = True
    robustness: Annotated[
        bool,
        typer.Option(
            "--robustness",
            help="Also run the recommended way with noise and masked coordinates in the queries, "
            "on 8-bit, binary and half-width copies of the index, and on the queries that are "
            "least like the others. A gate such as 'robustness.worst>=-0.05' asks for it too.",
            rich_help_panel=_JUDGING,
        ),
    ] = False

    def typed(self) -> dict[str, object]:
        """The options as they are typed; None or False for one that was not given."""
        typed: dict[str, object] = {}
        for f in fields(self):
            name, _, negated = option_name(JudgingOptions, f.name).partition("/")
            value: object = getattr(self, f.name)
            typed[negated or name] = not value if negated else value
        return typed

    @property
    def asks_robustness(self) -> bool:
        """Whether it is asked for, by itself or by a gate."""
        from isthmus.evaluate.gates import asks_robustness

        return self.robustness or asks_robustness(self.gate or ())

    def asked_metrics(self) -> list[str]:
        """The metrics that the primary and the gates name."""
        from isthmus.evaluate.gates import metrics_of

        return [*([self.primary] if self.primary else []), *metrics_of(self.gate or ())]

    def check(self) -> None:
        """Refuse, before any work is spent, what `judging` would refuse without the data."""
        from isthmus.spaces.texts import check_texts

        replace(self, groups=None).judging()
        if self.groups is not None:
            check_texts(self.groups)

    def judging(
        self, queries: NamedRows | None = None, disturbances: Disturbances | None = None
    ) -> Judging:
        """What `fit` and `assess` are told.

        Args:
            queries: the rows that groups are read for; None where a log names them.
            disturbances: under which the recommended way is run; the usual ones by default, where
                robustness is asked for.

        Raises:
            InputError: for a metric, a gate or a figure that is none, or groups that cannot be
                read or are those of no query.
        """
        from isthmus.evaluate import DEFAULT_METRICS, Judging, VerdictRule, WayLimits
        from isthmus.evaluate.gates import metrics_of
        from isthmus.evaluate.horizon import parse_horizon
        from isthmus.evaluate.robustness import Disturbances
        from isthmus.spaces.texts import read_texts

        if disturbances is None and self.asks_robustness:
            disturbances = Disturbances()

        judging = Judging(
            self.primary,
            [*DEFAULT_METRICS, *metrics_of(self.gate or ())],
            rule=VerdictRule(horizon=parse_horizon(self.horizon or ())),
            limits=WayLimits(self.old_encoder),
            whole_index=self.whole_index,
            groups=None if self.groups is None else read_texts(self.groups, rows=queries),
            disturbances=disturbances,
        )
        if queries is not None and judging.groups is not None:
            judging.groups_of(queries)
        return judging


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


def check_judging(kind: str, primary: str | None, *, judged: bool, by: str) -> None:
    """Refuse, before any work is spent, a kind that is none and a metric with nothing to judge.

    Args:
        kind: of the bridge.
        primary: the metric that decides, if it was given.
        judged: whether there are queries or labels.
        by: the options that bring them.
    """
    from isthmus.evaluate import parse_metric

    if kind not in ("query", "corpus"):
        raise InputError(f"'{kind}' is no kind of bridge", mend="Use --kind query or corpus")
    if primary is None:
        return
    parse_metric(primary)
    if not judged:
        raise InputError(
            "--primary says how queries or labels judge, and there are none", mend=f"Give {by}"
        )


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
    from isthmus.spaces.metric import checked_metric
    from isthmus.spaces.pairs import Pairs
    from isthmus.spaces.qrels import read_labels, read_qrels

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
        given = _for_rows(opened, read_labels(labels), labels)
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
