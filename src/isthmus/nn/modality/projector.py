"""The map of a new modality into the frozen space, as a module that trains and saves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from isthmus.adapters.chain import Affine, Chain, RowNorm
from isthmus.errors import InputError
from isthmus.files import atomic_folder, canonical_json

__all__ = ["Projector"]

_RECORD, _TENSORS = "projector.json", "projector.safetensors"
_FORMAT = 1


class Projector(nn.Module):
    """``x ↦ unit(unit(x) W + b)``: rows ``(n, dx)`` of a new modality in the frozen space.

    Args:
        matrix: W ``(dx, dy)``, as a closed form gives it.
        offset: b ``(dy,)``.
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
        self.weight = nn.Parameter(torch.from_numpy(np.array(matrix, np.float32)))
        self.offset = nn.Parameter(torch.from_numpy(np.array(offset, np.float32)))
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
        return functional.normalize(out, dim=1) if self.unit_output else out

    @property
    def chain(self) -> Chain:
        """The same map for arrays of any library, ready for `Bridge`-like use."""
        matrix, offset = (
            t.detach().cpu().double().numpy().copy() for t in (self.weight, self.offset)
        )
        unit = RowNorm("unit")
        before, after = [unit] * self.unit_input, [unit] * self.unit_output
        return Chain([*before, Affine(matrix, offset), *after])

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write a folder of safetensors and JSON.

        Raises:
            OutputError: for a folder that exists, or a disk that refuses.
        """
        with atomic_folder(Path(path), overwrite=overwrite) as folder:
            self.write_into(folder)

    def write_into(self, folder: Path) -> None:
        """The two files of `save`, in a folder that is there."""
        record = {
            "format": _FORMAT,
            "dims": list(self.dims),
            "unit_input": self.unit_input,
            "unit_output": self.unit_output,
            "dropout": self.dropout,
        }
        tensors = {n: t.detach().cpu().contiguous() for n, t in self.state_dict().items()}
        save_file(tensors, folder / _TENSORS)
        (folder / _RECORD).write_text(canonical_json(record), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """What `save` wrote, in evaluation mode.

        Raises:
            InputError: for a folder that cannot be read.
        """
        folder = Path(path)
        try:
            record: dict[str, Any] = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
            tensors = load_file(folder / _TENSORS)
            if record["format"] != _FORMAT:
                raise ValueError(f"format {record['format']} is not known, only {_FORMAT}")
            made = cls(
                tensors["weight"].numpy(),
                tensors["offset"].numpy(),
                unit_input=bool(record["unit_input"]),
                unit_output=bool(record["unit_output"]),
                dropout=float(record["dropout"]),
            )
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise InputError(
                f"the projector cannot be read ({error})",
                where=str(folder),
                mend="Give a folder that Projector.save wrote",
            ) from error
        return made.eval()
