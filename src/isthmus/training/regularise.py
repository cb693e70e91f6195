"""Penalties that hold a network near what it was: elastic weight consolidation and L2-SP."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from isthmus import artefact
from isthmus.errors import InputError
from isthmus.training.fisher import fisher_diagonal, parameters_of, unwrapped
from isthmus.training.torch_tensors import as_arrays, as_tensors

__all__ = ["EWC", "L2SP"]

_KIND = "elastic weight consolidation"


class EWC:
    """``½ λ Σ F_i (θ_i − θ*_i)²``: what the old task was sure of is held, the rest may move.

    A penalty to add to any loss; parameters that the old network did not have are free.  With
    the mean loss over ``m`` new items and a Fisher of ``n`` old ones, ``λ = n / m`` is Laplace's
    approximation of the joint training; more forgets less.

    Statistics of normalisation are no parameters: freeze those layers, or they drift.

    Args:
        fisher: by parameter.
        anchor: θ* by parameter.
        strength: λ.
        rows: items that the Fisher is a mean of.

    Source: Kirkpatrick et al. 2017; online, Schwarz et al. 2018, section 3.2.

    Example:
        >>> net = nn.Linear(2, 3)
        >>> penalty = EWC.of(net, [torch.ones(4, 2)], strength=10.0)
        >>> penalty(net).item()  # nothing has moved yet
        0.0
    """

    def __init__(
        self,
        fisher: Mapping[str, Tensor],
        anchor: Mapping[str, Tensor],
        *,
        strength: float = 1.0,
        rows: int = 0,
    ) -> None:
        _check_strength(strength)
        if fisher.keys() != anchor.keys():
            odd = sorted(fisher.keys() ^ anchor.keys())[0]
            raise InputError("the Fisher and the anchor are of other parameters", where=odd)
        self.fisher, self.anchor = dict(fisher), dict(anchor)
        self.strength, self.rows = strength, rows

    @classmethod
    def of(
        cls, module: nn.Module, batches: Iterable[Any], *, strength: float = 1.0, **options: Any
    ) -> Self:
        """The penalty around the module as it is now, from batches of the old task.

        Args:
            module: trained on the old task; it is not kept.
            batches: of the old task.
            strength: λ.
            **options: of `fisher_diagonal`.
        """
        fisher, rows = fisher_diagonal(module, batches, **options)
        own = dict(unwrapped(module).named_parameters())
        anchor = {n: own[n].detach().clone() for n in fisher}
        return cls(fisher, anchor, strength=strength, rows=rows)

    def updated(
        self, module: nn.Module, batches: Iterable[Any], *, decay: float = 1.0, **options: Any
    ) -> EWC:
        """The online variant after one more task: ``F ← γ F + F_new``, around the module as it is.

        Args:
            module: trained on the newest task under this penalty.
            batches: of that task.
            decay: γ in [0, 1]; below 1, tasks long past fade.
            **options: of `fisher_diagonal`.

        Raises:
            InputError: for another γ, and as `fisher_diagonal`.
        """
        if not 0 <= decay <= 1:
            raise InputError(f"the decay lies in [0, 1], got {decay}", where="decay")
        new = EWC.of(module, batches, strength=self.strength, **options)
        for name, value in new.fisher.items():
            old = self.fisher.get(name)
            if old is not None and old.shape == value.shape:
                value += decay * old.to(value.device)
        # what is frozen now learned nothing new, and may move later
        for name, parameter in unwrapped(module).named_parameters():
            old = self.fisher.get(name)
            if (
                old is not None
                and name not in new.fisher
                and not parameter.requires_grad
                and old.shape == parameter.shape
            ):
                new.fisher[name] = decay * old
                new.anchor[name] = parameter.detach().clone()
        return EWC(new.fisher, new.anchor, strength=self.strength, rows=self.rows + new.rows)

    def __call__(self, module: nn.Module) -> Tensor:
        """The penalty, differentiable: a number.

        Raises:
            InputError: where a parameter is absent or has another shape.
        """
        terms: list[Tensor] = []
        own = dict(unwrapped(module).named_parameters())
        for name, anchor in self.anchor.items():
            parameter = _same_shape(own, name, anchor)
            if parameter.requires_grad:
                apart = parameter - _near(self.anchor, name, parameter)
                terms.append((_near(self.fisher, name, parameter) * apart**2).sum())
        return 0.5 * self.strength * _total(terms, own)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write Fisher and anchor as a folder.

        Raises:
            OutputError: where the folder exists or the disk refuses.
        """
        tensors = {f"fisher/{n}": t for n, t in self.fisher.items()}
        tensors |= {f"anchor/{n}": t for n, t in self.anchor.items()}
        content = {"strength": self.strength, "rows": self.rows}
        artefact.write(Path(path), _KIND, content, as_arrays(tensors), overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            InputError: for a folder that is missing, damaged or something else.
        """
        with artefact.read(Path(path), _KIND) as stored:
            fisher, anchor = (as_tensors(stored.tensors.under(n)) for n in ("fisher", "anchor"))
            strength, rows = float(stored.content["strength"]), int(stored.content["rows"])
            return cls(fisher, anchor, strength=strength, rows=rows)


class L2SP:
    """``½ α ‖θ_shared − θ⁰‖² + ½ β ‖θ_new‖²``: decay towards the start, not towards zero.

    A penalty to add to any loss, with the optimiser's own weight decay off.  What the starting
    network has, in the same shape and not named in ``new``, is shared; everything else is new.

    Args:
        module: the network as it starts; its parameters are copied.
        strength: α.
        new: names or patterns of parts that start afresh, such as a head.
        new_strength: β.

    Source: Li, Grandvalet and Davoine 2018, eq. 2.

    Example:
        >>> net = nn.Linear(2, 1, bias=False)
        >>> penalty = L2SP(net, strength=1.0)
        >>> with torch.no_grad():
        ...     _ = net.weight.add_(2.0)
        >>> round(penalty(net).item(), 4)  # half of 2² + 2²
        4.0
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        strength: float = 0.1,
        new: str | Iterable[str] = (),
        new_strength: float = 0.01,
    ) -> None:
        _check_strength(strength)
        _check_strength(new_strength)
        module = unwrapped(module)
        fresh = parameters_of(module, new)
        self.anchor = {
            n: p.detach().clone() for n, p in module.named_parameters() if n not in fresh
        }
        if not self.anchor:
            raise InputError(
                "every parameter is new: there is no starting point", where="new",
                mend="Name only the parts that the old network does not have",
            )  # fmt: skip
        self.strength, self.new_strength = strength, new_strength

    def __call__(self, module: nn.Module) -> Tensor:
        """The penalty, differentiable: a number.

        Raises:
            InputError: for a network that shares no parameter with the starting one.
        """
        own = dict(unwrapped(module).named_parameters())
        shared: list[Tensor] = []
        new: list[Tensor] = []
        met = 0
        for name, parameter in own.items():
            anchor = self.anchor.get(name)
            known = anchor is not None and anchor.shape == parameter.shape
            met += known
            if not parameter.requires_grad:
                continue
            if known:
                shared.append(((parameter - _near(self.anchor, name, parameter)) ** 2).sum())
            else:
                new.append((parameter**2).sum())
        if not met:
            raise InputError(
                "the network shares no parameter with the one that the penalty started from",
                where="module",
                mend="Make the penalty from the network before training, under the same names",
            )
        strengths = (self.strength, self.new_strength)
        return 0.5 * sum(
            (s * _total(terms, own) for s, terms in zip(strengths, (shared, new), strict=True)),
            start=torch.zeros((), device=next(iter(own.values())).device),
        )


def _near(held: dict[str, Tensor], name: str, parameter: Tensor) -> Tensor:
    """What is held under this name, moved once to where the parameter is."""
    if held[name].device != parameter.device:
        held[name] = held[name].to(parameter.device)
    return held[name]


def _same_shape(own: Mapping[str, Tensor], name: str, anchor: Tensor) -> Tensor:
    if name not in own:
        raise InputError(
            "the network has no such parameter, and the penalty holds it",
            where=f"parameter {name}",
            mend="Take the Fisher without that part (leave_out=), or keep the part's name",
        )
    if own[name].shape != anchor.shape:
        raise InputError(
            f"the parameter has shape {tuple(own[name].shape)}, and had {tuple(anchor.shape)}",
            where=f"parameter {name}",
            mend="Take the Fisher without that part (leave_out=)",
        )
    return own[name]


def _total(terms: list[Tensor], own: Mapping[str, Tensor]) -> Tensor:
    if not terms:
        return torch.zeros((), device=next(iter(own.values())).device)
    return torch.stack(terms).sum()


def _check_strength(strength: float) -> None:
    if not 0 <= strength < float("inf"):
        raise InputError(f"the strength is 0 or more and finite, got {strength}", where="strength")
