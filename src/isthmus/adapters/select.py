"""Choosing a map: cross-validation on fold moments makes the short list, retrieval decides.

Squared error alone never decides: it falls steadily while retrieval peaks and falls again.  With
few pairs the retrieval is out of fold: moments of folds give every candidate once for each fold at
the price of one pass, and every pair asks through the map that has not seen it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.chain import Affine, Chain
from isthmus.adapters.cross_fitted import CrossFitted, FittedMap
from isthmus.adapters.left_out_folds import MomentsWithoutFolds, RowsWithoutFolds
from isthmus.adapters.pipeline import (
    FittedAdapter,
    FittedFront,
    chain_of,
    fit_adapter,
    fit_affine,
    fit_front,
    framed_prior,
)
from isthmus.adapters.recipe import Recipe
from isthmus.adapters.recipe_step import Step
from isthmus.adapters.row_span import RowSpan, turns
from isthmus.adapters.steps.base import (
    FitRows,
    LinearAdapter,
    Refinement,
    Splits,
)
from isthmus.adapters.steps.prior_ridge import PriorRidge, check_widths, prior_affine, residual
from isthmus.adapters.steps.registry import STEPS
from isthmus.adapters.steps.target_means import TargetMeans
from isthmus.errors import InputError
from isthmus.moments import FoldMoments, SecondMoments
from isthmus.progress import Progress, silent
from isthmus.spaces.split import Copies

__all__ = [
    "RULE",
    "Candidate",
    "MomentSource",
    "Selection",
    "SelectionTask",
    "best",
    "select",
]

RULE = "the best mean, and of equals the simplest"
"""How `select` chooses, in words for those who read its result."""

Judge = Callable[[FittedMap], NDArray[np.float64]]
"""The value of the deciding metric for each query that chooses, when a map is used."""


class MomentSource(Protocol):
    """Where moments, and rows for refinements, come from: passes over the fit rows."""

    def means(self, x: Chain, y: Chain, /) -> SecondMoments:
        """Moments of all rows with means and variances, without covariances."""
        ...

    def folds(self, x: Chain, y: Chain, keep: frozenset[str], /) -> FoldMoments:
        """Moments of every fold; ``keep`` also names groupings, such as ``labels``, and ``kinds``,
        for documents and queries apart."""
        ...

    def rows(self, x: Chain, y: Chain, /) -> FitRows:
        """The rows themselves behind two chains."""
        ...


_BEYOND = 3
"""How many values beyond the end of a path are tried at the most."""
_RISES = 0.01
"""Share of its score by which an end must beat the value before it, to look beyond it."""

_Concrete = tuple[Recipe, float | None]
"""A recipe without ``auto`` and its cross-validated squared error."""


@dataclass(frozen=True)
class Candidate:
    """A map that was tried, with what it scored on the queries that choose."""

    recipe: Recipe
    chain: FittedMap
    """Fitted on all fit rows; where choice is cross-fitted, one map for every fold."""
    squared_error: float | None
    """Cross-validated, relative to the target's variance; None where the map has no strength."""
    values: NDArray[np.float64]
    """The metric of each query that chooses ``(nq,)``."""

    @property
    def score(self) -> float:
        """The mean of `values` over the queries."""
        return float(self.values.mean())


@dataclass(frozen=True)
class Selection:
    """Every candidate, best first, the one chosen, and its map."""

    candidates: tuple[Candidate, ...]
    chosen: Candidate
    chain: Chain
    """The chosen map, fitted on all fit rows."""
    in_order: tuple[Candidate, ...]
    """Every candidate, the simplest first."""


