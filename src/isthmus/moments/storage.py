"""Moments on disk: one safetensors file, read without running code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from isthmus.errors import InputError
from isthmus.files import atomic_file

__all__ = ["Tensors", "load", "save"]

Tensors = dict[str, NDArray[np.float64]]

_FORMAT = 1


def save(path: Path, parts: Sequence[Tensors], about: dict[str, Any], *, overwrite: bool) -> None:
    """Write the tensors of each part and ``about`` as the one metadata key.

    One key, because safetensors writes several in no fixed order.
    """
    tensors = {
        f"{k}/{name}": np.ascontiguousarray(value)
        for k, part in enumerate(parts)
        for name, value in part.items()
    }
    about = {**about, "format": _FORMAT, "parts": len(parts)}
    with atomic_file(path, overwrite=overwrite) as temporary:
        save_file(tensors, temporary, metadata={"moments": json.dumps(about, sort_keys=True)})


def load(path: Path) -> tuple[list[Tensors], dict[str, Any]]:
    """Read what `save` wrote.

    Raises:
        InputError: if the file is not a moments file of a known format.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get("moments", "{}"))
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"not a readable moments file ({error})", where=str(path)) from error
    if about.get("format") != _FORMAT:
        raise InputError(
            f"moments format {about.get('format')} is not known (this version reads {_FORMAT})",
            where=str(path),
        )
    parts: list[Tensors] = []
    for k in range(int(about["parts"])):
        prefix = f"{k}/"
        parts.append({n[len(prefix) :]: v for n, v in tensors.items() if n.startswith(prefix)})
    return parts, about
