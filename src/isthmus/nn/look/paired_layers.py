"""A diagnosis of two networks with data: their rows go to disk, and then as any vectors do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from torch import nn

from isthmus.array_types import Embeddings
from isthmus.diagnose import Diagnosis, diagnose
from isthmus.errors import InputError
from isthmus.nn.look.pooling import Pool
from isthmus.nn.look.same_inputs import check_same_inputs
from isthmus.nn.look.taps import Taps
from isthmus.numeric import to_numpy
from isthmus.progress import Progress, silent
from isthmus.spaces.scratch import map_file, scratch_file
from isthmus.training.batches import length_of, prepared

__all__ = ["diagnose_models", "layer_rows"]


def diagnose_models(
    x: nn.Module,
    y: nn.Module,
    batches: Iterable[Any],
    *,
    layers: tuple[str, str],
    prepare: tuple[Callable[[Any], Any], Callable[[Any], Any]] | None = None,
    pool: Pool = "mean",
    progress: Progress = silent,
    **options: Any,
) -> Diagnosis:
    """`isthmus.diagnose.diagnose` of one layer of each of two networks.

    Args:
        x: the network mapped from.
        y: the network mapped to.
        batches: of the same items for both.
        layers: one layer of each.
        prepare: turns a batch into what each network takes, where that differs.
        pool: how positions become a row, as in `Taps`.
        progress: told about batches, rows and steps.
        **options: of `diagnose`: metric, names, modalities, sample, seed.

    Raises:
        InputError: as `Taps` and `diagnose`.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
        >>> data = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
        >>> found = diagnose_models(net, net, [data], layers=("1", "1"))
        >>> found.relation.value
        'identical'
    """
    rows = layer_rows(x, y, batches, layers=layers, prepare=prepare, pool=pool, progress=progress)
    named: dict[str, Any] = {"names": layers if layers[0] != layers[1] else ("x", "y"), **options}
    return diagnose(*rows, progress=progress, **named)


def layer_rows(
    x: nn.Module,
    y: nn.Module,
    batches: Iterable[Any],
    *,
    layers: tuple[str, str],
    prepare: tuple[Callable[[Any], Any], Callable[[Any], Any]] | None = None,
    pool: Pool = "mean",
    progress: Progress = silent,
) -> tuple[Embeddings, Embeddings]:
    """Rows ``(n, dx)`` and ``(n, dy)`` of one layer of each network, as maps of unnamed files.

    Raises:
        InputError: for unknown layers, numbers of rows that differ, no batches, or a layer that
            returns the same for every item.
        OutputError: where the temporary folder has no room.
    """
    first, second = prepare or (None, None)
    widths: list[int] = []
    count = 0
    total = length_of(batches)
    with (
        scratch_file() as file_x,
        scratch_file() as file_y,
        Taps(x, layers[0], pool=pool) as tap_x,
        Taps(y, layers[1], pool=pool) as tap_y,
    ):
        for number, batch in enumerate(batches, start=1):
            if number == 1 and prepare is None:
                check_same_inputs(x, y, batch)
            sides = [
                _only(tap(prepared(batch, make))) for tap, make in ((tap_x, first), (tap_y, second))
            ]
            if len({len(rows) for rows in sides}) != 1:
                raise InputError(
                    f"the layers have {len(sides[0])} and {len(sides[1])} rows; they must pair",
                    where=f"batch {number}",
                )
            widths = widths or [rows.shape[1] for rows in sides]
            if widths != [rows.shape[1] for rows in sides]:
                raise InputError(
                    f"the rows are {[r.shape[1] for r in sides]} wide, and were {widths} before",
                    where=f"batch {number}",
                    mend="Pool over positions",
                )
            for file, rows in zip((file_x, file_y), sides, strict=True):
                file.write(np.ascontiguousarray(rows).data)
            count += len(sides[0])
            progress("batches", number, total)
        if not count:
            raise InputError("there are no batches to run the networks on")
        made = (
            map_file(file_x, np.float32, (count, widths[0])),
            map_file(file_y, np.float32, (count, widths[1])),
        )
    for rows, layer, side in zip(made, layers, ("first", "second"), strict=True):
        if count > 1 and bool((rows.min(0) == rows.max(0)).all()):
            raise InputError(
                f"the layer returns the same for all {count:,} items: it is dead",
                where=f"layer {layer} of the {side} network",
                mend="Name another layer, or look at the weights and the input of this one",
            )
    return made


def _only(rows: dict[str, Any]) -> Embeddings:
    if len(rows) != 1:
        raise InputError(
            f"the pattern matches {len(rows)} layers: {', '.join(rows)}",
            where="layers",
            mend="Name one layer of each network",
        )
    return to_numpy(next(iter(rows.values())), np.float32)
