"""Which rows an epoch takes: balanced by class, in an order of one's own, from several loaders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from isthmus.errors import InputError
from isthmus.training.batches import Batches, start_pass

__all__ = ["Balanced", "EpochSampler", "MixedLoaders", "SampledBatches", "effective_number_weights"]


class EpochSampler(ABC):
    """Rows in an order that a seed and the epoch decide; a sampler for any `DataLoader`.

    Within `SampledBatches` a training that is resumed sees the rows that it would have seen; a
    `DataLoader` counts its passes from where it was made.

    Args:
        seed: of the orders.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed, self.epoch = seed, 0

    @abstractmethod
    def order(self, epoch: int) -> Tensor:
        """The rows of this epoch ``(m,)`` int64."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter(self.order(self.epoch).tolist())

    def __len__(self) -> int:
        return len(self.order(self.epoch))

    def _generator(self, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)


class SampledBatches(Batches):
    """`Batches` whose rows a sampler chooses.

    Args:
        *tensors: as `Batches`.
        sampler: of rows of the tensors.
        size: rows of a batch.
        drop_last: leave a smaller last batch away.

    Raises:
        InputError: as `Batches`, and for a sampler of rows that are not there.

    Example:
        >>> rare = Balanced([0, 0, 0, 0, 0, 1], beta=1.0, rows=8)
        >>> labels = torch.tensor([0, 0, 0, 0, 0, 1])
        >>> [int(batch.sum()) for batch in SampledBatches(labels, sampler=rare, size=8)]
        [4]
    """

    def __init__(
        self, *tensors: Tensor, sampler: EpochSampler, size: int = 128, drop_last: bool = False
    ) -> None:
        super().__init__(*tensors, size=size, drop_last=drop_last, seed=sampler.seed)
        self.sampler = sampler

    def order(self) -> Tensor:
        """The sampler's order of this epoch."""
        order = self.sampler.order(self.epoch)
        if len(order) and int(order.max()) >= self.rows:
            raise InputError(
                f"the sampler names row {int(order.max())} of {self.rows}",
                where="sampler",
                mend="Make the sampler from the labels or losses of these very rows",
            )
        return order

    def __len__(self) -> int:
        whole, rest = divmod(len(self.order()), self.size)
        return whole + (rest > 0 and not self.drop_last)


def effective_number_weights(counts: Tensor | Sequence[int], beta: float = 0.999) -> Tensor:
    """Weights of classes ``(1 − β) / (1 − βⁿ)``, scaled so that they sum to their number.

    They serve as the ``weight`` of a cross-entropy, or by `Balanced` as what decides how often a
    row is drawn.  β = 0 weighs every row alike; β → 1 weighs every class alike.

    Args:
        counts: rows of every class ``(c,)``.
        beta: in [0, 1].

    Returns:
        float64 ``(c,)``.

    Raises:
        InputError: for a class without rows, or another β.

    Source: Cui et al. 2019, eq. 2 and 3.

    Example:
        >>> effective_number_weights([1, 3], beta=1.0).tolist()
        [1.5, 0.5]
    """
    n = torch.as_tensor(counts, dtype=torch.float64)
    if not 0 <= beta <= 1:
        raise InputError(f"beta lies in [0, 1], got {beta}", where="beta")
    if n.ndim != 1 or not len(n):
        raise InputError("expected one count for every class", where="counts")
    if bool((n < 1).any()):
        raise InputError(
            f"class {int((n < 1).nonzero()[0])} has no rows",
            where="counts",
            mend="Leave the class away, or find examples of it: no weight makes up for none",
        )
    # in logarithms: β near 1 leaves no digits in 1 − βⁿ
    if beta == 1:
        weights = 1.0 / n
    elif beta == 0:
        weights = torch.ones_like(n)
    else:
        weights = -(1.0 - beta) / torch.expm1(n * torch.log(torch.tensor(beta, dtype=n.dtype)))
    return weights * len(n) / weights.sum()


