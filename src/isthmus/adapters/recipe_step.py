"""One step of a recipe: its name and parameters, read from text and checked."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field

from isthmus.adapters.steps.base import Estimator, Value
from isthmus.adapters.steps.registry import STEPS
from isthmus.errors import RecipeError

__all__ = ["Step", "check_step", "parse_step"]

_STEP = re.compile(r"^\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?:\((.*)\))?\s*$", re.DOTALL)


@dataclass(frozen=True)
class Step:
    """One step: the name of an estimator and the parameters it is given."""

    name: str
    parameters: dict[str, Value] = field(default_factory=dict[str, Value])

    def __str__(self) -> str:
        if not self.parameters:
            return self.name
        # in one order, whatever a file made of it
        order = STEPS[self.name].parameter_names() if self.name in STEPS else []
        given = sorted(
            self.parameters.items(), key=lambda p: order.index(p[0]) if p[0] in order else -1
        )
        return f"{self.name}({', '.join(f'{k}={_text(v)}' for k, v in given)})"

    @property
    def automatic(self) -> list[str]:
        """The parameters left to cross-validation."""
        return [k for k, v in self.parameters.items() if v == "auto"]

    def build(self) -> Estimator:
        """The unfitted estimator.

        Raises:
            RecipeError: if a parameter is still ``auto``.
        """
        if self.automatic:
            raise RecipeError(f"{self}: {self.automatic[0]} is still to be chosen")
        return STEPS[self.name](**self.parameters)


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def parse_step(part: str, whole: str) -> Step:
    """The step that ``part`` of the recipe ``whole`` describes.

    Raises:
        RecipeError: if it cannot be read.
    """
    match = _STEP.match(part)
    if match is None:
        raise RecipeError(
            f"cannot read the step '{part.strip()}'",
            where=whole,
            mend="Write steps as name or name(key=value, ...), joined by |",
        )
    parameters: dict[str, Value] = {}
    for item in (match[2] or "").split(","):
        if not item.strip():
            continue
        key, equals, value = (piece.strip() for piece in item.partition("="))
        if not equals or not key or not value:
            raise RecipeError(f"cannot read '{item.strip()}' in '{part.strip()}'", where=whole)
        if key in parameters:
            raise RecipeError(f"'{key}' is given twice in '{part.strip()}'", where=whole)
        parameters[key] = _parse_value(value)
    return Step(match[1], parameters)


def _parse_value(text: str) -> Value:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def check_step(step: Step) -> None:
    """Refuse names and parameters that no step has.

    Raises:
        RecipeError: naming what was meant, where that can be told.
    """
    if step.name not in STEPS:
        near = difflib.get_close_matches(step.name, STEPS, n=1)
        raise RecipeError(
            f"unknown step '{step.name}'",
            mend=f"Did you mean '{near[0]}'?" if near else f"Choose from {sorted(STEPS)}",
        )
    known = STEPS[step.name].parameter_names()
    for key, value in step.parameters.items():
        if key not in known:
            raise RecipeError(
                f"'{step.name}' has no parameter '{key}'",
                mend=f"It has {known}" if known else "It takes none",
            )
        words = STEPS[step.name].words.get(key, ())
        if words and value not in (*words, "auto"):
            raise RecipeError(
                f"'{key}={_text(value)}' in '{step.name}' is not known",
                mend=f"Choose from {list(words)}",
            )
        if isinstance(value, str) and not words and value != "auto":
            raise RecipeError(f"'{key}={value}' in '{step.name}' is not a number, true or false")
        if value == "auto" and key not in STEPS[step.name].automatic:
            raise RecipeError(f"'{key}' of '{step.name}' cannot be left to cross-validation")
