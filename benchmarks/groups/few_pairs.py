"""What a pair is worth: few pairs with unpaired pools, no pairs, and chosen pairs.

The values are top-1 shares of unseen items among themselves (ours) against those of centred
Procrustes on the same pairs, or on as many random ones (baseline); nothing here is timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.arrays import Array, Task, paired
from benchmarks.harness import Options, Row

CENTRED = "unit_norm | center | unit_norm | center | procrustes | unit_norm"
RIDGE = "unit_norm | ridge(alpha=0.1) | unit_norm"
POOL = 2_000


def _top1(task: Task, transform: Callable[[Array], Array]) -> float:
    mapped = transform(task.x_test)
    mapped = mapped / np.linalg.norm(mapped, axis=1, keepdims=True)
    return float(((mapped @ task.y_test.T).argmax(1) == np.arange(len(mapped))).mean())


def _fitted(recipe: str, x: Array, y: Array) -> Callable[[Array], Array]:
    from isthmus.adapters.pipeline import fit_chain, fit_front
    from isthmus.adapters.recipe import Recipe
    from isthmus.moments import Moments

    parsed = Recipe.parse(recipe)

    def moments(on_x: Callable[[Array], Array], on_y: Callable[[Array], Array]) -> object:
        return Moments.of(on_x(x), on_y(y)).second()

    front = fit_front(parsed.front, moments, cosine=True)
    return fit_chain(parsed, front, moments(front.x, front.y))


def _row(what: str, ours: float | None, baseline: float | None, note: str) -> Row:
    return Row(what, ours=ours, baseline=baseline, unit="top-1", note=note)


def run(options: Options) -> Iterator[Row]:
    task = paired(384, 384, options.size(8_000, 5_000))
    pool = options.size(POOL, 800)
    yield from _few(task, pool, options.size(3, 1))
    yield from _none(task, pool)
    yield from _chosen(task)


def _few(task: Task, pool: int, sizes: int) -> Iterator[Row]:
    from isthmus.adapters.scarce.few_pairs import FewPairsOptions, refine_few_pairs

    order = np.random.default_rng(0).permutation(len(task.x))
    for k in (10, 50, 200)[:sizes]:
        known, one, other = np.split(order[: k + 2 * pool], [k, k + pool])
        for which, second in (("the same items", one), ("other items", other)):
            started = time.process_time()
            found = refine_few_pairs(
                task.x[known],
                task.y[known],
                task.x[one],
                np.random.default_rng(1).permutation(task.y[second]),
                options=FewPairsOptions(pool_rows=pool),
            )
            yield _row(
                f"{k} pairs, pools of {pool:,} ({which}) ÷ {k} pairs alone",
                _top1(task, found.transform),
                _top1(task, _fitted(CENTRED, task.x[known], task.y[known])),
                f"{found.method}, {time.process_time() - started:.0f} CPU s",
            )


def _none(task: Task, pool: int) -> Iterator[Row]:
    from isthmus.adapters import align_unpaired
    from isthmus.errors import InputError

    shuffled = np.random.default_rng(1).permutation(task.y[:pool])
    chance = 1 / len(task.x_test)
    what = f"no pairs, {pool:,} items on both sides ÷ chance"
    try:
        found = align_unpaired(task.x[:pool], shuffled)
    except InputError as refusal:
        yield _row(what, None, chance, f"refused: {refusal}")
        return
    yield _row(what, _top1(task, found.transform), chance, str(found))


def _chosen(task: Task) -> Iterator[Row]:
    from isthmus.adapters.budget.next_ids import Design, next_ids

    for budget in (100, 250, 500, 1_000, 2_000):
        at_random = Design(method="random")
        designed = next_ids(task.y, None, budget).ids
        chance = [next_ids(task.y, None, budget, design=at_random, seed=s).ids for s in range(3)]
        for recipe in (CENTRED, RIDGE):
            scores = [_top1(task, _fitted(recipe, task.x[c], task.y[c])) for c in chance]
            yield _row(
                f"{budget:,} pairs by leverage ÷ at random, {recipe}",
                _top1(task, _fitted(recipe, task.x[designed], task.y[designed])),
                float(np.mean(scores)),
                f"random: {min(scores):.3f} to {max(scores):.3f}",
            )
