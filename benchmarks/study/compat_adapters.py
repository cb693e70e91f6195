"""Adapters between two frozen encoders, each fitted to the same labelled pairs, with its price.

The paper of λ-orthogonal adapters (arXiv:2509.16664) prints λ and Adam's rate, but neither batch,
epochs, temperature, sharpness nor the weights of its terms: 256 rows, 50 epochs over the printed
characters, .1, 10 and 1 are taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.arrays import Array
from isthmus.moments import Moments
from isthmus.moments.groups import GroupSums
from isthmus.nn.compat import (
    ForwardTransform,
    LambdaAdapters,
    UncertainTransform,
    train_fastfill,
    train_forward,
    train_lambda_adapters,
    transform_rows,
)
from isthmus.nn.compat.frozen.class_joint_maps import class_joint_maps
from isthmus.nn.compat.frozen.class_refinement import class_maps
from isthmus.nn.compat.frozen.joint_maps import JointMaps, joint_maps
from isthmus.training import LambdaTerms
from isthmus.training.batches import Batches
from isthmus.training.schedule import Schedule

__all__ = [
    "COMPARED",
    "EQUAL",
    "OURS",
    "PAPER",
    "RELATIVE",
    "TRIED",
    "Adapted",
    "adapters",
    "lambda_paths",
]

RELATIVE = 0.25
"""λ over the root of the new width, where one is fixed."""
TRIED = (0.0, 0.0625, 0.125, 0.25, 0.375, 0.5)
"""Relative λ of the trade-off; beyond them, an affine map."""
COMPARED = 0.125
"""The one of them at which ours and the paper's loop are compared."""
TERMS = LambdaTerms(temperature=0.1)
BATCH = 256
HIDDEN = 256

PAPER, OURS = "λ-orthogonal, the paper's loop", "λ-orthogonal, isthmus"
EQUAL = "isthmus at the paper's departure"
"""The same with what the paper's loop really departs by as λ: its penalty stops short of λ."""

Map = Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class Adapted:
    """What one method makes of new and of old vectors; a map that it has not is None."""

    name: str
    backward: Map | None
    forward: Map | None
    seconds: float
    """Of processor, for the fit."""
    departure: float | None = None
    uncertainty: Map | None = None
    """Of old vectors ``(n,)``: the logarithm of the error to be expected."""


