"""How well a modality is served, before and after: accuracy, calibration and the modality gap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.special import logsumexp

from isthmus.array_types import Values
from isthmus.errors import InputError
from isthmus.evaluate import (
    Estimate,
    PairedOutcomes,
    Resampling,
    estimate,
    parse_metric,
    relevant_ranks,
    resampled_means,
)
from isthmus.evaluate.probes import ModalityGap, modality_gap
from isthmus.evaluate.relevance import from_labels
from isthmus.nn.modality.hubs import HubOffsets, with_offsets

__all__ = [
    "Change",
    "Measured",
    "RetrievalTask",
    "best_temperature",
    "compare_measured",
    "measure_classes",
    "measure_retrieval",
]


_BINS = 15
_METRICS = ("recall@1", "recall@10", "cmc@10", "mrr")
_COLDEST, _HOTTEST = 1e-4, 1e3
_BLOCK = 1024
_UNBOUNDED = "log loss"
"""Has no worst value, which the intervals of the other metrics rest on: resampled as it is."""


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured of every query.

    Attributes:
        values: of every metric, one value per query ``(nq,)``.
        groups: of every metric, what its queries are resampled by: queries of one item are not
            independent.
        confidence: probability given to the first answer, ``(nq,)``.
        correct: whether it was right, ``(nq,)``.
        gap: between the modality and the frozen space, where both are known as vectors.
    """

    values: Mapping[str, Values]
    groups: Mapping[str, NDArray[np.int64]]
    confidence: Values
    correct: Values
    gap: ModalityGap | None = None

    @classmethod
    def joined(cls, parts: Sequence[Measured], gap: ModalityGap | None = None) -> Measured:
        """Measurements of different queries as one."""
        return cls(
            {n: np.concatenate([p.values[n] for p in parts]) for n in parts[0].values},
            {n: np.concatenate([p.groups[n] for p in parts]) for n in parts[0].groups},
            np.concatenate([p.confidence for p in parts]),
            np.concatenate([p.correct for p in parts]),
            gap,
        )

    @property
    def calibration_error(self) -> float:
        """``Σ_b |Σ_{i∈b} (correct − confidence)| / n`` over 15 equal bins (Guo et al. 2017)."""
        return float(np.abs(self._by_bin().mean(axis=0)).sum())

    def _by_bin(self) -> Values:
        bins = np.minimum((self.confidence * _BINS).astype(np.int64), _BINS - 1)
        found = np.zeros((len(bins), _BINS))
        found[np.arange(len(bins)), bins] = self.correct - self.confidence
        return found


@dataclass(frozen=True, eq=False)
class RetrievalTask:
    """A search: queries, the items they ask for, and a gallery with its items and offsets."""

    queries: NDArray[Any]
    asked: NDArray[np.int64]
    gallery: NDArray[Any]
    held: NDArray[np.int64]
    offsets: NDArray[Any] | None = None


