"""What a numpy array holds, in a word: the names of arrays in annotations.

A name tells the dtype; the docstring of whoever takes or returns an array tells its shape.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["AnyArray", "Embeddings", "Floats", "Indices", "Mask", "Matrix", "Values"]

Embeddings = NDArray[np.float32]
"""Vectors ``(n, d)`` of items, as a model, a layer or a bridge gives them."""

Matrix = NDArray[np.float64]
"""What is summed or factorised over rows: covariances, maps, spectra, rows in full precision."""

Values = NDArray[np.float64]
"""One number for each item, query or setting."""

Floats = NDArray[np.floating]
"""Numbers in whichever precision they came."""

Mask = NDArray[np.bool_]
"""Which items are meant."""

Indices = NDArray[np.int64]
"""Positions of items among others, or their class numbers."""

AnyArray = NDArray[Any]
"""An array of any dtype, such as ids, labels, and features in whichever precision they came."""
