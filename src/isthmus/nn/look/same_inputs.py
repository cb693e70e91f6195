"""Whether two networks can take the same batch: token ids mean something in one vocabulary."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from isthmus.errors import InputError
from isthmus.training.batches import tensors_in

__all__ = ["check_same_inputs"]


def check_same_inputs(first: nn.Module, second: nn.Module, batch: Any) -> None:
    """Refuse to give the same token ids to networks with vocabularies of different sizes.

    Called where nothing says what each network takes of a batch.  Two vocabularies of one size are
    taken for the same.

    Args:
        first: a network.
        second: another.
        batch: what both would be given.

    Raises:
        InputError: naming both sizes.
    """
    if not any(_are_ids(tensor) for tensor in tensors_in(batch)):
        return
    sizes = [_vocabulary(model) for model in (first, second)]
    if None not in sizes and sizes[0] != sizes[1]:
        raise InputError(
            f"the networks have vocabularies of {sizes[0]:,} and {sizes[1]:,} tokens, so that the "
            "same ids are other words to each",
            where="batches",
            mend="Give batches of both tokenizers' outputs, and prepare= with two functions that "
            "pick each network's own (compare_layers: reading=LayerReading(prepare=...); stitch: "
            "options=StitchOptions(prepare=...))",
        )


def _are_ids(tensor: Tensor) -> bool:
    return tensor.ndim == 2 and not tensor.is_floating_point() and not tensor.is_complex()


def _vocabulary(model: nn.Module) -> int | None:
    """Rows of the table that token ids are looked up in."""
    named: Any = getattr(model, "get_input_embeddings", None)
    try:
        table = named() if callable(named) else None
    except (AttributeError, NotImplementedError):
        table = None
    if not isinstance(table, nn.Embedding):
        table = next((part for part in model.modules() if isinstance(part, nn.Embedding)), None)
    return None if table is None else table.num_embeddings
