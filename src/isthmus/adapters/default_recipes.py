"""What is tried where the user names no recipe."""

from __future__ import annotations

from isthmus.adapters.recipe import Recipe
from isthmus.adapters.recipe_step import Step

__all__ = ["POOLS_HELP", "default_recipes", "default_refinements"]

KEPT_MEAN = 0.25
"""Share of the target's mean that a search-only map of few pairs keeps: what lies near the middle
of an index answers more queries, and a weak map has little else to go by."""
POOLS_HELP = 1000
"""Pairs up to which matched pools are tried: beyond, pairs alone were as good (docs/budgets.md)."""


def default_refinements(metric: str, pairs: int, *, pools: bool = False) -> list[Step]:
    """What the best of the default recipes is refined with, simplest first.

    Training compares directions, so only under cosine.  Pools are matched up to `POOLS_HELP` pairs.

    Args:
        metric: of the target space.
        pairs: that are fitted on.
        pools: whether there are unpaired vectors of both spaces.
    """
    matched = [Step("match_pools", {"mutual": "auto"})] if pools and pairs <= POOLS_HELP else []
    return [*matched, *([Step("polish")] if metric == "cosine" else [])]


def default_recipes(metric: str, *, search_only: bool = False, apart: bool = False) -> list[Recipe]:
    """What is tried where the user names no recipe, simplest first.

    Args:
        metric: of the target space.
        search_only: the mapped vectors will only be searched with, never stored: under cosine CSA
            is tried too, because its vectors rank the target's but do not lie among them.
        apart: documents and queries are both fitted on, and centred apart.
    """
    cosine = metric == "cosine"
    before = ("unit_norm | " if cosine else "") + ("apart | " if apart else "")
    after = " | unit_norm" if cosine else ""
    scale = "" if cosine else "(scale=true)"
    searched = search_only and cosine
    cores = [f"procrustes{scale}"]
    if searched:
        # canonical correlations shape the spectrum of both sides, as a whitening before would
        mean = str(KEPT_MEAN) if apart else "auto"
        cores += ["ridge(alpha=auto)", f"csa(shrinkage=auto, weight=auto, mean={mean})"]
    else:
        cores += [
            f"whiten(shrinkage=0.1, power=0.5) | procrustes{scale}",
            "lambda_orthogonal(lam=0.2)",
            "ridge(alpha=auto, power=auto)",
        ]
    recipes = [Recipe.parse(f"{before}{core}{after}") for core in cores]
    if apart:
        # where one mean serves both kinds, the map that keeps the target's own place
        recipes.insert(0, Recipe.parse(f"{before.replace('apart | ', '')}{cores[0]}{after}"))
    return recipes
