"""A network as data: which operators on which tensors, so that it runs without its own code.

What is written is JSON and safetensors; what is read may name core operators of PyTorch only, is
run by an interpreter, and no code is made of it.  `isthmus.nn.stitching.capture` makes a program.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isthmus import artefact
from isthmus.errors import InputError
from isthmus.json_text import read_json
from isthmus.training.batches import map_tensors
from isthmus.training.torch_tensors import as_arrays, as_tensor

__all__ = ["DTYPES", "LAYOUTS", "MEMORY", "Operation", "Program", "references"]

_PLAIN: dict[str, Callable[..., Any]] = {
    "getitem": operator.getitem,
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": operator.floordiv,
    "sym_max": max,
    "sym_min": min,
}
"""What is computed of numbers of items, and what takes an operator's results apart."""

_SIZES = ("sym_size", "sym_numel", "sym_stride")
DTYPES = {
    str(d): d
    for d in (
        torch.float32, torch.float64, torch.float16, torch.bfloat16,
        torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
    )
}  # fmt: skip
LAYOUTS = {str(k): k for k in (torch.strided,)}
MEMORY = {str(k): k for k in (torch.contiguous_format, torch.preserve_format, torch.channels_last)}


@dataclass(frozen=True)
class Operation:
    """One operator: its name, its arguments as JSON, and the name of its result."""

    name: str
    target: str
    arguments: list[Any]
    keywords: dict[str, Any]


