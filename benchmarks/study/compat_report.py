"""From what every seed measured to tables, a comparison, and the trade-off plot.

Intervals are of a bootstrap over seeds and, within each, over queries: the seeds draw other fonts,
start other networks and search other images, of the same test families.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arrays import Array
from benchmarks.study.compat_adapters import COMPARED, EQUAL, OURS, PAPER, TRIED
from benchmarks.study.compat_experiments import METRICS, Outcome
from isthmus.evaluate import compatibility_scores, estimate, resampled_means

__all__ = ["Comparison", "Report", "draw", "report"]

Key = tuple[str, str, str]
"""Experiment, method and column."""

RESAMPLES = 1000
MUCH_FASTER = 20.0
COLUMNS = ("B/old", "B/B", "F/F", "B/F")
FORGETS = -1.0
"""Points of mAP below which the old domain is said to be forgotten."""


@dataclass(frozen=True)
class Cell:
    """One metric of one search, in points (0 to 100)."""

    experiment: str
    method: str
    column: str
    metric: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Ours less the paper's loop, on the same queries, in points."""

    at: str
    """At the same ``λ``, or the same ``departure``."""
    experiment: str
    column: str
    metric: str
    apart: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        if self.low > 0:
            return "better"
        return "within the interval" if self.high >= 0 else "WORSE"


@dataclass(frozen=True)
class Report:
    cells: list[Cell]
    comparisons: list[Comparison]
    seconds: dict[str, dict[str, float]]
    faster: dict[str, float]
    series: dict[str, dict[str, Any]]
    areas: dict[str, dict[str, float]]
    shape: dict[str, str]
    trade_off: dict[str, list[dict[str, float]]]
    seeds: int

    def as_json(self) -> dict[str, Any]:
        found = asdict(self)
        for one, raw in zip(self.comparisons, found["comparisons"], strict=True):
            raw["verdict"] = one.verdict
        return found

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def report(outcomes: Sequence[Outcome]) -> Report:
    """Means over the seeds, with intervals, and what follows from them."""
    measured = _Measured(outcomes)
    cells = [
        Cell(*key, metric, *measured.points(i, key))
        for key in measured.values
        if key[2] != "elsewhere"
        for i, metric in enumerate(METRICS)
    ]
    cells += [
        Cell(e, method, "change elsewhere", metric, *measured.change(i, e, method))
        for e, method, column in measured.values
        if column == "elsewhere" and method != "new"
        for i, metric in enumerate(METRICS)
    ]
    seconds: dict[str, dict[str, float]] = {}
    for experiment, method in outcomes[0].seconds:
        spent = float(np.mean([o.seconds[experiment, method] for o in outcomes]))
        seconds.setdefault(experiment, {})[method] = spent
    trade_off = {
        name: [_trade_off(outcomes, measured, f"{name} {lam:g}", lam) for lam in (*TRIED, np.inf)]
        for name in (PAPER, OURS)
    }
    return Report(
        cells=cells,
        comparisons=list(_comparisons(measured)),
        seconds=seconds,
        faster={
            e: seconds[e][_named(e, PAPER)] / seconds[e][_named(e, OURS)]
            for e in ("extension", "architecture", "downstream")
        },
        series=_series(outcomes, measured),
        areas={
            metric: {
                order: 100 * float(np.mean([o.areas[m, n] for o in outcomes]))
                for m, order in outcomes[0].areas
                for n in [order]
                if m == metric
            }
            for metric in METRICS
        },
        shape={name: _shape(points) for name, points in trade_off.items()},
        trade_off=trade_off,
        seeds=len(outcomes),
    )


def _named(experiment: str, method: str) -> str:
    """The method at the λ that the tables show; downstream it is one of several."""
    return f"{method} {COMPARED:g}" if experiment == "downstream" else method


