"""A way to serve queries that was worked out elsewhere, ready to be compared with the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from isthmus.evaluate.arms import Verdict
from isthmus.evaluate.bootstrap import Estimate
from isthmus.evaluate.price import Price
from isthmus.evaluate.ranks import Ranks

__all__ = ["Extra", "Parameter"]

Parameter = str | bool | int | float | None
"""What a parameter of a strategy may be."""


@dataclass(frozen=True, eq=False)
class Extra:
    """Ranks of one more arm on the queries of a trial, with its price.

    ``name`` is its key among the arms, ``label`` what a table shows.  ``ranks`` are of the
    relevant items of every answerable query, as `relevant_ranks` gives them.  ``verdict`` is the
    answer if this arm is recommended.  ``needs_bridge`` refuses it where the bridge is not above
    its control.  ``chosen_gain`` is the gain over the old model on the queries that its parameters
    were chosen on: what did not gain there is not recommended.
    """

    name: str
    label: str
    ranks: Ranks
    price: Price
    verdict: Verdict
    needs_bridge: bool = True
    parameters: Mapping[str, Parameter] = field(default_factory=dict[str, Parameter])
    chosen_gain: Estimate | None = None
