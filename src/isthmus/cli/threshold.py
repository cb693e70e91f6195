"""``isthmus threshold``: what a threshold on the old model's scores becomes in every other way."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.completions import one_of, way_names
from isthmus.cli.console import say, show, show_json, text_width
from isthmus.cli.inputs import Json
from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.bridge import Bridge
    from isthmus.ways.thresholds import TranslatedThreshold

__all__ = ["threshold_command"]

_WORDS = {
    "share": "keeping the share of answers",
    "precision": "keeping the precision",
}


def threshold_command(
    old: Annotated[
        float,
        typer.Argument(
            metavar="THRESHOLD",
            help="As it was tuned on the old model's scores; write -- before a negative one.",
        ),
    ],
    bridge: Annotated[
        Path, typer.Option(metavar="BRIDGE", help="A folder that isthmus fit wrote.")
    ],
    keep: Annotated[
        str | None,
        typer.Option(
            help="share: as many of the first results pass; precision: as many of those that pass "
            "are right, which needs evidence from queries with answers, or labels. By default "
            "both.",
            autocompletion=one_of("share", "precision"),
        ),
    ] = None,
    way: Annotated[
        str | None,
        typer.Option(
            help="One way alone, by the name of its arm; by default all.", autocompletion=way_names
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Translate a score threshold of the old model for every way to serve the new one.

    A map, mixing, rescoring (reranking) and re-embedding all change the scale of scores: a cut-off
    tuned on the old model lets too much or too little through. Both translations are fitted on the
    held-out queries of the fit; the error is what either half of them shows of the translation by
    the other half, in a gallery as large as the one of the evidence.

    Example:

        isthmus threshold 0.75 --bridge new-to-old.bridge
    """
    from isthmus.bridge import Bridge

    if keep is not None and keep not in _WORDS:
        raise InputError(
            f"a threshold keeps the share or the precision, not '{keep}'", where="--keep"
        )
    loaded = Bridge.load(bridge)
    recommended = None if loaded.recommended is None else loaded.recommended[0]
    found = _translated(loaded, old, keep, way)
    if as_json:
        thresholds = [t.model_dump(mode="json") for t in found]
        show_json({"recommended": recommended, "thresholds": thresholds})
        return
    for kept, words in _WORDS.items():
        rows = [t for t in found if t.keep == kept]
        if rows:
            show(*_table(rows, words, recommended), fitted=True)
    if keep is None and all(t.keep == "share" for t in found):
        say("the precision is not known: the evidence did not know what is relevant")


def _translated(
    loaded: Bridge, old: float, keep: str | None, way: str | None
) -> list[TranslatedThreshold]:
    first = loaded.threshold(old, way or "bridge")
    held = loaded.thresholds
    assert held is not None
    ways = held.ways if way is None else (first.way,)
    if keep == "precision":
        return [held.translate(old, name, "precision") for name in ways]
    return [
        held.translate(old, name, kept)
        for name in ways
        for kept in held.keeps(name)
        if keep is None or kept == keep
    ]


def _table(rows: list[TranslatedThreshold], words: str, recommended: str | None) -> list[str]:
    known = next((t for t in rows if t.kept is not None), None)
    what = "of the first results pass" if rows[0].keep == "share" else "of what passes is right"
    told = "" if known is None or known.kept is None else f": with the old model {known.kept:.1%} "
    lines = [f"{words}{told}{what if told else ''}"]
    width = max(len(t.way) for t in rows) + 2
    unknown: dict[str, list[str]] = {}
    shown: list[str] = []
    for t in rows:
        mark = "*" if t.way == recommended else " "
        if t.new is None or t.error is None:
            unknown.setdefault(t.reason or "", []).append(t.way)
            continue
        error, low, high = (
            f"{100 * (v or 0.0):+.1f}" for v in (t.error.value, t.error.low, t.error.high)
        )
        shown.append(f"{mark} {t.way:<{width}}{t.new:<11.4f}{error} points [{low}, {high}]")
    if shown:
        lines += [f"  {'way':<{width}}{'threshold':<11}error on unseen queries", *shown]
    for reason, ways in unknown.items():
        text = f"no threshold for {', '.join(ways)}: {reason}"
        lines += textwrap.wrap(text, text_width(), initial_indent="  ", subsequent_indent="    ")
    if recommended in {t.way for t in rows if t.new is not None}:
        lines.append("* recommended")
    return [*lines, ""]
