"""What JSON schemas are put together from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = [
    "COUNT",
    "FLAG",
    "NUMBER",
    "TEXT",
    "Schema",
    "by_name",
    "listed",
    "maybe",
    "object_of",
    "of_models",
    "optional",
]

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}


def object_of(**fields: Schema) -> Schema:
    """An object of exactly these fields."""
    return {
        "type": "object",
        "properties": fields,
        "required": sorted(fields),
        "additionalProperties": False,
    }


def optional(of: Schema, **fields: Schema) -> Schema:
    """An object that may have further fields."""
    return {**of, "properties": {**of["properties"], **fields}}


def listed(of: Schema) -> Schema:
    """A list of such values."""
    return {"type": "array", "items": of}


def maybe(of: Schema) -> Schema:
    """Such a value, or null."""
    return {"anyOf": [of, {"type": "null"}]}


def by_name(of: Schema) -> Schema:
    """An object whose fields all are such values."""
    return {"type": "object", "additionalProperties": of}


def of_models(models: dict[str, Any], build: Callable[[dict[str, Schema]], Schema]) -> Schema:
    """A schema with pydantic models in it, whose definitions stand at its root once."""
    from pydantic.json_schema import models_json_schema

    keys, shared = models_json_schema(
        [(model, "serialization") for model in models.values()],
        ref_template="#/$defs/{model}",
    )
    refs = {name: keys[model, "serialization"] for name, model in models.items()}
    return {**build(refs), **shared}
