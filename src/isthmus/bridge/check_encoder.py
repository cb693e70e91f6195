"""Is an encoder the very model that a bridge was fitted on?  Its canary texts tell."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from isthmus.bridge.kind import SIDES
from isthmus.encoders import Encoder, PrecomputedEncoder
from isthmus.errors import WrongSpaceError

if TYPE_CHECKING:
    from isthmus.bridge.bridge import Bridge

__all__ = ["ask_canary", "check_encoder"]


def check_encoder(bridge: Bridge, encoder: Encoder, model: Literal["old", "new"]) -> None:
    """Refuse an encoder of another width or model than the bridge's ``model``.

    Where the name or the revision differs from that of the fit, the bridge's canary texts are
    encoded, if it holds any, and compared with the vectors it remembers; they are few, and encoders
    that keep their vectors encode them once.

    Raises:
        WrongSpaceError: if it is another model.
        IsthmusError: whatever the encoder raises.
    """
    is_source = model == SIDES[bridge.kind][0]
    space = bridge.source if is_source else bridge.target
    if encoder.dim != space.dim:
        raise WrongSpaceError(
            f"{encoder.name} makes vectors of {encoder.dim} dimensions, the {model} model of this "
            f"bridge, {space.name}, has {space.dim}",
            where=f"the {model} encoder",
            mend="Name the model that the bridge was fitted on",
        )
    if (space.model, space.revision) != (encoder.name, encoder.revision):
        ask_canary(bridge, encoder, model)


def ask_canary(bridge: Bridge, encoder: Encoder, model: Literal["old", "new"]) -> bool:
    """Whether the canary texts show that this encoder is the bridge's ``model``.

    Returns:
        False where nothing is shown: the bridge holds no such texts, or the encoder knows vectors
        by their ids.

    Raises:
        WrongSpaceError: if they show that it is another.
        IsthmusError: whatever the encoder raises.
    """
    is_source = model == SIDES[bridge.kind][0]
    space, canary = bridge.source if is_source else bridge.target, bridge.canary
    if canary is None or canary.items is None or isinstance(encoder, PrecomputedEncoder):
        return False
    if not is_source:
        canary = replace(canary, source=canary.target, target=canary.source)
    try:
        canary.verify(lambda texts: encoder.encode(texts, kind="document"))
    except WrongSpaceError as error:
        raise WrongSpaceError(
            f"{encoder.name} is not the {model} model of this bridge, {space.name} "
            f"({error.where}: {error.what})",
            where=f"the {model} encoder",
            mend=error.mend,
        ) from error
    return True
