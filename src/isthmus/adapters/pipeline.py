"""From a recipe and moments to one folded chain.

Affine normalisers act on moments in closed form, so a recipe costs one pass over the data, and one
more for every row norm that stands behind a fitted step.  A refinement reads the rows again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

from isthmus.adapters.chain import Affine, Chain, RowNorm, Stage
from isthmus.adapters.recipe import Recipe
from isthmus.adapters.recipe_step import Step
from isthmus.adapters.row_span import RowSpan
from isthmus.adapters.steps.apart import Apart
from isthmus.adapters.steps.base import FitRows, LinearAdapter, Refinement
from isthmus.adapters.steps.normalisers import Normaliser
from isthmus.adapters.steps.prior_ridge import PriorRidge, check_widths
from isthmus.adapters.steps.target_means import TargetMeans
from isthmus.errors import RecipeError
from isthmus.moments import SecondMoments
from isthmus.progress import Progress, silent

__all__ = [
    "FittedAdapter",
    "FittedFront",
    "chain_of",
    "fit_adapter",
    "fit_affine",
    "fit_chain",
    "fit_front",
    "framed_prior",
]

MeanPass = Callable[[Chain, Chain], SecondMoments]
"""One pass over the rows behind two chains, of which only means and variances are needed."""


@dataclass(frozen=True)
class FittedFront:
    """The steps up to the last row norm, fitted on both sides."""

    x: Chain
    y: Chain
    undo: Affine
    """Takes a target row behind `y` back; where there is a span, from the axes of the space."""
    span: RowSpan = field(default_factory=RowSpan)
    """What the rows of the fit span, where they are few: `x` and `y` give coordinates in it."""

    def within(self, span: RowSpan) -> FittedFront:
        """The same front with rows in coordinates of a span."""
        x, y = span.into
        return FittedFront(self.x.then(x), self.y.then(y), self.undo, span)


def fit_front(steps: Sequence[Step], means: MeanPass, *, cosine: bool) -> FittedFront:
    """Fit the steps up to the last row norm, with a pass for each row norm that needs one.

    Args:
        steps: `Recipe.front`.
        means: runs a pass.
        cosine: the target's metric ignores length, so a row norm that comes first needs no pass
            to learn the typical length it removes.
    """
    front = FittedFront(Chain(), Chain(), Affine())
    moments: SecondMoments | None = None
    for step in steps:
        normaliser = step.build()
        if not isinstance(normaliser, Normaliser) or normaliser.needs_covariance:
            raise RecipeError(
                f"'{step.name}' cannot stand before a row norm",
                where=" | ".join(map(str, steps)),
                mend="Put it behind the last unit_norm or layer_norm",
            )
        if not front.x.stages and normaliser.rowwise and cosine:
            kind = RowNorm("layer" if step.name == "layer_norm" else "unit")
            front = FittedFront(Chain([kind]), Chain([kind]), Affine())
            continue
        if moments is None:
            moments = means(front.x, front.y)
        x = normaliser.fit_side(moments.x).stage_
        normaliser.fit_side(moments.y)
        y, undo = normaliser.stage_, normaliser.undo_.then(front.undo)
        front = FittedFront(front.x.then(x), front.y.then(y), undo)
        moments = None
    return front


def fit_affine(
    steps: Sequence[Step], moments: SecondMoments
) -> tuple[SecondMoments, Affine, Affine, Affine]:
    """Fit affine normalisers on moments, and change what is fitted to.

    Returns:
        The moments in the new frame, the maps of the x and the y side, and the undo of the y side.
    """
    on_x, on_y, undo = Affine(), Affine(), Affine()
    for step in steps:
        built = step.build()
        if isinstance(built, Apart):
            continue  # the moments are of kinds apart already, where there are two
        if isinstance(built, TargetMeans):
            moments = built.moved(moments)
            continue
        normaliser = cast(Normaliser, built)
        x = cast(Affine, normaliser.fit_side(moments.x).stage_)
        normaliser.fit_side(moments.y)
        y = cast(Affine, normaliser.stage_)
        undo = normaliser.undo_.then(undo)
        on_x, on_y = on_x.then(x), on_y.then(y)
        moments = moments.mapped(x, y)
    return moments, on_x, on_y, undo


@dataclass(frozen=True)
class FittedAdapter:
    """The adapter of a recipe, fitted, between what stands before it and what undoes that."""

    adapter: LinearAdapter
    before: Affine
    undo: Affine
    framed: SecondMoments
    """The moments in the frame of the adapter."""

    @property
    def affine(self) -> Affine:
        """The map between rows behind the front, before any refinement."""
        return self.before.then(self.adapter.affine_).then(self.undo)


def fit_adapter(
    recipe: Recipe, moments: SecondMoments, prior: Affine | None = None
) -> FittedAdapter:
    """Fit the adapter of a recipe on moments of rows behind the front.

    Args:
        recipe: its parameters all set, but for those of a refinement.
        moments: of the fit rows behind the front.
        prior: as of `fit_chain`.
    """
    framed, on_x, on_y, undo = fit_affine(recipe.affine, moments)
    adapter = cast(LinearAdapter, recipe.adapter.build())
    if isinstance(adapter, PriorRidge):
        if prior is None:
            raise RecipeError(
                f"'{adapter.name}' stays near a map that is in use, and none was given",
                where=str(recipe),
                mend="Give the bridge as prior=, or use ridge",
            )
        check_widths(prior, len(moments.mean_x), len(moments.mean_y))
        adapter.set_params(prior=framed_prior(prior, on_x, on_y))
    return FittedAdapter(adapter.fit_moments(framed), on_x, undo, framed)


def framed_prior(prior: Affine, on_x: Affine, on_y: Affine) -> Affine:
    """A map of the rows behind the front as a map of the rows in the frame of the adapter."""
    return on_x.inverse().then(prior).then(on_y)


def fit_chain(
    recipe: Recipe,
    front: FittedFront,
    moments: SecondMoments,
    rows: FitRows | None = None,
    *,
    prior: Affine | None = None,
    progress: Progress = silent,
) -> Chain:
    """The folded map of a recipe without ``auto``.

    Args:
        recipe: its parameters all set.
        front: the fitted `Recipe.front`.
        moments: of the fit rows behind ``front``.
        rows: those rows, for a recipe with a refinement.
        prior: the map behind ``front`` that ``prior_ridge`` stays near, from `prior_affine`.
        progress: told how far a refinement is.

    Raises:
        RecipeError: for a recipe with a refinement where only moments are known, or one with
            ``prior_ridge`` where no prior is.
    """
    return chain_of(recipe, front, fit_adapter(recipe, moments, prior), rows, progress=progress)


def chain_of(
    recipe: Recipe,
    front: FittedFront,
    fitted: FittedAdapter,
    rows: FitRows | None = None,
    *,
    progress: Progress = silent,
) -> Chain:
    """The folded map of a recipe whose adapter is fitted; otherwise as `fit_chain`."""
    core: list[Stage]
    if recipe.refinement is None:
        core = fitted.adapter.stages(fitted.before, fitted.undo)
    else:
        if rows is None:
            raise RecipeError(
                f"'{recipe.refinement.name}' reads rows, and only their moments are known",
                where=str(recipe),
            )
        refinement = cast(Refinement, recipe.refinement.build())
        core = [refinement.refine(fitted.affine, rows, progress=progress)]
    stages = [*front.x.stages, *core, *front.span.back, front.undo]
    for step in recipe.after:
        normaliser = cast(Normaliser, step.build())
        # row norms and temperature learn nothing from the rows they are given here
        stages.append(normaliser.fit_side(fitted.framed.y).stage_)
    return Chain(stages)
