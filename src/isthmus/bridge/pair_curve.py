"""What more pairs are worth to a map: by queries and their answers where there are any."""

from __future__ import annotations

from dataclasses import replace

from isthmus.adapters.budget.curve_reading import LearningCurve
from isthmus.adapters.budget.learning_curve import CurveDesign, learning_curve
from isthmus.adapters.recipe import Recipe
from isthmus.bridge.answered_together import kept_together
from isthmus.bridge.held_out_samples import PARTS, TEST, HeldOutSamples, Queries, SampleSizes
from isthmus.progress import Progress, silent
from isthmus.spaces.pairs import Pairs

__all__ = ["pair_curve"]

_MOST = 20_000
_SHARES = dict(zip(PARTS, (0.8, 0.0, 0.2), strict=True))


def pair_curve(
    pairs: Pairs,
    queries: Queries | None = None,
    *,
    recipe: str | Recipe | None = None,
    design: CurveDesign | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> LearningCurve:
    """`learning_curve` of at most 20,000 pairs in memory.

    With queries a fifth of the pairs is held out, and every map is judged by the queries that they
    answer.  Without, held-out items look for their own vectors, and copies of items are left out.

    Args:
        pairs: items in the source and in the target space of a query bridge.
        queries: in both spaces, with what answers them.
        recipe: without ``auto``; centred Procrustes if not given.
        design: metric, budgets, orders; `CurveDesign` if not given.
        seed: of what is held out, the orders and the bootstrap.
        progress: told after every fit.

    Raises:
        InputError: as `learning_curve`, and where no query is answered by a held-out item.
    """
    design = CurveDesign() if design is None else design
    if queries is None:
        held = pairs.sample(min(len(pairs), _MOST), seed=seed)
        # an item that looks for its own vector would find its copy's
        held = held.select(pairs.copies.leaders(held.ids) == held.ids)
    else:
        split = pairs.split(_SHARES, seed=seed, together=kept_together(pairs, queries))
        samples = HeldOutSamples(split, queries, sizes=SampleSizes(), seed=seed)
        samples.check_test_part()
        samples.read()
        asked = samples.held_out(TEST)
        assert asked is not None
        fitted = split[PARTS[0]]
        held = fitted.sample(min(len(fitted), _MOST), seed=seed)
        design = replace(design, judge=asked.judge("query", design.metric))
    return learning_curve(
        held.x, held.y, ids=held.ids, recipe=recipe, cosine=pairs.metric == "cosine",
        design=design, seed=seed, progress=progress,
    )  # fmt: skip
