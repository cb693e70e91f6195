"""``isthmus card``: the page about a bridge, and what differs between two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.console import show, show_block, show_json
from isthmus.cli.inputs import Json
from isthmus.cli.registry_options import Trusted, registry_option
from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.bridge import Bridge

__all__ = ["card_command"]


def card_command(
    bridge: Annotated[
        str,
        typer.Argument(
            metavar="BRIDGE",
            help="A folder that is there, or a version in --registry: NAME, NAME@ALIAS or "
            "NAME@sha256:DIGITS.",
        ),
    ],
    other: Annotated[
        str | None,
        typer.Argument(metavar="[OTHER]", help="With --diff: a later one.", show_default=False),
    ] = None,
    diff: Annotated[
        bool, typer.Option("--diff", help="What differs between the cards of both.")
    ] = False,
    registry: Annotated[str | None, registry_option()] = None,
    trust: Trusted = None,
    as_json: Json = False,
) -> None:
    """Print the card of a bridge: what to do first, then for what, on what, how well, how to undo.

    With --diff, print every statement that differs between two cards: verdict, recommended way,
    contracts, data, recipe, evidence, groups.

    Examples:

        isthmus card my.bridge > my-bridge.md

        isthmus card --diff docs.new-to-old@production docs.new-to-old -r reg
    """
    from isthmus.bridge.card import card
    from isthmus.bridge.card_difference import card_difference

    if diff != (other is not None):
        raise InputError("a difference is between two", mend="Write: isthmus card --diff ONE OTHER")
    first = _opened(bridge, registry, trust)
    if other is None:
        text = card(first)
        if as_json:
            show_json({"card": text})
        else:
            show_block(text.rstrip())
        return
    found = card_difference(first, _opened(other, registry, trust))
    if as_json:
        show_json({"changes": [change._asdict() for change in found]})
        return
    section = ""
    for change in found:
        if change.section != section:
            section = change.section
            show(f"{section}:")
        show(f"  {change.what}: {change.before or 'nothing'} -> {change.after or 'nothing'}")
    if not found:
        show("nothing differs")


def _opened(asked: str, registry: str | None, trust: Path | None) -> Bridge:
    from isthmus.bridge import Bridge

    if registry is None or Path(asked).is_dir():
        return Bridge.load(asked)
    from isthmus.registry import Registry
    from isthmus.spaces.scratch import scratch_folder

    with scratch_folder() as place:
        folder = place / "bridge"
        Registry.open(registry, trust=trust).pull(asked, folder)
        return Bridge.load(folder)
