"""Help as it is shown: an example that takes several lines in the source is one line."""

from __future__ import annotations

import inspect
import re

import typer

__all__ = ["join_examples"]


def join_examples(app: typer.Typer) -> None:
    """Have the help of every command of ``app`` show each example with single spaces.

    Lines that are indented are one example until an empty line; what renders help fills such lines
    up, and keeps what they are indented by between them.
    """
    for command in app.registered_commands:
        written = None if command.callback is None else command.callback.__doc__
        if command.help is None and written is not None:
            command.help = re.sub(r"(?<=\S)\n {4,}(?=\S)", " ", inspect.cleandoc(written))
    for group in app.registered_groups:
        if group.typer_instance is not None:
            join_examples(group.typer_instance)
