"""Ways to go on with a bridge, at query time and for the corpus, each judged on held-out rows."""

from isthmus.evaluate.price import Price
from isthmus.ways.backfill import (
    Backfill,
    BackfillCurve,
    backfill_curves,
    choose_backfill,
)
from isthmus.ways.cascade import Cascade, choose_cascade
from isthmus.ways.mixed_query import MixedQuery, choose_mixed_query, interpolate
from isthmus.ways.plan import Plan, choose_strategies
from isthmus.ways.recall import Recall

__all__ = [
    "Backfill",
    "BackfillCurve",
    "Cascade",
    "MixedQuery",
    "Plan",
    "Price",
    "Recall",
    "backfill_curves",
    "choose_backfill",
    "choose_cascade",
    "choose_mixed_query",
    "choose_strategies",
    "interpolate",
]
