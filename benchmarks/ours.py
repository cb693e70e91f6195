"""Everything the benchmarks ask of isthmus: each function returns the work to be timed.

A part that is not there yet raises `Absent`, and its rows say so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.arrays import Array, Task
from benchmarks.harness import Absent

Work = Callable[[], Any]
STRENGTHS = 25
FOLDS = 5


@contextlib.contextmanager
def _needs(what: str) -> Iterator[None]:
    try:
        yield
    except (ImportError, AttributeError) as error:
        raise Absent(f"isthmus has no {what}: {error}") from error


def _from(module: str, name: str) -> Any:
    with _needs(f"{module}.{name}"):
        return getattr(importlib.import_module(f"isthmus.{module}"), name)


def isthmus_moments(x: Array, y: Array) -> Work:
    """Every sum that `Moments` keeps by default."""
    moments = _from("moments", "Moments")
    return lambda: moments.of(x, y)


def isthmus_second_moments(x: Array, y: Array) -> Work:
    """The three products alone, as the baseline forms them."""
    moments = _from("moments", "Moments")
    return lambda: moments.of(x, y, keep={"square", "xx", "xy", "yy"})


def isthmus_procrustes(x: Array, y: Array) -> Work:
    adapter = _from("adapters.steps.procrustes", "Procrustes")
    return lambda: adapter().fit(x, y)


def isthmus_ridge(x: Array, y: Array) -> Work:
    adapter = _from("adapters.steps.ridge", "Ridge")
    return lambda: adapter().fit(x, y)


def isthmus_ridge_errors(x: Array, y: Array) -> Work:
    """25 strengths and 5 folds, from the rows to every held-out error."""
    path_errors = _from("adapters.steps.ridge", "path_errors")
    fold_moments = _from("moments", "FoldMoments")
    keep = {"square", "xx", "xy"}
    return lambda: path_errors(fold_moments.of(x, y, FOLDS, keep=keep).splits())


def isthmus_ridge_path(x: Array, y: Array) -> Work:
    """25 strengths and 5 folds, and the map with the least held-out error."""
    ridge, path_errors = (_from("adapters.steps.ridge", name) for name in ("Ridge", "path_errors"))
    alphas = _from("adapters.steps.ridge", "DEFAULT_ALPHAS")
    fold_moments = _from("moments", "FoldMoments")
    assert len(alphas) == STRENGTHS

    def work() -> Any:
        folds = fold_moments.of(x, y, FOLDS, keep={"square", "xx", "xy"})
        errors = path_errors(folds.splits()).mean(axis=0)
        return ridge(alpha=float(alphas[errors.argmin()])).fit_moments(folds.total)

    return work


def isthmus_fit(x_path: str, y_path: str, rows: int) -> Work:
    """The whole of ``isthmus.fit``: split, moments, choice of the map, evidence."""
    import numpy as np

    fit, pairs = _from("bridge", "fit"), _from("spaces.pairs", "Pairs")
    x, y = (np.load(path, mmap_mode="r")[:rows] for path in (x_path, y_path))
    return lambda: fit(pairs(x, y))


def isthmus_lambda_path(x: Array, y: Array, lams: tuple[float, ...]) -> Work:
    """λ-orthogonal maps for every relative λ, from the rows."""
    path, moments = _from("adapters.steps.lambda_path", "lambda_path"), _from("moments", "Moments")
    keep = {"square", "xx", "xy"}
    return lambda: path(moments.of(x, y, keep=keep).second(), lams)


def isthmus_chosen_lambda(x: Array, y: Array, lams: tuple[float, ...]) -> Work:
    """λ by cross-validation on fold moments, from the rows."""
    choose, fold_moments = (
        _from("adapters.steps.lambda_orthogonal", "choose_lambda"),
        _from("moments", "FoldMoments"),
    )
    keep = {"square", "xx", "xy"}
    return lambda: choose(fold_moments.of(x, y, FOLDS, keep=keep).splits(), lams)


def isthmus_joint_maps(x: Array, y: Array, lam: float) -> Callable[[], tuple[Array, Array]]:
    """Backward and forward map together, from the rows; their matrices."""
    joint, moments = _from("nn.compat", "joint_maps"), _from("moments", "Moments")

    def work() -> tuple[Array, Array]:
        maps = joint(moments.of(x, y).second(), lam)
        return maps.backward.matrix, maps.forward.matrix

    return work


RIDGE = "isthmus Ridge"
SEARCHED = "isthmus Ridge, 25 strengths x 5 folds"
PROCRUSTES = "isthmus Procrustes"
ADAPTERS: dict[str, Callable[[Array, Array], Work]] = {
    RIDGE: isthmus_ridge,
    SEARCHED: isthmus_ridge_path,
    PROCRUSTES: isthmus_procrustes,
}
"""The maps whose quality is compared; the fitted object has ``transform``."""


def isthmus_top_k(queries: Array, gallery: Array, k: int) -> Work:
    top_k = _from("evaluate.search", "top_k")
    return lambda: top_k(queries, gallery, k, metric="dot").indices


def isthmus_top_k_faiss(queries: Array, gallery: Array, k: int) -> Work:
    raise Absent("top_k has no faiss engine")


def isthmus_bridge(x: Array, y: Array, recipe: str = "ridge") -> Any:
    """A bridge between cosine spaces; by default a ridge map with nothing after it."""
    fit, pairs = _from("bridge", "fit"), _from("spaces.pairs", "Pairs")
    return fit(pairs(x, y), recipe=recipe)


def isthmus_trusted_bridge(task: Task) -> Any:
    """A ridge bridge with a model of trust that was calibrated on the held-out rows."""
    trust = importlib.import_module("isthmus.ways.fit_trust")
    bridge = isthmus_bridge(task.x, task.y)
    n = len(task.x_test) // 3
    parts = [
        trust.HeldOutRows(task.x_test[i : i + n], task.y_test[i : i + n], task.y) for i in (0, n)
    ]
    profile = importlib.import_module("isthmus.spaces.profile").Profile
    known = profile.of_rows(task.x, unit=True)
    model = trust.fit_trust(bridge.chain, known, *parts, metric="cosine")
    return dataclasses.replace(bridge, source_profile=known, trust=model)


def isthmus_transform(task: Task, calls: int, *, return_trust: bool = False) -> Work:
    """The held-out rows through a bridge with a model of trust, several times."""
    import numpy as np

    bridge = isthmus_trusted_bridge(task) if return_trust else isthmus_bridge(task.x, task.y)
    rows = np.ascontiguousarray(task.x_test)
    options = {"return_trust": True} if return_trust else {}

    def work() -> None:
        for _ in range(calls):
            bridge.transform(rows, **options)

    return work


def isthmus_load(folder: Path) -> Any:
    """A saved bridge."""
    return _from("bridge", "Bridge").load(folder)


def isthmus_apply(x: Array, y: Array, source: Path, target: Path) -> Work:
    """What ``isthmus apply BRIDGE in.npy out.npy`` does, without the start of the interpreter."""
    apply, bridge = _from("bridge", "apply"), isthmus_bridge(x, y)
    return lambda: apply(bridge, source, target, overwrite=True)
