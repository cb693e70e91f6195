"""What beats keeping the old model, on real upgrades: every way to serve, at several budgets.

    python -m benchmarks.upgrade_study                   # every upgrade, budget and rival
    python -m benchmarks.upgrade_study --only debian-wordllama-minilm-l6 --budget 1000

Text: short queries to longer documents (WordNet, Debian).  Images: an emoji in one style asks for
the same in another.  A budget is the number of items whose new vectors a map is fitted on (their
queries are fitted on as well).  Strategies are chosen on validation queries and reported on test
queries, which no fit has seen.  Rivals get the same fit rows and are scored on the same test
queries.  Encoded vectors are cached; the first run encodes for several minutes.  Writes
``upgrade-study.json``, ``upgrade-study.md`` and ``upgrade-study.png`` into ``bench-output``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks import peers
from benchmarks.arrays import Array
from benchmarks.harness import Absent, header
from benchmarks.recipes import RECIPES
from benchmarks.study.images import IMAGE_UPGRADES
from benchmarks.study.texts import TEXT_UPGRADES
from benchmarks.study.upgrade import Upgrade, unit
from isthmus import Bridge, Pairs, fit
from isthmus.bridge import Fitting
from isthmus.bridge.held_out_samples import SampleSizes
from isthmus.evaluate import Judging, parse_metric, relevant_ranks
from isthmus.evaluate.relevance import from_ids
from isthmus.spaces.split import assign_parts

UPGRADES = TEXT_UPGRADES | IMAGE_UPGRADES
BUDGETS = (250, 1000, 4000)
METRIC = "recall@10"
WORTH_IT = 0.03  # where the new model itself is better by this much, a gain is due
SEED = 0


@dataclass(frozen=True)
class Line:
    """One way to serve, at one budget, on one upgrade.

    ``seconds`` of processor time are those of the whole fit, and stand at the bridge.
    """

    upgrade: str
    budget: int
    way: str
    value: float
    low: float | None = None
    high: float | None = None
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    price: str = ""
    recommended: bool = False
    seconds: float | None = None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=sorted(UPGRADES), metavar="UPGRADE")
    parser.add_argument("--budget", action="append", type=int)
    parser.add_argument("--no-rivals", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("bench-output"))
    asked = parser.parse_args()
    for line in header():
        print(line)
    lines: list[Line] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="isthmus-study-")))
        for name in asked.only or UPGRADES:
            upgrade = UPGRADES[name]()
            for budget in asked.budget or BUDGETS:
                found = list(_lines(upgrade, budget, folder, rivals=not asked.no_rivals))
                _show(found)
                lines += found
    _conclude(lines)
    _write(lines, asked.output)
    return 0


def _lines(upgrade: Upgrade, budget: int, folder: Path, *, rivals: bool) -> Iterator[Line]:
    shares = _shares(len(upgrade.ids), budget)
    if shares is None:
        return
    pairs = Pairs(upgrade.new_items, upgrade.old_items, ids=upgrade.ids)
    queries = Pairs(upgrade.new_queries, upgrade.old_queries, ids=upgrade.ids)
    start = time.process_time()
    bridge = fit(
        pairs,
        recipe="auto",
        queries=queries,
        judging=Judging(primary=METRIC),
        fitting=Fitting(seed=SEED, shares=shares, sizes=SampleSizes(gallery=len(upgrade.ids))),
    )
    seconds = time.process_time() - start
    yield from _ours(upgrade, budget, bridge, seconds)
    if rivals:
        parts = assign_parts(upgrade.ids, shares, SEED)
        yield from _rivals(upgrade, budget, parts, folder)


def _shares(n: int, budget: int) -> dict[str, float] | None:
    """A fifth of the items is asked about in the end, a tenth to choose by; None if too few."""
    if budget > 0.7 * n:
        return None
    return {
        "fit": budget / n, "validation": 0.1, "test": 0.2, "unused": 0.7 - budget / n,
    }  # fmt: skip


def _ours(upgrade: Upgrade, budget: int, bridge: Bridge, seconds: float) -> Iterator[Line]:
    evidence = bridge.evidence
    assert evidence is not None
    for name, arm in evidence.arms.items():
        value, gain = arm.metrics[METRIC], arm.update_gain
        assert value.value is not None
        yield Line(
            upgrade.name, budget, name, value.value, value.low, value.high,
            None if gain is None else gain.value,
            None if gain is None else gain.low,
            None if gain is None else gain.high,
            "" if arm.price is None else str(arm.price),
            name == evidence.recommended,
            seconds if name == "bridge" else None,
        )  # fmt: skip


def _rivals(upgrade: Upgrade, budget: int, parts: Array, folder: Path) -> Iterator[Line]:
    fitted, asked = parts == 0, parts == 2
    x = unit(np.vstack([upgrade.new_items[fitted], upgrade.new_queries[fitted]]))
    y = unit(np.vstack([upgrade.old_items[fitted], upgrade.old_queries[fitted]]))
    queries = unit(upgrade.new_queries[asked])

    def line(name: str, mapped: Array) -> Line:
        ranks = relevant_ranks(
            np.asarray(mapped, np.float32), upgrade.old_items,
            from_ids(upgrade.ids[asked], upgrade.ids),
        )  # fmt: skip
        return Line(upgrade.name, budget, name, float(parse_metric(METRIC).per_query(ranks).mean()))

    paths = {name: folder / f"{name}.npy" for name in ("x", "y", "queries")}
    for name, rows in (("x", x), ("y", y), ("queries", queries)):
        np.save(paths[name], rows)
    installed = False
    for rival in ("rebasis", "isotrieve"):
        try:
            with peers.Worker(peers.PEERS[rival], folder) as worker:
                for method in worker.load(paths["x"], paths["y"]):
                    worker.ask("fit", method=method)
                    mapped, _ = worker.mapped(method, paths["queries"], paths["y"])
                    installed |= rival == "rebasis"
                    yield line(f"{rival} {peers.version(rival)} {method}", mapped)
        except Absent as absent:
            print(f"   {rival} is absent: {absent}", file=sys.stderr)
    if not installed:
        for name, recipe in RECIPES.items():
            yield line(name, recipe(x, y)(queries))


def _show(lines: list[Line]) -> None:
    if not lines:
        return
    print(f"\n== {lines[0].upgrade}, {lines[0].budget} pairs")
    for line in lines:
        print(f"  {_row(line)}", flush=True)


def _row(line: Line) -> str:
    interval = "" if line.low is None else f"[{line.low:.3f}, {line.high:.3f}]"
    gain = "" if line.gain is None else f"{line.gain:+.2f}"
    if line.gain_low is not None:
        gain += f" [{line.gain_low:+.2f}, {line.gain_high:+.2f}]"
    mark = "  << recommended" if line.recommended else ""
    return f"{line.way:<34} {line.value:.3f} {interval:<16} {gain:<23} {line.price}{mark}"


def _conclude(lines: list[Line]) -> None:
    """Where a gain was due, whether it came; and isthmus' bridge alone against the best rival."""
    print("\n== target: where the new model is better by 3 points, the update gain is above 0")
    for upgrade, budget in dict.fromkeys((line.upgrade, line.budget) for line in lines):
        here = {o.way: o for o in lines if (o.upgrade, o.budget) == (upgrade, budget)}
        due = here["new"].value - here["old"].value >= WORTH_IT
        chosen = next((o for o in here.values() if o.recommended), None)
        met = chosen is not None and chosen.gain_low is not None and chosen.gain_low > 0
        verdict = ("met" if met else "MISSED") if due else "not due"
        taken = "none" if chosen is None else f"{chosen.way} ({chosen.price})"
        rivals = [o for o in here.values() if o.way.startswith(("rebasis", "isotrieve"))]
        best = max(rivals, key=lambda o: o.value, default=None)
        against = (
            f"bridge {here['bridge'].value:.3f} against {best.value:.3f} ({best.way})"
            if best else ""
        )  # fmt: skip
        print(f"  {upgrade}, {budget}: {verdict}; recommended {taken}; {against}")


