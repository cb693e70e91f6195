"""Ablations: which of several ingredients matters, with every run paired by seed and none lost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import scipy.special
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate import Estimate
from isthmus.files import canonical_json
from isthmus.progress import Progress, silent
from isthmus.training.run_log import RunLog

__all__ = ["Ablation", "Cell", "Effect", "ablate"]

FactorLevel = str | int | float | bool | None
Setting = dict[str, FactorLevel]
TrainOnce = Callable[[Setting, int], float | Mapping[str, float]]

_DESIGNS = ("full", "drop_one", "add_one")


@dataclass(frozen=True)
class Cell:
    """One setting, run under every seed.

    Attributes:
        setting: the level of every factor.
        values: by metric, one value for each seed.
        means: by metric, with the t-interval over seeds.
    """

    setting: Setting
    values: dict[str, tuple[float, ...]]
    means: dict[str, Estimate]


@dataclass(frozen=True)
class Effect:
    """What one level of a factor does, compared with another under the same seeds.

    Attributes:
        factor: its name.
        level: what is judged.
        against: the level it is compared with.
        metrics: the difference of each metric, with the t-interval of the paired differences.
    """

    factor: str
    level: FactorLevel
    against: FactorLevel
    metrics: dict[str, Estimate]


@dataclass(frozen=True)
class Ablation:
    """All cells and the effects they show; it prints as two tables.

    Attributes:
        design: as asked.
        seeds: as asked.
        cells: in the order they were run.
        effects: in a full factorial the main effects, averaged over all other factors; otherwise
            the difference that the one factor makes.

    Example:
        >>> found = ablate(["a"], lambda setting, seed: float(setting["a"]) + seed, [0, 1])
        >>> found.effect("a", "value").value
        1.0
    """

    design: str
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    effects: tuple[Effect, ...]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what was measured."""
        return tuple(self.cells[0].means)

    def cell(self, **setting: FactorLevel) -> Cell:
        """The cell of a setting.

        Raises:
            InputError: where it was not run.
        """
        for cell in self.cells:
            if cell.setting == setting:
                return cell
        raise InputError(f"the setting {setting} was not run")

    def effect(self, factor: str, metric: str) -> Estimate:
        """What the last level of a factor does to a metric.

        Raises:
            InputError: for names that are not there.
        """
        found = [e for e in self.effects if e.factor == factor]
        if not found or metric not in found[-1].metrics:
            raise InputError(
                f"there is no effect of '{factor}' on '{metric}'",
                mend=f"Choose from {', '.join(dict.fromkeys(e.factor for e in self.effects))} and "
                f"{', '.join(self.metrics)}",
            )
        return found[-1].metrics[metric]

    def to_json(self) -> str:
        """Canonical JSON of everything."""
        return canonical_json(
            {
                "design": self.design,
                "seeds": self.seeds,
                "cells": [
                    {"setting": c.setting, "values": c.values, "means": _plain(c.means)}
                    for c in self.cells
                ],
                "effects": [
                    {
                        "factor": e.factor,
                        "level": e.level,
                        "against": e.against,
                        "metrics": _plain(e.metrics),
                    }
                    for e in self.effects
                ],
            }
        )

    def __str__(self) -> str:
        count = f"{len(self.seeds)} seed{'s' if len(self.seeds) > 1 else ''}"
        factors = list(self.cells[0].setting)
        cells = [["", *factors, *self.metrics]]
        cells += [
            ["", *(_named(c.setting[f]) for f in factors), *(_short(e) for e in c.means.values())]
            for c in self.cells
        ]
        named = "main effects" if self.design == "full" else "effects"
        effects = [["", *self.metrics]]
        effects += [
            [
                f"{e.factor}: {_named(e.against)} → {_named(e.level)}",
                *(_short(value, signed=True) for value in e.metrics.values()),
            ]
            for e in self.effects
        ]
        return "\n".join(
            [f"{self.design} design, {count}", *_table(cells), "", named, *_table(effects)]
        )


