"""Scores of one search on the scale of another, so that thresholds and rankings keep meaning.

A map changes how scores are distributed even where it keeps every ranking: a threshold tuned on
the old model passes too much or too little, and results of two spaces cannot be merged.  A rising
curve, fitted on the same pairs of query and item scored both ways, takes one scale to the other.
It gives the score to be expected, so the noisier a map, the fewer results reach a high threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate import Relevance, Trial, top_k
from isthmus.evaluate.scores import checked_norms, scores_of
from isthmus.evaluate.trial import Side
from isthmus.numeric import Array
from isthmus.ways.calibration import (
    MonotoneCurve,
    expected_calibration_error,
    isotonic_curve,
)

__all__ = [
    "PairedScores",
    "ScoreCalibrator",
    "ScoreReport",
    "fit_score_calibrator",
    "paired_scores",
]

_SHOWN = 10
_RANDOM = 20


@dataclass(frozen=True, eq=False)
class PairedScores:
    """Pairs of query and item, each scored in two spaces; arrays ``(m,)``."""

    query: NDArray[np.int64]
    item: NDArray[np.int64]
    first: NDArray[np.float32]
    """Score in the first space."""
    second: NDArray[np.float32]
    """Score in the second space."""
    shown: NDArray[np.bool_]
    """Whether it is among the first results of the first space."""


def paired_scores(
    first: Side,
    second: Side,
    *,
    k: int = _SHOWN,
    random: int = _RANDOM,
    exclude: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> PairedScores:
    """Score the same pairs in two spaces: the ``k`` best of the first, and random other ones.

    The best of the second space are not looked for: pairs chosen by the score that is to be
    predicted would bend every curve fitted on them.

    Args:
        first: queries ``(nq, d)`` and gallery ``(ng, d)``, with their metric.
        second: the same items in the other space; row i is the same item on both sides.
        k: best results, fewer in a small gallery.
        random: further items for each query, fewer where one is drawn twice.
        exclude: one gallery item left out for each query ``(nq,)``.
        seed: of the random pairs.

    Raises:
        InputError: for sides of other row counts, for vectors that cannot be compared, and for a
            gallery where nothing can be found.
    """
    for name in ("queries", "gallery"):
        a, b = len(getattr(first, name)), len(getattr(second, name))
        if a != b:
            raise InputError(f"{a} {name} in the first space, {b} in the second", where=name)
    checked_norms(second.queries, "queries of the second space", second.metric)
    checked_norms(second.gallery, "gallery of the second space", second.metric)
    ng = len(first.gallery)
    k = min(k, max(ng - (exclude is not None), 1))
    best = top_k(first.queries, first.gallery, k, metric=first.metric, exclude=exclude).indices
    drawn = np.random.default_rng(seed).integers(0, ng, size=(len(best), random))
    items = np.hstack([best, drawn])
    # of equal items in a row the first stays
    order = np.argsort(items, axis=1, kind="stable")
    ascending = np.take_along_axis(items, order, axis=1)
    kept = np.ones(items.shape, dtype=bool)
    np.put_along_axis(kept, order[:, 1:], np.diff(ascending, axis=1) > 0, axis=1)
    if exclude is not None:
        kept &= items != np.asarray(exclude)[:, None]
    query, column = np.nonzero(kept)
    one, other = (scores_of(s.queries, s.gallery, items, s.metric)[kept] for s in (first, second))
    return PairedScores(query, items[kept], one, other, column < k)


@dataclass(frozen=True)
class ScoreReport:
    """Expected calibration errors on queries that fitted nothing, over the first results shown."""

    queries: int
    scale_before: float
    """Between the bridge's scores and the old model's of the same pairs, on the latter's scale."""
    scale_after: float
    probability_before: float | None = None
    """Of the old model's probability of relevance, read at the bridge's scores as they are."""
    probability_after: float | None = None
    """Of the calibrator's probability of relevance; both None where relevance is not known."""


