"""Ways to go on with a bridge, at query time and for the corpus: chosen, judged, and run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus.lazy import lazy_names

if TYPE_CHECKING:
    from isthmus.evaluate.price import Price
    from isthmus.ways.choose import ChosenWays, choose_ways
    from isthmus.ways.choose_part import BackfillCurve, backfill_curves
    from isthmus.ways.depth import FixedDepth, MarginDepth, StoppingDepth
    from isthmus.ways.interpolate import interpolate
    from isthmus.ways.items import ItemVectors, KnownItems
    from isthmus.ways.judge import evaluate_upgrade
    from isthmus.ways.queries import QueryInput
    from isthmus.ways.rescoring import RecallTrace, Spent
    from isthmus.ways.results import QueryLimits, QueryResults, Result, run_queries
    from isthmus.ways.search import Answer, Columns, Search, columns_of
    from isthmus.ways.way import Join, Needs, Part, Recall, Rescore, ScoreMatch, Way

_HOMES = {
    "isthmus.evaluate.price": ("Price",),
    "isthmus.ways.choose": (
        "ChosenWays",
        "choose_ways",
    ),
    "isthmus.ways.choose_part": (
        "BackfillCurve",
        "backfill_curves",
    ),
    "isthmus.ways.depth": (
        "FixedDepth",
        "MarginDepth",
        "StoppingDepth",
    ),
    "isthmus.ways.interpolate": ("interpolate",),
    "isthmus.ways.items": (
        "ItemVectors",
        "KnownItems",
    ),
    "isthmus.ways.judge": ("evaluate_upgrade",),
    "isthmus.ways.queries": ("QueryInput",),
    "isthmus.ways.rescoring": (
        "RecallTrace",
        "Spent",
    ),
    "isthmus.ways.results": (
        "QueryLimits",
        "QueryResults",
        "Result",
        "run_queries",
    ),
    "isthmus.ways.search": (
        "Answer",
        "Columns",
        "Search",
        "columns_of",
    ),
    "isthmus.ways.way": (
        "Join",
        "Needs",
        "Part",
        "Recall",
        "Rescore",
        "ScoreMatch",
        "Way",
    ),
}

__all__ = [
    "Answer",
    "BackfillCurve",
    "ChosenWays",
    "Columns",
    "FixedDepth",
    "ItemVectors",
    "Join",
    "KnownItems",
    "MarginDepth",
    "Needs",
    "Part",
    "Price",
    "QueryInput",
    "QueryLimits",
    "QueryResults",
    "Recall",
    "RecallTrace",
    "Rescore",
    "Result",
    "ScoreMatch",
    "Search",
    "Spent",
    "StoppingDepth",
    "Way",
    "backfill_curves",
    "choose_ways",
    "columns_of",
    "evaluate_upgrade",
    "interpolate",
    "run_queries",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
