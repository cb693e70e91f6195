"""The options that say what decides, and what must hold."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.completions import PRIMARIES, one_of
from isthmus.cli.option_groups import option_name
from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.evaluate import Judging
    from isthmus.evaluate.robustness import Disturbances
    from isthmus.spaces.texts import NamedRows

__all__ = ["Gates", "JudgingOptions", "Primary", "check_judging"]

_JUDGING = "Judging"

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


@dataclass(frozen=True)
class JudgingOptions:
    """What decides, and what must hold."""

    groups: Annotated[
        Path | None,
        typer.Option(
            help="The group of each query, such as its language: a table with id and group, or "
            ".txt with one a line for each row of --queries-old, or of OLD without queries. What "
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
