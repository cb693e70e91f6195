"""What one version of a table looks like, and a new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isthmus.evaluate.scores import Metric
from isthmus.stores.arrow import vector_columns, vectors_to_arrow
from isthmus.stores.new_items import NewItems
from isthmus.stores.protocol import Column

__all__ = ["METRIC", "Layout", "arrow_of", "read_layout", "vector_field"]

METRIC = b"isthmus.metric"
"""The metadata of a field that say how its vectors compare."""
_METRICS: dict[str, Metric] = {"cosine": "cosine", "dot": "dot", "l2": "l2"}


@dataclass(frozen=True)
class Layout:
    """The schema of a version, with the columns that hold vectors."""

    version: int
    schema: Any
    columns: Mapping[str, Column]

    def fields(self, id_column: str) -> tuple[str, ...]:
        """The fields of the payload."""
        return tuple(n for n in self.schema.names if n != id_column and n not in self.columns)


def read_layout(table: Any, version: int, unsaid: Metric | None) -> Layout:
    """The layout of the table as it is now; columns that say no metric compare as ``unsaid``."""
    schema = table.schema
    indexed: dict[str, str] = {}
    for index in table.list_indices():
        stats = table.index_stats(index.name)
        if stats is not None and stats.distance_type is not None:
            indexed |= {name: str(stats.distance_type).lower() for name in index.columns}
    columns: dict[str, Column] = {}
    for name, (dim, dtype) in vector_columns(schema).items():
        said = (schema.field(name).metadata or {}).get(METRIC, b"").decode()
        metric = _METRICS.get(indexed.get(name) or said) or unsaid or "cosine"
        columns[name] = Column(name, dim, dtype, metric, exact=name not in indexed)
    return Layout(version, schema, columns)


def vector_field(name: str, dim: int, metric: Metric) -> Any:
    """A field of float32 vectors that compare by ``metric``."""
    import pyarrow as pa

    return pa.field(name, pa.list_(pa.float32(), dim), metadata={METRIC: metric.encode()})


def arrow_of(new: NewItems, payload: Mapping[str, Sequence[Any]], metric: Metric) -> Any:
    """The Arrow table of new items, whose vectors compare by ``metric``."""
    import pyarrow as pa

    columns: dict[str, Any] = {
        "id": pa.array(new.ids.tolist(), pa.int64() if new.key == "int" else pa.string())
    }
    fields = [pa.field("id", columns["id"].type, nullable=False)]
    for name, rows in new.vectors.items():
        fields.append(vector_field(name, rows.shape[1], metric))
        columns[name] = vectors_to_arrow(rows, fields[-1].type)
    for name, values in payload.items():
        columns[name] = pa.array(list(values))
        fields.append(pa.field(name, columns[name].type))
    return pa.table(list(columns.values()), schema=pa.schema(fields))
