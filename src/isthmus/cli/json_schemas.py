"""The JSON schema of what a command prints under ``--json``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from isthmus.cli.live_schemas import LIVE_SCHEMAS
from isthmus.cli.schema_parts import (
    COUNT,
    FLAG,
    NUMBER,
    TEXT,
    Schema,
    by_name,
    listed,
    maybe,
    object_of,
    of_models,
)
from isthmus.errors import InputError

__all__ = ["VERSION", "json_schema", "known_schemas"]

VERSION = "v1"
"""Within it fields may be added, and none are renamed, removed or given another meaning."""

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


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
        "$id": f"isthmus/{VERSION}/{command.replace(' ', '-')}.json",
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


# ---- parts of several ---


def _gates() -> Schema:
    return listed(object_of(condition=TEXT, passed=FLAG, found=TEXT))


def _tried() -> Schema:
    return listed(object_of(recipe=TEXT, score=NUMBER, squared_error=maybe(NUMBER)))


def _release(**further: Schema) -> Schema:
    return object_of(
        name=TEXT,
        version=TEXT,
        kind=TEXT,
        bytes=COUNT,
        files=by_name(TEXT),
        metadata=by_name(TEXT),
        published=object_of(at=TEXT, by=TEXT, note=TEXT),
        aliases=listed(TEXT),
        deprecated=maybe(TEXT),
        signers=listed(TEXT),
        **further,
    )


# ---- commands ----------------------------------------------------------------------------------


def _error() -> Schema:
    return object_of(error=object_of(kind=TEXT, what=TEXT, where=maybe(TEXT), mend=maybe(TEXT)))


def _fit() -> Schema:
    from isthmus.evaluate import Evaluation

    return of_models(
        {"evidence": Evaluation},
        lambda refs: object_of(
            bridge=TEXT, recipe=TEXT, tried=_tried(), evidence=refs["evidence"], gates=_gates()
        ),
    )


def _evaluate() -> Schema:
    from isthmus.evaluate import Evaluation
    from isthmus.evaluate.regression import Regression

    return of_models(
        {"evidence": Evaluation, "regression": Regression},
        lambda refs: object_of(
            evidence=refs["evidence"], gates=_gates(), regression=maybe(refs["regression"])
        ),
    )


def _diagnose() -> Schema:
    from isthmus.diagnose import Diagnosis

    return Diagnosis.model_json_schema(mode="serialization")


def _budget() -> Schema:
    from isthmus.evaluate import Estimate

    def build(refs: dict[str, Schema]) -> Schema:
        found = refs["estimate"]
        ids = listed({"type": ["string", "integer"]})
        return object_of(
            recipe=TEXT,
            metric=TEXT,
            budgets=listed(COUNT),
            quality=listed(found),
            doubling=found,
            asymptote=found,
            enough=found,
            encode=listed(object_of(documents=COUNT, queries=COUNT)),
            answer=TEXT,
            next=maybe(ids),
        )

    return of_models({"estimate": Estimate}, build)


def _threshold() -> Schema:
    from isthmus.ways.thresholds import TranslatedThreshold

    return of_models(
        {"one": TranslatedThreshold},
        lambda refs: object_of(recommended=maybe(TEXT), thresholds=listed(refs["one"])),
    )


def _consumers() -> Schema:
    from isthmus.evaluate.consumers import ConsumerReport

    schema = ConsumerReport.model_json_schema(mode="serialization")
    schema["properties"]["broken_limits"] = listed(TEXT)
    schema["required"] = [*schema["required"], "broken_limits"]
    return schema


def _probe() -> Schema:
    from isthmus.evaluate.probes import ConceptStability, LinearProbe

    return of_models(
        {"linear": LinearProbe, "concepts": ConceptStability},
        lambda refs: object_of(
            linear=refs["linear"], concepts=maybe(refs["concepts"]), broken=FLAG
        ),
    )


def _card() -> Schema:
    change = object_of(section=TEXT, what=TEXT, before=maybe(TEXT), after=maybe(TEXT))
    return {"oneOf": [object_of(card=TEXT), object_of(changes=listed(change))]}


def _inspect() -> Schema:
    return object_of(
        kind=TEXT,
        format=COUNT,
        digest=TEXT,
        content={"type": "object"},
        tensors=by_name({"type": "array"}),
        texts=by_name({}),
    )


def _entry() -> Schema:
    from isthmus.registry import Entry

    return Entry.model_json_schema(mode="serialization")


def _promote() -> Schema:
    from isthmus.registry import Entry, Judged

    return of_models(
        {"entry": Entry, "judged": Judged},
        lambda refs: {
            "oneOf": [refs["entry"], object_of(promoted={"const": False}, judged=refs["judged"])]
        },
    )


def _show() -> Schema:
    from isthmus.registry import Entry, Review

    return of_models(
        {"entry": Entry, "review": Review},
        lambda refs: _release(logs=by_name(listed(refs["entry"])), reviews=listed(refs["review"])),
    )


def _approve() -> Schema:
    from isthmus.registry import Review

    return Review.model_json_schema(mode="serialization")


def _diff() -> Schema:
    return object_of(
        files=listed(TEXT),
        tensors=listed(TEXT),
        content=listed(object_of(path=TEXT, before={}, after={})),
    )


def _demo() -> Schema:
    from isthmus.evaluate import Evaluation

    steps = listed(object_of(**{"step": TEXT, "recall@10": NUMBER}))
    return of_models({"evidence": Evaluation}, lambda refs: {"oneOf": [refs["evidence"], steps]})


_SCHEMAS: dict[str, Callable[[], Schema]] = {
    "error": _error,
    "diagnose": _diagnose,
    "budget": _budget,
    "fit": _fit,
    "evaluate": _evaluate,
    "apply": lambda: object_of(output=TEXT, rows=COUNT, dim=COUNT),
    "moments": lambda: object_of(output=TEXT, parts=COUNT, read=COUNT),
    "inspect": _inspect,
    "card": _card,
    "threshold": _threshold,
    "consumers": _consumers,
    "probe": _probe,
    "publish": _entry,
    "push": lambda: object_of(repository=TEXT, commit=TEXT),
    "pull": lambda: object_of(folder=TEXT, kind=TEXT, digest=TEXT),
    "list": lambda: {"anyOf": [listed(TEXT), listed(_release())], "type": "array"},
    "show": _show,
    "diff": _diff,
    "verify": lambda: listed(_release()),
    "promote": _promote,
    "rollback": _entry,
    "sign": _release,
    "deprecate": _release,
    "approve": _approve,
    "check": lambda: object_of(passed=FLAG, conditions=_gates()),
    "demo": _demo,
    "gc": lambda: object_of(objects=COUNT, bytes=COUNT, half_written=COUNT),
    **LIVE_SCHEMAS,
}
