"""Choosing a map: cross-validation on fold moments makes the short list, retrieval decides.

Squared error alone never decides: it falls steadily while retrieval peaks and falls again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.chain import Affine, Chain
from isthmus.adapters.pipeline import (
    FittedFront,
    fit_affine,
    fit_base,
    fit_chain,
    fit_front,
    framed_prior,
)
from isthmus.adapters.recipe import Recipe
from isthmus.adapters.recipe_step import Step
from isthmus.adapters.steps.base import FitRows, LinearAdapter, Refinement
from isthmus.adapters.steps.prior_ridge import PriorRidge, check_widths, prior_affine, residual
from isthmus.adapters.steps.registry import STEPS
from isthmus.adapters.steps.target_means import TargetMeans
from isthmus.errors import InputError
from isthmus.moments import FoldMoments, SecondMoments
from isthmus.progress import Progress, silent

__all__ = ["RULE", "Candidate", "MomentSource", "Selection", "default_recipes", "select"]

RULE = (
    "the simplest map within one standard error of the best, or one whose vectors are for search "
    "alone where it is better by two"
)
"""How `select` chooses, in words for those who read its result."""

Judge = Callable[[Chain], NDArray[np.float64]]
"""The value of the user's metric for each validation query when a map is used."""


class MomentSource(Protocol):
    """Where moments, and rows for refinements, come from: passes over the fit rows."""

    def means(self, x: Chain, y: Chain, /) -> SecondMoments:
        """Means and variances alone."""
        ...

    def folds(self, x: Chain, y: Chain, keep: frozenset[str], /) -> FoldMoments:
        """Moments of every fold; ``keep`` also names groupings, such as ``labels``."""
        ...

    def rows(self, x: Chain, y: Chain, /) -> FitRows:
        """The rows themselves behind two chains."""
        ...


@dataclass(frozen=True)
class Candidate:
    """A map that was tried, with what it scored on validation queries."""

    recipe: Recipe
    chain: Chain
    squared_error: float | None
    """Cross-validated, relative to the target's variance; None where the map has no strength."""
    values: NDArray[np.float64]
    """The metric of each validation query ``(nq,)``."""

    @property
    def score(self) -> float:
        """Mean over the validation queries."""
        return float(self.values.mean())


@dataclass(frozen=True)
class Selection:
    """Every candidate, best first, and the one chosen."""

    candidates: tuple[Candidate, ...]
    chosen: Candidate


def default_recipes(
    metric: str, *, search_only: bool = False, trained: bool = False
) -> list[Recipe]:
    """What is tried where the user names no recipe, simplest first.

    Args:
        metric: of the target space.
        search_only: the mapped vectors will only be searched with, never stored: under cosine CSA
            is tried too, last, because its vectors rank the target's but do not lie among them.
        trained: also maps that PyTorch trains by contrast on the rows.
    """
    before, after = ("unit_norm | ", " | unit_norm") if metric == "cosine" else ("", "")
    scale = "" if metric == "cosine" else "(scale=true)"
    polish = " | polish(temperature=auto)"
    cores = [
        f"procrustes{scale}",
        f"whiten(shrinkage=0.1, power=0.5) | procrustes{scale}",
        "lambda_orthogonal(lam=0.2)",
        "ridge(alpha=auto, power=auto)",
    ]
    if trained and metric != "l2":
        cores.append(f"procrustes{scale}{polish}")
    if search_only and metric == "cosine":
        cores.append("csa(shrinkage=auto, mean=auto)")
        if trained:
            cores.append(f"csa(shrinkage=auto){polish}")
    return [Recipe.parse(f"{before}{core}{after}") for core in cores]


def select(
    recipes: Sequence[Recipe],
    source: MomentSource,
    judge: Judge,
    *,
    cosine: bool,
    prior: Chain | None = None,
    progress: Progress = silent,
) -> Selection:
    """Fit every recipe and choose the simplest within one standard error of the best.

    A map for search alone must be better than that by two standard errors.

    Args:
        recipes: simplest first; ``auto`` parameters are expanded.
        source: of moments; recipes that share their steps up to the last row norm share a pass.
        judge: of a map, on validation queries that no moment has seen.
        cosine: whether the target's metric ignores length.
        prior: the running map that a refit with ``prior_ridge`` stays near.
        progress: told after every candidate.
    """
    found: list[tuple[int, Candidate]] = []
    for front_steps, group in _by_front(recipes):
        front = fit_front(front_steps, source.means, cosine=cosine)
        folds = source.folds(front.x, front.y, frozenset().union(*map(_needs, group.values())))
        rows = source.rows(front.x, front.y)
        known = None
        if prior is not None and any(r.adapter.name == PriorRidge.name for r in group.values()):
            known = prior_affine(prior, front.x)
            check_widths(known, folds.folds[0].dx, folds.folds[0].dy)
        found += _fit_group(group, front, folds, rows, judge, known, progress, len(found))
    # grouped by their passes; now again in the order given
    candidates = [candidate for _, candidate in sorted(found, key=lambda f: f[0])]
    ranked = sorted(candidates, key=lambda c: -c.score)
    return Selection(tuple(ranked), _chosen(candidates))


