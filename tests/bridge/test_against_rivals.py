"""The map that is chosen keeps up with the best single map of the others, on the same pairs."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.arrays import paired
from benchmarks.recipes import RECIPES
from isthmus import Pairs, fit
from isthmus.evaluate import Judging, from_ids, parse_metric, relevant_ranks

POINT = 0.01


@pytest.mark.parametrize(("dx", "dy"), [(96, 96), (128, 192)])
def test_auto_is_no_worse_than_the_best_rival(dx: int, dy: int) -> None:
    """Fixed maps as rebasis fits them: padded centred Procrustes, ridge, reduced rank."""
    task = paired(dx, dy, 2500)
    # each item's own vector asks for it: what the fixed maps are fitted for as well
    bridge = fit(Pairs(task.x, task.y), judging=Judging(limits=None))
    relevance = from_ids(np.arange(len(task.x_test)), np.arange(len(task.y_test)))

    def recall(mapped: np.ndarray) -> float:
        ranks = relevant_ranks(np.asarray(mapped, np.float32), task.y_test, relevance)
        return float(parse_metric("recall@1").per_query(ranks).mean())

    rivals = {name: recall(recipe(task.x, task.y)(task.x_test)) for name, recipe in RECIPES.items()}
    ours = recall(bridge.transform(task.x_test))
    assert ours >= max(rivals.values()) - POINT, (ours, rivals)