def ablate(
    factors: Mapping[str, Sequence[FactorLevel]] | Sequence[str],
    run: TrainOnce,
    seeds: Iterable[int],
    *,
    design: str = "full",
    journal: str | Path | None = None,
    version: str = "",
    level: float = 0.95,
    progress: Progress = silent,
) -> Ablation:
    """Run an ablation and say what each factor does.

    Every setting is run under the same seeds, and effects are differences of runs of one seed, so
    that the luck of a seed cancels.  Intervals are Student's t over seeds: with one seed there is
    none.

    Args:
        factors: by name the levels, the first of which is without, the last with; or only names,
            which are then False and True.
        run: of a setting and a seed: a number, or numbers by name.
        seeds: at least one.
        design: ``full``, all combinations; ``drop_one``, everything and each factor taken out of
            it; ``add_one``, nothing and each factor put in.
        journal: a file to which every finished run is written at once; a run that is in it is not
            repeated, so that an ablation killed at any point goes on where it was.
        version: of what ``run`` does; a journal of another version is refused.
        level: of the intervals.
        progress: told about runs.

    Raises:
        InputError: for no factors or seeds, a factor of fewer than two levels or with levels that
            JSON does not hold, another design, a result that is not finite or has other names
            than the first, or a journal of something else or damaged in its middle.
        OutputError: where the journal cannot be written.

    Example:
        >>> print(ablate(["a", "b"], lambda s, seed: s["a"] + 0.1 * seed, [0, 1, 2]))
        full design, 3 seeds
          a      b      value
          False  False  0.100 [-0.148, 0.348]
          False  True   0.100 [-0.148, 0.348]
          True   False  1.100 [0.852, 1.348]
          True   True   1.100 [0.852, 1.348]
        <BLANKLINE>
        main effects
                           value
          a: False → True  +1.000 [+1.000, +1.000]
          b: False → True  +0.000 [+0.000, +0.000]
    """
    levels = _levels(factors)
    drawn = tuple(seeds)
    if not drawn or len(set(drawn)) < len(drawn):
        raise InputError(f"expected one or more different seeds, got {list(drawn)}", where="seeds")
    if not 0 < level < 1:
        raise InputError(f"the level lies in (0, 1), got {level}", where="level")
    settings = _settings(levels, design)
    results: dict[tuple[str, int], dict[str, float]] = {}
    names: tuple[str, ...] | None = None
    total = len(settings) * len(drawn)
    with RunLog(journal, {"version": version, "factors": sorted(levels)}) as log:
        # seeds outermost: a first whole table is there as early as can be
        for done, (seed, setting) in enumerate(product(drawn, settings), start=1):
            key = canonical_json({"seed": seed, "setting": setting})
            found = log.known.get(key)
            if found is None:
                found = _numbers(run(dict(setting), seed), setting, seed)
                log.add(key, seed, setting, found)
            names = names or tuple(found)
            if set(found) != set(names):
                raise InputError(
                    f"the run measured {sorted(found)}, and others {sorted(names)}",
                    where=f"setting {setting}, seed {seed}",
                )
            results[canonical_json(setting), seed] = {name: found[name] for name in names}
            progress("ablate", done, total)
    assert names is not None
    values = {
        canonical_json(setting): np.array(
            [[results[canonical_json(setting), seed][name] for name in names] for seed in drawn]
        )
        for setting in settings
    }
    cells = tuple(
        Cell(
            setting,
            {n: tuple(values[canonical_json(setting)][:, i].tolist()) for i, n in enumerate(names)},
            _estimates(values[canonical_json(setting)], names, level),
        )
        for setting in settings
    )
    effects = tuple(_effects(levels, settings, values, names, design, level))
    return Ablation(design, drawn, cells, effects)


