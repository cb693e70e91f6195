"""The option that names who is told of an alarm."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["Webhook"]

Webhook = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="ISTHMUS_WEBHOOK",
        rich_help_panel="What is done about an alarm",
        help="Where an alarm is posted to, as JSON.",
        show_envvar=True,
    ),
]
