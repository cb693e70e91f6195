"""PyTorch's tensors as arrays that an artefact holds, and back, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isthmus.tensors import BFLOAT16

__all__ = ["as_arrays", "as_tensor", "as_tensors"]


def as_arrays(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """Tensors on any device as host arrays, which share their memory where they can."""
    return {name: _as_array(tensor.detach().cpu()) for name, tensor in tensors.items()}


def _as_array(tensor: Tensor) -> NDArray[Any]:
    if tensor.dtype == torch.bfloat16:
        bits = tensor.contiguous().view(torch.int16).numpy()
        # a number has no last axis to view
        return bits.reshape(-1).view(BFLOAT16).reshape(bits.shape)
    return tensor.numpy()


def as_tensor(array: NDArray[Any]) -> Tensor:
    """An array of an artefact as the tensor that it was, on the host."""
    if array.dtype == BFLOAT16:
        bits = array.reshape(-1).view(np.int16).reshape(array.shape)
        return torch.from_numpy(bits).view(torch.bfloat16)
    return torch.from_numpy(array)


def as_tensors(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """Arrays of an artefact as tensors."""
    return {name: as_tensor(array) for name, array in arrays.items()}