class Change(BaseModel):
    """Before and after on the same queries, with 95 % intervals and paired differences."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    before: dict[str, Estimate]
    after: dict[str, Estimate]
    difference: dict[str, Estimate]
    """Each metric after less the same metric before, paired by query."""
    gap_before: ModalityGap | None = None
    gap_after: ModalityGap | None = None
    queries: dict[str, int] = field(default_factory=dict[str, int])

    def to_json(self) -> str:
        """All of it as JSON."""
        return self.model_dump_json(indent=1)

    def __str__(self) -> str:
        width = max(map(len, self.before))
        lines = [f"{'':<{width}}  {'before':<22} {'after':<22} change"]
        for name, before in self.before.items():
            change = self.difference[name]
            sign = "" if change.value is None or change.value < 0 else "+"
            lines.append(f"{name:<{width}}  {before!s:<22} {self.after[name]!s:<22} {sign}{change}")
        for name, gap in (("before", self.gap_before), ("after", self.gap_after)):
            if gap is not None:
                lines.append(
                    f"modality gap {name}: centroids {gap.distance:.3f} apart "
                    f"({gap.relative:.2f} of the spread), told apart with AUC "
                    f"{gap.separability:.3f}, {gap.same_side_centred:.0%} of neighbours of one "
                    f"side once centred (chance {gap.same_side_chance:.0%})"
                )
        return "\n".join(lines)


def measure_retrieval(
    mapped: NDArray[Any],
    items_x: Sequence[Any] | NDArray[Any],
    gallery: NDArray[Any],
    items_y: Sequence[Any] | NDArray[Any],
    *,
    offsets: HubOffsets | None = None,
    temperature: float = 0.05,
    gap: bool = True,
    seed: int = 0,
) -> Measured:
    """Search both ways: each mapped row for its item's vectors in the frozen space, and back.

    Recall is of all relevant items; cmc and the reciprocal rank are of the first.  Calibration is
    that of a softmax over the gallery, from the new modality to the frozen space.

    Args:
        mapped: rows of the new modality in the frozen space ``(nx, d)``.
        items_x: the item of each, ``(nx,)``; rows without a partner are only in the gallery.
        gallery: vectors of the frozen space ``(ny, d)``.
        items_y: the item of each, ``(ny,)``.
        offsets: of both ways; without, scores are cosines.
        temperature: of the softmax.
        gap: whether the modality gap is measured too.
        seed: of the sample that it is measured on.

    Raises:
        InputError: for rows that are not finite or all zero, other widths, no relevant pair.
    """
    offsets = offsets or HubOffsets()
    named = np.concatenate([np.asarray(items_x), np.asarray(items_y)])
    names, codes = np.unique(named, return_inverse=True)
    x, y = codes[: len(mapped)], codes[len(mapped) :]
    if len(codes) != len(mapped) + len(gallery) or not len(names):
        raise InputError(
            f"{len(items_x)} and {len(items_y)} ids for {len(mapped)} and {len(gallery)} rows",
            where="items_x, items_y",
            mend="Give one per row",
        )
    values: dict[str, Values] = {}
    groups: dict[str, NDArray[np.int64]] = {}
    ways = (
        ("new→frozen", mapped, x, gallery, y, offsets.gallery),
        ("frozen→new", gallery, y, mapped, x, offsets.mapped),
    )
    for way, queries, asked, answers, held, less in ways:
        relevance = from_labels(asked, held)
        if not relevance.answerable.any():
            raise InputError("no item has rows on both sides", where="items_x, items_y")
        kept = relevance.answerable
        left, right = with_offsets(queries[kept], answers, less)
        ranks = relevant_ranks(left, right, relevance.of(kept), metric="dot")
        for name in _METRICS:
            values[f"{way} {name}"] = parse_metric(name).per_query(ranks)
            groups[f"{way} {name}"] = asked[kept]
    asked = np.isin(x, y)
    left, right = with_offsets(mapped[asked], gallery, offsets.gallery)
    confidence, correct, _ = _softmax(left, right, x[asked], y, temperature)
    return Measured(
        values, groups, confidence, correct, _gap(mapped, gallery, seed) if gap else None
    )


def measure_classes(
    logits: NDArray[Any],
    labels: NDArray[Any],
    *,
    groups: NDArray[Any] | None = None,
    temperature: float = 1.0,
) -> Measured:
    """Accuracy and calibration of a frozen classifier's answers.

    Args:
        logits: ``(n, classes)``.
        labels: the right class of each, ``(n,)`` integers.
        groups: what is resampled, ``(n,)``; every row by itself unless given.
        temperature: that logits are divided by.

    Raises:
        InputError: for logits that are not finite, or labels that are no classes.
    """
    logits = np.asarray(logits, np.float64)
    labels = np.asarray(labels)
    if logits.ndim != 2 or not len(logits) or labels.shape != (len(logits),):
        raise InputError(f"logits of shape {logits.shape} and labels of shape {labels.shape}")
    if not np.isfinite(logits).all():
        row = int(np.argmin(np.isfinite(logits).all(axis=1)))
        raise InputError("a logit is not finite", where=f"logits, row {row}")
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise InputError(f"labels must be integers from 0 to {logits.shape[1] - 1}", where="labels")
    logs = logits / temperature
    logs = logs - logsumexp(logs, axis=1, keepdims=True)
    # a tie with the right class counts against it
    own = logits[np.arange(len(labels)), labels]
    others = logits.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    correct = (own > others.max(axis=1)).astype(np.float64)
    places = 1 + (others >= own[:, None]).sum(axis=1)
    group = np.arange(len(labels)) if groups is None else np.asarray(groups)
    values = {
        "accuracy": correct,
        "accuracy@5": (places <= 5).astype(np.float64),
        _UNBOUNDED: -logs[np.arange(len(labels)), labels],
    }
    return Measured(values, dict.fromkeys(values, group), np.exp(logs.max(axis=1)), correct)


def compare_measured(
    before: Measured, after: Measured, *, resamples: int = 1000, seed: int = 0
) -> Change:
    """What changed between two measurements of the same queries.

    Raises:
        InputError: if the queries are not the same.
    """
    names = [name for name in before.values if name in after.values]
    if not names or any(len(before.values[n]) != len(after.values[n]) for n in names):
        raise InputError(
            "the measurements are of different queries", mend="Measure both on the same rows"
        )
    found: dict[str, tuple[Estimate, Estimate, Estimate]] = {}
    for name in names:
        both = np.column_stack([before.values[name], after.values[name]])
        own = before.groups[name]
        if name == _UNBOUNDED:
            means = resampled_means(both, resamples=resamples, seed=seed, groups=own)
            found[name] = _three(both.mean(axis=0), means)
            continue
        outcomes = PairedOutcomes(both, Resampling(resamples, seed=seed), groups=own)
        found[name] = outcomes.mean(0), outcomes.mean(1), outcomes.difference(1, 0)
    errors = np.hstack([before._by_bin(), after._by_bin()])  # pyright: ignore[reportPrivateUsage]
    groups = before.groups[names[0]]
    means = resampled_means(errors, resamples=resamples, seed=seed, groups=groups)
    both = np.column_stack([np.abs(half).sum(axis=1) for half in np.hsplit(means, 2)])
    whole = np.array([before.calibration_error, after.calibration_error])
    found["calibration error"] = _three(whole, both)
    return Change(
        before={name: three[0] for name, three in found.items()},
        after={name: three[1] for name, three in found.items()},
        difference={name: three[2] for name, three in found.items()},
        gap_before=before.gap,
        gap_after=after.gap,
        queries={name: len(before.values[name]) for name in names},
    )


def best_temperature(tasks: Sequence[RetrievalTask]) -> float:
    """The temperature of the softmax over a gallery that makes the right items likeliest.

    Temperature scaling (Guo et al. 2017); use queries that nothing was trained on.

    Args:
        tasks: searches whose log losses are added.
    """
    from scipy.optimize import minimize_scalar  # slow to import, and rarely needed

    prepared = [(*with_offsets(t.queries, t.gallery, t.offsets), t.asked, t.held) for t in tasks]

    def loss(log_temperature: float) -> float:
        temperature = float(np.exp(log_temperature))
        return sum(_softmax(*task, temperature)[2] * len(task[0]) for task in prepared)

    bounds = (float(np.log(_COLDEST)), float(np.log(_HOTTEST)))
    found: Any = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 0.02})
    return float(np.exp(found.x))


def _softmax(
    left: NDArray[Any],
    right: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    temperature: float,
) -> tuple[Values, Values, float]:
    """Confidence, correctness and mean log loss of the softmax over the gallery, in blocks."""
    confidence, correct = np.empty(len(left)), np.empty(len(left))
    total = 0.0
    for start in range(0, len(left), _BLOCK):
        rows = slice(start, start + _BLOCK)
        scores = left[rows].astype(np.float64) @ right.T.astype(np.float64)
        own = x[rows, None] == y[None, :]
        best = np.where(own, scores, -np.inf).max(axis=1)
        others = np.where(own, -np.inf, scores)
        logs = scores / temperature
        whole = logsumexp(logs, axis=1)
        total -= float((logsumexp(np.where(own, logs, -np.inf), axis=1) - whole).sum())
        confidence[rows] = np.exp(logs.max(axis=1) - whole)
        correct[rows] = best > others.max(axis=1, initial=-np.inf)
    return confidence, correct, total / len(left)


def _three(whole: Values, means: Values) -> tuple[Estimate, Estimate, Estimate]:
    return (
        estimate(float(whole[0]), means[:, 0]),
        estimate(float(whole[1]), means[:, 1]),
        estimate(float(whole[1] - whole[0]), means[:, 1] - means[:, 0]),
    )


def _gap(mapped: NDArray[Any], gallery: NDArray[Any], seed: int) -> ModalityGap | None:
    """On samples of the two clouds; None where there are too few rows."""
    if min(len(mapped), len(gallery)) < 4:
        return None
    rng = np.random.default_rng(seed)
    x, y = (rows[np.sort(rng.permutation(len(rows))[:2000])] for rows in (mapped, gallery))
    return modality_gap(x, y, seed=seed)
