"""Fitting a model of trust, on rows that the map was not fitted on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.chain import Chain
from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.evaluate import Metric, Relevance, top_k
from isthmus.evaluate.attraction import first_among_unfitted
from isthmus.evaluate.scores import checked_norms
from isthmus.evaluate.search import TopK
from isthmus.evaluate.trial import FittedRows, GallerySearch
from isthmus.scipy_later import special
from isthmus.spaces.profile import Profile
from isthmus.ways.calibration import MonotoneCurve
from isthmus.ways.regress import ridges, signed_logistic
from isthmus.ways.risk import RiskControl, control_risk, cuts_of
from isthmus.ways.trust import Trust, search_features

__all__ = ["HeldOutRows", "fit_trust"]


_BLOCK_ROWS = 4096
_FEWEST_ROWS = 40
_FOLDS = 5
_SIGNS = (-1, -1, 1, 1)  # distance, log residual, log margin, preservation
_UNSET = RiskControl(
    MonotoneCurve(np.array([0.0, 1.0]), np.array([0.0, 1.0])), (0.0,), ((1, 0),), (), None, None
)


@dataclass(frozen=True, eq=False)
class HeldOutRows:
    """Paired rows that no map was fitted on, and the target vectors that they search.

    For a query bridge: queries of the new and of the old model, and the old index.  For a corpus
    bridge, whose mapped vectors are items: items of the old and of the new model, among the items
    of the new one, ``exclude`` naming each item's own place.
    """

    source: NDArray[Any]
    """``(n, dx)``"""
    target: NDArray[Any]
    """``(n, dy)``"""
    gallery: NDArray[Any]
    """``(ng, dy)``"""
    exclude: NDArray[np.int64] | None = None
    """``(n,)``, one gallery item that each row leaves out."""
    mapped: NDArray[Any] | None = None
    """``source`` behind maps that have not seen it; None where the map given has not."""
    fitted: FittedRows | None = None
    """Which items those maps were fitted on: what the rows find among others is what is trusted."""

    def __len__(self) -> int:
        return len(self.source)

    def select(self, rows: NDArray[Any]) -> HeldOutRows:
        """The given rows, with the whole gallery."""
        exclude = None if self.exclude is None else self.exclude[rows]
        mapped = None if self.mapped is None else self.mapped[rows]
        fitted = self.fitted
        if fitted is not None:
            fitted = replace(fitted, queries=fitted.queries[rows])
        return replace(
            self,
            source=self.source[rows],
            target=self.target[rows],
            exclude=exclude,
            mapped=mapped,
            fitted=fitted,
        )

    def halves(self, seed: int = 0) -> tuple[HeldOutRows, HeldOutRows]:
        """Two disjoint random halves, the first with the odd row."""
        order = np.random.default_rng(seed).permutation(len(self))
        middle = -(-len(self) // 2)
        return self.select(np.sort(order[:middle])), self.select(np.sort(order[middle:]))


def fit_trust(
    chain: Chain,
    profile: Profile,
    fit: HeldOutRows,
    calibrate: HeldOutRows,
    verify: HeldOutRows | None = None,
    *,
    metric: Metric,
    seed: int = 0,
) -> Trust:
    """Fit the model of trust of a map on rows that the map was not fitted on.

    The residual, the old model's margin and preservation are ridge regressions on
    coordinates in the profile and their squares; the logistic model that joins them sees only
    out-of-fold predictions, and trusts no vector more for being farther out or for a larger
    predicted residual.
    With fewer than 40 rows to fit on, or if all or none keep their first result, or if nothing
    tells them apart, every vector within reach has the same trust.

    Args:
        chain: the map.
        profile: of the source vectors it was fitted on.
        fit: rows for everything but the probabilities, such as the validation rows.
        calibrate: rows for the probabilities and the thresholds; the map must not have been chosen
            on them.
        verify: rows that only show whether the thresholds hold.
        metric: of the target space.
        seed: of the folds.

    Raises:
        InputError: for vectors that cannot be compared, for no rows to fit or to calibrate on, and
            for a gallery of a single item.
    """
    if not len(calibrate):
        raise InputError("there are no rows to calibrate trust on", mend="Hold out more rows")
    known = _observe(chain, fit, metric, seed)
    draft = _model(profile, known, seed)
    judged = [
        _observe(chain, rows, metric, seed)
        for rows in (calibrate, verify)
        if rows is not None and len(rows)
    ]
    cuts = cuts_of(draft.raw(known.source))
    raw = [draft.raw(rows.source) for rows in judged]
    kept = [rows.preserved for rows in judged]
    none = (np.empty(0), np.empty(0, dtype=bool))
    control = control_risk(cuts, raw[0], kept[0], *((raw[1], kept[1]) if raw[1:] else none))
    model = replace(draft, control=control)

    def searched(rows: _Observed) -> Matrix:
        return model.raw_after_search(model(rows.source), rows.scores)

    found = [searched(rows) for rows in judged]
    search = control_risk(
        cuts_of(searched(known)), found[0], kept[0], *((found[1], kept[1]) if found[1:] else none)
    )
    items = len(calibrate.gallery) - (calibrate.exclude is not None)
    return replace(model, search_control=search, searched=items)


@dataclass(frozen=True, eq=False)
class _Observed:
    """What became of held-out rows, ``(n,)`` each."""

    source: NDArray[Any]
    preserved: NDArray[np.bool_]
    """The first result of the mapped vector is that of the true target vector."""
    residual: Matrix
    """Squared."""
    margin: Matrix
    """The first score of the true target vector less its second."""
    scores: NDArray[np.float32]
    """The first two of the mapped vector ``(n, 2)``."""


def _observe(chain: Chain, rows: HeldOutRows, metric: Metric, seed: int) -> _Observed:
    if not len(rows):
        raise InputError("there are no rows to fit trust on", mend="Hold out more rows")
    if len(rows.gallery) - (rows.exclude is not None) < 2:
        raise InputError(
            "the gallery holds a single item: nothing can be searched",
            where="gallery",
            mend="Give a few hundred items at the least",
        )
    mapped = chain(rows.source) if rows.mapped is None else rows.mapped
    true = top_k(rows.target, rows.gallery, 2, metric=metric, exclude=rows.exclude)
    found = _found(mapped, rows, true.indices[:, 0], metric, seed)
    residual = np.empty(len(rows))
    for start in range(0, len(rows), _BLOCK_ROWS):
        part = slice(start, start + _BLOCK_ROWS)
        a, b = (np.asarray(v[part], dtype=np.float64) for v in (mapped, rows.target))
        if metric == "cosine":
            a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b))
        residual[part] = np.square(a - b).sum(axis=1)
    return _Observed(
        rows.source,
        found.indices[:, 0] == true.indices[:, 0],
        residual,
        (true.scores[:, 0] - true.scores[:, 1]).astype(np.float64),
        found.scores,
    )


def _found(
    mapped: NDArray[Any], rows: HeldOutRows, first: NDArray[np.int64], metric: Metric, seed: int
) -> TopK:
    """The first two of the mapped vectors, ``first`` being those of the true ones."""
    if rows.fitted is not None:
        true = Relevance(np.arange(len(rows) + 1), first, len(rows.gallery))
        side = GallerySearch(mapped, rows.gallery, metric)
        found = first_among_unfitted(side, true, rows.fitted, 2, seed=seed)
        if found is not None:
            return found
    return top_k(mapped, rows.gallery, 2, metric=metric, exclude=rows.exclude)


def _model(profile: Profile, known: _Observed, seed: int) -> Trust:
    """Everything but the calibration."""
    n, r = len(known.source), profile.full.shape[1]
    base = special.logit((known.preserved.sum() + 1) / (n + 2))
    weights, ranges = np.zeros((2 * r + 2, 3)), np.zeros((2, 3))
    coefficients, search = np.zeros(5), np.zeros(4)
    coefficients[0] = search[0] = base
    features, distance = _features(profile, known.source)
    reach = max(float(distance.max()), 1e-12)
    gap = known.scores[:, 0].astype(np.float64) - known.scores[:, 1]
    floor = max(0.05 * float(np.median(gap)), 1e-6)
    if n >= _FEWEST_ROWS and known.preserved.any() and not known.preserved.all():
        targets = np.column_stack(
            [
                np.log(np.maximum(known.residual, max(1e-6 * known.residual.mean(), 1e-300))),
                np.log(known.margin + max(0.05 * float(np.median(known.margin)), 1e-6)),
                known.preserved.astype(np.float64),
            ]
        )
        fold = np.random.default_rng(seed).permutation(n) % _FOLDS
        weights, unseen = ridges(features, targets, fold)
        ranges = np.stack([unseen.min(axis=0), unseen.max(axis=0)])
        summary = np.column_stack([np.log(np.maximum(distance, 1e-30)), unseen])
        coefficients = signed_logistic(summary, known.preserved, _SIGNS)
        raw = special.expit(coefficients[0] + summary @ coefficients[1:])
        search = signed_logistic(
            search_features(raw, known.scores, floor), known.preserved, (1, 1, 1)
        )
    return Trust(
        profile,
        weights.astype(np.float32),
        ranges.astype(np.float32),
        tuple(coefficients.tolist()),
        reach,
        _UNSET,
        tuple(search.tolist()),
        floor,
        _UNSET,
    )


def _features(profile: Profile, source: NDArray[Any]) -> tuple[Matrix, Matrix]:
    """As `Trust` reads them: coordinates, their squares, the rest, 1: ``(n, 2 r + 2)``; distances.

    Raises:
        InputError: for rows that are not finite.
    """
    checked_norms(source, "rows to fit trust on", "cosine" if profile.unit else "l2")
    p, rest, distance = profile.coordinates(source)
    return np.column_stack([p, p * p, rest, np.ones(len(p))]), distance
