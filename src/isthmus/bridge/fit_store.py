"""From a live index and two encoders to a bridge: sample, encode, fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from isthmus.adapters.recipe import Recipe
from isthmus.bridge.bridge import Bridge
from isthmus.bridge.fit import cross_fits, fit
from isthmus.bridge.fitting import Fitting
from isthmus.bridge.held_out_samples import Queries
from isthmus.bridge.kind import BridgeKind
from isthmus.bridge.store_sample import LARGER, ModelChange, StoreSample
from isthmus.encoders import Encoder
from isthmus.evaluate import Judging
from isthmus.progress import Progress, silent
from isthmus.spaces.contract import Space
from isthmus.stores import Column

__all__ = ["SHARES", "fit_sample"]

SHARES = {"fit": 0.6, "validation": 0.15, "test": 0.25}
"""More is held out than from files: queries of a log are few, and each was paid for."""


def fit_sample(
    sample: StoreSample,
    models: ModelChange,
    *,
    kind: BridgeKind = "query",
    recipe: str | Recipe | Sequence[str | Recipe] = "auto",
    judging: Judging | None = None,
    fitting: Fitting | None = None,
    progress: Progress = silent,
) -> Bridge:
    """Fit a bridge on sampled items of a store; its contracts name both models and revisions.

    Args:
        sample: of `sample_store`.
        models: the encoders it was made with.
        kind: as in `fit`.
        recipe: as in `fit`.
        judging: as in `fit`.
        fitting: as in `fit`; the two spaces, the texts of canaries and whether the old encoder runs
            are those of the sample and the models.  Without queries, of very many pairs, and where
            the sample is more than a quarter of the index, more is held out than by `fit`:
            `judge_live` asks the queries of one part.  Otherwise it asks all.
        progress: as in `fit`.

    Raises:
        InputError: as `fit`.

    Example:
        >>> import numpy as np
        >>> from isthmus.bridge.store_sample import sample_store
        >>> from isthmus.encoders import PrecomputedEncoder
        >>> from isthmus.stores import MemoryStore
        >>> rows = np.random.default_rng(0).standard_normal((400, 8)).astype("float32")
        >>> store = MemoryStore(vectors={"old": rows})
        >>> models = ModelChange(new=PrecomputedEncoder(rows[:, ::-1].copy(), name="reversed"))
        >>> bridge = fit_sample(sample_store(store, models, pairs=300), models)
        >>> bridge.source.model, bridge.target.dim
        ('reversed', 8)
    """
    old = _space(models.old, sample.old, sample.column, "old")
    new = _space(models.new, sample.new, sample.column, "new")
    source, target = (new, old) if kind == "query" else (old, new)
    judging, fitting = judging or Judging(), fitting or Fitting()
    if judging.limits is not None:
        limits = replace(judging.limits, old_encoder=models.old is not None)
        judging = replace(judging, limits=limits)
    texts = dict(zip(sample.ids.tolist(), sample.texts, strict=True))
    pairs = sample.query_pairs(kind)
    queries = None if pairs is None else Queries(pairs, sample.clicked or None)
    return fit(
        sample.pairs(kind),
        kind=kind,
        recipe=recipe,
        queries=queries,
        judging=judging,
        fitting=replace(
            fitting,
            source=source,
            target=target,
            canary_items=texts,
            shares=_shares(fitting, kind, sample, queries),
        ),
        progress=progress,
    )


def _shares(
    fitting: Fitting, kind: BridgeKind, sample: StoreSample, queries: Queries | None
) -> Mapping[str, float] | None:
    """What is held out; None where the fit is left to say, which then spares nothing."""
    if fitting.shares is not None or fitting.cross_fit:
        return fitting.shares
    large = sample.count >= LARGER * len(sample)
    return None if large and cross_fits(fitting, kind, len(sample), queries) else SHARES


def _space(encoder: Encoder | None, rows: NDArray[Any], column: Column, name: str) -> Space:
    """The contract of a model's vectors ``(n, d)``, with its name and revision."""
    if encoder is None:
        return Space.describe(rows, name, column.metric, modality="text")
    return Space.describe(
        rows,
        encoder.name,
        column.metric,
        model=encoder.name,
        revision=encoder.revision,
        modality="text",
    )
