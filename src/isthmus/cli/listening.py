"""Options of commands that listen: where, and what a reader is told of it."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["SERVED", "Host", "Port"]

SERVED = "Where it is served"

Host = Annotated[
    str,
    typer.Option(
        help="Where to listen. Anything but the loopback is reached by other machines, "
        "unencrypted.",
        rich_help_panel=SERVED,
    ),
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 for any.", rich_help_panel=SERVED)]
