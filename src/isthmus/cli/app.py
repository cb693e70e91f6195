"""``isthmus``: the commands, and what happens to errors on their way out."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from isthmus.cli.apply import apply_command
from isthmus.cli.budget import budget_command
from isthmus.cli.canary import canary_app
from isthmus.cli.card import card_command
from isthmus.cli.check import check_command
from isthmus.cli.console import ready_streams, show, show_json, tell
from isthmus.cli.consumers import consumers_command
from isthmus.cli.demo import demo_command
from isthmus.cli.diagnose import diagnose_command
from isthmus.cli.evaluate import evaluate_command
from isthmus.cli.fit import fit_command
from isthmus.cli.help_text import join_examples
from isthmus.cli.inspect import inspect_command
from isthmus.cli.migrate import migrate_app
from isthmus.cli.moments import moments_command
from isthmus.cli.monitor import monitor_command
from isthmus.cli.outputs import hold_apart
from isthmus.cli.plan import plan_command
from isthmus.cli.probe import probe_command
from isthmus.cli.push import push_command
from isthmus.cli.registry import add_registry_commands
from isthmus.cli.review import review_command
from isthmus.cli.schema import schema_command
from isthmus.cli.search import search_command
from isthmus.cli.serve import serve_command
from isthmus.cli.signals import Stopped, stopped_by_signals
from isthmus.cli.threshold import threshold_command
from isthmus.cli.verbosity import level_of, listen, taken_out
from isthmus.errors import GateError, InputError, IsthmusError
from isthmus.plain_text import plain_line, redacted
from isthmus.spaces.formats.table import described

__all__ = ["app", "main"]

_FAILED, _BAD_INPUT, _UNEXPECTED, _INTERRUPTED = 1, 2, 70, 130
_DEBUG, _JSON = "--debug", "--json"

app = typer.Typer(
    name="isthmus",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help=f"""Swap a pretrained embedding model without breaking what was built on it.

Vectors are read from {described()} files, folders of them and patterns; name an array or a
column after a colon, as in `vectors.parquet:embedding`. Items are joined by id where both sides
have ids, and row by row otherwise.

