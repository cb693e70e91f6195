"""What every stage of a chain is: weights, and a function of weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from isthmus.artefact import Packed
from isthmus.errors import InputError
from isthmus.numeric import Array

if TYPE_CHECKING:
    from isthmus.adapters.chain.affine import Affine

__all__ = ["Dims", "Stage", "StageTensors"]


StageTensors = Mapping[str, NDArray[Any]]
"""The weights of a stage, by the names that its file uses."""

Dims = tuple[int | None, int | None]
"""Widths of rows before and after a stage; None where any width will do."""


class Stage(ABC):
    """One step of a folded map.

    A stage is data (`tensors`) and a function of that data (`run`).  So a chain can save it, round
    it and run it on arrays of any library without knowing its kind.  A new kind is one subclass
    and its entry in `isthmus.adapters.chain.kinds`.
    """

    name: ClassVar[str]
    """What it is called in a file."""

    irreversible: ClassVar[str | None] = "it maps rows by more than a matrix"
    """Why it has no inverse; None where it may have one."""

    @property
    @abstractmethod
    def dims(self) -> Dims:
        """Widths of its rows before and after; None where any width will do."""

    @property
    def products(self) -> int:
        """About how many full matrix products one call costs."""
        return 0

    @property
    def affine(self) -> Affine | None:
        """The same map as one matrix and an offset; None where there is none."""
        return None

    # ---- running -------------------------------------------------------------------------------

    @abstractmethod
    def run(self, xp: Any, x: Array, weights: Mapping[str, Array], *, owned: bool) -> Array:
        """Map rows ``x (n, dx)`` to ``(n, dy)``.

        Args:
            xp: the array API namespace of ``x``; numpy itself for numpy arrays.
            x: rows.
            weights: `tensors` in the dtype, library and device of ``x``.
            owned: ``x`` is a numpy array that nobody else sees, which may be overwritten with the
                result.  Otherwise ``x`` stays as it is and the result is a new array.
        """

    # ---- folding -------------------------------------------------------------------------------

    @property
    def is_identity(self) -> bool:
        """Whether it leaves every row as it is."""
        return False

    def merged(self, after: Stage) -> Stage | None:
        """The one stage that does this and then ``after``; None where there is none."""
        return None

    def without_scale(self) -> Stage | None:
        """The same map where ``f(s x) = s f(x)`` for every ``s > 0``; None where that fails.

        A unit norm in front of such a stage is undone by a unit norm behind it.
        """
        return None

    def inverse(self) -> Stage:
        """The stage back.

        Raises:
            InputError: if it loses information.
        """
        raise self._no_inverse(self.irreversible or "it loses information")

    def inverse_on_sphere(self) -> list[Stage]:
        """What undoes this stage and a unit norm behind it, for rows that had unit length.

        Raises:
            InputError: if that cannot be done.
        """
        raise self._no_inverse("it normalises rows in a way that loses their length")

    @staticmethod
    def _no_inverse(why: str) -> InputError:
        return InputError(
            f"this bridge has no inverse: {why}",
            mend="Fit a bridge in the other direction instead",
        )

    # ---- keeping -------------------------------------------------------------------------------

    @abstractmethod
    def tensors(self) -> dict[str, NDArray[Any]]:
        """Every weight by its name."""

    @classmethod
    @abstractmethod
    def from_tensors(cls, tensors: StageTensors) -> Self:
        """The inverse of `tensors`.

        Raises:
            ValueError: for tensors that are missing, superfluous or do not fit together.
        """

    def pack(self) -> Packed:
        """What `isthmus.adapters.chain.kinds.unpack_stage` makes the same stage from."""
        return {"stage": self.name}, {name: _narrow(t) for name, t in self.tensors().items()}

    @classmethod
    def unpack(cls, described: Mapping[str, Any], tensors: StageTensors) -> Self:
        """The inverse of `pack`, for a stage of this kind.

        Raises:
            KeyError, TypeError, ValueError: for anything that `pack` does not give.
        """
        if set(described) != {"stage"}:
            raise ValueError(f"a stage '{cls.name}' is described by {sorted(described)}")
        return cls.from_tensors({name: _widen(t) for name, t in tensors.items()})


def _narrow(tensor: NDArray[Any]) -> NDArray[Any]:
    dtype = np.int8 if tensor.dtype == np.int8 else np.float32
    return np.ascontiguousarray(tensor, dtype=dtype)


def _widen(tensor: NDArray[Any]) -> NDArray[Any]:
    return tensor if tensor.dtype == np.int8 else tensor.astype(np.float64)


def check_names(kind: str, tensors: StageTensors, names: set[str]) -> None:
    """Refuse tensors of other names.

    Raises:
        ValueError: then.
    """
    if set(tensors) != names:
        raise ValueError(f"{kind} has {sorted(names)}, found {sorted(tensors)}")
