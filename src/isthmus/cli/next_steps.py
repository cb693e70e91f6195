"""What to type next: commands on the same data with the same judges, so that they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from isthmus.plain_text import shell_words

if TYPE_CHECKING:
    from isthmus.bridge import Bridge
    from isthmus.diagnose import Diagnosis
    from isthmus.evaluate import Evaluation
    from isthmus.ways import Way

__all__ = [
    "Asked",
    "after_diagnosis",
    "after_evaluation",
    "after_fit",
    "after_live_fit",
    "command",
    "lacks_recommended",
    "option_words",
]

_BRIDGE, _PLAN = "my.bridge", "plan.json"
_IDS_BY_HAND = ("--ids", "IDS")
_INDEX, _MODEL = ("STORE", "TEXT"), "ENC"
"""What only the reader can name, spelled as in ``isthmus search --help``."""
_AGAIN = "  # type the secret again for ***; PostgreSQL also reads PGPASSWORD, without ':***'"
_KEPT_BY_A_BRIDGE = frozenset({"--metric"})
"""What a bridge knows, so that the commands that take one do not."""


@dataclass(frozen=True)
class Asked:
    """The data and the judges that a command was given, as they were typed."""

    old: str
    new: str | None
    """None where ``old`` is the URL of an index."""
    options: Mapping[str, object]
    """By their names, such as ``--queries-old``; None or empty for one that was not given."""

    def words(self, *left_out: str) -> list[str]:
        """What is compared and the options, but for those ``left_out``."""
        sides = [self.old] if self.new is None else [self.old, self.new]
        return [*map(_place, sides), *option_words(self.options, *left_out)]

    def given(self, name: str) -> str | None:
        """The value of an option, or None."""
        value = self.options.get(name)
        return None if value is None else str(value)


def option_words(options: Mapping[str, object], *left_out: str) -> list[str]:
    """Options as they are typed, but for those ``left_out`` and those that were not given."""
    words: list[str] = []
    for name, value in options.items():
        if name in left_out or value is None or value is False:
            continue
        several = isinstance(value, (list, tuple))
        for each in cast(Sequence[object], value) if several else (value,):
            words += [name] if each is True else [name, str(each)]
    return words


def command(*words: str) -> str:
    """A command of isthmus that a shell reads as these words, and no secret in it.

    What a reader has to put in again stands behind it, where a shell reads nothing.
    """
    typed = shell_words(["isthmus", *words])
    return f"{typed}{_AGAIN}" if "***" in typed and "***" not in "".join(words) else typed


def after_diagnosis(found: Diagnosis, asked: Asked) -> tuple[str, ...]:
    """A fit that chooses the map itself, and its evaluation; nothing that would be refused."""
    if found.wrongly_paired and asked.given("--ids") in (None, "none"):
        judges = ("--queries-old", "--queries-new", "--qrels", "--labels", "--primary", "--ids")
        return (command("diagnose", *asked.words(*judges), *_IDS_BY_HAND),)
    if not found.can_be_fitted:
        return ()
    return (
        command("fit", *asked.words(), "-o", *_into(_BRIDGE)),
        command("evaluate", _BRIDGE, *asked.words(*_KEPT_BY_A_BRIDGE)),
    )


def after_fit(bridge: Bridge, path: Path, asked: Asked, *, passed: bool) -> tuple[str, ...]:
    """What was fitted, the same judgement again, and the recommended way if the gates passed."""
    return (
        command("inspect", _place(path)),
        command("evaluate", _place(path), *asked.words(*_KEPT_BY_A_BRIDGE)),
        *(_to_serve(bridge, bridge.evidence, path, asked) if passed else ()),
    )


def after_live_fit(bridge: Bridge, path: Path, asked: Asked, query: str | None) -> tuple[str, ...]:
    """What was fitted, and the recommended way on the index that it was fitted on.

    Args:
        bridge: with evidence.
        path: its folder.
        asked: the URL of the index as ``old``, both models, and what judges them.
        query: the text of one; None where none is known.
    """
    from isthmus.ways import Needs

    shown = command("inspect", _place(path))
    way = bridge.recommended
    if way is None:
        return (shown,)
    if Needs.NEW_COLUMN in way[1].needs:
        # a part has to be filled before it is searched, and a migration fills it
        plan = command("plan", *asked.words(), "--bridge", str(path), "-o", *_into(_PLAN))
        return (shown, plan)
    if query is None:
        return (shown,)
    index, *named = asked.words("--queries", "--qrels")
    options = ["--bridge", str(path), *named]
    if query.startswith("-"):  # an option, were it not for the dashes
        return (shown, command("search", *options, "--", index, query))
    return (shown, command("search", index, query, *options))


def after_evaluation(
    bridge: Bridge, found: Evaluation, path: Path, asked: Asked
) -> tuple[str, ...]:
    """The way that this evidence recommends; a fit that has it, where this bridge does not."""
    if found.verdict.serves and lacks_recommended(bridge, found):
        metric = bridge.target.metric
        kept = [] if metric == "cosine" else ["--metric", metric]
        return (command("fit", *asked.words(), *kept, "-o", *_into(_BRIDGE)),)
    return _to_serve(bridge, found, path, asked)


def lacks_recommended(bridge: Bridge, found: Evaluation) -> bool:
    """Whether this evidence recommends a way that the fit of the query bridge did not choose."""
    name = found.recommended
    return bridge.kind == "query" and name is not None and name not in {"bridge", *bridge.ways}


def _to_serve(
    bridge: Bridge, found: Evaluation | None, path: Path, asked: Asked
) -> tuple[str, ...]:
    if found is None or found.recommended is None or not found.verdict.serves:
        return ()
    name = found.recommended
    if name == "bridge":
        return (_mapped(bridge, path, asked),)
    return (_searched(name, bridge, path, asked),) if bridge.kind == "query" else ()


def _mapped(bridge: Bridge, path: Path, asked: Asked) -> str:
    """The bridge over what is to be mapped, into a file."""
    queries, engine = asked.given("--queries-new"), asked.given("--engine")
    if bridge.kind == "query":
        source, output = queries or asked.new or asked.old, "queries_for_the_old_index"
    else:
        source, output = asked.old, "vectors_for_the_new_model"
    if engine is None or source == queries:
        return command("apply", _place(path), _place(source), *_into(f"{output}.npy"))
    return command("apply", _place(path), _place(source), *_into(output), "--engine", engine)


def _searched(name: str, bridge: Bridge, path: Path, asked: Asked) -> str:
    """A search in this way: of the old vectors' file where that can be, or of an index to name."""
    from isthmus.ways import Needs

    way: Way = bridge.ways[name]
    wanted = {"old": Needs.OLD_QUERIES, "new": Needs.NEW_QUERIES}
    models = [model for model, need in wanted.items() if need in way.needs]
    vectors = {model: asked.given(f"--queries-{model}") for model in models}
    chosen = bridge.recommended
    named = ["--bridge", str(path), *([] if chosen and chosen[0] == name else ["--way", name])]
    if way.needs <= set(wanted.values()) and all(vectors.values()) and not asked.given("--ids"):
        asks = [word for m, file in vectors.items() for word in (f"--vectors-{m}", str(file))]
        return command("search", _place(asked.old), *asks, *named)
    if Needs.ITEM_VECTORS in way.needs and "new" not in models:
        models.append("new")
    encoders = [word for model in models for word in (f"--{model}", _MODEL)]
    return command("search", *_INDEX, *named, *encoders)


def _place(path: str | Path) -> str:
    """A file or an index as an argument: no option, even where its name begins with a dash."""
    text = str(path)
    return f"./{text}" if text.startswith("-") and text != "-" else text


def _into(path: str) -> list[str]:
    """An output that is named here; one that is there already is replaced."""
    return [path, *(["--overwrite"] if Path(path).exists() else [])]
