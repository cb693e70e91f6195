"""A fitted pipeline, folded: the fewest stages that do the same.

Adjacent affine maps merge into one, in float64.  A pipeline whose row norms stand at its two ends
is therefore one matrix product at run time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
from array_api_compat import is_numpy_array
from numpy.typing import NDArray

from isthmus.adapters.chain.along_axes import AlongAxes
from isthmus.adapters.chain.kinds import unpack_stage
from isthmus.adapters.chain.one_matrix import OneMatrix
from isthmus.adapters.chain.row_norm import RowNorm
from isthmus.adapters.chain.stage import Stage, StageTensors
from isthmus.artefact import Packed
from isthmus.files import canonical_json
from isthmus.numeric import Array, as_array, as_floating, like, namespace
from isthmus.threads import single_thread

__all__ = ["Chain"]

_BLOCK_ROWS = 2048
_UNIT = RowNorm("unit")

_Ready = list[tuple[Stage, dict[str, Array]]]


@dataclass(frozen=True, eq=False)
class Chain:
    """A sequence of stages, folded on construction.

    Calling it maps rows ``(n, dx)`` to ``(n, dy)``, or one vector ``(dx,)`` to ``(dy,)``, in the
    dtype, library and device of the input (float16 widens to float32); the input is not changed.

    Args:
        stages: applied from first to last.

    Example:
        >>> import numpy as np
        >>> from isthmus.adapters import Affine, RowNorm
        >>> chain = Chain([Affine(np.diag([2.0, 1.0])), Affine(offset=np.ones(2)), RowNorm()])
        >>> len(chain.stages), chain.products
        (2, 1)
        >>> chain(np.array([1.0, 3.0], dtype=np.float32))
        array([0.6, 0.8], dtype=float32)
    """

    stages: Sequence[Stage] = ()
    _weights: dict[Any, _Ready] = field(default_factory=dict[Any, Any], repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(_folded(self.stages)))

    # ---- use -----------------------------------------------------------------------------------

    def __call__(self, x: Array) -> Array:
        """Map rows, or one vector."""
        x = as_floating(as_array(x, "vectors"), "vectors")
        if not is_numpy_array(x):
            rows = x[None, :] if x.ndim == 1 else x
            mapped = _run(namespace(x), self._ready(x), rows, numpy=False)
            return mapped[0, :] if x.ndim == 1 else mapped
        fast = self.one_matrix if x.dtype == np.float32 else None
        if fast is not None:
            mapped = fast.one(x) if x.ndim == 1 else fast.rows(x)
            if mapped is not None:
                return mapped
        if x.ndim == 1:
            with single_thread:
                return self._block(self._ready(x), x[None, :])[0]
        return self._blocks(self._ready(x), x)

    @cached_property
    def one_matrix(self) -> OneMatrix | None:
        """The fastest form, for chains of one matrix with optional unit norms around it."""
        return OneMatrix.of(self.stages)

    def width_behind(self, width: int) -> int:
        """How many dimensions rows of ``width`` have behind the chain."""
        for stage in self.stages:
            width = stage.dims[1] or width
        return width

    @property
    def products(self) -> int:
        """How many full matrix products one call costs."""
        return sum(stage.products for stage in self.stages)

    def _blocks(self, ready: _Ready, x: NDArray[Any]) -> NDArray[Any]:
        if len(x) <= _BLOCK_ROWS:
            return self._block(ready, x)
        out: NDArray[Any] | None = None
        for start in range(0, len(x), _BLOCK_ROWS):
            # blocks stay in the processor's cache between the product and the row norm
            block = self._block(ready, x[start : start + _BLOCK_ROWS])
            if out is None:
                out = np.empty((len(x), block.shape[1]), dtype=block.dtype)
            out[start : start + _BLOCK_ROWS] = block
        return out if out is not None else x.copy()

    @staticmethod
    def _block(ready: _Ready, x: NDArray[Any]) -> NDArray[Any]:
        return _run(np, ready, x, numpy=True) if ready else x.copy()

    def _ready(self, x: Array) -> _Ready:
        """The stages with their weights in the dtype, library and device of ``x``."""
        key = x.dtype if is_numpy_array(x) else (type(x), str(x.dtype), str(x.device))
        if key not in self._weights:
            host = np.float64 if "float64" in str(x.dtype) else np.float32
            self._weights[key] = [
                (
                    stage,
                    {
                        name: like(x, np.ascontiguousarray(tensor, dtype=host))
                        for name, tensor in stage.tensors().items()
                    },
                )
                for stage in self.stages
            ]
        return self._weights[key]

    # ---- algebra -------------------------------------------------------------------------------

    def then(self, after: Chain | Stage) -> Chain:
        """This chain and then another chain or stage, folded again."""
        more = after.stages if isinstance(after, Chain) else (after,)
        return Chain([*self.stages, *more])

    @property
    def multiplied(self) -> Chain:
        """The same chain with `AlongAxes` merged into their neighbours.

        Example:
            >>> from isthmus.adapters import Affine
            >>> from isthmus.adapters.chain import AlongAxes
            >>> chain = Chain([AlongAxes(np.eye(3, 2)), Affine(np.eye(2)), AlongAxes(np.eye(2, 3))])
            >>> len(chain.stages), len(chain.multiplied.stages)
            (3, 1)
        """
        if not any(isinstance(stage, AlongAxes) for stage in self.stages):
            return self
        return Chain([s.affine if isinstance(s, AlongAxes) else s for s in self.stages])

    def inverse(self, *, unit_input: bool = False) -> Chain:
        """The chain back.

        Args:
            unit_input: the original rows had unit norm; then a final ``unit_norm`` can be undone,
                because the lost length is the positive root of ``‖x‖ = 1``.

        Raises:
            InputError: if a stage loses information for good.
        """
        stages = list(self.stages)
        if unit_input and stages[:1] == [_UNIT]:
            stages.pop(0)
        if unit_input and len(stages) == 2 and stages[1] == _UNIT:
            return Chain(stages[0].inverse_on_sphere())
        return Chain([stage.inverse() for stage in reversed(stages)])

    # ---- keeping -------------------------------------------------------------------------------

    def rounded(self) -> Chain:
        """The same chain with its weights rounded to float32, as files hold them."""
        return Chain([unpack_stage(*stage.pack()) for stage in self.stages])

    def pack(self) -> Packed:
        """What `unpack` makes the same chain from; the tensors are called ``0/matrix`` and so on.

        Example:
            >>> import numpy as np
            >>> from isthmus.adapters import Affine, RowNorm
            >>> described, tensors = Chain([RowNorm(), Affine(np.eye(2))]).pack()
            >>> [stage["stage"] for stage in described["stages"]], sorted(tensors)
            (['row_norm', 'affine'], ['1/matrix'])
        """
        packed = [stage.pack() for stage in self.stages]
        tensors = {
            f"{i}/{name}": tensor
            for i, (_, own) in enumerate(packed)
            for name, tensor in own.items()
        }
        return {"stages": [described for described, _ in packed]}, tensors

    def digest(self) -> str:
        """SHA-256 of what `pack` gives: equal for a map that was saved and read.

        Example:
            >>> from isthmus.adapters import Affine
            >>> one, other = Chain([Affine(np.eye(2))]), Chain([Affine(2 * np.eye(2))])
            >>> one.digest() == one.rounded().digest(), one.digest() == other.digest()
            (True, False)
        """
        described, tensors = self.pack()
        found = hashlib.sha256(canonical_json(described).encode())
        for name, tensor in sorted(tensors.items()):
            found.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
            found.update(np.ascontiguousarray(tensor).data)
        return found.hexdigest()

    @classmethod
    def unpack(cls, described: Mapping[str, Any], tensors: StageTensors, dx: int, dy: int) -> Self:
        """What `pack` gave, for a map of rows of ``dx`` dimensions to ``dy``.

        Raises:
            KeyError, TypeError, ValueError: for anything that `pack` does not give.
        """
        own: list[dict[str, NDArray[Any]]] = [{} for _ in described["stages"]]
        for key, tensor in tensors.items():
            place, _, name = key.partition("/")
            if place not in map(str, range(len(own))):
                raise ValueError(f"no stage uses the tensor '{key}'")
            own[int(place)][name] = tensor
        stages = [unpack_stage(*part) for part in zip(described["stages"], own, strict=True)]
        _check_dims(stages, dx, dy)
        return cls(stages)


def _check_dims(stages: Sequence[Stage], dx: int, dy: int) -> None:
    """Refuse stages that do not carry rows of ``dx`` dimensions to ``dy``."""
    width = dx
    for stage in stages:
        before, after = stage.dims
        if before is not None and before != width:
            raise ValueError(f"stage '{stage.name}' takes {before}, is given {width}")
        width = width if after is None else after
    if width != dy:
        raise ValueError(f"the map ends in {width} dimensions, the target has {dy}")


def _run(xp: Any, ready: _Ready, x: Array, *, numpy: bool) -> Array:
    owned = False
    for stage, weights in ready:
        x = stage.run(xp, x, weights, owned=owned)
        owned = numpy
    return x


def _folded(stages: Iterable[Stage]) -> list[Stage]:
    folded: list[Stage] = []
    for stage in stages:
        if stage.is_identity:
            continue
        merged = folded[-1].merged(stage) if folded else None
        if merged is None:
            folded.append(stage)
        else:
            folded[-1] = merged
    return _without_lost_norms(folded)


def _without_lost_norms(stages: list[Stage]) -> list[Stage]:
    """Drop a unit norm whose effect a later one undoes."""
    for i in range(len(stages) - 2):
        first, middle, last = stages[i : i + 3]
        linear = middle.without_scale()
        if first == _UNIT == last and linear is not None:
            return _folded([*stages[:i], linear, *stages[i + 2 :]])
    return stages
