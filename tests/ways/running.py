"""One way run over a trial, as an evaluation runs it."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.evaluate import Ranks, parse_metric
from isthmus.evaluate.price import Price
from isthmus.evaluate.trial import Trial
from isthmus.ways.bench import run_way
from isthmus.ways.choose import ChosenWays
from isthmus.ways.way import Way


def run(trial: Trial, way: Way, filled: Any = None) -> tuple[Ranks, Price]:
    """Ranks of the relevant items, and the price."""
    chosen = ChosenWays({"it": way}, filled={} if filled is None else {"it": filled})
    return run_way(trial, "it", chosen)


def r1(ranks: Ranks) -> float:
    return float(np.mean(parse_metric("recall@1").per_query(ranks)))
