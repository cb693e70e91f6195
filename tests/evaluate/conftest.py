"""Small synthetic upgrades, with real fits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from isthmus.evaluate.relevance import from_ids
from isthmus.evaluate.trial import Trial

N_FIT, N_GALLERY, N_QUERIES, WIDTH = 1500, 1500, 300, 32


def rotation(rng: np.random.Generator, d: int = WIDTH) -> np.ndarray:
    return np.linalg.qr(rng.standard_normal((d, d)))[0]


def procrustes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    u, _, vt = np.linalg.svd(x.T @ y)
    return u @ vt


def ridge(x: np.ndarray, y: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    return np.linalg.solve(x.T @ x + alpha * np.eye(x.shape[1]), x.T @ y)


FITS = {"procrustes": procrustes, "ridge": ridge}


def make_upgrade(
    kind: str,
    *,
    agreement: bool = False,
    corpus: bool = False,
    fit: str = "procrustes",
    old_noise: float = 0.0,
    seed: int = 0,
) -> Trial:
    """A new model that rotates the truth, an old one that adds ``old_noise`` to it.

    ``kind``: the bridge is fitted on pairs ("perfect" where there is no noise), on shuffled pairs
    ("shuffled"), or not at all ("random").
    """
    rng = np.random.default_rng(seed)
    turn = rotation(rng)

    def old(x: np.ndarray) -> np.ndarray:
        return x + old_noise * rng.standard_normal(x.shape)

    truth = rng.standard_normal((N_FIT, WIDTH))
    source, target = truth @ turn, old(truth)
    if corpus:
        source, target = target, source
    if kind == "shuffled":
        target = rng.permutation(target)
    bridge = rotation(rng) if kind == "random" else FITS[fit](source, target)

    gallery = rng.standard_normal((N_GALLERY, WIDTH))
    queries = gallery[:N_QUERIES]
    if not agreement:
        queries = queries + 0.7 * rng.standard_normal(queries.shape)
    query_old, gallery_old = old(queries), old(gallery)
    if agreement:
        query_old = gallery_old[:N_QUERIES]
    return Trial(
        query_old=query_old,
        query_new=queries @ turn,
        gallery_old=gallery_old,
        gallery_new=gallery @ turn,
        query_bridged=None if corpus else queries @ turn @ bridge,
        gallery_bridged=gallery_old @ bridge if corpus else None,
        relevance=None if agreement else from_ids(range(N_QUERIES), range(N_GALLERY)),
        exclude=np.arange(N_QUERIES) if agreement else None,
    )


@pytest.fixture(scope="session")
def upgrade() -> Callable[..., Trial]:
    return make_upgrade
