"""The declaration of a ``vec0`` table of sqlite-vec, taken apart and written anew."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.errors import InputError
from isthmus.evaluate.scores import Metric
from isthmus.stores.address import Address
from isthmus.stores.protocol import Column, Key

__all__ = ["METRICS", "Vec0", "declaration", "read_vec0"]

METRICS: Mapping[Metric, str] = {"cosine": "cosine", "l2": "L2"}
"""How sqlite-vec calls those of our metrics that it has."""

_TABLE = re.compile(r"create\s+virtual\s+table\b.*?\busing\s+vec0\s*\((.*)\)\s*;?\s*$", re.I | re.S)
_COMMENT = re.compile(r"/\*.*?\*/|--[^\n]*", re.S)
_VECTOR = re.compile(r"(\w+)\s+(float|f32|int8|i8|bit)\s*\[\s*(\d+)\s*\](.*)", re.I | re.S)
_METRIC = re.compile(r"distance_metric\s*=\s*(\w+)", re.I)
_KEY = re.compile(r"(\w+)\s+(\w+)\s+primary\s+key", re.I)
_FIELD = re.compile(r"\+?\s*(\w+)\s+(\w+)(\s+partition\s+key)?", re.I)


@dataclass(frozen=True)
class Vec0:
    """What a ``vec0`` table was declared with.

    Attributes:
        id: its column of ids; ``rowid`` where none is declared.
        key: their kind.
        vectors: by column: the type, the width and the metric, as spelled.
        fields: types of the other columns in lower case.
        others: every part of the declaration but the vectors, as spelled.
    """

    id: str
    key: Key
    vectors: Mapping[str, tuple[str, int, str]]
    fields: Mapping[str, str]
    others: tuple[str, ...]

    def columns(self, name: str, address: Address) -> dict[str, Column]:
        """The columns that can be read here.

        Raises:
            InputError: if there is none, one that is named is of another kind, or the URL names
            another metric.
        """
        metrics: dict[str, Any] = {spelled.lower(): ours for ours, spelled in METRICS.items()}
        found: dict[str, Column] = {}
        others: dict[str, str] = {}
        for column, (kind, dim, metric) in self.vectors.items():
            if kind not in ("float", "f32"):
                others[column] = f"is of the type {kind}[{dim}]"
            elif metric.lower() not in metrics:
                others[column] = f"compares by {metric}"
            else:
                found[column] = Column(column, dim, "float32", metrics[metric.lower()])
                if address.metric not in (None, found[column].metric):
                    raise InputError(
                        f"column '{column}' compares by {found[column].metric}, as its table "
                        f"declares, and not by {address.metric}",
                        where=address.shown,
                        mend="Leave ?metric= out",
                    )
        wanted = address.column if address.collection == name else None
        if wanted in others or not found:
            listed = wanted if wanted in others else next(iter(others), "")
            raise InputError(
                f"column '{listed}' {others.get(listed, '')}: what is read are float columns that "
                "compare by cosine or L2",
                where=address.shown,
                mend="Keep the vectors as floats too, in a table or a column of their own",
            )
        return found


def read_vec0(sql: str | None) -> Vec0 | None:
    """What the statement that made a table declares; None where it is no ``vec0`` table."""
    found = _TABLE.match((sql or "").strip())
    if found is None:
        return None
    key: tuple[str, Key] = ("rowid", "int")
    vectors: dict[str, tuple[str, int, str]] = {}
    fields: dict[str, str] = {}
    others: list[str] = []
    for part in (p.strip() for p in _COMMENT.sub(" ", found[1]).split(",")):
        if vector := _VECTOR.fullmatch(part):
            metric = _METRIC.search(vector[4])
            kind = vector[2].lower()
            vectors[vector[1]] = (kind, int(vector[3]), metric[1] if metric else "L2")
            continue
        others.append(part)
        if declared := _KEY.fullmatch(part):
            key = (declared[1], "str" if declared[2].lower() == "text" else "int")
        elif declared := _FIELD.fullmatch(part):
            fields[declared[1]] = declared[2].lower()
    return Vec0(*key, vectors, fields, tuple(others))


def declaration(
    parts: tuple[str, ...], widths: Mapping[str, int], metric: Metric, fields: Mapping[str, str]
) -> str:
    """The arguments of ``vec0``: ``parts`` as spelled, vectors of these widths, and more fields."""
    vectors = [f"{c} float[{dim}] distance_metric={METRICS[metric]}" for c, dim in widths.items()]
    return ", ".join([*parts, *vectors, *(f"+{name} {kind}" for name, kind in fields.items())])
