"""Batches of tensors held in memory, in an order that a seed and an epoch decide."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import RandomSampler, SubsetRandomSampler, WeightedRandomSampler

from isthmus.errors import InputError

__all__ = [
    "Batches",
    "check_in_order",
    "check_paired",
    "input_of",
    "length_of",
    "map_tensors",
    "prepared",
    "rows_in",
    "start_pass",
    "tensors_in",
]


class Batches:
    """Slices of tensors whose first dimensions pair, many times faster than row by row.

    An epoch's order depends on ``seed`` and the epoch alone, so that a run that is resumed sees
    the batches that the killed one would have seen.

    Args:
        tensors: ``(n, ...)`` each; a batch is the tuple of their slices, or the slice itself where
            there is one tensor.
        size: rows of a batch; the last one may be smaller.
        shuffle: another order in every epoch.
        drop_last: leave a smaller last batch away (batch normalisation cannot use one row).
        seed: of the orders.

    Raises:
        InputError: for tensors of different lengths, none at all, or no rows.

    Example:
        >>> batches = Batches(torch.arange(5.0), torch.arange(5), size=2, shuffle=False)
        >>> [rows.tolist() for rows, _ in batches]
        [[0.0, 1.0], [2.0, 3.0], [4.0]]
    """

    def __init__(
        self,
        *tensors: Tensor,
        size: int = 128,
        shuffle: bool = True,
        drop_last: bool = False,
        seed: int = 0,
    ) -> None:
        if not tensors:
            raise InputError("there is nothing to make batches of")
        check_paired(tensors, "the tensors")
        self.rows = len(tensors[0])
        if not self.rows or size < 1:
            raise InputError(f"batches of {size} out of {self.rows} rows cannot be made")
        if drop_last and size > self.rows:
            raise InputError(
                f"{self.rows} rows do not fill one batch of {size}",
                mend="Lower the size, or keep the last batch",
            )
        self.tensors, self.size, self.shuffle = tensors, size, shuffle
        self.drop_last, self.seed, self.epoch = drop_last, seed, 0

    def __len__(self) -> int:
        whole, rest = divmod(self.rows, self.size)
        return whole + (rest > 0 and not self.drop_last)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass."""
        self.epoch = epoch

    def order(self) -> Tensor:
        """The rows in the order of this epoch; a sampler overrides it."""
        if not self.shuffle:
            return torch.arange(self.rows)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        return torch.randperm(self.rows, generator=generator)

    def __iter__(self) -> Iterator[Any]:
        order = self.order()
        for number in range(len(self)):
            rows = order[number * self.size : (number + 1) * self.size]
            # indexing a memory-mapped tensor reads only these rows
            batch = tuple(tensor[rows.to(tensor.device)] for tensor in self.tensors)
            yield batch[0] if len(self.tensors) == 1 else batch


def tensors_in(batch: Any) -> Iterator[Tensor]:
    """Every tensor of a nested batch."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for value in batch.values():
            yield from tensors_in(value)
    elif isinstance(batch, Sequence) and not isinstance(batch, str | bytes):
        for value in batch:
            yield from tensors_in(value)


def length_of(batches: Any) -> int | None:
    """The number of batches, for those who are told how far it is; None where it is not known."""
    return len(batches) if hasattr(batches, "__len__") else None


def start_pass(loader: Any, number: int) -> None:
    """Tell a loader and its sampler, where they ask for it, which pass begins."""
    parts: list[Any] = [loader, getattr(loader, "sampler", None)]
    for part in parts:
        if hasattr(part, "set_epoch"):
            part.set_epoch(number)


def input_of(batch: Any, take: Callable[[Any], Any] | None = None) -> Any:
    """What a model takes of a batch: what ``take`` says, or the first part of a tuple or list."""
    if take is not None:
        return take(batch)
    return batch[0] if isinstance(batch, tuple | list) else batch


def prepared(batch: Any, prepare: Callable[[Any], Any] | None) -> Any:
    """A batch as one of several models takes it; as it is where nothing is said."""
    return batch if prepare is None else prepare(batch)


def check_paired(batch: Any, where: str) -> None:
    """Refuse a batch whose tensors have different numbers of rows.

    Raises:
        InputError: naming the numbers.
    """
    sizes = [len(tensor) for tensor in tensors_in(batch) if tensor.ndim]
    if len(set(sizes)) > 1:
        raise InputError(
            f"the parts have {' and '.join(map(str, sizes))} rows; they must pair",
            where=where,
            mend="Give every part one row per item",
        )


def check_in_order(batches: Any, where: str) -> None:
    """Refuse a loader that shuffles, where rows are told apart by their place.

    Another pass of it, or the arrays that it was made of, would be paired with them row by row.

    Raises:
        InputError: for `Batches` and a `DataLoader` that shuffle.
    """
    drawn = RandomSampler, SubsetRandomSampler, WeightedRandomSampler
    sampler = getattr(batches, "sampler", None)
    parts = batches, sampler, getattr(getattr(batches, "batch_sampler", None), "sampler", None)
    if any(isinstance(p, drawn) or getattr(p, "shuffle", False) is True for p in parts):
        raise InputError(
            "the loader shuffles, so that its rows would be paired with those of other items",
            where=where,
            mend="Give it with shuffle=False",
        )


def map_tensors(change: Callable[[Tensor], Tensor], batch: Any) -> Any:
    """A nested batch with every tensor changed."""
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, Mapping):
        return {name: map_tensors(change, value) for name, value in batch.items()}
    if isinstance(batch, tuple | list):
        return tuple(map_tensors(change, value) for value in batch)
    return batch


def rows_in(batch: Any) -> int:
    """Items of a nested batch."""
    return max((len(tensor) for tensor in tensors_in(batch) if tensor.ndim), default=0)
