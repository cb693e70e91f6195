"""Rows, labels and a contrast in numpy that the tests of the losses share."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import logsumexp

N, D = 7, 5


def rows(seed: int, n: int = N, d: int = D) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def tensor(x: np.ndarray, grad: bool = False) -> torch.Tensor:
    return torch.tensor(x, requires_grad=grad)


LABELS = np.array([0, 1, 0, 2, 1, 0, 3])


def contrast(scores: np.ndarray, positive: np.ndarray, allowed: np.ndarray) -> float:
    """Mean over rows of the mean −log softmax of positives among the allowed candidates."""
    terms = []
    for s, p, a in zip(scores, positive, allowed, strict=True):
        if p.any():
            terms.append(-np.mean(s[p] - logsumexp(s[a])))
    return float(np.mean(terms))
