"""From the activation of a layer to rows: one per item, or one per position of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.errors import InputError

__all__ = ["POOLS", "Pool", "mask_of", "masks_in_order", "pool_rows"]

_MASKS = ("attention_mask", "padding_mask", "mask")
_DECODED = ("decoder_input_ids", "decoder_inputs_embeds", "labels")

Pool = str | Callable[[Tensor, Tensor | None], Tensor]
"""A name out of `POOLS`, or a function of ``(n, positions, d)`` and the mask."""

POOLS = ("mean", "first", "last", "max", "flatten", "positions")
"""How the positions of an item become a row.

``mean`` and ``max`` of the positions that are not padding; ``first`` and ``last`` such position (a
classification token; the last word of a causal model); ``flatten`` all positions in one long row;
``positions`` a row for every position that is not padding, so that rows are not items any more.
"""


def mask_of(given: Any, model: nn.Module, layer: str) -> Tensor | None:
    """The mask ``(n, positions)`` of padding among what a network is given, where there is one.

    Args:
        given: the arguments: a mapping by name, a tuple in order, or one.
        model: the network.
        layer: whose positions are meant.  Where a model of the Hugging Face library has an encoder
            and a decoder that are given texts of their own, each has its own mask.
    """
    named = given if isinstance(given, Mapping) else masks_in_order(model, given)
    if any(name in named for name in _DECODED) and _is_decoded(model, layer):
        return named.get("decoder_attention_mask")
    return next((named[name] for name in _MASKS if name in named), None)


def masks_in_order(model: nn.Module, given: Any) -> dict[str, Any]:
    """What `mask_of` asks for of arguments in order, by the names that ``forward`` has for them.

    Other names than the Hugging Face library's are not certain: PyTorch's ``mask`` is of attention.
    """
    if not isinstance(given, tuple | list):
        return {}
    certain = _MASKS[0], "decoder_attention_mask", *_DECODED
    named = zip(inspect.signature(model.forward).parameters, given, strict=False)
    return {n: v for n, v in named if n in certain and isinstance(v, Tensor) and v.ndim == 2}


def _is_decoded(model: nn.Module, layer: str) -> bool:
    """Whether the positions of a layer are those of the decoder's text."""
    named: Any = getattr(model, "get_encoder", None)
    encoder: Any = named() if callable(named) else None
    if not isinstance(encoder, nn.Module) or encoder is model:
        return False
    return all(part is not model.get_submodule(layer) for part in encoder.modules())


def pool_rows(
    activation: Tensor, layout: str, pool: Pool, mask: Tensor | None, where: str
) -> Tensor:
    """Rows ``(n, d)`` of one activation.

    Args:
        activation: ``(n, d)``, ``(n, c, ...)`` with the layout ``channels``, or ``(n, ..., d)``
            with the layout ``tokens``.
        layout: where the features lie.
        pool: how positions become a row; an activation that has none is taken as it is.
        mask: ``(n, positions)``, true or 1 where there is no padding.
        where: the layer's name, for errors.

    Raises:
        InputError: for an activation without features, a mask of another shape, or an item that is
            all padding.
    """
    if activation.is_nested or activation.layout != torch.strided:
        raise InputError(
            f"the layer's output is a {'nested' if activation.is_nested else 'sparse'} tensor",
            where=f"layer {where}",
            mend="Tap a layer that returns a plain one, such as the one behind it",
        )
    if activation.ndim < 2:
        raise InputError(
            f"the layer's output has shape {tuple(activation.shape)}, expected (n, d) or more axes",
            where=f"layer {where}",
            mend="Tap a layer that returns one vector per item",
        )
    if not activation.is_floating_point():
        raise InputError(
            f"the layer's output holds {activation.dtype}, not real numbers",
            where=f"layer {where}",
            mend="Tap a later layer",
        )
    # sums of 16-bit numbers lose digits, and overflow
    rows = activation.float() if activation.element_size() < 4 else activation
    if rows.ndim == 2:
        return rows
    if layout == "channels":
        rows = rows.movedim(1, -1)
    rows = rows.flatten(1, -2)
    mask = _checked_mask(mask, rows, where)
    if callable(pool):
        made = pool(rows, mask)
        if made.ndim != 2 or len(made) != len(rows):
            raise InputError(
                f"the pooling returned shape {tuple(made.shape)} for {len(rows)} items",
                where=f"layer {where}",
                mend="Return (n, d)",
            )
        return made
    if pool == "flatten":
        return rows.flatten(1)
    if pool == "positions":
        return rows.flatten(0, 1) if mask is None else rows[mask]
    if pool in ("first", "last"):
        if mask is None:
            return rows[:, 0 if pool == "first" else -1]
        places = torch.arange(rows.shape[1], device=rows.device).expand_as(mask)
        if pool == "first":
            chosen = torch.where(mask, places, rows.shape[1]).amin(1)
        else:
            chosen = torch.where(mask, places, -1).amax(1)
        return rows[torch.arange(len(rows), device=rows.device), chosen]
    if pool == "max":
        shown = rows if mask is None else rows.masked_fill(~mask[..., None], -torch.inf)
        return shown.amax(1)
    if pool == "mean":
        if mask is None:
            return rows.mean(1)
        weights = mask[..., None].to(rows.dtype)
        # not a product: 0 × infinity in the padding would be NaN
        return rows.masked_fill(~mask[..., None], 0).sum(1) / weights.sum(1)
    raise InputError(
        f"there is no pooling '{pool}'", where="pool", mend=f"Choose from {', '.join(POOLS)}"
    )


def _checked_mask(mask: Tensor | None, rows: Tensor, where: str) -> Tensor | None:
    if mask is None:
        return None
    if mask.shape != rows.shape[:2]:
        raise InputError(
            f"the attention mask has shape {tuple(mask.shape)}, and the layer {len(rows)} items of "
            f"{rows.shape[1]} positions",
            where=f"layer {where}",
            mend=f"Where none of these positions is padding, give mask=torch.ones({len(rows)}, "
            f"{rows.shape[1]}); else pool with a function that knows the added positions",
        )
    shown: Tensor = mask.to(rows.device).bool()
    empty = ~shown.any(1)
    if bool(empty.any()):
        first = int(empty.nonzero()[0])
        raise InputError(f"item {first} of the batch is all padding", where=f"layer {where}")
    return shown
