"""The encoders of a migration, and whether they are the plan's."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.bridge import Bridge
from isthmus.encoders import Encoder, PrecomputedEncoder, encode_items
from isthmus.errors import InputError, WrongSpaceError
from isthmus.migrate.patience import patient
from isthmus.migrate.plan import Plan, Target
from isthmus.stores import Store

__all__ = ["SAME", "Models", "check_models", "median_cosine"]

SAME = 0.98
"""Least median cosine of vectors that are said to be one model's."""
_CANARIES = 16
_LOOKED_AT = 64


@dataclass(frozen=True)
class Models:
    """The encoders that run; ``old`` is None where it is gone.

    Example:
        >>> from isthmus.encoders import CallableEncoder
        >>> from isthmus.migrate import Models
        >>> lengths = CallableEncoder(
        ...     lambda texts: [[len(t), 1] for t in texts], name="lengths", revision="1", dim=2
        ... )
        >>> Models(new=lengths).old is None
        True
    """

    new: Encoder | None = None
    old: Encoder | None = None

    def patient(self, attempts: int, first_delay: float) -> Models:
        """The same, each asked again where it fails."""
        return Models(*(patient(one, attempts, first_delay) for one in (self.new, self.old)))


def check_models(plan: Plan, store: Store, models: Models) -> Encoder:
    """Refuse encoders that are not the plan's, and a store that holds the new vectors.

    Returns:
        the new encoder.

    Raises:
        InputError: if there is no new encoder.
        WrongSpaceError: if one is another model.
    """
    new, old = models.new, models.old
    if new is None:
        raise InputError("there is no new encoder", where="--new")
    if new.dim != plan.target.new_dim:
        raise WrongSpaceError(
            f"{new.name} makes vectors of {new.dim} dimensions, the plan has {plan.target.new_dim}",
            where="the new encoder",
            mend="Give the model of the plan",
        )
    canaries = plan.canaries
    if canaries.texts:
        rows = new.encode(list(canaries.texts), kind=canaries.kind)
        median = median_cosine(rows, canaries.vectors)
        if median < SAME:
            raise WrongSpaceError(
                f"{new.name} is not the new model of this plan: encoded again, "
                f"{len(canaries.texts)} texts have a median cosine of {median:.3f} with what "
                "the plan remembers",
                where="the new encoder",
                mend="Give the model of the plan, with its prefixes",
            )
    few = _few(store, plan.target, models)
    if plan.mapped_by is not None:
        if len(few.stored):
            plan.mapped_by.check()
            Bridge.load(plan.mapped_by.path).recognise(few.stored, where=store.url)
        return new
    ids, texts, stored = few.ids[:_CANARIES], few.texts[:_CANARIES], few.stored[:_CANARIES]
    if not len(ids):
        return new
    if new.dim == stored.shape[1]:
        again = encode_items(new, ids.tolist(), texts)
        if median_cosine(again, stored) >= SAME:
            raise WrongSpaceError(
                f"'{plan.target.old_column}' holds vectors of {new.name} already",
                where=store.url,
                mend="There is nothing to migrate",
            )
    if old is not None and (plan.target.text_field is not None or not _reads_texts(old)):
        from isthmus.bridge.store_sample import check_old_encoder

        check_old_encoder(old, ids, texts, stored, where=store.url)
    return new


class _Few(NamedTuple):
    """Some items: ids ``(n,)``, texts, empty ones where there are none, and old vectors."""

    ids: NDArray[Any]
    texts: list[str]
    stored: NDArray[np.float32]


def _few(store: Store, target: Target, models: Models) -> _Few:
    """Some stored items with an old vector, and with a text where a model reads texts."""
    fields = [] if target.text_field is None else [target.text_field]
    part = next(iter(store.scan(column=target.old_column, fields=fields, batch=_LOOKED_AT)), None)
    if part is None or part.vectors is None or part.present is None:
        return _Few(np.empty(0), [], np.empty((0, 0), np.float32))
    texts = [str(t or "") for t in part.payload[fields[0]]] if fields else [""] * len(part)
    some = part.present
    if fields and any(one is not None and _reads_texts(one) for one in (models.new, models.old)):
        some = some & np.array([bool(t.strip()) for t in texts], dtype=np.bool_)
    return _Few(part.ids[some], list(compress(texts, some.tolist())), part.vectors[some])


def _reads_texts(encoder: Encoder) -> bool:
    return not isinstance(encoder, PrecomputedEncoder)


def median_cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Of the rows of ``a`` and ``b (n, d)``, pair by pair; -1 for other shapes."""
    if a.shape != b.shape:
        return -1.0
    x, y = (np.asarray(rows, dtype=np.float64) for rows in (a, b))
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return float(np.median(np.einsum("nd,nd->n", x, y) / np.maximum(norms, 1e-300)))