@dataclass(frozen=True)
class SelectionTask:
    """What candidates are fitted and judged with.

    Attributes:
        judge: of a map, on queries that no moment it was fitted on has seen.
        cosine: whether the target's metric ignores length.
        cross_fit: whether each query is mapped by a fit on the other folds, and only the chosen
            map is fitted on all.
        copies: items that are in the folds of others.
        prior: the running map that a refit with ``prior_ridge`` stays near.
        refinements: what the best of all candidates is tried with as well, each by itself.
        fit_rows: of the fit at the most, where they may be few: fewer than the dimensions, and maps
            are fitted between the subspaces that they span.
        progress: told after every candidate.
    """

    judge: Judge
    cosine: bool
    cross_fit: bool = False
    copies: Copies = field(default_factory=Copies)
    prior: Chain | None = None
    refinements: Sequence[Step] = ()
    fit_rows: int | None = None
    progress: Progress = silent


def select(recipes: Sequence[Recipe], source: MomentSource, task: SelectionTask) -> Selection:
    """Fit every recipe and choose the one with the best mean; of equals the one named first.

    Args:
        recipes: simplest first; ``auto`` parameters are expanded.
        source: of moments; recipes that share their steps up to the last row norm share a pass.
        task: how they are judged.
    """
    found: list[tuple[int, Candidate]] = []
    groups: dict[int, _Group] = {}
    for front_steps, recipes_of_front in _by_front(recipes):
        front = fit_front(front_steps, source.means, cosine=task.cosine)
        if task.fit_rows is not None and turns(recipes_of_front.values(), task.refinements):
            rows = source.rows(front.x, front.y)
            front = front.within(RowSpan.of(rows, task.fit_rows))
        needs = frozenset[str]().union(*map(_needs, recipes_of_front.values()))
        folds = source.folds(front.x, front.y, needs)
        known = None
        if task.prior is not None and any(
            r.adapter.name == PriorRidge.name for r in recipes_of_front.values()
        ):
            known = prior_affine(task.prior, front.x)
            check_widths(known, folds.folds[0].dx, folds.folds[0].dy)
        group = _Group(front, folds, source.rows(front.x, front.y), task, known, len(found))
        tried = group.candidates(recipes_of_front)
        groups |= {id(candidate): group for _, candidate in tried}
        found += tried
    # grouped by their passes; now again in the order given
    candidates = [candidate for _, candidate in sorted(found, key=lambda f: f[0])]
    chosen = best(candidates)
    if chosen.recipe.refinement is None:
        # a refinement is costly: only what is best without it is refined
        group, base = groups[id(chosen)], chosen.recipe
        for step in task.refinements:
            refined = group.refined(base, step, done=len(candidates))
            groups |= {id(candidate): group for candidate in refined}
            candidates += refined
        chosen = best(candidates)
    ranked = sorted(candidates, key=lambda c: -c.score)
    group = groups[id(chosen)]
    chain = group.final(chosen).multiplied
    chosen_as_served = replace(chosen, chain=group.fewer(chosen).multiplied)
    return Selection(tuple(ranked), chosen_as_served, chain, tuple(candidates))


def best(candidates: Sequence[Candidate], of: NDArray[np.bool_] | None = None) -> Candidate:
    """The first of ``candidates``, simplest first, with the best mean over the queries, or over
    those where ``of (nq,)`` is true."""
    means = [float((c.values if of is None else c.values[of]).mean()) for c in candidates]
    return candidates[int(np.argmax(means))]


def _adapter(recipe: Recipe) -> type[LinearAdapter]:
    return cast(type[LinearAdapter], STEPS[recipe.adapter.name])


def _by_front(recipes: Sequence[Recipe]) -> Iterable[tuple[tuple[Step, ...], dict[int, Recipe]]]:
    groups: dict[str, tuple[tuple[Step, ...], dict[int, Recipe]]] = {}
    for i, recipe in enumerate(recipes):
        key = " | ".join(map(str, recipe.front))
        groups.setdefault(key, (recipe.front, {}))[1][i] = recipe
    return groups.values()


