"""``isthmus``: the commands, and what happens to errors on their way out."""

from __future__ import annotations

import signal
import sys
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer

from isthmus.cli.apply import apply_command
from isthmus.cli.budget import budget_command
from isthmus.cli.canary import canary_app
from isthmus.cli.console import show, show_json, spell_out
from isthmus.cli.demo import demo_command
from isthmus.cli.diagnose import diagnose_command
from isthmus.cli.evaluate import evaluate_command
from isthmus.cli.fit import fit_command
from isthmus.cli.inspect import inspect_command
from isthmus.cli.registry import add_registry_commands
from isthmus.cli.search import search_command
from isthmus.cli.signals import Stopped, stopped_by_signals
from isthmus.cli.threshold import threshold_command
from isthmus.errors import IsthmusError
from isthmus.plain_text import plain_line
from isthmus.spaces.formats.table import described

__all__ = ["app", "main"]

_BAD_INPUT, _UNEXPECTED, _INTERRUPTED = 2, 70, 130
_DEBUG = "--debug"

app = typer.Typer(
    name="isthmus",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help=f"""Swap a pretrained embedding model without breaking what was built on it.

Vectors are read from {described()} files, folders of them and patterns; name an array or a
column after a colon, as in `vectors.parquet:embedding`. Items are joined by id where both sides
have ids, and row by row otherwise.

Exit codes: 0 done, 1 a gate failed, 2 bad usage or bad input, 70 an unexpected error (`--debug`
shows where), 129, 130 and 143 stopped by a signal.""",
    epilog="Start with: `isthmus demo`",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        show(f"isthmus {version('isthmus')}")
        raise typer.Exit


@app.callback()
def _options(  # pyright: ignore[reportUnusedFunction]
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and leave."
        ),
    ] = False,
) -> None:
    """Options that stand before a command."""


app.command("diagnose")(diagnose_command)
app.command("budget")(budget_command)
app.command("fit")(fit_command)
app.command("evaluate")(evaluate_command)
app.command("apply")(apply_command)
app.command("inspect")(inspect_command)
app.command("search")(search_command)
app.command("threshold")(threshold_command)
app.command("demo")(demo_command)
app.add_typer(canary_app, name="canary")
add_registry_commands(app)


def main() -> None:
    """Run the command line; whatever happens ends in one sentence and an exit code."""
    spell_out()
    arguments = sys.argv[1:]
    debug = _DEBUG in arguments
    sys.argv[1:] = [argument for argument in arguments if argument != _DEBUG]
    try:
        with stopped_by_signals():
            app()
    except IsthmusError as error:
        if "--json" in arguments:
            show_json(
                {
                    "error": {
                        "kind": type(error).__name__,
                        "what": error.what,
                        "where": error.where,
                        "mend": error.mend,
                    }
                }
            )
        _end(f"error: {error}", _BAD_INPUT)
    except OSError as error:
        if debug:
            raise
        place = error.filename or "the system"
        _end(plain_line(f"error: {place}: {error.strerror or error}"), _BAD_INPUT)
    except Stopped as stopped:
        if stopped.number == signal.SIGPIPE:
            # whoever reads the result has read enough
            raise SystemExit(stopped.exit_code) from None
        _end(f"stopped ({stopped}); nothing half-written was left", stopped.exit_code)
    except SystemExit as left:
        # typer turns Ctrl-C into this code
        if left.code == _INTERRUPTED:
            sys.stderr.write("interrupted; nothing half-written was left\n")
        raise
    except MemoryError as error:
        if debug:
            raise
        told = f" ({error})" if str(error) else ""
        _end(f"error: there is not enough memory{plain_line(told)}", _UNEXPECTED)
    except Exception as error:
        if debug:
            raise
        _end(
            f"error: unexpected: {type(error).__name__}: {plain_line(str(error))[:400]} "
            f"(a defect of isthmus; {_DEBUG} shows where)",
            _UNEXPECTED,
        )


def _end(sentence: str, code: int) -> NoReturn:
    sys.stderr.write(sentence + "\n")
    raise SystemExit(code) from None
