"""Every similarity measure by its name: the families that declare them, in the order shown."""

from __future__ import annotations

from collections.abc import Iterable

from isthmus.errors import InputError
from isthmus.similarity.cca import DECLARED as CCA
from isthmus.similarity.cka import DECLARED as CKA
from isthmus.similarity.gulp import DECLARED as GULP
from isthmus.similarity.measure import MomentMeasure, RowMeasure
from isthmus.similarity.neighbours import DECLARED as NEIGHBOURS
from isthmus.similarity.procrustes import DECLARED as PROCRUSTES
from isthmus.similarity.rbf_cka import DECLARED as RBF_CKA
from isthmus.similarity.rsa import DECLARED as RSA

__all__ = ["MEASURES", "parse_measures"]

_FAMILIES: tuple[tuple[MomentMeasure | RowMeasure, ...], ...] = (
    *(CKA, CCA, PROCRUSTES, GULP),
    *(RBF_CKA, RSA, NEIGHBOURS),
)
"""Add what a new module declares here, and it is compared, tested and reported with the others."""

MEASURES: dict[str, MomentMeasure | RowMeasure] = {
    measure.name: measure for family in _FAMILIES for measure in family
}
"""Every measure by its name, in the order they are shown."""


def parse_measures(asked: str | Iterable[str]) -> tuple[str, ...]:
    """The names of the measures that are asked for, in the order of `MEASURES`.

    Args:
        asked: names, one name, ``all``, or a basis: ``moments`` or ``rows``.

    Raises:
        InputError: for a name that is not known, with those that are.

    Example:
        >>> parse_measures(["rsa", "cka"])
        ('linear_cka', 'rsa')
    """
    names = (asked,) if isinstance(asked, str) else tuple(asked)
    wanted: set[str] = set()
    for name in names:
        found = {m.name for m in MEASURES.values() if name in ("all", m.basis, m.name, *m.aliases)}
        if not found:
            raise InputError(
                f"the measure '{name}' is unknown",
                where="measures",
                mend=f"Choose from all, moments, rows, {', '.join(MEASURES)}",
            )
        wanted |= found
    if not wanted:
        raise InputError("no measure was asked for", where="measures")
    return tuple(name for name in MEASURES if name in wanted)
