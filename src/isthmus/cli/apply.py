"""``isthmus apply``: vectors through a bridge, file to file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.console import SCORES_DIFFER, UNRECOGNISED, ProgressBar, say, show_json, warn
from isthmus.cli.inputs import BridgeFolder, EngineName, Json, Overwrite
from isthmus.cli.option_groups import grouped
from isthmus.cli.outputs import WRITTEN

__all__ = ["apply_command"]


@dataclass(frozen=True)
class DirectionOptions:
    """Which way the vectors go, and how they are held against the bridge's source."""

    canary: Annotated[
        str | None,
        typer.Option(
            help="The bridge's canary items (isthmus inspect lists them), encoded again by the "
            "model you serve, with their ids: refused unless they agree with the fit."
        ),
    ] = None
    no_check: Annotated[
        bool,
        typer.Option(
            "--no-check",
            help="Do not compare the vectors with the fingerprint of the bridge's source model.",
        ),
    ] = False
    inverse: Annotated[
        bool, typer.Option("--inverse", help="Map from the target back to the source.")
    ] = False


@grouped
def apply_command(
    bridge: BridgeFolder,
    source: Annotated[
        str, typer.Argument(metavar="IN", help="Vectors of the bridge's source model.")
    ],
    output: Annotated[
        str,
        typer.Argument(
            metavar="OUT",
            help="A .npy, .safetensors or .parquet file; with --engine a folder, of a file a part, "
            "or the s3:// or other URL of one.",
        ),
        WRITTEN,
    ],
    held: DirectionOptions,
    ids: Annotated[
        str | None, typer.Option(help="Ids of the rows: a .npy, .txt or table file, or a column.")
    ] = None,
    engine: EngineName = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Stream any number of vectors through a bridge.

    Memory stays flat, ids are carried along, and the output appears whole or not at all. With
    --engine each part of IN becomes a file of the folder OUT, and _manifest.json follows when all
    are there; after a failure the same command goes on where it was.

    Examples:

        isthmus apply my.bridge new_queries.npy queries_for_the_old_index.npy

        isthmus apply my.bridge 's3://bucket/vectors/*.parquet' mapped --engine dask://HOST:8786

        isthmus apply my.bridge vectors/ s3://bucket/mapped --engine processes
    """
    from isthmus.bridge import Bridge, apply, check_canary
    from isthmus.file_places import check_apart

    loaded = Bridge.load(bridge)
    if held.inverse:
        loaded = loaded.inverse()
    progress = ProgressBar()
    if held.canary is not None:
        check_apart(Path(output), held.canary)
        check_canary(loaded, held.canary)
    rows = apply(
        loaded,
        source,
        output,
        ids=False if ids == "none" else ids,
        check=not held.no_check,
        overwrite=overwrite,
        engine=engine,
        progress=progress,
    )
    progress.close()
    if as_json:
        show_json({"output": output, "rows": rows, "dim": loaded.target.dim})
    if loaded.search_only:
        warn(f"notice: {SCORES_DIFFER}")
    names = loaded.names
    if not (held.no_check or loaded.recognises):
        warn(f"notice: {UNRECOGNISED.format(names[0])}")
    say(f"{rows:,} vectors of {names[0]} mapped to {names[1]}: {output}")
