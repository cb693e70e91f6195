"""The Fisher information of a network: how much each parameter matters to its predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from lightning_fabric.wrappers import is_wrapped
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from isthmus.errors import InputError
from isthmus.progress import Progress, silent
from isthmus.training.batches import input_of, length_of
from isthmus.training.modes import evaluation_mode
from isthmus.training.names import find_modules

__all__ = ["fisher_diagonal", "parameters_of", "unwrapped"]

_CELLS = 2**24
"""Gradients held at once, in numbers: items of a block times parameters."""

InputsOf = Callable[[Any], Any]


def fisher_diagonal(
    module: nn.Module,
    batches: Iterable[Any],
    *,
    family: str = "categorical",
    samples: int | None = 1,
    inputs: InputsOf | None = None,
    leave_out: str | Iterable[str] = (),
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[dict[str, Tensor], int]:
    """Diagonal of the Fisher information, a mean over items, of parameters that are not frozen.

    ``F_i = E_x E_{y ~ p(y|x)} (∂ log p(y|x) / ∂θ_i)²`` with labels drawn from the model's own
    predictions.  With the labels of the data it would be the empirical Fisher, which vanishes where
    the model is right and is no curvature (Kunstner et al. 2019).  Gradients are of each item by
    itself, in evaluation mode.

    Args:
        module: returns ``(n, classes)`` logits, or ``(n, ...)`` means where ``family`` is
            ``gaussian`` (unit variance).
        batches: of inputs, or of tuples that begin with them.
        family: ``categorical`` or ``gaussian``.
        samples: labels drawn for each item; None takes the expectation over all of them exactly,
            at the cost of a gradient for every class.
        inputs: takes the model's input out of a batch.
        leave_out: names or patterns of parts that are not wanted, such as a head.
        seed: of the labels.
        progress: told about batches.

    Returns:
        The diagonal by parameter, float32, and the number of items.

    Raises:
        InputError: for no batches, nothing that is not frozen, an unknown family, outputs of
            another shape, or gradients that are not finite.

    Source: Kirkpatrick et al. 2017, eq. 3; Martens 2020, section 5.

    Example:
        >>> net = nn.Linear(2, 3)
        >>> fisher, items = fisher_diagonal(net, [torch.ones(4, 2)], samples=None)
        >>> {name: tuple(value.shape) for name, value in fisher.items()}, items
        ({'weight': (3, 2), 'bias': (3,)}, 4)
    """
    if family not in ("categorical", "gaussian"):
        raise InputError(
            f"there is no family '{family}'",
            where="family",
            mend="Choose from categorical, gaussian",
        )
    if samples is not None and samples < 1:
        raise InputError(f"at least one label is drawn, got {samples}", where="samples")
    module = unwrapped(module)
    away = parameters_of(module, leave_out)
    wanted = {n: p for n, p in module.named_parameters() if p.requires_grad and n not in away}
    if not wanted:
        raise InputError(
            "there is nothing to take the Fisher information of: every parameter is frozen",
            mend="Call requires_grad_(True) on the part that will be trained, or leave out less",
        )
    state = {n: p.detach() for n, p in module.named_parameters()}
    state |= dict(module.named_buffers())
    theta = {n: state.pop(n) for n in wanted}
    device = next(iter(theta.values())).device
    generator = torch.Generator(device=device).manual_seed(seed)
    sums = {n: torch.zeros_like(t, dtype=torch.float32) for n, t in theta.items()}
    block = max(1, _CELLS // sum(t.numel() for t in theta.values()))
    rows = 0
    total = length_of(batches)

    def log_probability(theta: Mapping[str, Tensor], x: Tensor, target: Tensor) -> Tensor:
        out = functional_call(module, {**theta, **state}, (x[None],))
        return _log_probability(family, out, target[None])

    with evaluation_mode(module):
        for number, batch in enumerate(batches, start=1):
            x = _moved(input_of(batch, inputs), device)
            with torch.no_grad():
                out = module(x)
            targets, weights = _labels(family, out, samples, generator)
            for start in range(0, len(x), block):
                part = slice(start, start + block)
                for label in range(targets.shape[1]):
                    _add_squares(
                        sums, log_probability, theta, x[part], targets[part, label],
                        weights[part, label],
                    )  # fmt: skip
            rows += len(x)
            progress("Fisher information", number, total)
    if not rows:
        raise InputError(
            "there are no batches to take the Fisher information over",
            mend="Give a loader with at least one batch of the old task",
        )
    for name, value in sums.items():
        value /= rows
        if not bool(torch.isfinite(value).all()):
            raise InputError(
                "the gradient is not finite",
                where=f"parameter {name}",
                mend="Look for NaN or infinities in the inputs and in the weights",
            )
    return sums, rows


def _log_probability(family: str, out: Tensor, target: Tensor) -> Tensor:
    if family == "categorical":
        return -functional.cross_entropy(out, target, reduction="sum")
    return -0.5 * ((target - out) ** 2).sum()


def _labels(
    family: str, out: Tensor, samples: int | None, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Targets ``(n, s, ...)`` and their weights ``(n, s)``."""
    if not isinstance(out, Tensor) or out.ndim < 2:  # type: ignore[redundant-expr]
        raise InputError(
            "the model returns no rows of predictions",
            where="module",
            mend="Wrap it in a module that returns the logits (n, classes)",
        )
    n = len(out)
    if family == "categorical":
        if out.ndim != 2:
            raise InputError(
                f"the logits have shape {tuple(out.shape)}, expected (n, classes)",
                where="module",
                mend="Wrap it in a module that returns one row for every item",
            )
        p = torch.softmax(out.float(), 1)
        if samples is None:
            return torch.arange(out.shape[1], device=out.device).expand(n, -1), p
        drawn = torch.multinomial(p, samples, replacement=True, generator=generator)
        return drawn, p.new_full((n, samples), 1.0 / samples)
    flat = out.flatten(1)
    if samples is None:
        # the gradient for a target one unit away along an output is that output's Jacobian
        away = torch.eye(flat.shape[1], device=out.device, dtype=out.dtype).expand(n, -1, -1)
        weights = flat.new_ones(n, flat.shape[1])
    else:
        away = torch.randn(
            n, samples, flat.shape[1], generator=generator, device=out.device, dtype=out.dtype
        )
        weights = flat.new_full((n, samples), 1.0 / samples)
    return (flat[:, None] + away).reshape(n, -1, *out.shape[1:]), weights


