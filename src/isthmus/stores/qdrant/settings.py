"""How a collection of Qdrant is kept and indexed, so that a second one can be kept the same way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.evaluate.scores import Metric
from isthmus.stores.qdrant.columns import vectors_config

__all__ = ["Settings", "settings_of"]

_SAME = (
    "shard_number",
    "replication_factor",
    "write_consistency_factor",
    "on_disk_payload",
)
_WIDE = ("float32", "float16")
"""Numbers that vectors of any model can be kept in; bytes need vectors made for them."""


@dataclass(frozen=True)
class Settings:
    """What a second collection takes over.

    Attributes:
        collection: arguments of ``create_collection`` but the vectors.
        vector: parameters of the first collection's vectors; None where it has several or none.
        payload: of each indexed field, its schema.
    """

    collection: Mapping[str, Any]
    vector: Any
    payload: Mapping[str, Any]

    def vectors(self, widths: Mapping[str, int], metric: Metric) -> Any:
        """The named vectors of the second collection, with these widths."""
        made = vectors_config(widths, metric)
        if self.vector is None:
            return made
        kind = getattr(self.vector.datatype, "value", self.vector.datatype)
        kept = {} if kind is None or kind in _WIDE else {"datatype": None}
        return {
            name: self.vector.model_copy(
                update={"size": new.size, "distance": new.distance, **kept}
            )
            for name, new in made.items()
        }

    def __str__(self) -> str:
        """The settings that people choose, as a plan tells them."""
        graph = {**_dumped(self.collection.get("hnsw_config"))}
        own = _dumped(self.vector)
        graph |= own.get("hnsw_config", {})
        codes = own.get("quantization_config") or _dumped(
            self.collection.get("quantization_config")
        )
        parts = [f"HNSW {name}={graph[name]}" for name in ("m", "ef_construct") if name in graph]
        parts += [f"{kind} quantisation" for kind in codes]
        if own.get("datatype", "float32") in _WIDE[1:]:
            parts.append(f"{own['datatype']} vectors")
        parts += ["vectors on disk"] if own.get("on_disk") or graph.get("on_disk") else []
        parts += ["payload on disk"] if self.collection.get("on_disk_payload") else []
        if self.payload:
            parts.append(f"indexes of the fields {', '.join(self.payload)}")
        return ", ".join(parts)


def settings_of(info: Any, column: str | None) -> Settings:
    """Read off what ``get_collection`` tells.

    Args:
        info: its answer.
        column: the vectors that the second collection's are kept like; None for the unnamed ones.
    """
    from qdrant_client import models

    config, params = info.config, info.config.params
    found: dict[str, Any] = {name: getattr(params, name, None) for name in _SAME}
    for name, held, kind in (
        ("hnsw_config", config.hnsw_config, models.HnswConfigDiff),
        ("optimizers_config", config.optimizer_config, models.OptimizersConfigDiff),
        ("wal_config", config.wal_config, models.WalConfigDiff),
        ("strict_mode_config", config.strict_mode_config, models.StrictModeConfig),
    ):
        found[name] = _diff(held, kind)
    found["quantization_config"] = config.quantization_config
    vectors = params.vectors
    return Settings(
        {name: value for name, value in found.items() if value is not None},
        vectors if column is None else (vectors or {}).get(column),
        {name: field.params or field.data_type for name, field in info.payload_schema.items()},
    )


def _diff(held: Any, kind: Any) -> Any:
    """A configuration as it is given to a new collection; None where nothing is told."""
    if held is None:
        return None
    told = held.model_dump(exclude_none=True)
    told = {name: value for name, value in told.items() if name in kind.model_fields}
    return kind(**told) if told else None


def _dumped(held: Any) -> dict[str, Any]:
    return {} if held is None else held.model_dump(exclude_none=True, mode="json")
