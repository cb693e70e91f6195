"""What a smaller network costs and is worth: size, speed and accuracy side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from isthmus.errors import InputError
from isthmus.files import canonical_json
from isthmus.progress import Progress, silent
from isthmus.training.modes import call_model, evaluation_mode
from isthmus.training.names import replace_modules

__all__ = [
    "Compact", "CompactTable", "LayerChange", "Variant", "compact_table", "like_tensor",
    "replace_module", "size_of", "weight_of",
]  # fmt: skip

_CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


@dataclass(frozen=True)
class LayerChange:
    """What became of one layer.

    Attributes:
        name: of the layer.
        what: in a few words.
        before: bytes of its weights.
        after: bytes of its weights now.
    """

    name: str
    what: str
    before: int
    after: int


@dataclass(frozen=True, eq=False)
class Compact:
    """A smaller copy of a network, and what was done to each layer.

    Attributes:
        module: the copy, in evaluation mode; the original is as it was.
        layers: in the order of the network.
    """

    module: nn.Module
    layers: tuple[LayerChange, ...]

    @property
    def before(self) -> int:
        """Bytes of these layers before."""
        return sum(layer.before for layer in self.layers)

    @property
    def after(self) -> int:
        """Bytes of these layers now."""
        return sum(layer.after for layer in self.layers)

    def __str__(self) -> str:
        width = max(len(layer.name) for layer in self.layers)
        lines = [
            f"{layer.name.ljust(width)}  {layer.before / 1024:9.1f} → {layer.after / 1024:9.1f} KiB"
            f"  {layer.what}"
            for layer in self.layers
        ]
        share = self.after / max(self.before, 1)
        lines.append(
            f"{len(self.layers)} layers, {self.before / 1024:.1f} → {self.after / 1024:.1f} KiB "
            f"({share:.0%})"
        )
        return "\n".join(lines)


def size_of(module: nn.Module) -> int:
    """Bytes of the parameters and buffers, shared ones once."""
    seen: dict[int, int] = {}
    for tensor in [*module.parameters(), *module.buffers()]:
        seen[tensor.data_ptr() if tensor.numel() else id(tensor)] = (
            tensor.numel() * tensor.element_size()
        )
    return sum(seen.values())


def replace_module(model: nn.Module, name: str, new: nn.Module) -> None:
    """Put a module in the place of the one of this dotted name, wherever else that stands."""
    replace_modules(model, {model.get_submodule(name): new})


def like_tensor(reference: Tensor, values: Any) -> Tensor:
    """Host values as a tensor of the shape and on the device of ``reference``."""
    made = torch.as_tensor(np.ascontiguousarray(values), device=reference.device)
    return made.reshape(reference.shape)


def weight_of(name: str, layer: nn.Module) -> Tensor:
    """The weight of a layer, which must be finite and a parameter of its own.

    Raises:
        InputError: naming the layer.
    """
    if parametrize.is_parametrized(layer, "weight"):
        raise InputError(
            "its weight is parametrized, and would be computed anew",
            where=f"layer {name}",
            mend="Make it plain first: torch.nn.utils.parametrize.remove_parametrizations",
        )
    weight: Any = layer.weight
    if not bool(torch.isfinite(weight).all()):
        raise InputError(
            "a weight is NaN or infinite",
            where=f"layer {name}",
            mend="Go back to a state from before the training diverged",
        )
    return weight.detach()


@dataclass(frozen=True)
class Variant:
    """One way to serve.

    Attributes:
        name: its name.
        accuracy: as measured.
        milliseconds: of one call, the median.
        latency: relative to the first variant, the median of ratios of neighbouring calls.
        size: in bytes.
    """

    name: str
    accuracy: float
    milliseconds: float
    latency: float
    size: int


@dataclass(frozen=True)
class CompactTable:
    """Variants, the first of which is what they are compared with; it prints as a table."""

    variants: tuple[Variant, ...]

    def __getitem__(self, name: str) -> Variant:
        for variant in self.variants:
            if variant.name == name:
                return variant
        raise InputError(
            f"there is no variant '{name}'",
            mend=f"There are {', '.join(v.name for v in self.variants)}",
        )

    def to_json(self) -> str:
        """The table as canonical JSON."""
        return canonical_json([asdict(variant) for variant in self.variants])

    def __str__(self) -> str:
        width = max(len("variant"), *(len(v.name) for v in self.variants))
        first = self.variants[0]
        lines = [
            f"{'variant'.ljust(width)}  accuracy  to first     time  relative       size  relative"
        ]
        lines += [
            f"{v.name.ljust(width)}  {v.accuracy:8.3f}  {v.accuracy - first.accuracy:+8.3f}"
            f"  {v.milliseconds:4.3g} ms  {v.latency:7.2f}x  {_bytes(v.size):>9}"
            f"  {v.size / max(first.size, 1):7.2f}x"
            for v in self.variants
        ]
        return "\n".join(lines)


def compact_table(
    variants: Mapping[str, Any],
    accuracy: Callable[[Any], float],
    example: Any,
    *,
    sizes: Mapping[str, int] | None = None,
    repeats: int = 9,
    clock: str = "wall",
    progress: Progress = silent,
) -> CompactTable:
    """Accuracy, latency and size of several variants, the first being the one to compare with.

    Calls are timed in turn, A B C A B C …, after one call that is thrown away, so that the relative
    latency holds on a busy machine where the milliseconds do not.

    Args:
        variants: modules, or any functions of the example.
        accuracy: of a variant; higher is better.
        example: what one call takes, a tuple being several arguments.
        sizes: in bytes, of variants that are not modules.
        repeats: calls of each.
        clock: ``wall``, or ``processor`` time of this process, which other programs disturb less,
            and which several threads add up to.
        progress: told about variants.

    Raises:
        InputError: for no variants, repeats below 1, another clock, or a function whose size is
            not given.
    """
    if clock not in _CLOCKS:
        raise InputError(
            f"there is no clock '{clock}'", where="clock", mend=f"Choose from {', '.join(_CLOCKS)}"
        )
    now = _CLOCKS[clock]
    if not variants:
        raise InputError("there are no variants to compare", where="variants")
    if repeats < 1:
        raise InputError(f"a call is timed at least once, got {repeats}", where="repeats")
    known = dict(sizes or {})
    for name, variant in variants.items():
        if name not in known:
            if not isinstance(variant, nn.Module):
                raise InputError(
                    "the size is not known: this is no module",
                    where=f"variant {name}",
                    mend="Give it in sizes=",
                )
            known[name] = size_of(variant)
    scores: dict[str, float] = {}
    for number, (name, variant) in enumerate(variants.items(), start=1):
        scores[name] = float(accuracy(variant))
        progress("variants", number, len(variants))
    for variant in variants.values():
        _seconds(variant, example, now)
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(repeats):
        for name, variant in variants.items():
            seconds[name].append(_seconds(variant, example, now))
    first = seconds[next(iter(variants))]
    return CompactTable(
        tuple(
            Variant(
                name,
                scores[name],
                1e3 * statistics.median(own),
                statistics.median(a / b for a, b in zip(own, first, strict=True)),
                known[name],
            )
            for name, own in seconds.items()
        )
    )


def _seconds(variant: Any, example: Any, now: Callable[[], float]) -> float:
    if not isinstance(variant, nn.Module):
        start = now()
        variant(*example) if isinstance(example, tuple) else variant(example)
        return now() - start
    with evaluation_mode(variant), torch.inference_mode():
        start = now()
        out = call_model(variant, example)
        # a device that works on its own must have finished
        if isinstance(out, Tensor) and out.device.type != "cpu":
            out.flatten()[:1].cpu()
        return now() - start


def _bytes(size: int) -> str:
    return f"{size / 2**20:.2f} MiB" if size >= 2**20 else f"{size / 2**10:.1f} KiB"
