"""What a fit adds to the map of a bridge: trust in single vectors, and scores that keep meaning.

Validation rows fit what orders vectors by trust; one half of the test rows calibrates it, and the
scores, and the other half verifies both.  The map was chosen on validation rows, so they cannot say
how often it holds; and what a score means depends on how many items are searched, so scores are
calibrated in the gallery that the bridge is judged in.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from isthmus.adapters.chain import Chain
from isthmus.bridge.evidence import HeldOut
from isthmus.bridge.held_out_samples import FIT, TEST, VALIDATION
from isthmus.bridge.kind import Kind
from isthmus.spaces.metric import Metric
from isthmus.spaces.pairs import Split
from isthmus.spaces.profile import Profile
from isthmus.spaces.sample import Batch
from isthmus.ways.scores import ScoreCalibrator, fit_score_calibrator
from isthmus.ways.trust import HeldOutRows, Trust, fit_trust

__all__ = ["Calibrated", "calibrate", "side_profiles"]


class Calibrated(NamedTuple):
    """What was fitted; None where there were no rows for it."""

    trust: Trust | None
    score_calibrator: ScoreCalibrator | None


def calibrate(
    chain: Chain,
    validation: HeldOut | None,
    test: HeldOut | None,
    profile: Profile,
    split: Split,
    *,
    kind: Kind,
    seed: int = 0,
) -> Calibrated:
    """Fit trust and the score calibrator of a map on held-out rows.

    Args:
        chain: the map as the bridge will hold it.
        validation: the queries the map was chosen on, with their gallery.
        test: the queries it was judged on.
        profile: of the source vectors, which tells where they lie.
        split: of the pairs.
        kind: of the bridge: queries are mapped, or items.
        seed: of halves, folds and random pairs.
    """
    if validation is None or test is None:
        return Calibrated(None, None)
    if min(_searchable(validation), _searchable(test)) < 2:
        return Calibrated(None, None)
    trial = test.trial(chain, kind)
    first = np.random.default_rng(seed).permutation(trial.n_queries) < -(-trial.n_queries // 2)
    verify = None if first.all() else trial.of(~first)
    scores = fit_score_calibrator(trial.of(first), verify, seed=seed)
    fit = _mapped(validation, VALIDATION, split, kind)
    held_out = _mapped(test, TEST, split, kind)
    if not len(fit) or not len(held_out):
        return Calibrated(None, scores)
    trust = fit_trust(chain, profile, fit, *held_out.halves(seed), metric=test.metric, seed=seed)
    return Calibrated(trust, scores)


def side_profiles(
    sample: Batch, split: Split, validation: HeldOut | None, *, kind: Kind, metric: Metric
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


def _mapped(held_out: HeldOut, part: int, split: Split, kind: Kind) -> HeldOutRows:
    """Rows of the kind that the bridge maps, which search in the target space."""
    gallery = held_out.gallery
    if kind == "query" or held_out.exclude is not None:
        asked = held_out.queries
        return HeldOutRows(asked.x, asked.y, gallery.y, held_out.exclude)
    # a corpus bridge maps items: those of the part, each searching the others
    own = np.flatnonzero(split.assign(gallery.ids) == part)
    return HeldOutRows(gallery.x[own], gallery.y[own], gallery.y, own)
