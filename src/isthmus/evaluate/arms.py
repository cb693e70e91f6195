"""The table of arms: every way to go on that is measured, its words, its answer, what it needs.

Whoever adds a way to serve adds a row here and makes its `isthmus.ways.Way` in
`isthmus.ways.choose`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

__all__ = ["ARMS", "AnswerTone", "ArmKind", "Need", "Verdict", "in_order", "of_role", "words_of"]

AnswerTone = Literal["good", "caution", "bad"]


class Verdict(StrEnum):
    """The answers: ways to serve the new model, and three that leave things as they are.

    Example:
        >>> Verdict.USE_BRIDGE.answer
        ('good', 'Yes: use the bridge.')
        >>> Verdict.KEEP_OLD.serves
        False
    """

    USE_BRIDGE = "use the bridge"
    BRIDGE_AND_RESCORE = "bridge and rescore"
    MIX_QUERIES = "mix the queries"
    MIX_AND_RESCORE = "mix the queries and rescore"
    OLD_AND_RESCORE = "recall with the old model and rescore"
    BACKFILL = "backfill a part"
    BACKFILL_AND_RESCORE = "backfill a part and rescore"
    RE_EMBED = "re-embed"
    KEEP_OLD = "keep the old model"
    NOT_ENOUGH_EVIDENCE = "not enough evidence"

    @property
    def serves(self) -> bool:
        """Whether it puts the new model to work without re-embedding the whole gallery."""
        return self not in _OTHER_ANSWERS

    @property
    def answer(self) -> tuple[AnswerTone, str]:
        """How good the news is, and the answer to "may the models be swapped?" in a sentence."""
        return _OTHER_ANSWERS.get(self, ("good", f"Yes: {self}."))


_OTHER_ANSWERS: dict[Verdict, tuple[AnswerTone, str]] = {
    Verdict.RE_EMBED: ("caution", "Yes, but only by re-embedding everything."),
    Verdict.KEEP_OLD: ("bad", "No: keep the old model."),
    Verdict.NOT_ENOUGH_EVIDENCE: ("caution", "It cannot be said: the evidence is not enough."),
}


class Need(StrEnum):
    """What an arm cannot be measured without; the text says why it is absent where it lacks."""

    OLD_ENCODER = "the old encoder does not run"
    QUERY_BRIDGE = "a corpus bridge maps no queries"
    NEW_GALLERY = "the gallery is not known in the new model's vectors"


Role = Literal["bound", "check", "way"]


@dataclass(frozen=True)
class ArmKind:
    """A row of the table of arms: a way that is measured, its words and its verdict."""

    name: str
    """Its key in an `Evaluation`, in gates and in options."""
    words: str
    """What it is, for a reader of reports."""
    role: Role = "way"
    """``way``: it may be recommended; ``bound``: what it is compared with; ``check``: what shows
    that the comparison means something."""
    verdict: Verdict | None = None
    """The answer if it is recommended."""
    needs: tuple[Need, ...] = ()
    without_gain: bool = False
    """Recommended too where it only loses nothing."""
    chosen: bool = False
    """Whether its parameters are chosen on validation queries."""


_TABLE = (
    ArmKind("old", "old model, old index: doing nothing", "bound"),
    ArmKind("naive", "naive swap: new queries, old index", "check"),
    ArmKind("bridge", "bridge", verdict=Verdict.USE_BRIDGE, without_gain=True),
    ArmKind(
        "rescore",
        "bridge, the first ones rescored",
        verdict=Verdict.BRIDGE_AND_RESCORE,
        needs=(Need.NEW_GALLERY,),
    ),
    ArmKind(
        "mixed",
        "queries of both models mixed",
        verdict=Verdict.MIX_QUERIES,
        needs=(Need.OLD_ENCODER, Need.QUERY_BRIDGE),
        chosen=True,
    ),
    ArmKind(
        "bridge_rescore",
        "bridge, then rescored",
        verdict=Verdict.BRIDGE_AND_RESCORE,
        needs=(Need.NEW_GALLERY,),
        chosen=True,
    ),
    ArmKind(
        "old_rescore",
        "old model's results, rescored",
        verdict=Verdict.OLD_AND_RESCORE,
        needs=(Need.OLD_ENCODER, Need.NEW_GALLERY),
        chosen=True,
    ),
    ArmKind(
        "mixed_rescore",
        "mixed queries, then rescored",
        verdict=Verdict.MIX_AND_RESCORE,
        needs=(Need.OLD_ENCODER, Need.QUERY_BRIDGE, Need.NEW_GALLERY),
        chosen=True,
    ),
    ArmKind(
        "backfill",
        "a part re-embedded",
        verdict=Verdict.BACKFILL,
        needs=(Need.NEW_GALLERY,),
        chosen=True,
    ),
    ArmKind(
        "backfill_most",
        "a larger part re-embedded",
        verdict=Verdict.BACKFILL,
        needs=(Need.NEW_GALLERY,),
        chosen=True,
    ),
    ArmKind(
        "backfill_rescore",
        "a part re-embedded, rescored",
        verdict=Verdict.BACKFILL_AND_RESCORE,
        needs=(Need.NEW_GALLERY,),
        chosen=True,
    ),
    ArmKind(
        "new",
        "new model, everything re-embedded",
        "bound",
        Verdict.RE_EMBED,
        needs=(Need.NEW_GALLERY,),
    ),
    ArmKind("control", "control: the bridge, queries permuted", "check"),
)

ARMS: dict[str, ArmKind] = {arm.name: arm for arm in _TABLE}
"""Every arm by name, in the order in which arms are shown."""


def of_role(*roles: Role) -> tuple[str, ...]:
    """The names of the arms of these roles."""
    return tuple(arm.name for arm in _TABLE if arm.role in roles)


def in_order(names: Collection[str], load: Callable[[str], float]) -> list[str]:
    """Names of arms as they are shown: chosen ones cheapest first, between the fixed ones.

    An arm that is not in the table counts as a chosen one.
    """
    table = list(ARMS)
    middle = next(table.index(arm.name) for arm in _TABLE if arm.chosen)
    fixed = [arm.name for arm in _TABLE if not arm.chosen and arm.name in names]
    first = [n for n in fixed if table.index(n) < middle]
    chosen = sorted((n for n in names if n not in fixed), key=lambda n: (load(n), n))
    return [*first, *chosen, *fixed[len(first) :]]


def words_of(name: str, label: str | None = None) -> str:
    """An arm in words, with the parameters that its label adds to the name."""
    if name not in ARMS:
        return label or name
    parameters = (label or name).removeprefix(name).strip()
    return f"{ARMS[name].words} ({parameters})" if parameters else ARMS[name].words