class _Measured:
    """Means of every search over resampled seeds and queries.

    All searches of one test set see the same resample, so that differences are paired.
    """

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self.values = {key: [o.values[key] for o in outcomes] for key in outcomes[0].values}
        self.means: dict[Key, Array] = {}
        seeds = len(outcomes)
        drawn = np.random.default_rng(0).integers(0, seeds, (RESAMPLES, seeds))
        # a seed drawn twice has its queries drawn anew
        rows = np.stack([np.roll(np.arange(RESAMPLES), 7 * k) for k in range(seeds)], axis=1)
        for length in {len(v[0]) for v in self.values.values()}:
            keys = [key for key, v in self.values.items() if len(v[0]) == length]
            each = np.stack(
                [
                    resampled_means(
                        np.hstack([self.values[key][s] for key in keys]), resamples=RESAMPLES,
                        seed=s,
                    )
                    for s in range(seeds)
                ]
            )  # fmt: skip
            joined = each[drawn, rows].mean(axis=1).reshape(RESAMPLES, len(keys), len(METRICS))
            self.means.update({key: joined[:, k] for k, key in enumerate(keys)})

    def points(self, i: int, key: Key, minus: Key | None = None) -> tuple[float, float, float]:
        """Metric ``i``, less another, and its interval, in points."""
        value = float(np.mean([v[:, i].mean() for v in self.values[key]]))
        means = self.means[key][:, i]
        if minus is not None:
            value -= float(np.mean([v[:, i].mean() for v in self.values[minus]]))
            means = means - self.means[minus][:, i]
        found = estimate(value, means)
        assert found.low is not None
        assert found.high is not None
        return 100 * value, 100 * found.low, 100 * found.high

    def change(self, i: int, experiment: str, method: str) -> tuple[float, float, float]:
        """Of the new model, where the adapters were not fitted."""
        return self.points(i, (experiment, method, "elsewhere"), (experiment, "new", "elsewhere"))


def _comparisons(measured: _Measured) -> Iterator[Comparison]:
    for at, mine in (("λ", OURS), ("departure", EQUAL)):
        for experiment in ("extension", "architecture", "downstream"):
            ours, paper = (_named(experiment, name) for name in (mine, PAPER))
            for column in (*COLUMNS, "elsewhere"):
                for i, metric in enumerate(METRICS):
                    sides = (experiment, ours, column), (experiment, paper, column)
                    yield Comparison(at, experiment, column, metric, *measured.points(i, *sides))


def _trade_off(
    outcomes: Sequence[Outcome], measured: _Measured, method: str, lam: float
) -> dict[str, float]:
    """mAP gained where the adapters were fitted, and lost where the models came from."""
    gain = measured.points(1, ("downstream", method, "B/B"), ("downstream", "new", "new/new"))
    change = measured.change(1, "downstream", method)
    departure = float(np.mean([o.departures["downstream", method] for o in outcomes]))
    names = ("gain", "gain_low", "gain_high", "change", "change_low", "change_high")
    return {
        "lam": lam if np.isfinite(lam) else -1.0,
        "departure": departure,
        **dict(zip(names, (*gain, *change), strict=True)),
    }


def _shape(points: list[dict[str, float]]) -> str:
    """Whether a middle λ gains and keeps, and an affine map forgets."""
    affine, middle = points[-1], points[1:-1]
    kept = [p for p in middle if p["gain_low"] > 0 and p["change"] > FORGETS]
    forgets = affine["change_high"] < 0 and affine["change"] < FORGETS
    if kept and forgets:
        best = max(kept, key=lambda p: p["gain"])
        return (
            f"reproduced: relative λ {best['lam']:g} gains {best['gain']:+.1f} mAP downstream and "
            f"changes the old domain by {best['change']:+.1f}; affine gains {affine['gain']:+.1f} "
            f"and forgets {affine['change']:+.1f}"
        )
    reasons = [] if kept else ["no middle λ gains downstream and stays within 1 point elsewhere"]
    reasons += [] if forgets else ["the affine map does not forget"]
    return "NOT reproduced: " + "; ".join(reasons)


