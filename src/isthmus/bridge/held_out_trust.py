"""What a fit adds to the map of a bridge: trust in single vectors.

Validation rows fit what orders vectors by trust; one half of the test rows calibrates it, and the
other half verifies it.  The map was chosen on validation rows, so they cannot say how often it
holds.
"""

from __future__ import annotations

import numpy as np

from isthmus.adapters.chain import Chain
from isthmus.adapters.cross_fitted import FittedMap
from isthmus.bridge.evidence import HeldOut
from isthmus.bridge.held_out_samples import FIT, TEST, VALIDATION
from isthmus.bridge.kind import BridgeKind
from isthmus.spaces.metric import Metric
from isthmus.spaces.pairs import Split
from isthmus.spaces.profile import Profile
from isthmus.spaces.sample import Batch
from isthmus.ways.fit_trust import HeldOutRows, fit_trust
from isthmus.ways.trust import Trust

__all__ = ["held_out_trust", "side_profiles"]


def held_out_trust(
    chain: Chain,
    validation: HeldOut | None,
    test: HeldOut | None,
    profile: Profile,
    split: Split,
    *,
    kind: BridgeKind,
    out_of_fold: FittedMap | None = None,
    seed: int = 0,
) -> Trust | None:
    """Fit trust in the vectors of a map on held-out rows; None where there are none.

    It is calibrated among all items that the evidence searches.

    Args:
        chain: the map as the bridge will hold it.
        validation: the queries the map was chosen on, with their gallery.
        test: the queries it was judged on.
        profile: of the source vectors, which tells where they lie.
        split: of the pairs.
        kind: of the bridge: queries are mapped, or items.
        out_of_fold: maps that have not seen the rows, where ``chain`` has.
        seed: of halves, folds and random pairs.
    """
    if validation is None or test is None:
        return None
    if min(_searchable(validation), _searchable(test)) < 2:
        return None
    fit = _mapped(validation, VALIDATION, split, kind, out_of_fold)
    held_out = _mapped(test, TEST, split, kind, out_of_fold)
    if not len(fit) or not len(held_out):
        return None
    return fit_trust(chain, profile, fit, *held_out.halves(seed), metric=test.metric, seed=seed)


def side_profiles(
    sample: Batch, split: Split, validation: HeldOut | None, *, kind: BridgeKind, metric: Metric
) -> tuple[Profile, Profile]:
    """The profiles of the source and of the target, from rows that no test row is among.

    Args:
        sample: of all pairs; its rows of the fit part are profiled.
        split: of the pairs.
        validation: its queries are profiled too where queries apart from the items are mapped.
        kind: of the bridge.
        metric: of both spaces.
    """
    fitted = sample.select(split.assign(sample.ids) == FIT)
    rows = fitted if len(fitted) >= 2 else sample
    x = rows.x
    if kind == "query" and validation is not None and validation.exclude is None:
        # queries differ from items, and are what will be mapped
        x = np.concatenate([x, validation.queries.x])
    unit = metric == "cosine"
    return Profile.of_rows(x, unit=unit), Profile.of_rows(rows.y, unit=unit)


def _searchable(held_out: HeldOut) -> int:
    return len(held_out.gallery) - (held_out.exclude is not None)


def _mapped(
    held_out: HeldOut, part: int, split: Split, kind: BridgeKind, out_of_fold: FittedMap | None
) -> HeldOutRows:
    """Rows of the kind that the bridge maps, which search in the target space."""
    gallery = held_out.gallery
    if kind == "query" or held_out.exclude is not None:
        asked = held_out.queries
        mapped = None if out_of_fold is None else held_out.mapped_queries(out_of_fold)
        fitted = None if out_of_fold is None else held_out.fitted(out_of_fold)
        items = gallery.y
        if held_out.alone is not None and kind == "query":
            items = np.concatenate([items, held_out.alone.old])
            fitted = None if fitted is None else fitted.widened(len(held_out.alone.ids))
        return HeldOutRows(asked.x, asked.y, items, held_out.exclude, mapped, fitted)
    # a corpus bridge maps items: those of the part, each searching the others
    own = np.flatnonzero(split.assign(gallery.ids) == part)
    return HeldOutRows(gallery.x[own], gallery.y[own], gallery.y, own)
