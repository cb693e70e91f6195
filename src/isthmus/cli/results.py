"""Results that several commands show: an evaluation with its gates, and what to type next."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.cli.console import show, show_lines, text_width
from isthmus.plain_text import shell_words

if TYPE_CHECKING:
    from isthmus.evaluate import Evaluation, GateResult

__all__ = ["called_as", "show_commands", "show_evaluation"]


def show_evaluation(
    found: Evaluation, gates: Sequence[GateResult] = (), *, all_arms: bool = False
) -> None:
    """The table of ways, fitted to the terminal, the verdict with its reason, and the gates."""
    from isthmus.evaluate.as_text import Line, evaluation_lines

    lines = evaluation_lines(found, width=text_width(), all_arms=all_arms)
    if found.fairness is not None:
        lines += [Line(""), *map(Line, str(found.fairness).split("\n"))]
    if found.robustness is not None:
        lines += [Line(""), *map(Line, str(found.robustness).split("\n"))]
    for gate in gates:
        wrapped = textwrap.wrap(f"gate: {gate}", text_width(), subsequent_indent="  ")
        lines += [Line(part, "good" if gate.passed else "bad") for part in wrapped]
    show_lines(lines)


def show_commands(commands: Sequence[str]) -> None:
    """What to type next, each on a line of its own, whole so that it can be copied."""
    if commands:
        show("", "to go on:")
    called = called_as()
    for command in commands:
        show(f"  {command if called is None else command.replace('isthmus', called, 1)}")


def called_as() -> str | None:
    """The path that isthmus was called by, where a shell does not find it by its name."""
    called = sys.argv[0]
    if Path(called).name != "isthmus" or not os.access(called, os.X_OK):
        return None
    found = shutil.which("isthmus")
    return None if found is not None and Path(found).samefile(called) else shell_words([called])
