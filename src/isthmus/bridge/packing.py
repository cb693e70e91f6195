"""A bridge as JSON and tensors, which is what its folder holds, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from isthmus import artefact
from isthmus.adapters.chain import Chain
from isthmus.adapters.cross_fitted import CrossFitted
from isthmus.adapters.recipe import Recipe
from isthmus.bridge.canary import Canary
from isthmus.bridge.kind import BridgeKind
from isthmus.bridge.provenance import Provenance
from isthmus.bridge.tried import Tried
from isthmus.evaluate.evaluation import Evaluation
from isthmus.spaces.contract import Space
from isthmus.spaces.profile import Profile
from isthmus.tensors import Tensors
from isthmus.ways.fill_order import FillOrder
from isthmus.ways.thresholds import Thresholds
from isthmus.ways.trust import Trust
from isthmus.ways.way import Way

if TYPE_CHECKING:
    from isthmus.bridge.bridge import Bridge

__all__ = ["KIND", "pack_bridge", "unpack_bridge"]

KIND = "bridge"
"""The kind of artefact."""
_MOST_MATRICES = 256
"""As large as both spaces together; the files of real bridges hold a few."""
_MOST_OTHER_BYTES = 64 * 2**20

_FIELDS = ("kind", "source", "target", "recipe", "evidence", "ways", "tried", "provenance")
_PARTS = (
    *("chain", "source_profile", "target_profile"),
    *("canary", "trust", "thresholds", "out_of_fold", "fill_order"),
)
"""What packs itself."""
_Part = TypeVar("_Part")


def pack_bridge(bridge: Bridge) -> artefact.Packed:
    """JSON and tensors from which `unpack_bridge` makes the same bridge."""
    content: dict[str, Any] = {
        "kind": bridge.kind,
        "source": json.loads(bridge.source.to_json()),
        "target": json.loads(bridge.target.to_json()),
        "recipe": None if bridge.recipe is None else bridge.recipe.to_json(),
        "evidence": None if bridge.evidence is None else json.loads(bridge.evidence.to_json()),
        "ways": _ways(bridge.ways),
        "tried": [[t.recipe, t.score, t.squared_error] for t in bridge.tried],
        "provenance": bridge.provenance.to_json(),
    }
    if bridge.nested_ways:
        content["nested_ways"] = _ways(bridge.nested_ways)
    tensors: dict[str, NDArray[Any]] = {}
    for name in _PARTS:
        part = getattr(bridge, name)
        content[name], own = (None, {}) if part is None else part.pack()
        tensors |= artefact.prefixed(name, own)
    return content, tensors


def _ways(ways: Mapping[str, Way]) -> dict[str, Any]:
    return {name: way.model_dump(mode="json") for name, way in ways.items()}


def unpack_bridge(content: Mapping[str, Any], tensors: Tensors) -> dict[str, Any]:
    """The fields of the bridge that `pack_bridge` was given.

    Raises:
        KeyError, TypeError, ValueError: for anything else.
    """
    source, target = (Space.from_json(json.dumps(content[s])) for s in ("source", "target"))
    room = _MOST_MATRICES * 4 * (source.dim + target.dim) ** 2 + _MOST_OTHER_BYTES
    tensors.check(dtypes=(np.float32, np.int8), most_bytes=room)
    dims = source.dim, target.dim
    known = {*_FIELDS, *_PARTS}
    if set(content) - {"nested_ways"} != known or content["kind"] not in get_args(BridgeKind):
        raise ValueError(f"a {content['kind']} bridge does not hold {sorted(content)}")

    def part(name: str, unpack: Callable[..., _Part], *known: Any) -> _Part | None:
        described = content[name]
        return None if described is None else unpack(described, tensors.under(name), *known)

    recipe, evidence = content["recipe"], content["evidence"]
    profile = part("source_profile", Profile.unpack, source.dim)
    return {
        "kind": content["kind"],
        "source": source,
        "target": target,
        "chain": Chain.unpack(content["chain"], tensors.under("chain"), *dims),
        "recipe": None if recipe is None else Recipe.from_json(recipe),
        "evidence": None if evidence is None else Evaluation.from_json(json.dumps(evidence)),
        "ways": {name: Way.model_validate(way) for name, way in content["ways"].items()},
        "nested_ways": {
            name: Way.model_validate(way) for name, way in content.get("nested_ways", {}).items()
        },
        "tried": tuple(Tried.checked(*tried) for tried in content["tried"]),
        "provenance": Provenance.model_validate(content["provenance"]),
        "source_profile": profile,
        "target_profile": part("target_profile", Profile.unpack, target.dim),
        "canary": part("canary", Canary.unpack, *dims),
        "trust": part("trust", Trust.unpack, profile),
        "thresholds": part("thresholds", Thresholds.unpack),
        "out_of_fold": part("out_of_fold", CrossFitted.unpack, *dims),
        "fill_order": part("fill_order", FillOrder.unpack),
    }