def adapters(
    new: Array, old: Array, labels: Array, head: Array, epochs: int, seed: int
) -> Iterator[Adapted]:
    """Every method; ``head (classes, new)`` is the new model's cosine classifier."""
    yield _fct(new, old, epochs, seed)
    yield _fastfill(new, old, labels, head, epochs, seed)
    yield orthogonal(new, old)
    yield paper(new, old, labels, np.inf, epochs, seed, name="affine, the paper's loop")
    # a matrix exponential at every step makes an epoch twice as dear
    yield paper(new, old, labels, 0.0, epochs // 2, seed, name="orthogonal, the paper's loop")
    theirs = paper(new, old, labels, RELATIVE, epochs, seed)
    yield theirs
    yield closed_form(new, old, labels, RELATIVE)
    yield ours(new, old, labels, RELATIVE)
    yield _as_near(theirs, new, old, labels)


def lambda_paths(
    new: Array, old: Array, labels: Array, epochs: int, seed: int
) -> Iterator[tuple[str, float, Adapted]]:
    """The method, relative λ and adapters along both paths, an affine map at the end."""
    for lam in (*TRIED, np.inf):
        theirs = paper(new, old, labels, lam, epochs, seed)
        yield PAPER, lam, theirs
        yield OURS, lam, ours(new, old, labels, lam)
        if lam == COMPARED:
            yield EQUAL, lam, _as_near(theirs, new, old, labels)


def paper(
    new: Array, old: Array, labels: Array, lam: float, epochs: int, seed: int, name: str = PAPER
) -> Adapted:
    """The paper's losses with its loop; λ = 0 is the strict version, ``exp(P)``."""
    start = time.process_time()
    width = new.shape[1]
    made = LambdaAdapters(
        width, old.shape[1], lam * max(width, old.shape[1]) ** 0.5, strict=lam == 0, seed=seed
    )
    train_lambda_adapters(
        made, _batches(old, new, labels, seed=seed), Schedule(epochs, seed=seed), terms=TERMS
    )
    seconds = time.process_time() - start
    return Adapted(
        name,
        lambda rows: transform_rows(made.backward_map, rows)[0],
        lambda rows: transform_rows(made.forward_map, rows)[0],
        seconds,
        made.departure,
    )


def ours(new: Array, old: Array, labels: Array, lam: float, name: str = OURS) -> Adapted:
    """Both maps in closed form, refined on rows in sixteen steps."""
    start = time.process_time()
    maps = class_maps(new, old, labels, lam)
    return _affine(name, maps, time.process_time() - start)


def closed_form(new: Array, old: Array, labels: Array, lam: float) -> Adapted:
    """Both maps from sums of the rows alone."""
    start = time.process_time()
    sums = GroupSums(new.shape[1], old.shape[1])
    sums.update(labels, new, old)
    maps = class_joint_maps(Moments.of(new, old).second(), sums, lam)
    return _affine("λ-orthogonal, closed form", maps, time.process_time() - start)


def _as_near(theirs: Adapted, new: Array, old: Array, labels: Array) -> Adapted:
    assert theirs.departure is not None
    return ours(new, old, labels, theirs.departure / new.shape[1] ** 0.5, EQUAL)


def orthogonal(new: Array, old: Array) -> Adapted:
    """The rotation that fits best and its ridge map back, without classes."""
    start = time.process_time()
    maps = joint_maps(Moments.of(new, old).second(), 0.0)
    b, f = (np.asarray(side.matrix, np.float32) for side in (maps.backward, maps.forward))
    seconds = time.process_time() - start
    # a rotation about the origin, which changes no cosine
    return Adapted(
        "orthogonal, closed form", lambda r: r @ b, lambda r: r @ f, seconds, maps.departure
    )


def _affine(name: str, maps: JointMaps, seconds: float) -> Adapted:
    matrices = [np.asarray(side.matrix, np.float32) for side in (maps.backward, maps.forward)]
    offsets = [np.asarray(side.offset, np.float32) for side in (maps.backward, maps.forward)]
    return Adapted(
        name,
        lambda rows: rows @ matrices[0] + offsets[0],
        lambda rows: rows @ matrices[1] + offsets[1],
        seconds,
        maps.departure,
    )


def _fct(new: Array, old: Array, epochs: int, seed: int) -> Adapted:
    start = time.process_time()
    transform = ForwardTransform(old.shape[1], new.shape[1], hidden=HIDDEN, seed=seed)
    train_forward(transform, _batches(old, new, seed=seed), Schedule(_fewer(epochs), seed=seed))
    seconds = time.process_time() - start
    return Adapted("FCT", None, lambda rows: transform_rows(transform, rows)[0], seconds)


def _fastfill(
    new: Array, old: Array, labels: Array, head: Array, epochs: int, seed: int
) -> Adapted:
    import torch

    class Head(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            rows = torch.from_numpy(np.ascontiguousarray(head, np.float32))
            self.register_buffer("rows", 8.0 * torch.nn.functional.normalize(rows, dim=1))

        def forward(self, mapped: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.normalize(mapped, dim=1) @ self.rows.T

    start = time.process_time()
    transform = UncertainTransform(
        ForwardTransform(old.shape[1], new.shape[1], hidden=HIDDEN, seed=seed), old.shape[1],
        seed=seed,
    )  # fmt: skip
    train_fastfill(
        transform,
        _batches(old, new, labels, seed=seed),
        Schedule(_fewer(epochs), seed=seed),
        new_head=Head(),
        weight=0.1,
    )
    seconds = time.process_time() - start
    return Adapted(
        "FastFill", None, lambda rows: transform_rows(transform, rows)[0], seconds, None,
        lambda rows: transform_rows(transform, rows)[1],
    )  # fmt: skip


def _fewer(epochs: int) -> int:
    """An MLP costs more by the epoch and fits sooner than a matrix."""
    return max(2, epochs // 4)


def _batches(*rows: Array, seed: int) -> Batches:
    import torch

    tensors = [torch.from_numpy(np.ascontiguousarray(part)) for part in rows]
    return Batches(*tensors, size=min(BATCH, len(rows[0]) // 2), drop_last=True, seed=seed)
