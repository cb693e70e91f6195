"""Upgrades with a validation and a test trial of the same map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.evaluate.conftest import make_upgrade

from isthmus.evaluate.relevance import from_ids
from isthmus.evaluate.trial import Trial

WIDTH = 16


def make_trials(
    bridge: str = "weak",
    *,
    corpus: bool = False,
    old_noise: float = 0.6,
    new_noise: float = 0.1,
    queries: tuple[int, int] = (250, 400),
    gallery: int = 500,
    hard: bool = False,
    seed: int = 0,
) -> tuple[Trial, Trial]:
    """Two models that see one truth, the old one with more noise, the new one rotated.

    ``bridge``: "perfect" undoes the rotation, "weak" nearly does, "shuffled" is fitted on pairs
    that do not belong together, "random" is another rotation.  With ``hard``, every second query
    says much less about its item.
    """
    rng = np.random.default_rng(seed)
    turn, other = (np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0] for _ in range(2))
    matrix = turn.T
    if bridge == "weak":
        matrix = matrix + 0.25 * rng.standard_normal(matrix.shape)
    if bridge == "random":
        matrix = other
    if bridge == "shuffled":
        source = rng.standard_normal((1000, WIDTH)) @ turn
        u, _, vt = np.linalg.svd(source.T @ rng.standard_normal((1000, WIDTH)))
        matrix = u @ vt

    def trial(n: int) -> Trial:
        items = rng.standard_normal((gallery, WIDTH))
        blur = np.where(hard & (np.arange(n) % 2 == 1), 1.0, 0.1 if hard else 0.5)[:, None]
        asked = items[np.arange(n) % gallery] + blur * rng.standard_normal((n, WIDTH))

        def seen(rows: np.ndarray, noise: float) -> np.ndarray:
            return (rows + noise * rng.standard_normal(rows.shape)).astype(np.float32)

        query_new, gallery_new = (seen(r, new_noise) @ turn.astype("f4") for r in (asked, items))
        gallery_old = seen(items, old_noise)
        if corpus:
            mapped: dict[str, Any] = {"gallery_bridged": gallery_old @ matrix.T.astype("f4")}
        else:
            mapped = {"query_bridged": query_new @ matrix.astype("f4")}
        return Trial(
            query_old=seen(asked, old_noise),
            query_new=query_new,
            gallery_old=gallery_old,
            gallery_new=gallery_new,
            relevance=from_ids(np.arange(n) % gallery, range(gallery)),
            **mapped,
        )

    return trial(queries[0]), trial(queries[1])


@pytest.fixture(scope="session")
def trials() -> Callable[..., tuple[Trial, Trial]]:
    return make_trials


@pytest.fixture(scope="session")
def weak() -> tuple[Trial, Trial]:
    return make_trials()


@pytest.fixture(scope="session")
def upgrade() -> Callable[..., Trial]:
    return make_upgrade