@dataclass(frozen=True, eq=False)
class ScoreCalibrator:
    """From the scores of a bridge to the scale of the old model, and to probabilities.

    Calling it maps scores of any shape and library.  The order of scores is kept; outside the
    scores of the fit the curve goes on as a straight line.  If the old model's scores do not rise
    with the bridge's, or all scores are equal, the curve is a constant: the mean of the old scores.
    Probabilities of relevance are those of a gallery as large as the one of the fit: among more
    items, more that are irrelevant reach a score.
    """

    scale: MonotoneCurve
    relevance: MonotoneCurve | None = None
    """From scores of the bridge to the share of relevant pairs; None where that is not known."""
    report: ScoreReport | None = None
    """None where no other queries were given."""

    def __call__(self, scores: Array) -> Array:
        """Scores of the bridge on the old model's scale: same shape, library and dtype.

        Raises:
            InputError: for scores that are not finite, naming the first.
        """
        return self.scale(scores)

    def probabilities(self, scores: Array) -> Array:
        """How likely pairs with these scores of the bridge are relevant: same shape and library.

        Raises:
            InputError: for scores that are not finite, and where relevance is not known.
        """
        if self.relevance is None:
            raise InputError(
                "probabilities of relevance were not fitted",
                mend="Fit with queries and the items that answer them, or with labels",
            )
        return self.relevance(scores)

    def pack(self) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
        """JSON and float32 tensors from which `unpack` makes the same calibrator."""
        r = self.report
        described = {
            "tail": self.scale.tail,
            "report": None
            if r is None
            else [
                r.queries,
                r.scale_before,
                r.scale_after,
                r.probability_before,
                r.probability_after,
            ],
        }
        tensors = {"scale": self.scale.tensor()}
        if self.relevance is not None:
            tensors["relevance"] = self.relevance.tensor()
        return described, tensors

    @classmethod
    def unpack(
        cls, described: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
    ) -> ScoreCalibrator:
        """What `pack` gave.

        Raises:
            KeyError, TypeError, ValueError: for anything else.
        """
        unknown = set(tensors) - {"scale", "relevance"}
        if unknown:
            raise ValueError(f"nothing uses the tensors {sorted(unknown)} of a score calibrator")
        scale = MonotoneCurve.of_tensor(tensors["scale"], float(described["tail"]))
        relevance = None
        if "relevance" in tensors:
            relevance = MonotoneCurve.of_tensor(tensors["relevance"], 0.0)
            if relevance.y[0] < 0 or relevance.y[-1] > 1:
                raise ValueError("probabilities of relevance lie outside [0, 1]")
        listed = described["report"]
        report = None
        if listed is not None:
            queries, *errors = listed
            if len(errors) != 4 or any(e is not None and not 0 <= float(e) < 1e30 for e in errors):
                raise ValueError("the report of a score calibrator holds four errors of 0 or more")
            before, after, *others = (None if e is None else float(e) for e in errors)
            report = ScoreReport(
                int(queries), cast(float, before), cast(float, after), others[0], others[1]
            )
        return cls(scale, relevance, report)


def fit_score_calibrator(
    fit: Trial,
    verify: Trial | None = None,
    *,
    k: int = _SHOWN,
    random: int = _RANDOM,
    seed: int = 0,
) -> ScoreCalibrator:
    """Fit the curves on the queries of one trial and report their errors on those of another.

    Args:
        fit: held-out queries, such as the validation queries, with the bridge's vectors.
        verify: other queries, such as the test queries.
        k: best results that are looked at.
        random: further items for each query.
        seed: of the random pairs.

    Raises:
        InputError: as `paired_scores`, and for a trial that holds no mapped vectors.
    """
    pairs = _pairs(fit, k, random, seed)
    scale = isotonic_curve(pairs.first, pairs.second, straight_tails=True)
    relevance = None
    if fit.relevance is not None:
        relevance = isotonic_curve(pairs.first, _relevant(pairs, fit.relevance))
    report = None
    if verify is not None and verify.n_queries:
        shown = _pairs(verify, k, 0, seed)
        before = after = None
        if verify.relevance is not None and fit.relevance is not None and relevance is not None:
            of_old = _pairs(fit, k, random, seed, old_first=True)
            probability = isotonic_curve(of_old.first, _relevant(of_old, fit.relevance))
            seen = _relevant(shown, verify.relevance)
            before = expected_calibration_error(probability.at(shown.first), seen)
            after = expected_calibration_error(relevance.at(shown.first), seen)
        report = ScoreReport(
            verify.n_queries,
            expected_calibration_error(shown.first, shown.second),
            expected_calibration_error(scale.at(shown.first), shown.second),
            before,
            after,
        )
    return ScoreCalibrator(scale, relevance, report)


def _pairs(
    trial: Trial, k: int, random: int, seed: int, *, old_first: bool = False
) -> PairedScores:
    trial.check()
    sides = [trial.bridge, Side(trial.query_old, trial.gallery_old, trial.metric)]
    if old_first:
        sides.reverse()
    return paired_scores(*sides, k=k, random=random, exclude=trial.exclude, seed=seed)


def _relevant(pairs: PairedScores, relevance: Relevance) -> NDArray[np.float64]:
    key = pairs.query * relevance.n_gallery + pairs.item
    return np.isin(key, relevance.rows * relevance.n_gallery + relevance.indices).astype(np.float64)
