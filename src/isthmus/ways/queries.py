"""The queries of a search: encoded, mapped and checked, as far as its way needs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from isthmus.encoders import Encoder
from isthmus.errors import InputError, WrongSpaceError
from isthmus.spaces.contract import Space
from isthmus.spaces.guard import Guard
from isthmus.ways.way import Needs, Way

__all__ = ["Mapped", "QueryInput", "QueryReader", "QueryVectors"]

QueryInput: TypeAlias = (
    Sequence[str] | NDArray[Any] | Mapping[Literal["old", "new", "bridged"], NDArray[Any]]
)
"""Texts; vectors ``(nq, d)`` of the one model that the way asks; or vectors by model."""


class Mapped(Protocol):
    """What a search needs of a bridge."""

    @property
    def kind(self) -> Literal["query", "corpus"]:
        """Whether new queries are mapped, or stored vectors were."""
        ...

    @property
    def source(self) -> Space:
        """The contract of what it maps."""
        ...

    @property
    def target(self) -> Space:
        """The contract of what it maps to."""
        ...

    @property
    def trust(self) -> Any:
        """A model of trust in mapped vectors, or None."""
        ...

    def transform(self, x: Any, *, check: bool = True) -> Any:
        """Source vectors in the target space; refuses those of another model."""
        ...

    def recognise(self, rows: NDArray[Any], *, where: str = ...) -> None:
        """Refuse rows that are not of the source."""
        ...

    def recognise_target(self, rows: NDArray[Any], *, where: str) -> None:
        """Refuse rows that are not of the target."""
        ...

    def vouches_for(self, encoder: Encoder, model: Literal["old", "new"]) -> bool:
        """Whether its canary texts show that an encoder is this model."""
        ...

    def may_be(self, model: Literal["old", "new"], rows: NDArray[Any]) -> bool:
        """Whether rows of what is said to be a model can be, odd as they look."""
        ...


class QueryVectors(NamedTuple):
    """The vectors of the queries by model ``(nq, d)``; those the way does not need are None."""

    old: NDArray[Any] | None = None
    new: NDArray[Any] | None = None
    bridged: NDArray[Any] | None = None

    @property
    def n(self) -> int:
        """Number of queries."""
        return next(len(rows) for rows in self if rows is not None)


class QueryReader:
    """Makes the vectors that a way needs of whatever stands for the queries.

    Args:
        way: what is to be done.
        bridge: maps new queries and recognises both models; None where mapped queries are given.
        old: the old model's encoder of query texts.
        new: the new model's encoder of query texts.
        maps_queries: whether the way maps queries, and not the corpus.
    """

    def __init__(
        self,
        way: Way,
        bridge: Mapped | None,
        *,
        old: Encoder | None,
        new: Encoder | None,
        maps_queries: bool,
    ) -> None:
        self._way, self._bridge = way, bridge
        needed = way.needs
        self._models = [
            model
            for model, need in (("old", Needs.OLD_QUERIES), ("new", Needs.NEW_QUERIES))
            if need in needed
        ]
        self._maps = way.recall.rests_on_bridge and maps_queries
        self._encoders = {"old": old, "new": new}
        self._recognised: set[str] = set()
        self._vouched: set[str] = set()
        self.guards: Mapping[str, Guard] = {} if bridge is None else _guards(bridge)
        """What holds the queries of each model against its contract; nothing without a bridge."""

    def __call__(self, queries: QueryInput) -> QueryVectors:
        """The vectors that the way needs, encoded, mapped and checked where that is to be done.

        Raises:
            InputError: for queries that do not fit, and vectors of a model that is missing.
            ContractError: for vectors that break the contract of their model.
            WrongSpaceError: for vectors of a wrong model.
        """
        models = self._models
        given = self._given(queries, models)
        encoded = not isinstance(queries, (Mapping, np.ndarray))
        for model in ("new", "old"):
            self._recognise(model, given, encoded=encoded)
        if self._maps and "bridged" not in given:
            if self._bridge is None:
                raise InputError(
                    "this way maps queries, and there is no bridge to map them", where="bridge"
                )
            if self._bridge.kind == "corpus":
                raise InputError(
                    "a corpus bridge maps no queries",
                    where="columns",
                    mend="Name the column with the mapped vectors, columns=Columns(bridged=...)",
                )
            given["bridged"] = np.asarray(self._bridge.transform(given["new"], check=False))
        used = {m: given.get(m) for m in (*models, "bridged")}
        if len({len(rows) for rows in used.values() if rows is not None}) > 1:
            counts = {m: len(rows) for m, rows in used.items() if rows is not None}
            raise InputError(f"the models have different numbers of queries: {counts}")
        return QueryVectors(used.get("old"), used.get("new"), used["bridged"])

    def _given(self, queries: QueryInput, models: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Vectors by model, as they are given or as the encoders make them."""
        if isinstance(queries, Mapping):
            wanted: Any = (*models, "bridged")
            given = {str(m): np.asarray(queries[m]) for m in wanted if m in queries}
            missing = [m for m in models if m not in given]
            if "bridged" in given and not self._way.joins and self._way.rescore is None:
                missing = [m for m in missing if m != "new"]
        elif isinstance(queries, np.ndarray):
            rows: NDArray[Any] = queries
            given = {models[0]: rows} if len(models) == 1 else {}
            missing = [] if len(models) == 1 else models
        else:
            if isinstance(queries, str):
                raise InputError("a single text was given", mend="Give a list of texts")
            missing = [m for m in models if self._encoders[m] is None]
            given = {}
            if not missing:
                texts = list(queries)
                for model in models:
                    encoder = self._encoders[model]
                    assert encoder is not None
                    given[model] = encoder.encode(texts, kind="query")
        if missing:
            raise InputError(
                f"this way ({self._way}) needs the {' and the '.join(models)} model's vectors of "
                f"the queries, and there is nothing for the {' and the '.join(missing)}",
                where="queries",
                mend='Give texts with both encoders, or vectors by model, {"old": ..., "new": ...}',
            )
        for name, rows in given.items():
            if rows.ndim != 2 or rows.dtype.kind != "f":
                raise InputError(
                    f"expected rows (nq, d) of floats, found {rows.dtype} of shape {rows.shape}",
                    where=f"queries, {name}",
                )
        return {
            name: self.guards[name](rows) if name in self.guards else rows
            for name, rows in given.items()
        }

    def _recognise(
        self, model: Literal["old", "new"], given: Mapping[str, NDArray[Any]], *, encoded: bool
    ) -> None:
        """Refuse queries of a wrong model: of vectors that are given the first, of texts all.

        What an encoder makes of a few odd texts may look like another model's: then the texts that
        the bridge remembers decide, once, or, where it remembers none, it has to look so clearly.
        """
        bridge, encoder = self._bridge, self._encoders[model]
        known = self._vouched if encoded else self._recognised
        if bridge is None or model not in given or model in known:
            return
        source = "new" if bridge.kind == "query" else "old"
        recognise = bridge.recognise if model == source else bridge.recognise_target
        try:
            recognise(given[model], where=f"queries, {model}")
        except WrongSpaceError:
            if not encoded or encoder is None:
                raise
            if bridge.vouches_for(encoder, model):
                self._vouched.add(model)
            elif not bridge.may_be(model, given[model]):
                raise
        else:
            if not encoded:
                self._recognised.add(model)


def _guards(bridge: Mapped) -> dict[str, Guard]:
    source, target = ("new", "old") if bridge.kind == "query" else ("old", "new")
    return {
        model: Guard(_asked_in(space), where=f"queries, {model}")
        for model, space in ((source, bridge.source), (target, bridge.target))
    }


def _asked_in(space: Space) -> Space:
    """The contract of queries: under cosine their norm plays no part, and is only counted."""
    if space.metric != "cosine" or space.faults.not_normalised is None:
        return space
    faults = space.faults.model_copy(update={"not_normalised": "flag"})
    return space.revise(faults=faults.model_dump(exclude_none=True))
