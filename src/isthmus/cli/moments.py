"""``isthmus moments``: what a fit needs of every part, kept beside the data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.console import ProgressBar, say, show_json
from isthmus.cli.inputs import EngineName, IdsOption, Json, MetricOption, New, Old, RelevanceOptions
from isthmus.cli.inputs import open_inputs as opened
from isthmus.cli.next_steps import command
from isthmus.cli.option_groups import grouped
from isthmus.cli.outputs import WRITTEN

__all__ = ["moments_command"]


@dataclass(frozen=True)
class MomentOptions:
    """What the moments are for."""

    kind: Annotated[
        str, typer.Option(help="query or corpus: of the bridge that is to be fitted.")
    ] = "query"
    metric: MetricOption = "cosine"
    seed: Annotated[int, typer.Option(help="Of the split and the samples.")] = 0


@grouped
def moments_command(
    old: Old,
    new: New,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The folder of moments, new or to be added to."),
        WRITTEN,
    ],
    meant: MomentOptions,
    ids: IdsOption = None,
    engine: EngineName = None,
    as_json: Json = False,
) -> None:
    """Take the moments of every part of the data, and keep them for fits.

    Each file of OLD and NEW is read once in its life. After new files came, the same command reads
    those alone, and isthmus fit --moments adds up the rest. A part that changed is read again. Both
    sides must be in one order.

    Example:

        isthmus moments old/ new/ -o m --engine processes
    """
    from isthmus.bridge import write_moments
    from isthmus.scale import PartedPairs

    progress = ProgressBar()
    relevance = RelevanceOptions(ids, engine=engine or "processes")
    pairs = opened(
        old, new, relevance, kind=meant.kind, metric=meant.metric, progress=progress
    ).pairs
    assert isinstance(pairs, PartedPairs)
    say(repr(pairs))
    read = write_moments(pairs, output, seed=meant.seed, progress=progress)
    progress.close()
    if as_json:
        show_json({"output": str(output), "parts": len(pairs.parts), "read": read})
    say(f"{len(pairs.parts):,} parts, {read:,} of them read now: {output}")
    say("to go on:")
    say(f"  {command('fit', '--moments', str(output), '-o', 'my.bridge')}")
