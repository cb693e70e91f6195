"""Every layer of one model against every layer of another, with a null for looking at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.files import canonical_json
from isthmus.moments import Moments
from isthmus.notebook import ShownInNotebook
from isthmus.progress import Progress, silent
from isthmus.similarity.catalogue import MEASURES, parse_measures
from isthmus.similarity.grid_moments import GridMoments
from isthmus.similarity.kernel_sums import KernelSums
from isthmus.similarity.measure import MomentMeasure, RowMeasure
from isthmus.similarity.null import KernelShape, kernel_null
from isthmus.similarity.paired_moments import PairedMoments
from isthmus.similarity.row_sample import RowSample
from isthmus.similarity.spectra import SideFactors, Spectra
from isthmus.threads import single_thread

__all__ = ["Grid", "similarity_grid"]


_SINGLE = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Grid(ShownInNotebook):
    """Values of every pair of layers; arrays are ``(L₁, L₂)``.

    Attributes:
        names_x: the layers of x.
        names_y: the layers of y.
        values: by measure.
        z: by measure, how many standard deviations of its null a pair is closer than chance.
        p: by measure, of a single pair.
        p_max: by measure, corrected for looking at all pairs; ``corrected_by`` says how.
        n: rows.

    Example:
        >>> import numpy as np
        >>> from isthmus.similarity import GridMoments, similarity_grid
        >>> x, y = np.random.default_rng(0).standard_normal((2, 300, 6))
        >>> moments = GridMoments().update({"first": x, "second": y}, {"only": y**3})
        >>> grid = similarity_grid(moments, measures=["linear_cka"])
        >>> grid.names_x, grid.values["linear_cka"].shape
        (('first', 'second'), (2, 1))
        >>> bool(grid.p_max["linear_cka"][1, 0] < 0.01 < grid.p_max["linear_cka"][0, 0])
        True
    """

    names_x: tuple[str, ...]
    names_y: tuple[str, ...]
    values: dict[str, Matrix]
    z: dict[str, Matrix]
    p: dict[str, Matrix]
    p_max: dict[str, Matrix]
    corrected_by: dict[str, str]
    n: int

    def best(self, measure: str) -> list[tuple[str, str, float, float]]:
        """For each layer of the first model its closest of the second, the value and ``p_max``."""
        values = self.values[measure]
        sign = 1.0 if MEASURES[measure].higher_is_closer else -1.0
        columns = np.argmax(sign * values, axis=1).tolist()
        return [
            (a, self.names_y[j], float(values[i, j]), float(self.p_max[measure][i, j]))
            for i, (a, j) in enumerate(zip(self.names_x, columns, strict=True))
        ]

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        whole: dict[str, Any] = {
            "names_x": list(self.names_x),
            "names_y": list(self.names_y),
            "n": self.n,
            "corrected_by": self.corrected_by,
        }
        for part in ("values", "z", "p", "p_max"):
            tables: dict[str, Matrix] = getattr(self, part)
            whole[part] = {name: table.tolist() for name, table in tables.items()}
        return canonical_json(whole)

    def __str__(self) -> str:
        blocks: list[str] = [f"{self.n:,} rows"]
        for name, table in self.values.items():
            rows = [["", *self.names_y]]
            rows += [
                [a, *(f"{v:.3f}" for v in line)]
                for a, line in zip(self.names_x, table.tolist(), strict=True)
            ]
            widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
            lines = [
                "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
                for row in rows
            ]
            blocks.append("\n".join([name, *lines]))
        return "\n\n".join(blocks)


def similarity_grid(
    moments: GridMoments | Mapping[tuple[str, str], Moments],
    *,
    measures: Iterable[str] = ("linear_cka", "debiased_cka", "procrustes"),
    rows: tuple[Mapping[str, NDArray[Any]], Mapping[str, NDArray[Any]]] | None = None,
    permutations: int = 100,
    seed: int = 0,
    progress: Progress = silent,
) -> Grid:
    """Measures on moments of every pair of layers, with a null corrected for looking at all.

    Each pair's null is the closed form of `compare`.  Looking at all pairs needs a correction: with
    ``rows`` the largest standardised CKA of all pairs is compared with its distribution when the
    items of the second model are permuted, all layers together (max-T, Westfall and Young 1993),
    which knows that layers resemble each other; without them, and for Procrustes, it is Šidák's.

    Args:
        moments: `GridMoments`, or moments by pair of layers, keeping ``square``, ``xx``, ``xy``,
            ``yy`` and for debiased CKA ``fourth``.
        measures: names out of `MEASURES`; those that do not follow from moments, such as ``rsa``,
            are computed on ``rows``.
        rows: a bounded sample of the activations of the same items: by layer ``(m, d)``, for both
            models.  Their ``(m, m)`` kernels are held for every layer; some hundred rows serve.
        permutations: of the items.
        seed: of the permutations.
        progress: told about pairs.

    Raises:
        InputError: for a measure that is not there, one that needs ``rows`` without them, missing
            pairs, or rows that do not match the layers.

    Example:
        >>> import numpy as np
        >>> from isthmus.similarity import GridMoments, similarity_grid
        >>> x = np.random.default_rng(0).standard_normal((300, 6))
        >>> moments = GridMoments().update({"first": x, "second": x**3}, {"only": x})
        >>> [a for a, *_ in similarity_grid(moments).best("linear_cka")]
        ['first', 'second']
    """
    asked = _asked(measures, rows is not None)
    names_x, names_y = _names(moments)
    shape = len(names_x), len(names_y)
    values = {name: np.empty(shape) for name in asked}
    z = {name: np.empty(shape) for name in asked}
    p = {name: np.empty(shape) for name in asked}
    n = 0
    factors: dict[str, SideFactors] = {}
    for i, a in enumerate(names_x):
        for j, b in enumerate(names_y):
            try:
                pair = _pair(moments, a, b, factors, seed)
                sample: RowSample | None = None
                for name, measure in asked.items():
                    if isinstance(measure, MomentMeasure):
                        found = measure.compute(pair)
                    else:
                        assert rows is not None
                        sample = sample or _sample(rows, a, b, permutations, seed)
                        found = measure.compute(sample)
                    values[name][i, j], p[name][i, j] = found.value, found.null.p
                    sign = 1.0 if measure.higher_is_closer else -1.0
                    spread = max(found.null.sd, 1e-300)
                    z[name][i, j] = (
                        sign * (found.value - found.null.mean) / spread
                        if found.z is None
                        else found.z
                    )
            except InputError as error:
                layer = {"x": a, "y": b}.get(error.where or "", "")
                where = f"layer {layer}" if layer else f"layers {a} and {b}"
                raise InputError(error.what, where=where, mend=error.mend) from error
            n = pair.rows
            progress("layer pairs", i * shape[1] + j + 1, shape[0] * shape[1])
    p_max: dict[str, Matrix] = {}
    corrected_by: dict[str, str] = {}
    largest = (
        None
        if rows is None
        else _largest_by_chance(rows, names_x, names_y, permutations, seed, progress)
    )
    for name in asked:
        if largest is not None and name in largest:
            drawn = largest[name]
            above = (drawn[:, None, None] >= z[name] - 1e-12).sum(axis=0)
            p_max[name] = (1 + above) / (1 + len(drawn))
            corrected_by[name] = f"max-T, {len(drawn)} permutations of the items"
        else:
            p_max[name] = -np.expm1(shape[0] * shape[1] * np.log1p(-np.minimum(p[name], 1 - 1e-15)))
            corrected_by[name] = "Šidák"
    return Grid(names_x, names_y, values, z, p, p_max, corrected_by, n)


def _names(
    moments: GridMoments | Mapping[tuple[str, str], Moments],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if isinstance(moments, GridMoments):
        names = moments.names_x, moments.names_y
    else:
        names = (
            tuple(dict.fromkeys(a for a, _ in moments)),
            tuple(dict.fromkeys(b for _, b in moments)),
        )
        missing = [(a, b) for a in names[0] for b in names[1] if (a, b) not in moments]
        if missing:
            raise InputError(f"there are no moments of the layers {missing[0]}")
    if not names[0] or not names[1]:
        raise InputError("there are no layers to compare")
    return names


def _asked(measures: Iterable[str], with_rows: bool) -> dict[str, MomentMeasure | RowMeasure]:
    """The measures of these names or aliases."""
    asked = {name: MEASURES[name] for name in parse_measures(measures)}
    without = [name for name, measure in asked.items() if isinstance(measure, RowMeasure)]
    if without and not with_rows:
        raise InputError(
            f"'{without[0]}' needs the rows themselves",
            where="measures",
            mend="Give rows= (compare_layers: a sample of 8 items or more)",
        )
    return asked


def _sample(
    rows: tuple[Mapping[str, NDArray[Any]], Mapping[str, NDArray[Any]]],
    a: str,
    b: str,
    permutations: int,
    seed: int,
) -> RowSample:
    sides: list[NDArray[Any]] = []
    for given, layer in zip(rows, (a, b), strict=True):
        if layer not in given:
            raise InputError(f"the rows hold no layer {layer!r}", where="rows")
        sides.append(np.asarray(given[layer], dtype=np.float32))
    order = np.random.default_rng(seed).permutation(len(sides[0]))
    return RowSample(sides[0][order], sides[1][order], permutations=permutations, seed=seed)


def _pair(
    moments: GridMoments | Mapping[tuple[str, str], Moments],
    a: str,
    b: str,
    factors: dict[str, SideFactors],
    seed: int,
) -> PairedMoments:
    """The layers ``a`` and ``b``; what is factored of a layer alone stays in ``factors``."""
    if isinstance(moments, GridMoments):
        second = moments.second(a, b)
        rows, sums = moments.n, partial(moments.kernel_sums, a, b, second)
    else:
        second = moments[a, b].second()
        rows, sums = moments[a, b].rows, partial(KernelSums.of, moments[a, b])
    x, y = (
        factors.setdefault(f"{side} {layer}", SideFactors(second, side, _SINGLE))
        for side, layer in (("x", a), ("y", b))
    )
    spectra = Spectra(second, precision=_SINGLE, sides=(x, y))
    return PairedMoments(second, rows, sums, spectra=spectra, precision=_SINGLE, seed=seed)


def _largest_by_chance(
    rows: tuple[Mapping[str, NDArray[Any]], Mapping[str, NDArray[Any]]],
    names_x: Sequence[str],
    names_y: Sequence[str],
    permutations: int,
    seed: int,
    progress: Progress,
) -> dict[str, NDArray[np.float64]]:
    """The largest standardised CKA of all pairs, for each permutation of the items."""
    sides: list[list[NDArray[np.float32]]] = []
    shapes: list[list[Any]] = []
    for given, names in zip(rows, (names_x, names_y), strict=True):
        missing = [name for name in names if name not in given]
        if missing:
            raise InputError(f"the rows hold no layer {missing[0]!r}", where="rows")
        kernels: list[NDArray[np.float32]] = []
        found: list[Any] = []
        for name in names:
            wide = np.asarray(given[name], dtype=np.float64)
            wide = wide - wide.mean(axis=0)
            kernel = wide @ wide.T
            kernel /= np.linalg.norm(kernel)
            found.append((float(np.trace(kernel)), np.diagonal(kernel).copy()))
            kernels.append(kernel.astype(np.float32))
        sides.append(kernels)
        shapes.append(found)
    sizes = {len(kernel) for side in sides for kernel in side}
    if len(sizes) != 1:
        raise InputError(f"the layers have {sorted(sizes)} rows; they must pair", where="rows")
    m = sizes.pop()
    if m < 8:
        raise InputError(f"{m} rows are too few to permute", where="rows", mend="Give some hundred")
    flat = np.stack([kernel.ravel() for kernel in sides[0]])
    diagonals = [np.stack([diagonal for _, diagonal in found]) for found in shapes]
    traces = [np.array([trace for trace, _ in found]) for found in shapes]
    nulls = np.array([[_mean_and_sd(m, x, y) for y in shapes[1]] for x in shapes[0]])
    own = [1 - m / (m - 2) * (d**2).sum(1) + t**2 / ((m - 1) * (m - 2)) for d, t in
           zip(diagonals, traces, strict=True)]  # fmt: skip
    debiased_sd = (2 / (m * (m - 3))) ** 0.5
    rng = np.random.default_rng(seed)
    largest: dict[str, list[float]] = {"linear_cka": [], "debiased_cka": []}
    with single_thread:
        for count in range(permutations):
            order = rng.permutation(m)
            moved = np.stack([kernel[order][:, order].ravel() for kernel in sides[1]])
            biased = (flat @ moved.T).astype(np.float64)
            largest["linear_cka"].append(float(((biased - nulls[..., 0]) / nulls[..., 1]).max()))
            crossed = (
                biased
                - m / (m - 2) * (diagonals[0] @ diagonals[1][:, order].T)
                + np.outer(traces[0], traces[1]) / ((m - 1) * (m - 2))
            )
            debiased = crossed / np.sqrt(np.outer(own[0], own[1]))
            largest["debiased_cka"].append(float(debiased.max()) / debiased_sd)
            progress("permutations", count + 1, permutations)
    return {name: np.array(drawn) for name, drawn in largest.items()}


def _mean_and_sd(
    m: int, x: tuple[float, NDArray[np.float64]], y: tuple[float, NDArray[np.float64]]
) -> tuple[float, float]:
    shapes = [KernelShape(trace**2, float((diagonal**2).sum()), 0.0) for trace, diagonal in (x, y)]
    null = kernel_null(m, shapes[0], shapes[1], 0.0)
    return null.mean, max(null.sd, 1e-300)