def _add_squares(
    sums: dict[str, Tensor],
    log_probability: Callable[..., Tensor],
    theta: Mapping[str, Tensor],
    x: Tensor,
    target: Tensor,
    weight: Tensor,
) -> None:
    """Add every item's squared gradient, by vmap, or item by item where a module does not allow."""
    single = grad(log_probability)
    try:
        gradients = vmap(single, in_dims=(None, 0, 0))(theta, x, target)
        for name, g in gradients.items():
            sums[name] += torch.einsum("n...,n->...", g.float() ** 2, weight.float())
    except RuntimeError:
        for row in range(len(x)):
            for name, g in single(theta, x[row], target[row]).items():
                sums[name] += g.detach().float() ** 2 * weight[row]


def unwrapped(module: nn.Module) -> nn.Module:
    """The module itself where Fabric or data parallelism has wrapped it."""
    while is_wrapped(module) or isinstance(module, nn.parallel.DistributedDataParallel):
        module = module.module  # type: ignore[assignment]
    return module


def parameters_of(module: nn.Module, patterns: str | Iterable[str]) -> set[str]:
    """Names of the parameters in the parts that match."""
    wanted = [patterns] if isinstance(patterns, str) else list(patterns)
    if not wanted:
        return set()
    parts = find_modules(module, wanted)
    return {
        f"{part}.{name}" for part, found in parts.items() for name, _ in found.named_parameters()
    }


def _moved(x: Tensor, device: torch.device) -> Tensor:
    if not isinstance(x, Tensor):  # type: ignore[redundant-expr]
        raise InputError(
            f"a batch begins with {type(x).__name__}, not with a tensor",
            where="batches",
            mend="Say with inputs= how to take the model's input out of a batch",
        )
    return x.to(device)