def _levels(
    factors: Mapping[str, Sequence[FactorLevel]] | Sequence[str],
) -> dict[str, list[FactorLevel]]:
    if isinstance(factors, str):
        raise InputError(f"the factors are a list, got '{factors}'", where="factors")
    levels: dict[str, list[FactorLevel]] = (
        {name: list(given) for name, given in factors.items()}
        if isinstance(factors, Mapping)
        else {name: [False, True] for name in factors}
    )
    if not levels:
        raise InputError("there are no factors", where="factors")
    for name, given in levels.items():
        held: list[Any] = list(given)
        if any(not isinstance(v, str | int | float | bool | None) for v in held):
            raise InputError(
                "a level is not a string, number, boolean or None, which the journal could hold",
                where=f"factor {name}",
                mend="Name the levels, and look them up in run",
            )
        if len({canonical_json(v) for v in given}) < max(2, len(given)):
            raise InputError(
                f"expected two or more different levels, got {given}", where=f"factor {name}"
            )
    return levels


def _settings(levels: Mapping[str, list[FactorLevel]], design: str) -> list[Setting]:
    if design == "full":
        return [dict(zip(levels, chosen, strict=True)) for chosen in product(*levels.values())]
    if design == "drop_one":
        whole = {name: given[-1] for name, given in levels.items()}
        return [whole] + [whole | {name: given[0]} for name, given in levels.items()]
    if design == "add_one":
        none = {name: given[0] for name, given in levels.items()}
        return [none] + [none | {name: v} for name, given in levels.items() for v in given[1:]]
    raise InputError(
        f"there is no design '{design}'", where="design", mend=f"Choose from {', '.join(_DESIGNS)}"
    )


def _effects(
    levels: Mapping[str, list[FactorLevel]],
    settings: Sequence[Setting],
    values: Mapping[str, NDArray[np.float64]],
    names: Sequence[str],
    design: str,
    level: float,
) -> Iterable[Effect]:
    for factor, given in levels.items():
        first = given[0]
        for other in given[1:] if design != "drop_one" else given[-1:]:
            apart = [
                values[canonical_json(setting)] - values[canonical_json(setting | {factor: first})]
                for setting in settings
                if canonical_json(setting[factor]) == canonical_json(other)
                and canonical_json(setting | {factor: first}) in values
            ]
            yield Effect(factor, other, first, _estimates(np.mean(apart, 0), names, level))


def _estimates(
    rows: NDArray[np.float64], names: Sequence[str], level: float
) -> dict[str, Estimate]:
    """Means over seeds ``(seeds, metrics)`` with Student's interval."""
    n = len(rows)
    means = rows.mean(0)
    if n == 1:
        return {
            name: Estimate(value=float(m), reason="one seed")
            for name, m in zip(names, means, strict=True)
        }
    half = scipy.special.stdtrit(n - 1, (1 + level) / 2) * rows.std(0, ddof=1) / math.sqrt(n)
    return {
        name: Estimate(value=float(m), low=float(m - h), high=float(m + h))
        for name, m, h in zip(names, means, half, strict=True)
    }


def _numbers(found: float | Mapping[str, float], setting: Setting, seed: int) -> dict[str, float]:
    numbers = {
        str(name): float(value)
        for name, value in (found if isinstance(found, Mapping) else {"value": found}).items()
    }
    where = f"setting {setting}, seed {seed}"
    if not numbers:
        raise InputError("the run measured nothing", where=where)
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise InputError(
                f"the run's {name} is {value}",
                where=where,
                mend="Mend the run, or let it return the worst value where it fails",
            )
    return numbers


def _named(level: FactorLevel) -> str:
    return f"{level:g}" if isinstance(level, float) else str(level)


def _short(value: Estimate, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    if value.low is None or value.high is None:
        return f"{value.value:{sign}.3f}"
    return f"{value.value:{sign}.3f} [{value.low:{sign}.3f}, {value.high:{sign}.3f}]"


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    # the first column is empty in a table of cells, and a name in one of effects
    return [(line if not widths[0] else "  " + line).rstrip() for line in lines]


def _plain(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: value.model_dump() for name, value in estimates.items()}
