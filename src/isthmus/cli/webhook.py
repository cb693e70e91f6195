"""Who is told of an alarm."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from isthmus.cli.console import warn
from isthmus.errors import ServiceError

__all__ = ["Webhook", "check_hook", "post_alarm"]

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


def check_hook(webhook: str | None) -> None:
    """Refuse, before anything is looked at, an address that no alarm could be posted to.

    Raises:
        InputError: naming the option.
    """
    if webhook is not None:
        from isthmus.monitor import check_webhook

        check_webhook(webhook)


def post_alarm(webhook: str | None, told: dict[str, Any]) -> None:
    """Post an alarm; that nobody could be told is said, and the alarm stands all the same."""
    if webhook is None:
        return
    from isthmus.monitor import post

    try:
        post(webhook, told)
    except ServiceError as error:
        warn(f"nobody was told: {error}")
