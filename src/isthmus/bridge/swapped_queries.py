"""Whether the queries of the two models were given for each other."""

from __future__ import annotations

from isthmus.errors import InputError
from isthmus.numeric import to_numpy
from isthmus.spaces.pairs import Pairs
from isthmus.spaces.profile import Profile

__all__ = ["check_not_swapped"]

_ROWS = 2000


def check_not_swapped(pairs: Pairs, queries: Pairs) -> None:
    """Refuse queries of which the old model's lie where the new model's items do, and vice versa.

    It shows where a model leaves directions empty that the other one fills: up to 2,000 items say
    which, and the queries of either side are held against both.

    Raises:
        InputError: where each model that can be told by this has the other one's queries.
    """
    if pairs.dim_x != pairs.dim_y:
        return
    unit = pairs.metric == "cosine"
    items, asked = pairs.head(_ROWS), queries.head(_ROWS)
    sides = ((items.x, asked.x, asked.y), (items.y, asked.y, asked.x))
    told: list[bool] = []
    for rows, own, other in sides:
        profile = Profile.of_rows(to_numpy(rows), unit=unit)
        if profile.conclusive:
            told.append(profile.is_foreign(own) and not profile.is_foreign(other))
    if told and all(told):
        raise InputError(
            "the queries of the new model look like vectors of the old one, and those of the old "
            "model like vectors of the new one",
            where="queries",
            mend="Give them the other way round: --queries-old of the model that made OLD",
        )