def _chosen(candidates: Sequence[Candidate]) -> Candidate:
    """The simplest of the best; a map for search alone only where it is clearly better."""
    for_search = [c for c in candidates if c.recipe.search_only]
    others = [c for c in candidates if not c.recipe.search_only]
    if not for_search or not others:
        return simplest_of_the_best(candidates)
    chosen, rival = simplest_of_the_best(others), simplest_of_the_best(for_search)
    return chosen if _within(chosen, rival, errors=2.0) else rival


def simplest_of_the_best(candidates: Sequence[Candidate]) -> Candidate:
    """The first of ``candidates``, simplest first, within one standard error of the best."""
    best = max(candidates, key=lambda c: c.score)
    return next(c for c in candidates if _within(c, best, errors=1.0))


def _within(candidate: Candidate, best: Candidate, *, errors: float) -> bool:
    gap = best.values - candidate.values
    return float(gap.mean()) <= errors * float(gap.std()) / len(gap) ** 0.5


def _adapter(recipe: Recipe) -> type[LinearAdapter]:
    return cast(type[LinearAdapter], STEPS[recipe.adapter.name])


def _by_front(recipes: Sequence[Recipe]) -> Iterable[tuple[tuple[Step, ...], dict[int, Recipe]]]:
    groups: dict[str, tuple[tuple[Step, ...], dict[int, Recipe]]] = {}
    for i, recipe in enumerate(recipes):
        key = " | ".join(map(str, recipe.front))
        groups.setdefault(key, (recipe.front, {}))[1][i] = recipe
    return groups.values()


def _needs(recipe: Recipe) -> frozenset[str]:
    needs: set[str] = {"square", "xy"}
    for step in recipe.steps:
        kind = STEPS[step.name]
        needs |= getattr(kind, "needs", frozenset())
        if issubclass(kind, TargetMeans):
            needs.add(cast(TargetMeans, step.build()).grouping)
        if getattr(kind, "needs_covariance", False):
            needs |= {"xx", "yy"}
    return frozenset(needs)


def _fit_group(
    group: Mapping[int, Recipe],
    front: FittedFront,
    folds: FoldMoments,
    rows: FitRows,
    judge: Judge,
    prior: Affine | None,
    progress: Progress,
    done: int,
) -> list[tuple[int, Candidate]]:
    pairs = sum(fold.rows for fold in folds.folds)
    if pairs < 2:
        raise InputError(
            f"only {pairs} pair(s) left to fit on",
            mend="Give more pairs: a few hundred at the least, 4,000 for a good map",
        )
    total = folds.second()
    found: list[tuple[int, Candidate]] = []
    known: dict[str, Candidate] = {}

    def tried(recipe: Recipe, error: float | None) -> Candidate:
        key = str(recipe)
        if key not in known:
            chain = fit_chain(recipe, front, total, rows, prior=prior, progress=progress)
            known[key] = Candidate(recipe, chain, error, judge(chain))
            progress("choose the map", done + len(known), None)
        return known[key]

    for i, recipe in group.items():
        concrete = list(_expanded(recipe, folds, prior))
        step = recipe.refinement
        if step is not None:
            # a refinement is costly: only the map that is best without it is refined
            plain = [(r.with_refinement(None), error) for r, error in concrete]
            base = plain[0][0]
            if len(plain) > 1:
                base = simplest_of_the_best([tried(*p) for p in plain]).recipe
            steps = _refined(step, fit_base(base, total, prior)[0], rows)
            concrete = [(base.with_refinement(s), None) for s in steps]
        found += [(i, tried(*c)) for c in concrete]
    return found


def _expanded(
    recipe: Recipe, folds: FoldMoments, prior: Affine | None
) -> Iterable[tuple[Recipe, float | None]]:
    """The recipe with every ``auto`` of its adapter replaced, the most rigid first."""
    adapter = _adapter(recipe)
    near = prior if issubclass(adapter, PriorRidge) else None
    spreads: list[tuple[float, float]] = []

    def splits() -> Sequence[tuple[SecondMoments, SecondMoments]]:
        framed: list[tuple[SecondMoments, SecondMoments]] = []
        for everything_else, fold in folds.splits():
            train, on_x, on_y, _ = fit_affine(recipe.affine, everything_else)
            held_out = fold.mapped(on_x, on_y)
            if near is not None:
                own, target = framed_prior(near, on_x, on_y), held_out
                train, held_out = residual(train, own), residual(held_out, own)
                spreads.append((_spread(held_out), _spread(target)))
            framed.append((train, held_out))
        return framed

    found = adapter.expanded(recipe.adapter.parameters, splits)
    # errors over the variance of a residual become errors over that of the target
    left, whole = (sum(side) for side in zip(*spreads, strict=True)) if spreads else (1.0, 1.0)
    share = left / whole if whole > 0 else 1.0
    return [
        (recipe.with_adapter(**parameters), None if error is None else error * share)
        for parameters, error in found
    ]


def _spread(moments: SecondMoments) -> float:
    return moments.n * float(moments.variance_y.sum())


def _refined(step: Step, base: Affine, rows: FitRows) -> list[Step]:
    """The refinement with every ``auto`` replaced, the simplest first."""
    refinement = cast(type[Refinement], STEPS[step.name])
    return [
        Step(step.name, parameters)
        for parameters in refinement.expanded(step.parameters, base, rows)
    ]
