"""What to do with a bridge at query time and with the corpus, each judged on held-out rows."""

from isthmus.evaluate.price import Price
from isthmus.strategies.backfill import (
    Backfill,
    BackfillCurve,
    backfill_curves,
    choose_backfill,
)
from isthmus.strategies.cascade import Cascade, choose_cascade
from isthmus.strategies.mixed_query import MixedQuery, choose_mixed_query, interpolate
from isthmus.strategies.plan import Plan, choose_strategies
from isthmus.strategies.recall import Recall

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
