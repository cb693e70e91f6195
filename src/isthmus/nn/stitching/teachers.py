"""What a stitched network is to answer, from its two networks: no labels are needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from isthmus.errors import InputError
from isthmus.nn.look.outputs import tensor_of
from isthmus.nn.stitching.cut import Back, Front, activations_of
from isthmus.nn.stitching.joining_map import Joint
from isthmus.progress import Progress
from isthmus.training.batches import Batches, length_of, start_pass
from isthmus.training.loop import seeded
from isthmus.training.modes import evaluation_mode

__all__ = ["FromCut", "Teachers", "answers"]


class Teachers:
    """Whose outputs are imitated, and how far from them an output is.

    Args:
        front: the network of the front.
        back: of the back.
        who: ``back``, whose outputs are met in squared error; or ``both``, where both score the
            same classes: the divergence from the mean of their probabilities.

    Raises:
        InputError: for other teachers.
    """

    def __init__(self, front: Front, back: Back, who: str) -> None:
        if who not in ("back", "both"):
            raise InputError(
                f"there are no teachers '{who}'", where="teachers", mend="Choose back or both"
            )
        self.front, self.back, self.both = front, back, who == "both"

    def wanted(self, batch: Any) -> Tensor:
        """What the teachers answer, ``(n, ...)``.

        Raises:
            InputError: for two that do not score the same classes.
        """
        with torch.no_grad():
            own = answers(self.back.whole(batch))
            return self._mean(answers(self.front.whole(batch)), own) if self.both else own

    def activation_and_wanted(self, batch: Any) -> tuple[Tensor, Tensor]:
        """The front's activation too, from one run of each network."""
        with torch.no_grad():
            if not self.both:
                return self.front(batch), self.wanted(batch)
            activations, output = activations_of({"front": self.front}, batch)
            return activations["front"], self._mean(
                answers(output), answers(self.back.whole(batch))
            )

    def loss(self, output: Any, wanted: Tensor) -> Tensor:
        """How far an output is from what is wanted."""
        given = answers(output)
        if not self.both:
            return ((given - wanted) ** 2).mean()
        return functional.kl_div(given.log_softmax(1), wanted, reduction="batchmean")

    def _mean(self, front: Tensor, back: Tensor) -> Tensor:
        if back.ndim != 2 or front.shape != back.shape:
            raise InputError(
                f"the networks return {tuple(front.shape)} and {tuple(back.shape)}, which are no "
                "scores of the same classes",
                where="teachers",
                mend="Use teachers='back', or give a loss",
            )
        return torch.stack([front.softmax(1), back.softmax(1)]).mean(0)

    def kept(
        self, batches: Iterable[Any], passes: int, *, seed: int, progress: Progress
    ) -> Iterable[Any]:
        """Activations and what is wanted, of several passes over the batches.

        Args:
            batches: read ``passes`` times; ``set_epoch`` is called where there is one.
            passes: 1 or more.
            seed: of the order in which they are given out, and of each pass's random numbers.
            progress: told about batches.

        Raises:
            InputError: for a back that needs the batch itself, or nothing to keep.
        """
        if self.back.follows_batch:
            raise InputError(
                "masks of the batch go round the cut, so that its activations alone do not do",
                where="passes",
                mend="Leave passes away: both networks then run in every step",
            )
        total = length_of(batches)
        activations: list[Tensor] = []
        wanted: list[Tensor] = []
        with evaluation_mode(self.front.model), evaluation_mode(self.back.model):
            for number in range(passes):
                start_pass(batches, number)
                with seeded(seed, number):
                    for batch in batches:
                        activation, answer = self.activation_and_wanted(batch)
                        activations.append(activation)
                        wanted.append(answer)
                        whole = None if total is None else passes * total
                        progress("run both networks", len(wanted), whole)
        if not wanted:
            raise InputError("there are no batches to train the map on", where="passes")
        shapes = [{tuple(part.shape[1:]) for part in parts} for parts in (activations, wanted)]
        if any(len(found) > 1 for found in shapes):
            return _OfManyLengths(list(zip(activations, wanted, strict=True)), seed)
        size = max(len(part) for part in wanted)
        return Batches(torch.cat(activations), torch.cat(wanted), size=size, seed=seed)


class _OfManyLengths:
    """Batches padded to different lengths, whole, in an order that a seed and an epoch decide."""

    def __init__(self, batches: list[tuple[Tensor, Tensor]], seed: int) -> None:
        self._batches, self._seed, self._epoch = batches, seed, 0

    def __len__(self) -> int:
        return len(self._batches)

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch)
        order = torch.randperm(len(self._batches), generator=generator)
        return (self._batches[place] for place in order.tolist())


class FromCut(nn.Module):
    """The map and the back: a stitched network from the front's activation on."""

    def __init__(self, joint: Joint, back: Back) -> None:
        super().__init__()
        self.joint, self.back = joint, back

    def forward(self, activation: Tensor) -> Any:
        """The output for the front's activation."""
        return self.back(self.joint(activation))


def answers(output: Any) -> Tensor:
    """The tensor of an output that is compared."""
    return tensor_of(output, "output")