def _write(lines: list[Line], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    record = {"header": list(header()), "lines": [asdict(line) for line in lines]}
    (folder / "upgrade-study.json").write_text(json.dumps(record, indent=1) + "\n")
    table = [
        "| upgrade | pairs | way | recall@10 | interval | update gain | price |",
        "|" + "---|" * 7,
    ]
    for o in lines:
        interval = "" if o.low is None else f"{o.low:.3f}-{o.high:.3f}"
        gain = "" if o.gain is None else f"{o.gain:+.2f}"
        if o.gain_low is not None:
            gain += f" [{o.gain_low:+.2f}, {o.gain_high:+.2f}]"
        way = f"**{o.way}**" if o.recommended else o.way
        cells = (o.upgrade, str(o.budget), way, f"{o.value:.3f}", interval, gain, o.price)
        table.append("| " + " | ".join(cells) + " |")
    (folder / "upgrade-study.md").write_text("\n".join(table) + "\n")
    _plot(lines, folder / "upgrade-study.png")
    print(f"\nwritten: {folder}/upgrade-study.json, .md and .png")


def _plot(lines: list[Line], file: Path) -> None:
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        print("no plot: matplotlib is not installed", file=sys.stderr)
        return
    upgrades = list(dict.fromkeys(line.upgrade for line in lines))
    columns = min(3, len(upgrades))
    rows = -(-len(upgrades) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(5 * columns, 3.6 * rows), squeeze=False)
    shown = ("old", "new", "bridge", "mixed", "bridge_rescore", "old_rescore", "backfill_most")
    for axis, upgrade in zip(axes.flat, upgrades, strict=False):
        for way in shown:
            here = [o for o in lines if o.upgrade == upgrade and o.way == way]
            if not here:
                continue
            x, y = [o.budget for o in here], [o.value for o in here]
            style = {"old": "k--", "new": "k:"}.get(way, "o-")
            axis.plot(x, y, style, label=way, markersize=4)
            if way not in ("old", "new"):
                axis.fill_between(
                    x, [o.low or o.value for o in here], [o.high or o.value for o in here],
                    alpha=0.12,
                )  # fmt: skip
        rivals = [o for o in lines if o.upgrade == upgrade and o.way.startswith(("rebasis", "iso"))]
        budgets = sorted({o.budget for o in rivals})
        best = [max(o.value for o in rivals if o.budget == b) for b in budgets]
        axis.plot(budgets, best, "x-", color="grey", label="best rival's bridge", markersize=5)
        axis.set(xscale="log", title=upgrade, xlabel="pairs", ylabel=METRIC)
        axis.title.set_fontsize(10)
        axis.set_xticks(BUDGETS, [str(b) for b in BUDGETS])
        axis.minorticks_off()
    for axis in list(axes.flat)[len(upgrades) :]:
        axis.axis("off")
    axes.flat[0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