class Program(nn.Module):
    """A captured network; call it as the network, with a tensor, a tuple or a mapping.

    Args:
        steps: in order.
        tensors: weights and constants by name.
        inputs: names of the tensors of a batch, in order.
        structure: the batch, with names for its tensors.
        results: the output, with references to steps.
        items: what a batch must hold, where the network was recorded for one size; others are cut
            and filled up to it.
    """

    def __init__(
        self,
        steps: list[Operation],
        tensors: Mapping[str, Tensor],
        inputs: list[str],
        structure: Any,
        results: Any,
        items: int | None = None,
    ) -> None:
        super().__init__()
        self._steps, self._inputs, self._items = steps, inputs, items
        self._structure, self._results = structure, results
        self._names = list(tensors)
        for number, tensor in enumerate(tensors.values()):
            self.register_buffer(f"t{number}", tensor)
        self._operators = [_operator(step.target) for step in steps]
        # a tensor is dropped after its last reader, as Python drops it
        last: dict[str, int] = {}
        for number, step in enumerate(steps):
            for name in references([step.arguments, step.keywords]):
                last[name] = number
        kept = set(references(results)) | set(self._names)
        self._dropped: dict[int, list[str]] = {}
        for name, number in last.items():
            if name not in kept:
                self._dropped.setdefault(number, []).append(name)

    def forward(self, batch: Any) -> Any:
        """What the captured network makes of a batch of the captured structure.

        Raises:
            InputError: for a batch of another structure.
        """
        given = dict(_match(self._structure, batch))
        if self._items is None:
            return self._run(given)
        count = max((len(tensor) for tensor in given.values()), default=0)
        if not count:
            raise InputError(
                f"the batch is empty, and the network was recorded for {self._items} items"
            )
        parts = [self._run_some(given, start) for start in range(0, count, self._items)]
        return _joined(parts)

    def _run_some(self, given: Mapping[str, Tensor], start: int) -> Any:
        """The items from ``start`` on, as many as the network was recorded for."""
        assert self._items is not None
        part = {name: tensor[start : start + self._items] for name, tensor in given.items()}
        count = max(len(tensor) for tensor in part.values())
        missing = self._items - count
        if not missing:
            return self._run(part)
        filled = {n: torch.cat([t, t[:1].expand(missing, *t.shape[1:])]) for n, t in part.items()}
        return map_tensors(lambda t: t[:count], self._run(filled))

    def _run(self, given: Mapping[str, Tensor]) -> Any:
        values: dict[str, Any] = dict(given)
        for number, name in enumerate(self._names):
            values[name] = getattr(self, f"t{number}")
        device = next((v.device for n, v in values.items() if n in self._inputs), None)
        for number, (step, run) in enumerate(zip(self._steps, self._operators, strict=True)):
            arguments = _decoded(step.arguments, values, device)
            keywords = _decoded(step.keywords, values, device)
            values[step.name] = run(*arguments, **keywords)
            for name in self._dropped.get(number, ()):
                values.pop(name, None)
        return _decoded(self._results, values, device)

    def pack(self) -> artefact.Packed:
        """JSON and tensors from which `unpack` makes the same program."""
        record = {
            "steps": [[s.name, s.target, s.arguments, s.keywords] for s in self._steps],
            "tensors": self._names,
            "inputs": self._inputs,
            "structure": self._structure,
            "results": self._results,
            "items": self._items,
        }
        # text, because the order of an output's parts is part of it
        described = {"graph": json.dumps(record, allow_nan=False, separators=(",", ":"))}
        return described, as_arrays(
            {name: getattr(self, f"t{number}") for number, name in enumerate(self._names)}
        )

    @classmethod
    def unpack(cls, described: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Program:
        """What `pack` gave.

        Raises:
            InputError: for a program that names anything but core operators.
            KeyError, TypeError, ValueError: for anything else that is no program.
        """
        record = read_json(described["graph"])
        return cls(
            [Operation(*step) for step in record["steps"]],
            {name: as_tensor(tensors[name]) for name in record["tensors"]},
            record["inputs"],
            record["structure"],
            record["results"],
            record["items"],
        )


def _joined(parts: list[Any]) -> Any:
    """Outputs of consecutive items as one."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(parts)
    if isinstance(first, Mapping):
        return {name: _joined([part[name] for part in parts]) for name in first}
    if isinstance(first, tuple | list):
        return tuple(_joined(list(column)) for column in zip(*parts, strict=True))
    return first


def _operator(name: str) -> Callable[..., Any]:
    """The operator of this name, if it is one that a file may name.

    Raises:
        InputError: for anything else.
    """
    if name in _PLAIN:
        return _PLAIN[name]
    parts = name.split(".")
    if len(parts) == 3 and parts[0] == "aten":
        packet = getattr(torch.ops.aten, parts[1], None)
        found: Any = getattr(packet, parts[2], None)
        # core operators read and write tensors only, never files
        if found is not None and (torch.Tag.core in found.tags or parts[1] in _SIZES):
            return found
    raise InputError(
        f"a program may not use '{name}'", mend="Only core operators of PyTorch may be named"
    )


def _decoded(value: Any, values: Mapping[str, Any], device: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(inner, values, device) for inner in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        mark, held = next(iter(value.items()))
        # an argument or an output may have the name of a mark; what it holds is no text then
        if isinstance(held, str):
            if mark == "ref":
                return values[held]
            if mark == "dtype":
                return DTYPES[held]
            if mark == "layout":
                return LAYOUTS[held]
            if mark == "memory":
                return MEMORY[held]
            if mark == "device":
                return device
            if mark == "number":
                return float(held)
        if mark == "tuple" and isinstance(held, list):
            return tuple(_decoded(inner, values, device) for inner in held)
    return {name: _decoded(inner, values, device) for name, inner in value.items()}


def references(value: Any) -> list[str]:
    """Names of the results that encoded arguments refer to."""
    if isinstance(value, list):
        return [name for inner in value for name in references(inner)]
    if isinstance(value, dict):
        if set(value) == {"ref"} and isinstance(value["ref"], str):
            return [value["ref"]]
        return [name for inner in value.values() for name in references(inner)]
    return []


def _match(structure: Any, batch: Any) -> list[tuple[str, Tensor]]:
    """The tensors of a batch by name."""
    kind, parts = next(iter(structure.items()))
    if kind == "input":
        if not isinstance(batch, Tensor):
            raise InputError(f"the batch has a {type(batch).__name__} where a tensor was")
        return [(parts, batch)]
    if kind == "mapping":
        if not isinstance(batch, Mapping) or set(batch) != set(parts):
            raise InputError(f"the batch must be a mapping of {', '.join(parts)}")
        return [pair for name, part in parts.items() for pair in _match(part, batch[name])]
    if not isinstance(batch, tuple | list) or len(batch) != len(parts):
        raise InputError(f"the batch must be a sequence of {len(parts)} tensors")
    return [pair for part, value in zip(parts.values(), batch, strict=True)
            for pair in _match(part, value)]  # fmt: skip
