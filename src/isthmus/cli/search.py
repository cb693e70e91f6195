"""``isthmus search``: what the evidence recommends, run on a live index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.completions import way_names
from isthmus.cli.console import ProgressBar, say, show, show_json, show_json_line
from isthmus.cli.inputs import BridgeOption, Json
from isthmus.cli.model_options import MODELS, KeyEnv, NewModel, OldModel
from isthmus.cli.option_groups import grouped
from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.bridge import Bridge
    from isthmus.encoders import Encoder
    from isthmus.progress import Progress
    from isthmus.stores import Store
    from isthmus.ways import QueryInput, Search, Way

__all__ = [
    "ServedModels",
    "check_models",
    "name_of",
    "open_encoders",
    "search_command",
    "search_of",
]

_ASKED = "What is asked"
_COST = "Cost"


@dataclass(frozen=True)
class AskedOptions:
    """What is asked: a text, many of them, or vectors."""

    text: Annotated[
        str | None,
        typer.Argument(metavar="[TEXT]", help="What to search for.", show_default=False),
    ] = None
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Many queries: a .txt file with one on a line, or a log as isthmus fit reads it "
            "(lines, or a table). The answers are lines of JSON.",
            rich_help_panel=_ASKED,
        ),
    ] = None
    vectors_old: Annotated[
        str | None,
        typer.Option(
            help="Queries as the old model encodes them, from a file: no encoder is needed.",
            rich_help_panel=_ASKED,
        ),
    ] = None
    vectors_new: Annotated[
        str | None,
        typer.Option(
            help="The same queries as the new model encodes them.", rich_help_panel=_ASKED
        ),
    ] = None

    def read(self) -> tuple[Sequence[str | int], QueryInput]:
        """What each query is shown as, and the queries: texts, or vectors by model."""
        vectors = {"old": self.vectors_old, "new": self.vectors_new}
        by_vectors = any(path is not None for path in vectors.values())
        given = [self.text is not None, self.queries is not None, by_vectors]
        if sum(given) != 1:
            raise InputError(
                "nothing is asked" if not any(given) else "queries were given in two ways",
                where="TEXT",
                mend="Give a text, or --queries, or --vectors-new and --vectors-old",
            )
        if self.text is not None:
            if not self.text.strip():
                raise InputError("the text is blank", where="TEXT", mend="Write what to search for")
            return [self.text], [self.text]
        if self.queries is not None:
            texts = _texts(self.queries)
            return texts, texts
        return _vectors({model: path for model, path in vectors.items() if path is not None})


@dataclass(frozen=True)
class ServedModels:
    """The encoders that a way may ask, and the column of those items that are re-embedded."""

    old: OldModel = None
    new: NewModel = None
    key_env: KeyEnv = None
    new_column: Annotated[
        str | None,
        typer.Option(
            help="The column with the new model's vectors of the items that were re-embedded; by "
            "default the one named new, where there is one.",
            rich_help_panel=MODELS,
        ),
    ] = None

    def named(self) -> dict[str, str | None]:
        """The spelling of each."""
        return {"old": self.old, "new": self.new}


@dataclass(frozen=True)
class CostOptions:
    """What one answer may cost."""

    budget_ms: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Milliseconds after which no further items are encoded; what has been rescored by "
            "then counts.",
            rich_help_panel=_COST,
        ),
    ] = None
    max_encodings: Annotated[
        int | None,
        typer.Option(
            min=0, help="Items that may be encoded for one answer.", rich_help_panel=_COST
        ),
    ] = None


@dataclass(frozen=True)
class AnswerOptions:
    """How many results, and what is told of them."""

    k: Annotated[int, typer.Option("--k", "-k", min=1, help="Results of each query.")] = 10
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Also say where the recall put each item, where the old and the bridged query put "
            "it alone if they are mixed, what was encoded and what came from the cache or the "
            "second column, trust, and the price.",
        ),
    ] = False
    as_json: Json = False


@grouped
def search_command(
    store: Annotated[
        str,
        typer.Argument(
            metavar="STORE",
            help="The URL of the index, such as lancedb://folder#table.column or "
            "postgresql://user@host/database#table.column; or a file of vectors.",
            show_default=False,
        ),
    ],
    bridge: BridgeOption,
    query: AskedOptions,
    models: ServedModels,
    cost: CostOptions,
    shown: AnswerOptions,
    way: Annotated[
        str,
        typer.Option(
            autocompletion=way_names,
            help="How to go on: what the evidence recommends, or another way of the bridge, such "
            "as bridge, mixed or mixed_rescore; isthmus inspect lists them.",
        ),
    ] = "recommended",
) -> None:
    """Search a live index in the way that the evidence recommends, or in another one.

    The bridge says which models a way asks; --old and --new name them, and a model that is not the
    bridge's is refused by its canary texts. Items that are rescored are encoded once: they are kept
    in the second column, where the index has one, and in the cache.

    Examples:

        isthmus search lancedb://db#docs.vector "how bridges stand" --bridge my.bridge
          --old st:OLD --new st:NEW --explain

        isthmus search lancedb://db#docs.vector --queries log.jsonl --bridge my.bridge
          --way bridge --new st:NEW -k 5

        isthmus search lancedb://db#docs.vector --vectors-new q_new.npy --bridge my.bridge
          --way bridge
    """
    from isthmus.bridge import Bridge
    from isthmus.stores import open_store
    from isthmus.ways import QueryLimits, run_queries

    one, k, explain = query.text is not None, shown.k, shown.explain
    names, asked = query.read()
    loaded = Bridge.load(bridge)
    chosen, name = loaded.way(way), name_of(loaded, way)
    check_models(loaded, way, asked, models)
    progress = ProgressBar()
    with open_store(store) as opened:
        encoders = open_encoders(chosen, asked, models, progress)
        search = search_of(loaded, opened, way, models.new_column, encoders)
        answers = run_queries(
            search,
            asked,
            k,
            way=name,
            names=names,
            explain=explain,
            limits=QueryLimits(cost.budget_ms, cost.max_encodings),
        )
        early = 0
        for answer in answers:
            progress.close()
            if one and not shown.as_json:
                show(*answer.lines(explain=explain))
            elif one:
                show_json(answer.as_json(explain=explain))
            else:
                show_json_line(answer.as_json(explain=explain))
                early += answer.early is not None
        if early:
            say(f"rescoring ended early for {early:,} of {len(names):,} queries")


def search_of(
    bridge: Bridge,
    store: Store,
    way: str,
    new_column: str | None,
    encoders: dict[str, Encoder | None],
) -> Search:
    """The search of an index in one way, its columns found or named.

    Raises:
        InputError: for a way that needs a column which the index has not.
    """
    from isthmus.ways import Needs, columns_of

    chosen = bridge.way(way)
    columns = columns_of(store)
    if new_column is not None:
        columns = replace(columns, new=store.describe().column(new_column).name)
    if Needs.NEW_COLUMN in chosen.needs and columns.new is None:
        raise InputError(
            f"the way '{name_of(bridge, way)}' ({chosen}) needs {Needs.NEW_COLUMN}, and the index "
            "has no column named new",
            where=store.url,
            mend="Re-embed that part into one, or name it with --new-column"
            + _instead(bridge, lambda it: Needs.NEW_COLUMN not in it.needs),
        )
    return bridge.search(store, chosen, columns=columns, **encoders)


def _texts(path: Path) -> list[str]:
    from isthmus.spaces.query_log import read_query_log
    from isthmus.spaces.texts import read_lines

    if path.suffix.lower() != ".txt":
        return list(read_query_log(path).texts)
    texts = read_lines(path)
    if not texts:
        raise InputError("there is no query here", where=str(path))
    return texts


def _vectors(paths: dict[str, str]) -> tuple[Sequence[str | int], Any]:
    import numpy as np

    from isthmus.spaces.ids import first_difference
    from isthmus.spaces.readers import open_vectors

    sides = {model: open_vectors(path) for model, path in paths.items()}
    first, *others = sides.values()
    for other in others:
        if other.n != first.n:
            raise InputError(
                f"{first.name} has {first.n:,} queries, {other.name} has {other.n:,}",
                mend="Give the same queries as both models encode them",
            )
        if first.ids is not None and other.ids is not None:
            row = first_difference(first.ids, other.ids)
            if row is not None:
                raise InputError(
                    f"row {row} is query '{first.ids[row]}' of {first.name}, and "
                    f"'{other.ids[row]}' of {other.name}",
                    mend="Give the same queries in the same order",
                )
    names = list(range(first.n)) if first.ids is None else first.ids.tolist()
    return names, {model: np.asarray(side.rows(0, side.n)) for model, side in sides.items()}


def name_of(bridge: Bridge, way: str) -> str:
    """What a way is called in its bridge."""
    recommended = bridge.recommended
    return recommended[0] if way == "recommended" and recommended is not None else way


def _models(way: Way) -> list[str]:
    """The models that a way asks for vectors of the queries."""
    from isthmus.ways import Needs

    needs = {"old": Needs.OLD_QUERIES, "new": Needs.NEW_QUERIES}
    return [model for model, need in needs.items() if need in way.needs]


def _lacks(way: Way, asked: QueryInput, models: ServedModels) -> list[str]:
    """The models that a way needs and that were not given: ``old``, ``new``, or both."""
    from isthmus.ways import Needs

    encoders = models.named()
    known = set(asked) if isinstance(asked, dict) else set[str]()
    lacking = [m for m in _models(way) if m not in known and encoders[m] is None]
    if Needs.ITEM_VECTORS in way.needs and models.new is None and "new" not in lacking:
        lacking.append("new")
    return lacking


def check_models(bridge: Bridge, asked_way: str, asked: QueryInput, models: ServedModels) -> None:
    """Refuse, before anything is opened, a way whose models were not named."""
    way, name = bridge.way(asked_way), name_of(bridge, asked_way)
    lacking = _lacks(way, asked, models)
    if not lacking:
        return
    by_vectors = isinstance(asked, dict)
    options = [
        f"--vectors-{m}" if by_vectors and m in _models(way) and m not in asked else f"--{m}"
        for m in lacking
    ]
    raise InputError(
        f"the way '{name}' ({way}) asks the {' and the '.join(lacking)} model, and "
        f"{' and '.join(options)} {'are' if len(lacking) > 1 else 'is'} not given",
        where=" and ".join(options),
        mend=f"Give it, as in --{lacking[0]} st:all-MiniLM-L6-v2"
        + _instead(bridge, lambda it: not _lacks(it, asked, models)),
    )


def _instead(bridge: Bridge, possible: Callable[[Way], bool]) -> str:
    """The best of the other ways that are possible, as the end of a sentence."""
    from isthmus.ways import Needs

    found = [
        name
        for name, it in bridge.ways.items()
        if name != "naive" and Needs.NEW_COLUMN not in it.needs and possible(it)
    ]
    evidence = bridge.evidence
    if evidence is not None:
        values = {n: arm.metrics[evidence.primary].value or 0 for n, arm in evidence.arms.items()}
        found.sort(key=lambda name: -values.get(name, 0))
    return f", or choose a way that does without: --way {found[0]}" if found else ""


def open_encoders(
    way: Way, asked: QueryInput, models: ServedModels, progress: Progress
) -> dict[str, Encoder | None]:
    """The encoders that the way asks; what it does not ask is not opened."""
    from isthmus.encoders import Spending, open_encoder
    from isthmus.ways import Needs

    known = set(asked) if isinstance(asked, dict) else set[str]()
    wanted = {model for model in _models(way) if model not in known}
    if Needs.ITEM_VECTORS in way.needs:
        wanted.add("new")
    spending = Spending(key_env=models.key_env)
    return {
        model: open_encoder(spelling, spending=spending, progress=progress)
        if spelling is not None and model in wanted
        else None
        for model, spelling in models.named().items()
    }