Exit codes: 0 done, 1 a gate failed, 2 bad usage or bad input, 70 an unexpected error (`--debug`
shows where), 129, 130 and 143 stopped by a signal. Results go to stdout, everything else to stderr;
with `--json` results and errors are JSON on stdout. Colours follow the terminal and `NO_COLOR`.
`-v`, `-q` and `--debug` may stand before or behind a command.""",
    epilog="Start with: `isthmus demo`",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # it reads mail headers: a twentieth of a second

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
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Also say what each room does and how long it took."),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Only results, warnings and errors: no progress."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where an unexpected error comes from.")
    ] = False,
) -> None:
    """Options that stand before a command; `main` takes them out, wherever they stand."""


app.command("diagnose")(diagnose_command)
app.command("budget")(budget_command)
app.command("moments")(moments_command)
app.command("fit")(fit_command)
app.command("evaluate")(evaluate_command)
app.command("apply")(apply_command)
app.command("inspect")(inspect_command)
app.command("schema")(schema_command)
app.command("card")(card_command)
app.command("search")(search_command)
app.command("serve")(serve_command)
app.command("consumers")(consumers_command)
app.command("probe")(probe_command)
app.command("threshold")(threshold_command)
app.command("plan")(plan_command)
app.add_typer(migrate_app, name="migrate")
app.command("demo")(demo_command)
app.command("check")(check_command)
app.command("monitor")(monitor_command)
app.add_typer(canary_app, name="canary")
add_registry_commands(app)
app.command("push", rich_help_panel="Registry")(push_command)
app.command("review", rich_help_panel="Registry")(review_command)
join_examples(app)
hold_apart(app)


def main() -> None:
    """Run the command line; whatever happens ends in one sentence and an exit code."""
    ready_streams()
    arguments, level = level_of(sys.argv[1:])
    listen(level)
    arguments, debug = taken_out(arguments, _DEBUG)
    sys.argv[1:] = arguments
    as_json = _JSON in arguments
    try:
        _check_given(arguments)
        with stopped_by_signals():
            _run(as_json)
    except IsthmusError as error:
        kind = type(error).__name__
        _end(
            f"error: {error}",
            _FAILED if isinstance(error, GateError) else _BAD_INPUT,
            as_json,
            kind,
            what=error.what, where=error.where, mend=error.mend,
        )  # fmt: skip
    except OSError as error:
        if debug:
            raise
        place = redacted(str(error.filename or "the system"))
        what = redacted(str(error.strerror or error))
        if isinstance(error, FileNotFoundError) and _works_nowhere():
            place, what = "the folder that you work in", "it was removed"
        sentence = plain_line(f"error: {place}: {what}")
        _end(sentence, _BAD_INPUT, as_json, type(error).__name__, what=what, where=place)
    except Stopped as stopped:
        if stopped.number == signal.SIGPIPE:
            # whoever reads the result has read enough
            raise SystemExit(stopped.exit_code) from None
        what = f"stopped ({stopped}); nothing half-written was left"
        _end(what, stopped.exit_code, as_json, "Stopped", what=what)
    except SystemExit as left:
        # typer turns Ctrl-C into this code
        if left.code == _INTERRUPTED:
            what = "interrupted; nothing half-written was left"
            _end(what, _INTERRUPTED, as_json, "Interrupted", what=what)
        raise
    except MemoryError as error:
        if debug:
            raise
        what = "there is not enough memory" + (f" ({plain_line(str(error))})" if str(error) else "")
        _end(f"error: {what}", _UNEXPECTED, as_json, "MemoryError", what=what)
    except Exception as error:
        if debug:
            raise
        kind, what = type(error).__name__, redacted(plain_line(str(error)))[:400]
        sentence = f"error: unexpected: {kind}: {what} (a defect of isthmus; {_DEBUG} shows where)"
        _end(sentence, _UNEXPECTED, as_json, kind, what=what)


def _check_given(arguments: Sequence[str]) -> None:
    """Refuse an argument that is empty, which would be read as the folder one works in.

    Raises:
        InputError: saying which.
    """
    for number, (argument, before) in enumerate(zip(arguments, ("", *arguments), strict=False), 1):
        if not argument:
            place = before if before.startswith("-") else f"argument {number}"
            raise InputError(
                "it is empty", where=place, mend="Is it a variable of the shell that is not set?"
            )


def _run(as_json: bool) -> NoReturn:
    """Run the command; bad usage is told without passwords, to programs as JSON."""
    try:
        code = app(standalone_mode=False)
    except typer.Abort:
        _end("aborted", _FAILED, as_json, "Aborted", what="aborted")
    except Exception as error:
        # typer carries its own copy of click, whose classes have no public place
        usage: Any = error
        if not hasattr(usage, "format_message"):
            raise
        usage.message = redacted(str(usage.message))
        if not as_json:
            usage.show()
            raise SystemExit(usage.exit_code) from None
        context = usage.ctx
        place = None if context is None else context.command_path
        mend = None if place is None else f"See {place} --help"
        what = str(usage.format_message()).rstrip(".")
        sentence = plain_line(f"error: {place}: {what}. {mend}")
        _end(sentence, _BAD_INPUT, True, "UsageError", what=what, where=place, mend=mend)
    raise SystemExit(code if isinstance(code, int) else 0)


def _works_nowhere() -> bool:
    """Whether the current folder is gone, which every relative name is looked for in."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _end(
    sentence: str,
    code: int,
    as_json: bool,
    kind: str,
    *,
    what: str,
    where: str | None = None,
    mend: str | None = None,
) -> NoReturn:
    """Leave with an exit code; programs get the parts of the sentence."""
    if as_json:
        with suppress(OSError, Stopped):
            show_json({"error": {"kind": kind, "what": what, "where": where, "mend": mend}})
    tell(sentence + "\n")
    raise SystemExit(code) from None
