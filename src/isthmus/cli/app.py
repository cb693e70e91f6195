"""``isthmus``: the commands, and what happens to errors on their way out."""

from __future__ import annotations

import sys

import typer

from isthmus.cli.apply import apply_command
from isthmus.cli.budget import budget_command
from isthmus.cli.demo import demo_command
from isthmus.cli.diagnose import diagnose_command
from isthmus.cli.evaluate import evaluate_command
from isthmus.cli.fit import fit_command
from isthmus.cli.inspect import inspect_command
from isthmus.errors import IsthmusError

__all__ = ["app", "main"]

_INTERRUPTED = 130

app = typer.Typer(
    name="isthmus",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""Swap a pretrained embedding model without breaking what was built on it.

Vectors are read from `.npy`, `.npz`, `.safetensors`, Parquet and Arrow files; name an array or a
column after a colon, as in `vectors.parquet:embedding`. Items are joined by id where both sides
have ids, and row by row otherwise.

Exit codes: 0 done, 1 a gate failed, 2 bad usage or bad input.""",
    epilog="Start with: `isthmus demo`",
)

app.command("diagnose")(diagnose_command)
app.command("budget")(budget_command)
app.command("fit")(fit_command)
app.command("evaluate")(evaluate_command)
app.command("apply")(apply_command)
app.command("inspect")(inspect_command)
app.command("demo")(demo_command)


def main() -> None:
    """Run the command line; errors made on purpose become one sentence and exit code 2."""
    try:
        app()
    except IsthmusError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None
    except OSError as error:
        sys.stderr.write(f"error: {error.filename or 'the system'}: {error.strerror or error}\n")
        raise SystemExit(2) from None
    except SystemExit as left:
        # typer turns Ctrl-C into this code
        if left.code == _INTERRUPTED:
            sys.stderr.write("interrupted; nothing half-written was left\n")
        raise
