"""Options that travel together."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from isthmus.cli.app import app
from isthmus.cli.option_groups import grouped, option_name
from isthmus.cli.store_inputs import StoreOptions


@dataclass(frozen=True)
class Bounds:
    """Two options of one purpose."""

    low: Annotated[int, typer.Option(help="The lower one.")]
    high: Annotated[int, typer.Option(min=0, help="The upper one.")] = 9


def _told() -> typer.Typer:
    told = typer.Typer()

    @told.command()
    @grouped
    def between(  # pyright: ignore[reportUnusedFunction]
        name: Annotated[str, typer.Argument(help="What.")],
        bounds: Bounds,
        loud: Annotated[bool, typer.Option("--loud")] = False,
    ) -> None:
        """Say what lies between two bounds."""
        typer.echo(f"{name} {bounds.low} {bounds.high} {loud}")

    return told


def test_the_command_gets_one_object_and_the_command_line_sees_single_options() -> None:
    run = CliRunner().invoke
    assert run(_told(), ["x", "--low", "3", "--loud"]).output == "x 3 9 True\n"
    assert run(_told(), ["x", "--low", "3", "--high", "4"]).output == "x 3 4 False\n"
    shown = run(_told(), ["--help"]).output
    assert "The lower one." in shown and "[required]" in shown and "[default: 9" in shown
    assert "Say what lies between two bounds." in shown
    refused = run(_told(), ["x"])
    assert refused.exit_code == 2 and "--low" in refused.output
    refused = run(_told(), ["x", "--low", "1", "--high", "-1"])
    assert refused.exit_code == 2 and "--high" in refused.output


def test_one_option_in_two_groups_is_found_where_it_is_written() -> None:
    def twice(bounds: Bounds, high: Annotated[int, typer.Option()] = 1) -> None:
        """Take one option twice."""

    with pytest.raises(AssertionError, match="twice"):
        grouped(twice)


def test_no_command_takes_more_than_eight_arguments() -> None:
    commands = [c.callback for c in app.registered_commands]
    commands += [c.callback for g in app.registered_groups for c in _commands(g.typer_instance)]
    many = {
        command.__name__: inspect.unwrap(command).__code__.co_argcount
        for command in commands
        if command is not None
    }
    assert len(many) > 30
    assert max(many.values()) <= 8, many


def _commands(group: typer.Typer | None) -> list[typer.models.CommandInfo]:
    return [] if group is None else group.registered_commands


def test_options_are_named_as_they_are_spelled() -> None:
    names = [option_name(StoreOptions, field.name) for field in dataclasses.fields(StoreOptions)]
    assert names[:5] == ["--old", "--new", "--pairs", "--queries", "--max-queries"]
