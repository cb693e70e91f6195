"""A pipeline as data: ``center | procrustes | unit_norm``, the same in text and in JSON.

Grammar::

    recipe := step ("|" step)*
    step   := name | name "(" key "=" value ("," key "=" value)* ")"
    value  := number | true | false | auto | word

Exactly one step is an adapter.  Normalisers before it are fitted on both sides; directly behind it
one refinement may read the rows again; after that, row norms and temperature act on the mapped
vectors.  ``auto`` leaves a value to cross-validation and held-out retrieval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

from isthmus.adapters.recipe_step import Step, check_step, parse_step
from isthmus.adapters.steps.apart import Apart
from isthmus.adapters.steps.base import LinearAdapter, Refinement, Value
from isthmus.adapters.steps.normalisers import LayerNorm, Normaliser, Temperature, UnitNorm
from isthmus.adapters.steps.registry import STEPS
from isthmus.adapters.steps.target_means import TargetMeans
from isthmus.errors import RecipeError

__all__ = ["Recipe"]

_AFTER_ADAPTER = (UnitNorm, LayerNorm, Temperature)


@dataclass(frozen=True)
class Recipe:
    """A checked sequence of steps with one adapter.

    Example:
        >>> recipe = Recipe.parse("unit_norm | ridge(alpha=auto) | unit_norm")
        >>> recipe.adapter.name, recipe.adapter.automatic
        ('ridge', ['alpha'])
        >>> str(recipe)
        'unit_norm | ridge(alpha=auto) | unit_norm'
    """

    steps: tuple[Step, ...]

    @classmethod
    def of(cls, recipe: str | Sequence[Any] | Recipe) -> Recipe:
        """A recipe from its text, its JSON, or itself.

        Raises:
            RecipeError: naming the step that is wrong and what was meant, where that can be told.
        """
        if isinstance(recipe, Recipe):
            return recipe
        if isinstance(recipe, str):
            return cls.parse(recipe)
        return cls.from_json(recipe)

    @classmethod
    def parse(cls, text: str) -> Self:
        """A recipe from its text."""
        return cls._checked([parse_step(part, text) for part in text.split("|")])

    @classmethod
    def from_json(cls, value: Sequence[Any]) -> Self:
        """A recipe from what `to_json` gave."""
        steps: list[Step] = []
        for item in value:
            if not isinstance(item, dict) or set(item) - {"step", "parameters"}:
                raise RecipeError(f"a recipe in JSON is a list of steps, got {item!r}")
            steps.append(Step(str(item.get("step")), dict(item.get("parameters", {}))))
        return cls._checked(steps)

    def to_json(self) -> list[dict[str, Any]]:
        """The recipe as a list of ``{"step": name, "parameters": {...}}``."""
        return [{"step": s.name, "parameters": dict(s.parameters)} for s in self.steps]

    @classmethod
    def _checked(cls, steps: Sequence[Step]) -> Self:
        for step in steps:
            check_step(step)
        adapters = [s.name for s in steps if issubclass(STEPS[s.name], LinearAdapter)]
        if len(adapters) != 1:
            names = sorted(n for n, s in STEPS.items() if issubclass(s, LinearAdapter))
            raise RecipeError(
                f"a recipe has exactly one adapter, this one has {adapters or 'none'}",
                where=" | ".join(map(str, steps)),
                mend=f"Choose one of {names}",
            )
        recipe = cls(tuple(steps))
        for step in recipe.before:
            kind = STEPS[step.name]
            if issubclass(kind, Apart):
                if step is not next(iter(recipe.affine), None):
                    raise RecipeError(
                        "documents and queries are centred apart before anything else is fitted",
                        where=str(recipe),
                        mend="Put apart first, or directly behind the last unit_norm or layer_norm",
                    )
            elif issubclass(kind, TargetMeans):
                cast(TargetMeans, step.build()).check()
            elif cast(type[LinearAdapter], STEPS[adapters[0]]).own_frame and not _is_rowwise(step):
                raise RecipeError(
                    f"'{step.name}' cannot stand before '{adapters[0]}', which has its own frame",
                    where=str(recipe),
                    mend="Leave it out; unit_norm may stand there",
                )
        refinements = [s.name for s in steps if issubclass(STEPS[s.name], Refinement)]
        if refinements and (len(refinements) > 1 or recipe.refinement is None):
            raise RecipeError(
                f"one refinement may stand directly behind the adapter, found {refinements}",
                where=str(recipe),
                mend=f"Write it as ... | {adapters[0]} | {refinements[0]} | ...",
            )
        for step in recipe.after:
            if not issubclass(STEPS[step.name], _AFTER_ADAPTER):
                raise RecipeError(
                    f"'{step.name}' cannot stand after the adapter",
                    where=str(recipe),
                    mend="Move it before the adapter: it is undone on the target side by itself",
                )
        return recipe

    def __str__(self) -> str:
        return " | ".join(map(str, self.steps))

    @property
    def adapter(self) -> Step:
        """The one step that maps between the spaces."""
        return self.steps[self._position]

    @property
    def before(self) -> tuple[Step, ...]:
        """The normalisers fitted on both sides."""
        return self.steps[: self._position]

    @property
    def search_only(self) -> bool:
        """Whether mapped vectors rank the target's, but do not lie among them."""
        kind = STEPS[self.adapter.name]
        return issubclass(kind, LinearAdapter) and kind.search_only

    @property
    def refinement(self) -> Step | None:
        """The step directly behind the adapter that reads the rows again, if there is one."""
        behind = self.steps[self._position + 1 : self._position + 2]
        return behind[0] if behind and issubclass(STEPS[behind[0].name], Refinement) else None

    @property
    def after(self) -> tuple[Step, ...]:
        """What is done to the mapped vectors."""
        return self.steps[self._position + (1 if self.refinement is None else 2) :]

    @property
    def _position(self) -> int:
        return next(i for i, s in enumerate(self.steps) if issubclass(STEPS[s.name], LinearAdapter))

    @property
    def front(self) -> tuple[Step, ...]:
        """The steps up to the last row norm before the adapter: moments are taken after them."""
        rowwise = [i for i, s in enumerate(self.before) if _is_rowwise(s)]
        return self.before[: rowwise[-1] + 1] if rowwise else ()

    @property
    def affine(self) -> tuple[Step, ...]:
        """The normalisers between `front` and the adapter: moments are carried through them."""
        return self.before[len(self.front) :]

    @property
    def apart(self) -> bool:
        """Whether documents and queries are centred apart."""
        return any(issubclass(STEPS[s.name], Apart) for s in self.before)

    def with_adapter(self, **parameters: Value) -> Recipe:
        """The same recipe with parameters of the adapter replaced."""
        adapter = Step(self.adapter.name, {**self.adapter.parameters, **parameters})
        return Recipe((*self.before, adapter, *self.steps[self._position + 1 :]))

    def with_refinement(self, step: Step | None) -> Recipe:
        """The same recipe with another refinement, or none."""
        refined = () if step is None else (step,)
        return Recipe((*self.before, self.adapter, *refined, *self.after))


def _is_rowwise(step: Step) -> bool:
    kind = STEPS[step.name]
    return issubclass(kind, Normaliser) and kind.rowwise
