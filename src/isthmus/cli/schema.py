"""``isthmus schema``: the JSON schema of what a command prints under ``--json``."""

from __future__ import annotations

from typing import Annotated

import typer

from isthmus.cli.completions import schema_words
from isthmus.cli.console import show, show_json

__all__ = ["schema_command"]


def schema_command(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[COMMAND]...",
            help="A command, or error; without it, those that have one are listed.",
            show_default=False,
            autocompletion=schema_words,
        ),
    ] = None,
) -> None:
    """Print the JSON schema of what a command prints under --json.

    Within a version fields may be added, and none are renamed, removed or given another meaning.

    Examples:

        isthmus schema threshold

        isthmus schema migrate status
    """
    from isthmus.cli.json_schemas import json_schema, known_schemas

    if not command:
        show(*known_schemas())
    else:
        show_json(json_schema(" ".join(command)))
