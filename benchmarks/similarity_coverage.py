"""Do intervals and p-values of similarity hold: `python -m benchmarks.similarity_coverage`.

    python -m benchmarks.similarity_coverage --real     # of two upgrades of text encoders instead

Rows are drawn anew from five populations (normal, far from the origin, in clusters, heavy-tailed,
with a few giant rows).  An interval is held against the value of 100,000 rows of the population
(4,000 for measures on rows; of real pairs all 10,000) where the measure claims it, and otherwise
against the mean of its values at the same number of rows.  For p-values the sides are unrelated.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

from isthmus.similarity import MEASURES, RowSampling, Similarity, compare

__all__ = ["POPULATIONS", "coverage", "drawn", "false_alarms"]

POPULATIONS = ("normal", "offset", "clustered", "heavy", "giant")
REAL = ("debian-minilm-l3-minilm-l6", "wordnet-wordllama-minilm-l6")
DX, DY = 24, 16
_ALL = {"moments": 100_000, "rows": 4_000}

Rows = NDArray[np.float64]


def drawn(population: str, n: int, rng: np.random.Generator, *, related: bool) -> tuple[Rows, Rows]:
    """``n`` pairs of rows, ``(n, 24)`` and ``(n, 16)``; of real pairs, as wide as they are."""
    if population in REAL:
        x, y = _real(population)
        rows = rng.permutation(len(x))[:n]
        return x[rows], y[rows] if related else y[rng.permutation(rows)]
    fixed = np.random.default_rng(1)
    mix = fixed.standard_normal((DX, DY)) / DX**0.5
    centres = 2 * fixed.standard_normal((12, DX))
    scale = np.arange(1, DX + 1) ** -0.5

    def side() -> tuple[Rows, Rows]:
        rows = rng.standard_normal((n, DX))
        if population == "clustered":
            rows = 0.5 * rows + centres[rng.integers(12, size=n)]
        weight = np.ones(n)
        if population == "heavy":
            weight = np.sqrt(3 / rng.chisquare(3, n))
        if population == "giant":
            weight = np.where(rng.random(n) < 0.01, 20.0, 1.0)
        return rows * scale * weight[:, None], weight

    x, weight = side()
    if related:
        y = x @ mix
        y += 0.7 * (y / weight[:, None]).std() * weight[:, None] * rng.standard_normal(y.shape)
    else:
        y = side()[0][:, :DY]
    if population == "offset":
        x, y = x + 20, y - 10
    return x, y


@cache
def _real(name: str) -> tuple[Rows, Rows]:
    from benchmarks.study.texts import TEXT_UPGRADES

    upgrade = TEXT_UPGRADES[name]()
    return upgrade.new_items.astype(np.float64), upgrade.old_items.astype(np.float64)


def coverage(population: str, n: int, draws: int, measures: tuple[str, ...]) -> dict[str, float]:
    """The share of intervals that hold what they claim, by measure.

    Measures are left out that have an interval in a tenth of the draws or fewer.
    """
    truth: dict[str, float] = {}
    for basis, size in _ALL.items():
        names = tuple(m for m in measures if MEASURES[m].basis == basis and not MEASURES[m].biased)
        if names:
            x, y = drawn(population, size, np.random.default_rng(0), related=True)
            every = RowSampling(rows=size, permutations=1)
            truth |= _values(compare(x, y, measures=names, sampling=every))
    found: defaultdict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for seed in range(draws):
        x, y = drawn(population, n, np.random.default_rng(1000 + seed), related=True)
        for name, one in compare(
            x, y, measures=measures, seed=seed, sampling=RowSampling(permutations=1)
        ).items():
            if one.value is not None and one.low is not None and one.high is not None:
                found[name].append((one.value, one.low, one.high))
    held: dict[str, float] = {}
    for name, triples in found.items():
        if len(triples) <= draws / 10:
            continue
        values, low, high = np.array(triples).T
        wanted = truth.get(name, float(values.mean()))
        held[name] = float(np.mean((low <= wanted) & (wanted <= high)))
    return held


def false_alarms(
    population: str, n: int, draws: int, measures: tuple[str, ...]
) -> dict[str, float]:
    """How often unrelated sides have ``p <= .05``, by measure."""
    alarms: defaultdict[str, list[bool]] = defaultdict(list)
    for seed in range(draws):
        x, y = drawn(population, n, np.random.default_rng(5000 + seed), related=False)
        for name, one in compare(x, y, measures=measures, seed=seed).items():
            if one.null is not None:
                alarms[name].append(one.null.p <= 0.05)
    return {name: float(np.mean(every)) for name, every in alarms.items()}


def _values(found: Mapping[str, Similarity]) -> dict[str, float]:
    return {name: one.value for name, one in found.items() if one.value is not None}


def _table(title: str, rows: dict[str, dict[str, float]]) -> str:
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = [f"| {title} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [
        f"| {name} | {' | '.join(f'{row[c]:.3f}' if c in row else '-' for c in columns)} |"
        for name, row in rows.items()
    ]
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--only", choices=["moments", "rows"], default="moments")
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--population", choices=POPULATIONS, action="append")
    parser.add_argument("--null", action="store_true", help="p-values alone, no intervals")
    asked = parser.parse_args()
    names = tuple(m for m in MEASURES if MEASURES[m].basis == asked.only)
    held: dict[str, dict[str, float]] = {}
    alarms: dict[str, dict[str, float]] = {}
    for population in REAL if asked.real else asked.population or POPULATIONS:
        for n in (1000,) if asked.real else asked.rows:
            # with fewer rows in 24 dimensions no interval is asked for
            if n > 100 and not asked.null:
                held[f"{population}, {n:,}"] = coverage(population, n, asked.draws, names)
            alarms[f"{population}, {n:,}"] = false_alarms(population, n, asked.draws, names)
    if held:
        print(_table("95 % intervals that hold", held), end="\n\n")
    print(_table("p <= .05 without relation", alarms))


if __name__ == "__main__":
    main()