def _series(outcomes: Sequence[Outcome], measured: _Measured) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for method in dict.fromkeys(m for e, m, _ in outcomes[0].values if e == "series"):
        for i, metric in enumerate(METRICS):
            matrices = []
            for o in outcomes:
                c = np.full((3, 3), np.nan)
                for t in range(3):
                    for k in range(t + 1):
                        c[t, k] = o.values["series", method, f"{t}/{k}"][:, i].mean()
                matrices.append(c)
            scores = [compatibility_scores(c) for c in matrices]
            mean = np.mean(matrices, axis=0)
            above = {
                f"{t}/{k}": measured.points(
                    i, ("series", method, f"{t}/{k}"), ("series", method, f"{k}/{k}")
                )
                for t, k in ((1, 0), (2, 0), (2, 1))
            }
            gains = {
                f"{t}/{k}": float((mean[t, k] - mean[k, k]) / (mean[t, t] - mean[k, k]))
                if mean[t, t] > mean[k, k]
                else None
                for t, k in ((1, 0), (2, 0), (2, 1))
            }
            found.setdefault(method, {})[metric] = {
                "matrix": [[None if np.isnan(v) else 100 * float(v) for v in row] for row in mean],
                "AC": float(np.mean([s.average_compatibility for s in scores])),
                "AM": 100 * float(np.mean([s.average_accuracy for s in scores])),
                "BC": 100 * float(np.mean([s.backward for s in scores])),
                "FC": 100 * float(np.mean([s.forward for s in scores])),
                "above_old": above,
                "update_gain": gains,
            }
    return found


def _lines(r: Report) -> Iterator[str]:
    by = {(c.experiment, c.method, c.column, c.metric): c for c in r.cells}
    yield f"{r.seeds} seeds; CMC-1/mAP in points, mean and 95 % interval over seeds and queries"
    yield ""
    yield "Series of 18, 27 and 36 classes (rows: queries of model, columns: gallery)"
    for method, metrics in r.series.items():
        one = metrics["map"]
        cells = "  ".join(
            f"{t}/{k} {metrics['cmc@1']['matrix'][t][k]:.1f}/{one['matrix'][t][k]:.1f}"
            for t in range(3)
            for k in range(t + 1)
        )
        yield f"  {method:14s} {cells}"
        gains = ", ".join(
            f"{k} {'undefined' if v is None else f'{v:+.2f}'}"
            for k, v in one["update_gain"].items()
        )
        yield (
            f"  {'':14s} AC {metrics['cmc@1']['AC']:.2f}/{one['AC']:.2f}  "
            f"AM {metrics['cmc@1']['AM']:.1f}/{one['AM']:.1f}  "
            f"BC {metrics['cmc@1']['BC']:+.1f}/{one['BC']:+.1f}  "
            f"FC {metrics['cmc@1']['FC']:+.1f}/{one['FC']:+.1f}  update gain (mAP) {gains}  "
            f"{r.seconds['series'][method]:.1f} s"
        )
    for experiment, title in (
        ("extension", "Class extension, 18 to 36 classes, one architecture (64 to 64)"),
        ("architecture", "Change of architecture, mixer to convolutions (64 to 128)"),
        ("downstream", "Adapters fitted to handwritten digits; elsewhere: printed characters"),
    ):
        yield ""
        yield title
        for side in ("old", "new"):
            pair = [by[experiment, side, f"{side}/{side}", m] for m in METRICS]
            yield f"  {side}/{side}: " + "  ".join(
                f"{m} {_cell(c)}" for m, c in zip(METRICS, pair, strict=True)
            )
        methods = dict.fromkeys(c.method for c in r.cells if c.experiment == experiment)
        for method in methods:
            if method in ("old", "new"):
                continue
            parts = []
            for column in (*COLUMNS, "change elsewhere"):
                pair = [by.get((experiment, method, column, m)) for m in METRICS]
                if pair[0] is not None:
                    parts.append(f"{column} " + " / ".join(_cell(c) for c in pair))
            yield f"  {method:36s} {r.seconds[experiment][method]:7.2f} s"
            yield "      " + "   ".join(parts)
    yield ""
    yield "Trade-off downstream, mAP gained there / changed on printed characters (departure)"
    for method, points in r.trade_off.items():
        for p in points:
            lam = "affine" if p["lam"] < 0 else f"λ {p['lam']:g}"
            yield (
                f"  {method:32s} {lam:9s} {p['gain']:+6.2f} [{p['gain_low']:+.2f}, "
                f"{p['gain_high']:+.2f}]  {p['change']:+6.2f} [{p['change_low']:+.2f}, "
                f"{p['change_high']:+.2f}]  ({p['departure']:.2f})"
            )
        yield f"  {method}: {r.shape[method]}"
    yield ""
    yield "Partial backfill, area under metric against share re-embedded"
    for metric, areas in r.areas.items():
        yield f"  {metric}: " + ", ".join(f"{n} {v:.2f}" for n, v in areas.items())
    yield ""
    for at in dict.fromkeys(c.at for c in r.comparisons):
        yield f"{OURS} less {PAPER}, at the same {at}, same queries"
        compared = [c for c in r.comparisons if c.at == at]
        for c in compared:
            yield (
                f"  {c.experiment:13s} {c.column:9s} {c.metric:6s} {c.apart:+6.2f} "
                f"[{c.low:+.2f}, {c.high:+.2f}]  {c.verdict}"
            )
        worse = [c for c in compared if c.verdict == "WORSE"]
        yield (
            f"  at least as good on {len(compared) - len(worse)} of {len(compared)} metrics"
            + ("" if not worse else "; worse on " + ", ".join(
                f"{c.experiment} {c.column} {c.metric} ({c.apart:+.2f})" for c in worse
            ))
        )  # fmt: skip
    for experiment, ratio in r.faster.items():
        verdict = "ok" if ratio >= MUCH_FASTER else "MISSED"
        yield f"  {experiment:13s} {ratio:.0f} times less processor time (20 wanted: {verdict})"


