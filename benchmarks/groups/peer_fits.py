"""Fitting and quality, isthmus and every peer on the same arrays at the same number of pairs."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import ours, peers, recipes
from benchmarks.arrays import Array, Task, paired
from benchmarks.harness import Absent, Contest, Options, Row, Stopwatch, contest, cpu

MUCH_FASTER = 20.0  # promised against isotrieve's ridge, which searches 25 strengths as well


@dataclass(frozen=True)
class Score:
    """Held-out quality: hits of each query at rank 1, and the mean cosine to the true partner."""

    hits: Array
    cosine: float | None

    @property
    def recall(self) -> float:
        return float(self.hits.mean())


def _unit(rows: Array) -> Array:
    rows = np.asarray(rows, dtype=np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def score(mapped: Array, gallery: Array, *, same_space: bool = True) -> Score:
    """Row i of ``mapped`` belongs to row i of ``gallery``; ties count as misses."""
    queries, items = _unit(mapped), _unit(gallery)
    scores = queries @ items.T
    own = scores.diagonal().copy()
    np.fill_diagonal(scores, -np.inf)
    return Score(scores.max(axis=1) < own, float(own.mean()) if same_space else None)


def run(options: Options) -> Iterator[Row]:
    n = options.size(18_000, 6_000)
    for dx, dy in ((384, 384), (768, 1024)):
        with tempfile.TemporaryDirectory(prefix="isthmus-bench-") as folder:
            yield from _Round(options, paired(dx, dy, n), Path(folder)).rows()


def _like(name: str) -> str:
    """The isthmus map that does the peer's job: fixed beforehand, not picked by its score."""
    if name.startswith("isotrieve") and name.endswith(" ridge"):
        return ours.SEARCHED
    return ours.PROCRUSTES if "procrustes" in name.lower() else ours.RIDGE


class _Round:
    """All fits on one task, each peer timed in turn with the isthmus fit that is like it."""

    def __init__(self, options: Options, task: Task, folder: Path) -> None:
        self.options, self.task, self.folder = options, task, folder
        self.paths = {name: folder / f"{name}.npy" for name in ("x", "y", "x_test", "y_test")}
        for name, path in self.paths.items():
            np.save(path, getattr(task, name))
        self.scores: dict[str, Score] = {}
        self.costs: dict[str, float] = {}

    def rows(self) -> Iterator[Row]:
        yield from self._ours()
        for peer in peers.PEERS.values():
            if peer.slow and not self.options.slow:
                yield Row(
                    f"{peer.name} {self.task.shape}", verdict="skipped", note="slow; ask for --slow"
                )
            else:
                yield from self._peer(peer)
        if not any(name.startswith("rebasis ") for name in self.scores):
            yield from self._recipes()
        yield from self._quality()

    def _ours(self) -> Iterator[Row]:
        x, y = self.task.x, self.task.y
        for name, build in ours.ADAPTERS.items():
            try:
                work = build(x, y)
                self._judge(name, lambda w=work: _transformer(w()))
                timed = contest(self.options, {name: lambda w=work: cpu(w)}, budget=10)
                self.costs[name] = float(np.median(timed.seconds[name]))
            except Absent as absent:
                yield Row(f"{name} {self.task.shape}", verdict="absent", note=str(absent))
            except Exception as error:
                self.scores.pop(name, None)
                note = f"{type(error).__name__}: {error}"
                yield Row(f"{name} {self.task.shape}", verdict="failed", note=note)

    def _judge(self, name: str, fit: Callable[[], Callable[[Array], Array]]) -> None:
        self.scores[name] = score(fit()(self.task.x_test), self.task.y_test)

    def _recipes(self) -> Iterator[Row]:
        for name, fit in recipes.RECIPES.items():
            self._judge(name, lambda f=fit: f(self.task.x, self.task.y))
            timed = self._against({name: lambda f=fit: cpu(lambda: f(self.task.x, self.task.y))})
            yield self._fit_row(timed, name)

    def _peer(self, peer: peers.Peer) -> Iterator[Row]:
        with contextlib.ExitStack() as stack:
            try:
                worker = stack.enter_context(peers.Worker(peer.name, self.folder))
                methods = worker.load(self.paths["x"], self.paths["y"])
            except Absent as absent:
                yield Row(f"{peer.name} {self.task.shape}", verdict="absent", note=str(absent))
                return
            for method in methods:
                name = f"{peer.name} {peers.version(peer.name)} {method}"
                timed = self._against({name: lambda m=method: worker.fit(m)})
                yield self._fit_row(timed, name)
                if name not in self.costs:
                    continue
                try:
                    mapped, gallery = worker.mapped(
                        method, self.paths["x_test"], self.paths["y_test"]
                    )
                except Absent as absent:
                    what = f"quality {self.task.shape}: {name}"
                    yield Row(what, verdict="absent", note=str(absent))
                    continue
                target = self.task.y_test if gallery is None else gallery
                self.scores[name] = score(mapped, target, same_space=gallery is None)

    def _against(self, way: dict[str, Callable[[], Stopwatch]]) -> Contest:
        build = ours.ADAPTERS[_like(next(iter(way)))]
        mine = {"isthmus": lambda: cpu(build(self.task.x, self.task.y))}
        return contest(self.options, mine | way, budget=self.options.budget / 3)

    def _fit_row(self, timed: Contest, name: str) -> Row:
        if name in timed.seconds:
            self.costs[name] = float(np.median(timed.seconds[name]))
        mine = _like(name)
        promised = MUCH_FASTER if mine == ours.SEARCHED else None
        return timed.row(
            f"fit {self.task.shape}: {mine} against {name}",
            "isthmus", name, at_least=promised, faster=True,
        )  # fmt: skip

    def _quality(self) -> Iterator[Row]:
        for name, found in sorted(self.scores.items(), key=lambda kv: -kv[1].recall):
            yield self._quality_row(name, found)

    def _quality_row(self, name: str, found: Score) -> Row:
        cosine = (
            ", maps the gallery as well" if found.cosine is None else f", cosine {found.cosine:.3f}"
        )
        note = f"recall@1 {found.recall:.3f}{cosine}, fit {1e3 * self.costs[name]:,.0f} ms"
        what = f"quality {self.task.shape}: {name}"
        mine = _like(name)
        if name in ours.ADAPTERS or mine not in self.scores:
            return Row(what, note=note)
        difference = self.scores[mine].hits.astype(float) - found.hits
        error = difference.std() / np.sqrt(len(difference))
        verdict = "ok" if difference.mean() >= -2 * error else "MISSED"
        return Row(
            what, note=f"{note}; {mine} {difference.mean():+.3f} ± {2 * error:.3f}",
            target="not below by > 2 s.e.", verdict=verdict,
        )  # fmt: skip


def _transformer(fitted: object) -> Callable[[Array], Array]:
    return fitted.transform  # type: ignore[attr-defined]
