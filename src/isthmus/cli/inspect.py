"""``isthmus inspect``: what a bridge is, what it was fitted on, and what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.console import show
from isthmus.cli.inputs import Json

__all__ = ["inspect_command"]


def inspect_command(
    bridge: Annotated[
        Path,
        typer.Argument(
            metavar="BRIDGE",
            help="A folder that isthmus fit wrote, or isthmus.nn.save_stitched.",
        ),
    ],
    as_json: Json = False,
) -> None:
    """Show a bridge or a stitched network: contracts, recipe, evidence, provenance.

    The folder is checked on the way: sizes, digests, formats. No code in it is run.
    """
    if (bridge / "stitch.json").is_file():
        from isthmus.nn.stitching.storage import stitched_card

        found = stitched_card(bridge)
        show((bridge / "stitch.json").read_text(encoding="utf-8") if as_json else found.rstrip())
        return
    from isthmus.artefact import MANIFEST
    from isthmus.bridge import Bridge
    from isthmus.bridge.card import card

    loaded = Bridge.load(bridge)
    if as_json:
        show((bridge / MANIFEST).read_text(encoding="utf-8").rstrip())
    else:
        show(card(loaded))
