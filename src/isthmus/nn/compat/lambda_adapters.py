"""λ-orthogonal adapters as modules, trained with the losses and the loop of their paper.

`isthmus.nn.compat.joint_maps` solves the squared part of the same problem exactly and in a fraction
of the time; `LambdaAdapters.start` takes its maps, so that a short training adds the contrastive
part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from isthmus.errors import InputError
from isthmus.nn.compat.frozen.joint_maps import JointMaps
from isthmus.progress import Progress, silent
from isthmus.training.batches import check_paired
from isthmus.training.lambda_terms import LambdaTerms
from isthmus.training.loop import Trained, train
from isthmus.training.losses import lambda_orthogonal_terms, lambda_penalty
from isthmus.training.schedule import Schedule

__all__ = ["LambdaAdapters", "train_lambda_adapters"]

_RATE = 1e-3


class LambdaAdapters(nn.Module):
    """A backward map B, new → common, and a forward map F, old → common.

    The common space has ``max(new, old)`` dimensions; its first ones are comparable with the old
    space (Ricci et al., arXiv:2509.16664, section 3).

    Args:
        new: width of the new features.
        old: of the old ones.
        lam: how far B may be from orthogonal, ``‖G − I‖_F`` of its smaller Gram matrix; inf for an
            affine map.
        strict: B is orthogonal throughout, ``exp(P)`` of a skew-symmetric P times its start, and
            ``lam`` has no part.
        seed: of the random orthogonal starts; PyTorch's global state is left as it was.

    Raises:
        InputError: for widths below 1, or a λ that is negative or not a number.
    """

    def __init__(
        self, new: int, old: int, lam: float = 12.0, *, strict: bool = False, seed: int = 0
    ) -> None:
        super().__init__()
        if min(new, old) < 1 or not lam >= 0:
            raise InputError(
                f"widths of {new} and {old} and a λ of {lam}",
                where="LambdaAdapters",
                mend="Widths are 1 or more, and a distance from orthogonality 0 or more",
            )
        self.new, self.old, self.lam, self.strict = new, old, lam, strict
        common = max(new, old)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.backward_map = nn.Linear(new, common)
            self.forward_map = nn.Linear(old, common)
            for linear in (self.backward_map, self.forward_map):
                nn.init.orthogonal_(linear.weight)
                nn.init.zeros_(linear.bias)
        if strict:
            parametrizations.orthogonal(self.backward_map, orthogonal_map="matrix_exp")

    def start(self, maps: JointMaps) -> LambdaAdapters:
        """Take the maps that were fitted to moments; returns itself.

        Raises:
            InputError: for maps of other widths, or that are not orthogonal where B is strict.
        """
        pairs = [
            (linear, np.asarray(affine.matrix), np.asarray(affine.offset))
            for linear, affine in (
                (self.backward_map, maps.backward),
                (self.forward_map, maps.forward),
            )
        ]
        for linear, matrix, _ in pairs:
            if tuple(linear.weight.T.shape) != matrix.shape:
                raise InputError(
                    f"a map of shape {matrix.shape} for one of {tuple(linear.weight.T.shape)}",
                    where="LambdaAdapters.start",
                )
        if self.strict and maps.departure > 1e-3:
            raise InputError(
                f"the backward map is {maps.departure:.3g} from orthogonal, and B is strict",
                where="LambdaAdapters.start",
                mend="Fit it with lam=0",
            )
        with torch.no_grad():
            for linear, matrix, offset in pairs:
                linear.bias.copy_(torch.from_numpy(offset))
                weight = torch.from_numpy(matrix.T.copy()).to(linear.weight)
                if self.strict and linear is self.backward_map:
                    # the parametrisation keeps it as the base that exp(P) turns
                    linear.weight = weight
                else:
                    linear.weight.copy_(weight)
        return self

    @property
    def departure(self) -> float:
        """``‖G − I‖_F`` of B, in float64."""
        weight = self.backward_map.weight.detach().double()
        gram = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
        return float(torch.linalg.norm(gram - torch.eye(len(gram), device=gram.device)))

    def forward(self, new: Tensor, old: Tensor) -> tuple[Tensor, Tensor]:
        """``B(new)`` and ``F(old)``, ``(n, common)`` each."""
        return self.backward_map(new), self.forward_map(old)

    def penalty(self, sharpness: float) -> Tensor:
        """Equation 6 for B; 0 where it is orthogonal by construction or λ is infinite."""
        if self.strict or self.lam == float("inf"):
            return self.backward_map.weight.new_zeros(())
        return lambda_penalty(self.backward_map.weight, self.lam, sharpness)


def train_lambda_adapters(
    adapters: LambdaAdapters,
    loader: Iterable[Any],
    schedule: Schedule,
    *,
    terms: LambdaTerms | None = None,
    validate: Callable[[nn.Module], float] | None = None,
    progress: Progress = silent,
) -> Trained:
    """Minimise ``w₁ L_F + w₂ L_B + w₃ L_C + L_λ`` with Adam at 1e-3, as the paper does.

    Args:
        adapters: trained in place.
        loader: of (old, new), or (old, new, labels): with labels L_C contrasts by class.
        schedule: of the training; Adam as said above where it names no optimiser.
        terms: weights, temperature and sharpness, which the paper does not print; ``by_label``
            follows the loader.
        validate: as `isthmus.training.train`.
        progress: told after every batch.

    Raises:
        InputError: for widths that do not fit, and as `train`.

    Example:
        >>> new = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
        >>> old = new @ torch.linalg.qr(torch.rand(4, 4) + torch.eye(4))[0]
        >>> adapters = LambdaAdapters(4, 4, strict=True)
        >>> done = train_lambda_adapters(adapters, [(old, new, torch.arange(60) % 3)], Schedule(2))
        >>> bool(adapters.departure < 1e-4)
        True
    """
    weights = terms or LambdaTerms()

    def loss(module: nn.Module, batch: Any) -> Mapping[str, Tensor]:
        old, new, labels = _parts(batch)
        widths = (old.shape[-1], new.shape[-1])
        if widths != (adapters.old, adapters.new):
            raise InputError(
                f"old and new features have {widths[0]} and {widths[1]} dimensions, the adapters "
                f"take {adapters.old} and {adapters.new}",
                where="loader",
                mend="Give (old, new[, labels]) in this order",
            )
        backward, forward = module(new, old)
        found = dict(lambda_orthogonal_terms(forward, backward, old, labels, terms=weights))
        found["departure"] = adapters.penalty(weights.sharpness)
        return found

    own = replace(schedule, optimiser=schedule.optimiser or _adam)
    return train(adapters, loss, loader, own, validate=validate, progress=progress)


def _adam(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(module.parameters(), _RATE)


def _parts(batch: Any) -> tuple[Tensor, Tensor, Tensor | None]:
    size = len(batch) if isinstance(batch, (tuple, list)) else 1
    if size not in (2, 3):
        raise InputError(f"a batch has {size} part(s), and (old, new[, labels]) are needed")
    check_paired(batch, "a batch")
    return batch[0], batch[1], batch[2] if size == 3 else None