def _cell(cell: Cell | None) -> str:
    return "" if cell is None else f"{cell.value:.1f} [{cell.low:.1f}, {cell.high:.1f}]"


def draw(found: Report, outcomes: Sequence[Outcome], file: Path) -> None:
    """The trade-off of λ, and the backfill curves of the first seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2))
    for (method, points), marker in zip(found.trade_off.items(), "os", strict=True):
        x, y = [p["change"] for p in points], [p["gain"] for p in points]
        left.errorbar(
            x, y, marker=marker, markersize=5, capsize=2, label=method,
            xerr=_around(points, "change"), yerr=_around(points, "gain"),
        )  # fmt: skip
        for p in points:
            if 0 <= p["lam"] < 0.2:
                continue  # too near to one another for names
            name = "affine" if p["lam"] < 0 else f"{p['lam']:g}"
            left.annotate(name, (p["change"], p["gain"]), fontsize=7, xytext=(3, 4),
                          textcoords="offset points")  # fmt: skip
    left.axvline(0, color="grey", linewidth=0.7)
    left.set(xlabel="mAP changed on printed characters (old domain)",
             ylabel="mAP gained on handwritten digits",
             title="Relative λ of the backward map")  # fmt: skip
    left.legend(fontsize=7)
    for order in outcomes[0].curves:
        shares, _ = outcomes[0].curves[order]
        right.plot(
            shares, np.mean([o.curves[order][1] for o in outcomes], axis=0), "o-", label=order,
            markersize=4,
        )  # fmt: skip
    right.set(xlabel="share of the gallery re-embedded", ylabel="mAP",
              title="Partial backfill behind FastFill")  # fmt: skip
    right.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(file, dpi=120)


def _around(points: list[dict[str, float]], name: str) -> list[list[float]]:
    return [
        [max(p[name] - p[f"{name}_low"], 0.0) for p in points],
        [max(p[f"{name}_high"] - p[name], 0.0) for p in points],
    ]
