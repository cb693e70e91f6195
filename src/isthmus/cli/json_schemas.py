"""The JSON schema of what a command prints under ``--json``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from isthmus.errors import InputError

__all__ = ["VERSION", "json_schema", "known_schemas"]

VERSION = "v1"
"""Within it fields may be added, and none are renamed, removed or given another meaning."""

Schema = dict[str, Any]

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_NUMBER: Schema = {"type": "number"}
_FLAG: Schema = {"type": "boolean"}


def known_schemas() -> tuple[str, ...]:
    """The commands whose results have a schema, and ``error``, which all share."""
    return tuple(sorted(_SCHEMAS))


def json_schema(command: str, *, closed: bool = False) -> Schema:
    """The schema of a command's result.

    Args:
        command: its name, or ``error``.
        closed: refuse fields that this version does not name, as its own tests do; a program that
            reads results of later versions too is to pass over them.

    Raises:
        InputError: for a command without one.
    """
    if command not in _SCHEMAS:
        raise InputError(
            f"there is no schema of '{command}'", mend=f"There are: {', '.join(known_schemas())}"
        )
    schema = _SCHEMAS[command]()
    found: Schema = {
        "$schema": _DRAFT,
        "$id": f"isthmus/{VERSION}/{command}.json",
        **cast(Schema, schema if closed else _open(schema)),
    }
    return found


def _open(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_open(part) for part in cast(list[Any], schema)]
    if not isinstance(schema, dict):
        return schema
    parts = cast(Schema, schema)
    return {
        name: _open(part)
        for name, part in parts.items()
        if not (name == "additionalProperties" and part is False)
    }


# ---- pieces ------------------------------------------------------------------------------------


def _object(**fields: Schema) -> Schema:
    return {
        "type": "object",
        "properties": fields,
        "required": sorted(fields),
        "additionalProperties": False,
    }


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def _maybe(of: Schema) -> Schema:
    return {"anyOf": [of, {"type": "null"}]}


def _by_name(of: Schema) -> Schema:
    return {"type": "object", "additionalProperties": of}


def _of_models(models: dict[str, Any], build: Callable[[dict[str, Schema]], Schema]) -> Schema:
    """A schema with pydantic models in it, whose definitions stand at its root once."""
    from pydantic.json_schema import models_json_schema

    keys, shared = models_json_schema(
        [(model, "serialization") for model in models.values()],
        ref_template="#/$defs/{model}",
    )
    refs = {name: keys[model, "serialization"] for name, model in models.items()}
    return {**build(refs), **shared}


def _gates() -> Schema:
    return _list(_object(condition=_TEXT, passed=_FLAG, found=_TEXT))


def _tried() -> Schema:
    return _list(_object(recipe=_TEXT, score=_NUMBER, squared_error=_maybe(_NUMBER)))


def _release(**further: Schema) -> Schema:
    return _object(
        name=_TEXT,
        version=_TEXT,
        kind=_TEXT,
        bytes=_COUNT,
        files=_by_name(_TEXT),
        metadata=_by_name(_TEXT),
        published=_object(at=_TEXT, by=_TEXT, note=_TEXT),
        aliases=_list(_TEXT),
        deprecated=_maybe(_TEXT),
        signers=_list(_TEXT),
        **further,
    )


# ---- commands ----------------------------------------------------------------------------------


def _error() -> Schema:
    return _object(error=_object(kind=_TEXT, what=_TEXT, where=_maybe(_TEXT), mend=_maybe(_TEXT)))


def _fit() -> Schema:
    from isthmus.evaluate import Evaluation

    return _of_models(
        {"evidence": Evaluation},
        lambda refs: _object(
            bridge=_TEXT, recipe=_TEXT, tried=_tried(), evidence=refs["evidence"], gates=_gates()
        ),
    )


def _evaluate() -> Schema:
    from isthmus.evaluate import Evaluation
    from isthmus.evaluate.regression import Regression

    return _of_models(
        {"evidence": Evaluation, "regression": Regression},
        lambda refs: _object(
            evidence=refs["evidence"], gates=_gates(), regression=_maybe(refs["regression"])
        ),
    )


def _diagnose() -> Schema:
    from isthmus.diagnose import Diagnosis

    return Diagnosis.model_json_schema(mode="serialization")


def _budget() -> Schema:
    from isthmus.evaluate import Estimate

    def build(refs: dict[str, Schema]) -> Schema:
        found = refs["estimate"]
        ids = _list({"type": ["string", "integer"]})
        return _object(
            recipe=_TEXT,
            metric=_TEXT,
            budgets=_list(_COUNT),
            quality=_list(found),
            asymptote=found,
            enough=found,
            answer=_TEXT,
            next=_maybe(ids),
        )

    return _of_models({"estimate": Estimate}, build)


def _threshold() -> Schema:
    from isthmus.ways.thresholds import TranslatedThreshold

    return _of_models(
        {"one": TranslatedThreshold},
        lambda refs: _object(recommended=_maybe(_TEXT), thresholds=_list(refs["one"])),
    )


def _consumers() -> Schema:
    from isthmus.evaluate.consumers import ConsumerReport

    schema = ConsumerReport.model_json_schema(mode="serialization")
    schema["properties"]["broken_limits"] = _list(_TEXT)
    schema["required"] = [*schema["required"], "broken_limits"]
    return schema


def _probe() -> Schema:
    from isthmus.evaluate.probes import ConceptStability, LinearProbe

    return _of_models(
        {"linear": LinearProbe, "concepts": ConceptStability},
        lambda refs: _object(
            linear=refs["linear"], concepts=_maybe(refs["concepts"]), broken=_FLAG
        ),
    )


def _card() -> Schema:
    change = _object(section=_TEXT, what=_TEXT, before=_maybe(_TEXT), after=_maybe(_TEXT))
    return {"oneOf": [_object(card=_TEXT), _object(changes=_list(change))]}


def _inspect() -> Schema:
    return _object(
        kind=_TEXT,
        format=_COUNT,
        digest=_TEXT,
        content={"type": "object"},
        tensors=_by_name({"type": "array"}),
        texts=_by_name({}),
    )


def _entry() -> Schema:
    from isthmus.registry import Entry

    return Entry.model_json_schema(mode="serialization")


def _promote() -> Schema:
    from isthmus.registry import Entry, Judged

    return _of_models(
        {"entry": Entry, "judged": Judged},
        lambda refs: {
            "oneOf": [refs["entry"], _object(promoted={"const": False}, judged=refs["judged"])]
        },
    )


def _show() -> Schema:
    from isthmus.registry import Entry, Review

    return _of_models(
        {"entry": Entry, "review": Review},
        lambda refs: _release(logs=_by_name(_list(refs["entry"])), reviews=_list(refs["review"])),
    )


def _approve() -> Schema:
    from isthmus.registry import Review

    return Review.model_json_schema(mode="serialization")


def _diff() -> Schema:
    return _object(
        files=_list(_TEXT),
        tensors=_list(_TEXT),
        content=_list(_object(path=_TEXT, before={}, after={})),
    )


_SCHEMAS: dict[str, Callable[[], Schema]] = {
    "error": _error,
    "diagnose": _diagnose,
    "budget": _budget,
    "fit": _fit,
    "evaluate": _evaluate,
    "apply": lambda: _object(output=_TEXT, rows=_COUNT, dim=_COUNT),
    "inspect": _inspect,
    "card": _card,
    "threshold": _threshold,
    "consumers": _consumers,
    "probe": _probe,
    "publish": _entry,
    "push": lambda: _object(repository=_TEXT, commit=_TEXT),
    "pull": lambda: _object(folder=_TEXT, kind=_TEXT, digest=_TEXT),
    "list": lambda: {"anyOf": [_list(_TEXT), _list(_release())], "type": "array"},
    "show": _show,
    "diff": _diff,
    "verify": lambda: _list(_release()),
    "promote": _promote,
    "rollback": _entry,
    "sign": _release,
    "deprecate": _release,
    "approve": _approve,
    "gc": lambda: _object(objects=_COUNT, bytes=_COUNT, half_written=_COUNT),
}
