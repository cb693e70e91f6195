"""``isthmus inspect``: what a bridge is, what it was fitted on, and what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.console import show_block, show_markdown, text_width, warn
from isthmus.cli.inputs import Json

__all__ = ["inspect_command"]

_BLOCK = 2  # characters beside a block of code


def inspect_command(
    bridge: Annotated[
        Path,
        typer.Argument(
            metavar="BRIDGE",
            help="A folder that isthmus fit wrote, or anything else that isthmus saved.",
        ),
    ],
    as_markdown: Annotated[
        bool,
        typer.Option("--markdown", help="Print the card as the Markdown that the folder holds."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what isthmus saved, such as a bridge: contracts, recipe, evidence, provenance.

    The folder is checked on the way: sizes, digests, formats. No code in it is run.

    Examples:

        isthmus inspect my.bridge

        isthmus inspect my.bridge --markdown > my-bridge.md
    """
    from isthmus import artefact
    from isthmus.bridge import Bridge
    from isthmus.bridge.card import card
    from isthmus.bridge.packing import KIND

    kind = artefact.kind_at(bridge)
    text = None
    if kind == KIND:
        loaded = Bridge.load(bridge)
        text = card(loaded) if as_markdown else card(loaded, width=text_width() - _BLOCK)
    with artefact.read(bridge, kind) as stored:
        stored.tensors.verify()
        if kind != KIND:
            text = stored.texts.get("CARD.md")
    for name, found in stored.texts.items():
        if found is None:
            warn(f"{bridge}: {name} is missing or was changed after it was written")
    if as_json or text is None:
        show_block((bridge / artefact.manifest_name(kind)).read_text(encoding="utf-8").rstrip())
    elif as_markdown:
        show_block(text.rstrip())
    else:
        show_markdown(text)
