"""The recipe to begin with, as `isthmus.fit` takes it."""

from __future__ import annotations

from isthmus.adapters import Recipe
from isthmus.adapters.steps.registry import STEPS
from isthmus.diagnose.maps import UNIT_ROWS, Maps
from isthmus.diagnose.pair_probes import PairProbes
from isthmus.diagnose.relation import Relation, is_linear_image, is_rigid, value_of
from isthmus.diagnose.side_probes import SideProbes
from isthmus.diagnose.thresholds import threshold

__all__ = ["recommend"]


def recommend(
    relation: Relation,
    measured: PairProbes,
    sides: tuple[SideProbes, SideProbes],
    metric: str,
) -> tuple[str | None, str]:
    """A recipe, or None where no map would help; and the reason in one sentence."""
    if relation is Relation.IDENTICAL:
        return None, "the sides are equal, so nothing has to be mapped"
    if relation in (Relation.MISPAIRED, Relation.UNRELATED):
        return None, "no map can be learned from pairs that do not go together"
    if measured.maps is None:
        return None, "there are too few pairs to choose a map"
    dims = (sides[0].dim, sides[1].dim)
    if relation is Relation.LINEAR and is_linear_image(measured, dims):
        # a row norm would bend what is straight
        steps, reason = ["ridge(alpha=1e-06)"], "a single matrix carries over all that both hold"
    else:
        core, reason = _core(relation, measured, measured.maps)
        steps = [*_front(relation, measured.maps, sides, metric), *core]
    if metric == "cosine":
        steps.append("unit_norm")
    return str(Recipe.parse(" | ".join(steps))), reason


def _front(
    relation: Relation, maps: Maps, sides: tuple[SideProbes, SideProbes], metric: str
) -> list[str]:
    if metric != "cosine" or (relation is Relation.SAME_SPACE and maps.frame != UNIT_ROWS):
        # adapters centre by themselves; a row norm would bend what is straight
        return []
    if relation is not Relation.SAME_SPACE and any(
        side.isotropy is not None and side.isotropy.mean_cosine >= threshold("anisotropic")
        for side in sides
    ):
        return ["center", "unit_norm", "center"]
    return ["unit_norm"]


def _core(relation: Relation, measured: PairProbes, maps: Maps) -> tuple[list[str], str]:
    if relation is Relation.SAME_SPACE:
        if is_rigid(maps):
            return (
                ["procrustes" if maps.frame == UNIT_ROWS else "procrustes(scale=true)"],
                "a rotation with one scale and an offset reproduces the other side",
            )
        return ["ridge(alpha=1e-06)"], "a single matrix reproduces the other side"
    if measured.pairs_per_dimension < threshold("many_pairs"):
        return (
            ["procrustes"],
            f"{measured.pairs_per_dimension:.1f} pairs per dimension are few: a rotation hardly "
            "overfits",
        )
    found = measured.found
    if found is None or (found.linear.first.low or 0.0) <= (found.rigid.first.high or 0.0):
        # equal retrieval goes to the map with fewer free parameters
        rates = (
            "a rotation explains as much"
            if found is None
            else f"a rotation finds {value_of(found.rigid.first):.0%} of held-out partners first, "
            f"a ridge map {value_of(found.linear.first):.0%}"
        )
        return [_nearly_rigid()], rates
    recipe = ["ridge(alpha=auto, power=auto)"]
    if relation is Relation.NONLINEAR:
        return recipe, (
            "the best linear map to begin with; compare it with a nonlinear stage, which these "
            "data call for"
        )
    return recipe, (
        "strength and spectral exponent are chosen on held-out retrieval, from nearly a rotation "
        "to least squares"
    )


def _nearly_rigid() -> str:
    """A map as rigid as held-out retrieval wants it, where this version has one."""
    step = STEPS.get("lambda_orthogonal")
    if step is not None and "lam" in step.automatic:
        return "lambda_orthogonal(lam=auto)"
    return "procrustes"