class Balanced(EpochSampler):
    """Rows drawn so that rare classes come as often as their effective number deserves.

    Each class's share of an epoch is ``n_c w_c``; within a class all rows come equally often (to
    one), in an order that changes with every epoch, so that nothing but the balance is random.

    Args:
        labels: ``(n,)`` integers.
        beta: of `effective_number_weights`; 1 makes all classes equal, 0 changes nothing.
        classes: the number of classes that there must be; unless given, those that are there.
        rows: of an epoch; as many as there are unless given.
        seed: of the orders.

    Raises:
        InputError: for a class without rows, labels outside ``classes``, or none at all.

    Source: the effective number of samples, Cui et al. 2019.

    Example:
        >>> Balanced([0, 0, 0, 1], beta=1.0).shares.tolist()
        [0.5, 0.5]
    """

    def __init__(
        self,
        labels: Tensor | Sequence[int],
        *,
        beta: float = 0.999,
        classes: int | None = None,
        rows: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        given = torch.as_tensor(labels).cpu()
        if given.ndim != 1 or not len(given) or given.is_floating_point():
            raise InputError(
                f"expected one integer label for every row, got {tuple(given.shape)} of "
                f"{given.dtype}",
                where="labels",
            )
        if classes is None:
            _, own = torch.unique(given, return_inverse=True)
        else:
            own = given.long()
            if bool(((own < 0) | (own >= classes)).any()):
                raise InputError(
                    f"the labels run from {int(own.min())} to {int(own.max())}, and there are "
                    f"{classes} classes",
                    where="labels",
                )
        self.counts = torch.bincount(own, minlength=classes or 0)
        shares = self.counts * effective_number_weights(self.counts, beta)
        self.shares = shares / shares.sum()
        self._members = [(own == c).nonzero()[:, 0] for c in range(len(self.counts))]
        self.rows = len(given) if rows is None else rows
        if self.rows < 1:
            raise InputError(f"an epoch has 1 row or more, got {rows}", where="rows")

    def __len__(self) -> int:
        return self.rows

    def order(self, epoch: int) -> Tensor:
        """The rows of this epoch ``(rows,)``."""
        generator = self._generator(epoch)
        # systematic: every class has its share, rounded up or down
        edges = torch.cumsum(self.shares, 0) * self.rows
        start = torch.rand((), generator=generator, dtype=torch.float64)
        ends = torch.floor(edges - start).clamp(min=-1).long() + 1
        ends[-1] = self.rows
        times = torch.diff(ends, prepend=torch.zeros(1, dtype=torch.long))
        drawn: list[Tensor] = []
        for members, wanted in zip(self._members, times.tolist(), strict=True):
            while wanted > 0:
                mixed = members[torch.randperm(len(members), generator=generator)]
                drawn.append(mixed[:wanted])
                wanted -= len(drawn[-1])
        order = torch.cat(drawn)
        return order[torch.randperm(len(order), generator=generator)]


class MixedLoaders:
    """Batches of several loaders, one modality or domain in each, in a drawn order.

    An epoch is a fixed number of batches; loader m gives its share of them, ``∝ n_m^(1/T)`` of its
    number of batches ``n_m``, exactly (by largest remainder), and only their order is random.  A
    loader's batches are its passes one after another: the next epoch goes on where the last one
    stopped, so that everything is seen, and a large loader with a small share is not read from its
    start again and again.

    A batch comes out as ``(name, batch)``.  A run that is resumed sees the same batches where the
    loaders have ``set_epoch`` or do not shuffle.

    Args:
        loaders: by name, each with a length, that can be read more than once.
        temperature: 1 is proportional to size; larger is more even; ``inf`` is equal.
        batches: of an epoch; the sum of the lengths unless given.
        seed: of the order.

    Raises:
        InputError: for no loaders, one that is empty or has no length, a temperature that is not
            positive, or a share that rounds to no batch.

    Source: temperature-based sampling, Arivazhagan et al. 2019.

    Example:
        >>> mixed = MixedLoaders({"text": [1, 2, 3], "image": [4]}, seed=0)
        >>> sorted(name for name, _ in mixed)
        ['image', 'text', 'text', 'text']
    """

    def __init__(
        self,
        loaders: Mapping[str, Iterable[Any]],
        *,
        temperature: float = 1.0,
        batches: int | None = None,
        seed: int = 0,
    ) -> None:
        if not loaders:
            raise InputError("there are no loaders to mix", where="loaders")
        if not temperature > 0:
            raise InputError(f"the temperature is positive, got {temperature}", where="temperature")
        self.loaders = dict(loaders)
        lengths: list[int] = []
        for name, loader in self.loaders.items():
            if not hasattr(loader, "__len__"):
                raise InputError(
                    "the loader has no length", where=f"loader {name}",
                    mend="Give a DataLoader, Batches or a list, not a generator",
                )  # fmt: skip
            lengths.append(len(loader))  # type: ignore[arg-type]
            if not lengths[-1]:
                raise InputError("the loader has no batches", where=f"loader {name}")
        sizes = torch.tensor(lengths, dtype=torch.float64)
        powered = (sizes / sizes.max()) ** (1.0 / temperature)
        self.shares = dict(zip(self.loaders, (powered / powered.sum()).tolist(), strict=True))
        self.batches = sum(lengths) if batches is None else batches
        self.times = _largest_remainder(self.shares, self.batches)
        for name, times in self.times.items():
            if not times:
                raise InputError(
                    f"a share of {self.shares[name]:.2g} of {self.batches} batches is none",
                    where=f"loader {name}",
                    mend="Raise the temperature, or the number of batches",
                )
        self.seed, self.epoch = seed, 0
        self._open: dict[str, _Place] = {}

    def __len__(self) -> int:
        return self.batches

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        names = list(self.loaders)
        turns = torch.cat([torch.full((self.times[n],), i) for i, n in enumerate(names)])
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = turns[torch.randperm(len(turns), generator=generator)].tolist()
        position = {name: self.epoch * self.times[name] for name in names}
        for turn in order:
            name = names[turn]
            yield name, self._batch(name, position[name])
            position[name] += 1
        # a pass without set_epoch goes on, too
        self.epoch += 1

    def _batch(self, name: str, position: int) -> Any:
        """Batch ``position`` of a loader's passes one after another."""
        place = self._open.get(name)
        if place is None or place.position != position:
            place = self._opened(name, position)
        elif not place.left:
            place = self._pass(name, place.number + 1, position)
        try:
            batch = next(place.iterator)
        except StopIteration:
            raise InputError(
                "the loader ended after fewer batches than its length",
                where=f"loader {name}",
                mend="Give a DataLoader, Batches or a list",
            ) from None
        self._open[name] = replace(place, position=position + 1, left=place.left - 1)
        return batch

    def _opened(self, name: str, position: int) -> _Place:
        """A loader at this batch; the passes before it need not be of one length."""
        place, rest = self._pass(name, 0, position), position
        while rest >= place.left:
            rest -= place.left
            place = self._pass(name, place.number + 1, position)
        for _ in range(rest):
            next(place.iterator, None)
        return replace(place, left=place.left - rest)

    def _pass(self, name: str, number: int, position: int) -> _Place:
        loader: Any = self.loaders[name]
        start_pass(loader, number)
        if not len(loader):
            raise InputError(f"the loader has no batches in pass {number}", where=f"loader {name}")
        return _Place(position, number, len(loader), iter(loader))


@dataclass(frozen=True)
class _Place:
    """Where a loader stands: the batch that comes next, and what is left of its pass."""

    position: int
    number: int
    left: int
    iterator: Iterator[Any]


def _largest_remainder(shares: Mapping[str, float], total: int) -> dict[str, int]:
    exact = {name: share * total for name, share in shares.items()}
    whole = {name: int(value) for name, value in exact.items()}
    rest = sorted(exact, key=lambda name: whole[name] - exact[name])
    for name in rest[: total - sum(whole.values())]:
        whole[name] += 1
    return whole
