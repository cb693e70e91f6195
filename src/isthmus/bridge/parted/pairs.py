"""The pairs of a call: opened before, or the two places that they lie in and who reads them."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager

from isthmus.errors import InputError
from isthmus.scale.engine import PooledEngine
from isthmus.spaces.pairs import Pairs
from isthmus.spaces.readers import VectorSource

__all__ = ["GivenPairs", "engine_place", "opened_engine", "opened_pairs"]

GivenPairs = Pairs | tuple[VectorSource, VectorSource]
"""The same items in two spaces, or where both sides are: ``(source, target)``."""


@contextmanager
def opened_pairs(pairs: GivenPairs, engine: PooledEngine | str | None) -> Generator[Pairs]:
    """The pairs; an engine that is started for them ends with them.

    Args:
        pairs: opened, or the two places of `Pairs`; with an engine those of `open_pairs`.
        engine: as `open_engine` takes it, or an opened one; None for this process.

    Raises:
        InputError: for an engine beside pairs that are opened already, or rows in memory; else as
            `Pairs` and `open_pairs`.
    """
    if isinstance(pairs, Pairs):
        if engine is not None:
            raise InputError(
                "an engine reads both sides where they lie, and these pairs are opened already",
                where="engine",
                mend="Give the two places, (NEW, OLD), or pairs of isthmus.open_pairs(NEW, OLD, "
                "engine=...)",
            )
        yield pairs
        return
    try:
        source, target = pairs
    except (TypeError, ValueError):
        raise InputError(
            f"expected Pairs, or two places, (source, target), got {type(pairs).__name__}",
            where="pairs",
        ) from None
    if engine is None:
        yield Pairs(source, target)
        return
    from isthmus.scale import open_pairs

    places = engine_place(source), engine_place(target)
    with opened_engine(engine) as running:
        yield open_pairs(*places, engine=running)


@contextmanager
def opened_engine(engine: PooledEngine | str) -> Generator[PooledEngine]:
    """An engine that is open already, or one that is started and ends with the call."""
    if not isinstance(engine, str):
        yield engine
        return
    from isthmus.scale import open_engine

    with open_engine(engine) as running:
        yield running


def engine_place(source: VectorSource) -> str:
    """Where vectors are, for workers that read them by themselves.

    Raises:
        InputError: for rows in memory.
    """
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    raise InputError(
        f"an engine reads files, folders, URLs and stores, got {type(source).__name__}",
        where="engine",
        mend="Name the place of the vectors, or leave the engine out",
    )
