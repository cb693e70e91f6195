"""The map of a new modality into the frozen space, as a module that trains and saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from isthmus import artefact
from isthmus.adapters.chain import Affine, Chain, ResidualMap, RowNorm
from isthmus.errors import InputError
from isthmus.tensors import Tensors
from isthmus.training.torch_tensors import as_arrays

__all__ = ["ATTACHED", "KIND", "Branch", "Projector"]

_DEVIATION = 0.4
KIND, ATTACHED = "projector", "attached modality"
"""Kinds of artefact: a projector by itself, and with what was found of it."""


class Branch(NamedTuple):
    """The hidden layer of a projector: ``gelu(x U + u) V`` is added to what is linear in x."""

    inner: NDArray[np.floating]
    """U ``(dx, hidden)``"""
    bend: NDArray[np.floating]
    """u ``(hidden,)``"""
    outer: NDArray[np.floating]
    """V ``(hidden, dy)``"""

    @classmethod
    def begun(cls, rows: NDArray[np.floating], outputs: int, hidden: int, seed: int) -> Self:
        """One that adds nothing yet, whose hidden units part the rows.

        Each is centred on them and brought to a deviation of .4: rows of one modality lie in a
        narrow cone, all on one side of units that are drawn at random, and units that part the
        rows too sharply learn them by heart.

        Args:
            rows: as the projector sees them ``(n, dx)``.
            outputs: dy.
            hidden: number of units.
            seed: of their directions.
        """
        rng = np.random.default_rng(seed)
        inner = rng.standard_normal((rows.shape[1], hidden))
        seen = rows @ inner
        inner *= _DEVIATION / np.maximum(seen.std(axis=0), 1e-6)
        bend = (
            0.3 * _DEVIATION * rng.standard_normal(hidden)
            - rows.mean(axis=0, dtype=np.float64) @ inner
        )
        return cls(inner, bend, np.zeros((hidden, outputs)))

    @classmethod
    def mean(cls, branches: Sequence[Branch]) -> Self:
        """The one that adds the mean of what these add, as wide as all of them."""
        inner, bend, outer = zip(*branches, strict=True)
        return cls(
            np.concatenate(inner, axis=1),
            np.concatenate(bend),
            np.concatenate(outer) / len(branches),
        )


class Projector(nn.Module):
    """``x ↦ unit(unit(x) W + b)``: rows ``(n, dx)`` of a new modality in the frozen space.

    With a `Branch`, ``gelu(unit(x) U + u) V`` is added before the last step: a network of one
    hidden layer beside the linear map.

    Args:
        matrix: W ``(dx, dy)``, as a closed form gives it.
        offset: b ``(dy,)``.
        branch: the hidden layer, or none.
        unit_input: whether rows are brought to unit length first.
        unit_output: whether results are; a frozen space compared by cosine wants it.
        dropout: share of the input's dimensions that is left out in training, each time anew: with
            few pairs the best protection against learning them by heart.

    Raises:
        InputError: for shapes that do not fit, or a share outside [0, 1).
    """

    def __init__(
        self,
        matrix: NDArray[np.floating],
        offset: NDArray[np.floating],
        *,
        branch: Branch | None = None,
        unit_input: bool = True,
        unit_output: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if matrix.ndim != 2 or offset.shape != (matrix.shape[1],):
            raise InputError(
                f"a matrix of shape {matrix.shape} and an offset of shape {offset.shape} do not fit"
            )
        if not 0 <= dropout < 1:
            raise InputError(f"the share left out lies in [0, 1), got {dropout}", where="dropout")
        self.weight, self.offset = _parameter(matrix), _parameter(offset)
        self.hidden = 0
        if branch is not None:
            self.hidden = len(branch.bend)
            expected = (matrix.shape[0], self.hidden), (self.hidden,), (self.hidden, len(offset))
            if tuple(part.shape for part in branch) != expected:
                raise InputError(
                    f"the parts of the branch have shapes {[p.shape for p in branch]}, expected "
                    f"{list(expected)}",
                    where="branch",
                )
            self.inner, self.bend, self.outer = map(_parameter, branch)
        self.unit_input, self.unit_output, self.dropout = unit_input, unit_output, dropout

    @property
    def dims(self) -> tuple[int, int]:
        """Widths before and after."""
        return self.weight.shape[0], self.weight.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        """Rows ``(n, dx)`` → ``(n, dy)``.

        Raises:
            InputError: for rows of another width.
        """
        if x.ndim != 2 or x.shape[1] != self.dims[0]:
            raise InputError(
                f"expected rows of width {self.dims[0]}, got shape {tuple(x.shape)}",
                where="Projector",
            )
        x = x.to(self.weight.dtype)
        if self.unit_input:
            x = functional.normalize(x, dim=1)
        x = functional.dropout(x, self.dropout, self.training)
        out = x @ self.weight + self.offset
        if self.hidden:
            features = functional.gelu(x @ self.inner + self.bend, approximate="tanh")
            out = out + features @ self.outer
        return functional.normalize(out, dim=1) if self.unit_output else out

    @property
    def chain(self) -> Chain:
        """The same map for arrays of any library, ready for `Bridge`-like use."""
        matrix, offset = (
            t.detach().cpu().double().numpy().copy() for t in (self.weight, self.offset)
        )
        unit = RowNorm("unit")
        before, after = [unit] * self.unit_input, [unit] * self.unit_output
        branch = self.branch
        if branch is None:
            return Chain([*before, Affine(matrix, offset), *after])
        added = ResidualMap(
            matrix.astype(np.float32),
            offset.astype(np.float32),
            *branch,
            np.zeros_like(branch[2][0]),
        )
        return Chain([*before, added, *after])

    @property
    def branch(self) -> Branch | None:
        """The hidden layer as arrays; None where there is none."""
        if not self.hidden:
            return None
        parts = (self.inner, self.bend, self.outer)
        return Branch(*(part.detach().cpu().numpy().copy() for part in parts))

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write a folder.

        Raises:
            OutputError: for a folder that exists, or a disk that refuses.
        """
        artefact.write(Path(path), KIND, *self.pack(), overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """What `save` wrote, or the projector of an `Attached`, in evaluation mode.

        Raises:
            InputError: for a folder that cannot be read.
        """
        folder = Path(path)
        if artefact.kind_at(folder) != ATTACHED:
            with artefact.read(folder, KIND) as stored:
                return cls.unpack(stored.content, stored.tensors).eval()
        with artefact.read(folder, ATTACHED) as stored:
            own = stored.tensors.under("projector")
            made = cls.unpack(stored.content["projector"], own).eval()
            stored.tensors.skip()
            return made

    def pack(self) -> artefact.Packed:
        """JSON and tensors from which `unpack` makes the same projector."""
        described = {
            "unit_input": self.unit_input,
            "unit_output": self.unit_output,
            "dropout": self.dropout,
            "hidden": self.hidden,
        }
        return described, as_arrays(self.state_dict())

    @classmethod
    def unpack(cls, described: Mapping[str, Any], tensors: Tensors) -> Self:
        """What `pack` gave.

        Raises:
            KeyError, TypeError, ValueError: for anything else.
        """
        branch = None
        if described["hidden"]:
            branch = Branch(*(np.asarray(tensors[name]) for name in Branch._fields))
        return cls(
            tensors["weight"],
            tensors["offset"],
            branch=branch,
            unit_input=bool(described["unit_input"]),
            unit_output=bool(described["unit_output"]),
            dropout=float(described["dropout"]),
        )


def _parameter(values: NDArray[np.floating]) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(np.array(values, np.float32)))