def _needs(recipe: Recipe) -> frozenset[str]:
    needs: set[str] = {"square", "xy", *(["kinds"] if recipe.apart else [])}
    for step in recipe.steps:
        kind = STEPS[step.name]
        needs |= getattr(kind, "needs", frozenset())
        if issubclass(kind, TargetMeans):
            needs.add(cast(TargetMeans, step.build()).grouping)
        if getattr(kind, "needs_covariance", False):
            needs |= {"xx", "yy"}
    return frozenset(needs)


class _Group:
    """Recipes that share a pass over the rows: what was accumulated, and the candidates of it."""

    def __init__(
        self,
        front: FittedFront,
        folds: FoldMoments,
        rows: FitRows,
        task: SelectionTask,
        prior: Affine | None,
        done: int,
    ) -> None:
        pairs = sum(fold.rows for fold in folds.folds)
        if pairs < 2:
            raise InputError(
                f"only {pairs} pair(s) left to fit on",
                mend="Give more pairs: a few hundred at the least, 4,000 for a good map",
            )
        self._front, self._folds, self._rows = front, folds, rows
        self._task, self._prior, self._done = task, prior, done
        self._known: dict[str, Candidate] = {}
        self._adapters: dict[tuple[str, int], FittedAdapter] = {}
        self._pooled = MomentsWithoutFolds(folds, len(folds.folds), front.span)
        self._apart = self._pooled
        if folds.apart is not None:
            self._apart = MomentsWithoutFolds(folds.apart, len(folds.folds), front.span)

    def candidates(self, recipes: Mapping[int, Recipe]) -> list[tuple[int, Candidate]]:
        """Every recipe's candidates, with the place of the recipe."""
        found: list[tuple[int, Candidate]] = []
        for i, recipe in recipes.items():
            concrete = list(_expanded(recipe, self._frame(recipe).splits, self._prior))
            step = recipe.refinement
            if step is None:
                found += [(i, candidate) for candidate in self._along_paths(concrete)]
                continue
            plain = [(r.with_refinement(None), error) for r, error in concrete]
            base = plain[0][0]
            if len(plain) > 1:
                base = best(self._along_paths(plain)).recipe
            found += [(i, candidate) for candidate in self.refined(base, step)]
        return found

    def refined(self, base: Recipe, step: Step, done: int | None = None) -> list[Candidate]:
        """The candidates of a recipe that is refined; ``done`` others were tried before."""
        if done is not None:
            self._done = done - len(self._known)
        start = self._adapter_of(base, self._frame(base).total).affine
        steps = _refined(step, start, self._rows)
        return [self._tried(base.with_refinement(s), None) for s in steps]

    def _along_paths(self, concrete: Sequence[_Concrete]) -> list[Candidate]:
        """From the middle of each path as far as retrieval rises, in the order given.

        Where it still rises at an end by more than a hundredth, a few steps beyond are tried.
        """
        tried: dict[tuple[int, int], Candidate] = {}

        def score(place: tuple[int, int], recipe: _Concrete) -> float:
            tried[place] = self._tried(*recipe)
            return tried[place].score

        for places in _paths(concrete):
            at = middle = (len(places) - 1) // 2
            score((places[middle], 0), concrete[places[middle]])
            for step in (1, -1):
                if at != middle:
                    break
                while 0 <= at + step < len(places):
                    last, here = (places[i] for i in (at, at + step))
                    if score((here, 0), concrete[here]) <= tried[last, 0].score:
                        break
                    at += step
                else:
                    if at == middle:
                        continue
                    end, before = ((places[at], 0), (places[at - step], 0))
                    recipe, _ = concrete[places[at]]
                    for beyond in range(1, _BEYOND + 1):
                        gain = tried[end].score - tried[before].score
                        more = _adapter(recipe).beyond(recipe.adapter.parameters, step)
                        if more is None or gain <= _RISES * abs(tried[end].score):
                            break
                        recipe = recipe.with_adapter(**more)
                        before, end = end, (places[at], step * beyond)
                        score(end, (recipe, None))
        return [tried[place] for place in sorted(tried)]

    def final(self, candidate: Candidate) -> Chain:
        """The map of a candidate, fitted on all fit rows."""
        if not isinstance(candidate.chain, CrossFitted):
            return candidate.chain
        return self._fitted(candidate.recipe, self._frame(candidate.recipe).total, self._rows)

    def _tried(self, recipe: Recipe, error: float | None) -> Candidate:
        key = str(recipe)
        if key not in self._known:
            chain = self._judged(recipe)
            self._known[key] = Candidate(recipe, chain, error, self._task.judge(chain))
            self._keep_the_best_adapters()
            self._task.progress("choose the map", self._done + len(self._known), None)
        return self._known[key]

    def _judged(self, recipe: Recipe) -> FittedMap:
        if not self._task.cross_fit:
            return self._fitted(recipe, self._frame(recipe).total, self._rows)
        folds, seed = len(self._folds.folds), self._folds.seed
        chains = [
            self._fitted(recipe, train, RowsWithoutFolds(self._rows, (k,), folds, seed))
            for k, train in enumerate(self._frame(recipe).training)
        ]
        return CrossFitted.apart(chains, seed, self._task.copies)

    def fewer(self, candidate: Candidate) -> FittedMap:
        """The maps of a candidate, each with those of one fold less beside it."""
        found, recipe = candidate.chain, candidate.recipe
        folds, seed = len(self._folds.folds), self._folds.seed
        frame = self._frame(recipe)
        if not isinstance(found, CrossFitted) or folds < 3 or len(frame.used) < folds:
            return found
        chains: list[Chain] = []
        for k in range(folds):
            left_out = k, (k + 1) % folds
            rows = RowsWithoutFolds(self._rows, left_out, folds, seed)
            adapter = fit_adapter(recipe, frame.without(left_out), self._prior)
            chains.append(chain_of(recipe, self._front, adapter, rows))
        return replace(found, fewer=CrossFitted.apart(chains, seed, self._task.copies))

    def _fitted(self, recipe: Recipe, moments: SecondMoments, rows: FitRows) -> Chain:
        progress = self._task.progress if not self._task.cross_fit else silent
        fitted = self._adapter_of(recipe, moments)
        return chain_of(recipe, self._front, fitted, rows, progress=progress)

    def _adapter_of(self, recipe: Recipe, moments: SecondMoments) -> FittedAdapter:
        key = str(recipe.with_refinement(None)), id(moments)
        if key not in self._adapters:
            self._adapters[key] = fit_adapter(recipe, moments, self._prior)
        return self._adapters[key]

    def _keep_the_best_adapters(self) -> None:
        """Let go of adapters of candidates that will not be refined."""
        kept = str(best([*self._known.values()]).recipe.with_refinement(None))
        self._adapters = {k: found for k, found in self._adapters.items() if k[0] == kept}

    def _frame(self, recipe: Recipe) -> MomentsWithoutFolds:
        return self._apart if recipe.apart else self._pooled


def _paths(concrete: Sequence[_Concrete]) -> list[list[int]]:
    """The places of recipes that differ only along the path of their adapter, path by path."""
    paths: dict[str, list[int]] = {}
    for place, (recipe, _) in enumerate(concrete):
        path = _adapter(recipe).path
        same = recipe.with_adapter(**({path: 0.0} if path in recipe.adapter.parameters else {}))
        paths.setdefault(str(same) if path else str(place), []).append(place)
    return list(paths.values())


def _expanded(recipe: Recipe, known: Splits, prior: Affine | None) -> Iterable[_Concrete]:
    """The recipe with every ``auto`` of its adapter replaced, the most rigid first."""
    adapter = _adapter(recipe)
    near = prior if issubclass(adapter, PriorRidge) else None
    spreads: list[tuple[float, float]] = []

    def splits() -> Sequence[tuple[SecondMoments, SecondMoments]]:
        framed: list[tuple[SecondMoments, SecondMoments]] = []
        for everything_else, fold in known():
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
