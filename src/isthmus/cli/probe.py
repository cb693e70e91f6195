"""``isthmus probe``: does a linear probe of the one space read the other through a bridge?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.console import ProgressBar, show, show_fitted, show_json
from isthmus.cli.inputs import BridgeFolder, IdsOption, Json, New, Old, RelevanceOptions, open_for

__all__ = ["probe_command"]


def probe_command(
    bridge: BridgeFolder,
    old: Old,
    new: New,
    labels: Annotated[
        Path,
        typer.Option(help="The class of each row of OLD, as --labels of isthmus fit."),
    ],
    max_loss: Annotated[
        float | None,
        typer.Option(help="Fail where the probe may lose more accuracy than this, carefully read."),
    ] = None,
    ids: IdsOption = None,
    as_json: Json = False,
) -> None:
    """Learn a linear probe and concept directions in one space; ask them through the bridge.

    Both are learned on vectors of the bridge's target (the old model's, for a query bridge), and
    asked about mapped vectors of items that neither they nor the bridge have seen: how much
    accuracy is kept, how often the probe says the same, and whether the direction of each class
    still points the same way. A probe learned on the source's own vectors stands beside. Exit code
    1 where --max-loss is broken.

    Example:

        isthmus probe my.bridge old.npy new.npy --labels classes.txt --max-loss 0.02
    """
    from isthmus.bridge import Bridge
    from isthmus.bridge.probe import probe

    loaded = Bridge.load(bridge)
    progress = ProgressBar()
    inputs = open_for(loaded, old, new, RelevanceOptions(ids, labels=labels), progress)
    found = probe(loaded, inputs.pairs)
    progress.close()
    low = found.linear.change.low
    broken = max_loss is not None and (low is None or -low > max_loss)
    if as_json:
        show_json({**found.as_dict(), "broken": broken})
    else:
        show_fitted(str(found))
        if broken and low is not None:
            show(f"FAIL  it may lose {-low:.3f}, more than {max_loss:g}")
    if broken:
        raise typer.Exit(1)
