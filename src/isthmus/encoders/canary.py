"""A text whose vector is remembered, so that a model changed behind its name is found out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.array_types import Embeddings
from isthmus.encoders.folder import cache_folder, make_folder
from isthmus.errors import ModelChangedError
from isthmus.files import atomic_file
from isthmus.inputs import read_input
from isthmus.json_text import read_json

__all__ = ["CANARY", "check_canary", "known_canary"]

CANARY = "Two rivers meet below the old bridge; the ferry of 1848 is now a museum."

_MOST_BYTES = 16 << 20
_SAME = 0.999
"""Least cosine of a model with itself.  Servers that share out their work over graphics cards
repeat a vector to a cosine of .9999 or better; int8 weights of one model reach .9996 in the mean
and can pass, any other model or a later version of one does not."""


def known_canary(
    vector: Embeddings, *, identity: Sequence[str], where: str, folder: Path | None = None
) -> Embeddings:
    """The canary's vector as this model gave it the first time, checked against ``vector``.

    Args:
        vector: ``(dim,)``, as the model gives it now.
        identity: what names the model: address, name, options.
        where: what error messages call it.
        folder: by default, `cache_folder`.

    Raises:
        ModelChangedError: if the model gave another vector before.
        OutputError: if the folder cannot be written.
    """
    place = make_folder((folder or cache_folder()) / "canaries")
    file = place / f"{hashlib.sha256(json.dumps(list(identity)).encode()).hexdigest()[:32]}.json"
    now = np.asarray(vector, np.float32)
    known = _read(file)
    if known is None:
        with atomic_file(file, overwrite=True) as temporary:
            temporary.write_text(json.dumps({"canary": now.tolist()}), encoding="utf-8")
        return now
    check_canary(now, known, where=where, before="in an earlier run")
    return known


def check_canary(now: Embeddings, known: Embeddings, *, where: str, before: str = "before") -> None:
    """Refuse a model whose vector ``(dim,)`` of the canary is not the known one.

    Raises:
        ModelChangedError: if the widths differ, or the cosine of the two is below 0.999.
    """
    a, b = np.asarray(now, np.float64), np.asarray(known, np.float64)
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = float(a @ b) / norms if a.shape == b.shape and norms > 0 else float("nan")
    if cosine >= _SAME:
        return
    found = (
        f"it has {len(a)} components and had {len(b)}"
        if a.shape != b.shape
        else f"their cosine is {cosine:.3f}"
    )
    raise ModelChangedError(
        f"the server has another model behind this name than {before}: the same text has another "
        f"vector ({found})",
        where=where,
        mend="Go on with it as another model by giving it a label, as in #label=2; vectors of the "
        "two cannot be mixed",
    )


def _read(file: Path) -> Embeddings | None:
    """The vector in ``file``; none if it is absent or damaged."""
    try:
        found: Any = read_json(read_input(file, _MOST_BYTES))["canary"]
        vector = np.array(found, np.float32)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return vector if vector.ndim == 1 and np.isfinite(vector).all() and vector.size else None
