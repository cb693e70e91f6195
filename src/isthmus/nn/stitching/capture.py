"""Recording what a network does to a batch, as core operators of PyTorch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.errors import InputError
from isthmus.nn.stitching.program import DTYPES, LAYOUTS, MEMORY, Operation, Program, references
from isthmus.training.modes import evaluation_mode

__all__ = ["capture"]


def capture(network: nn.Module, batch: Any) -> Program:
    """Record what ``network`` does to batches like ``batch``, of any number of items.

    Args:
        network: run in evaluation mode.
        batch: two items or more.

    Raises:
        InputError: for a network whose operators cannot be recorded: control flow that depends on
            values, or operators of its own.
    """
    structure, given = _named_structure(batch)
    names = list(given)
    holder = _Flat(network, structure)
    tensors = tuple(given.values())
    lengths = {len(tensor) if tensor.ndim else 0 for tensor in tensors}
    count: Any = torch.export.Dim("items", min=1, max=1 << 20)
    # the length of texts, and of whatever else pairs with it, is left open where the network allows
    open_: Any = torch.export.Dim.AUTO
    any_length = tuple(
        {0: count, **({1: open_} if t.ndim == 2 and not t.is_floating_point() else {})}
        for t in tensors
    )
    with evaluation_mode(network), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        items: int | None = None
        try:
            exported: Any = _exported(holder, tensors, any_length)
        except InputError:
            # a network that asks for len(batch) is recorded for one number of items
            if len(lengths) != 1 or 0 in lengths:
                raise
            items = lengths.pop()
            exported = _exported(holder, tensors, tuple(None for _ in tensors))
    return _reduced(exported, names, structure, items)


class _Flat(nn.Module):
    """A network that takes the tensors of a batch one by one, as an export wants them."""

    def __init__(self, network: nn.Module, structure: Any) -> None:
        super().__init__()
        self.network, self._structure = network, structure

    def forward(self, *tensors: Tensor) -> Any:
        return self.network(_filled(self._structure, iter(tensors)))


def _exported(holder: nn.Module, tensors: tuple[Tensor, ...], shapes: Any) -> Any:
    export: Any = torch.export.export
    try:
        found = export(holder, tensors, dynamic_shapes={"tensors": shapes}, strict=False)
        return found.run_decompositions()
    except Exception as error:  # every kind of failure of a tracer means the same to a user
        reason = str(error).strip() or type(error).__name__
        raise InputError(
            f"the network cannot be recorded ({reason.splitlines()[0][:200]})",
            mend="Save it without a program (program=False) and load it with its own code",
        ) from error


def _reduced(exported: Any, inputs: list[str], structure: Any, items: int | None) -> Program:
    graph = exported.graph_module.graph
    graph.eliminate_dead_code()
    signature = exported.graph_signature
    given = iter(inputs)
    names: dict[Any, str] = {}
    tensors: dict[str, Tensor] = {}
    steps: list[Operation] = []
    results: Any = None
    origins = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    for node in graph.nodes:
        if node.op == "placeholder":
            origin = origins.get(node.name)
            if origin is None:
                names[node] = next(given)
            elif node.users:
                names[node] = f"w{len(tensors)}"
                held = exported.state_dict.get(origin, exported.constants.get(origin))
                tensors[names[node]] = held.detach().clone()
        elif node.op == "call_function":
            names[node] = f"v{len(steps)}"
            target = _name_of(node.target)
            if "_assert" in target:
                # what the export assumed of its example is checked by the operators themselves
                continue
            steps.append(
                Operation(
                    names[node],
                    target,
                    _encoded(node.args, names),
                    _encoded(dict(node.kwargs), names),
                )
            )
        elif node.op == "output":
            spec: Any = exported.call_spec.out_spec
            flat = [
                _encoded(a, names)
                for a, kind in zip(node.args[0], signature.output_specs, strict=True)
                if "USER_OUTPUT" in str(kind.kind)
            ]
            results = _shaped(spec.unflatten([_Leaf(value) for value in flat]))
    used = set(references([[s.arguments, s.keywords] for s in steps]))
    used |= set(references(results))
    kept = {name: tensor for name, tensor in tensors.items() if name in used}
    return Program(steps, kept, inputs, structure, results, items)


def _name_of(target: Any) -> str:
    """How an operator is called in the file."""
    if isinstance(target, torch._ops.OpOverload):  # pyright: ignore[reportPrivateUsage]
        return str(target)
    return getattr(target, "__name__", str(target))


def _encoded(value: Any, names: Mapping[Any, str]) -> Any:
    """Arguments as JSON: references to results, dtypes and the like as marked objects."""
    if isinstance(value, torch.fx.Node):
        return {"ref": names[value]}
    if isinstance(value, tuple | list):
        return [_encoded(inner, names) for inner in value]
    if isinstance(value, dict):
        return {str(k): _encoded(v, names) for k, v in value.items()}
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"number": str(value)}
    for mark, table in (("dtype", DTYPES), ("layout", LAYOUTS), ("memory", MEMORY)):
        if str(value) in table:
            return {mark: str(value)}
    if isinstance(value, torch.device):
        return {"device": "input"}
    raise InputError(
        f"the network cannot be recorded: an operator takes a {type(value).__name__}",
        mend="Save it without a program (program=False)",
    )


class _Leaf:
    """What an output holds in place of a tensor: no container, which some outputs would open."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _shaped(output: Any) -> Any:
    """An output whose containers JSON can hold; a Hugging Face output becomes a mapping."""
    if isinstance(output, _Leaf):
        return output.value
    if isinstance(output, Mapping):
        return {str(name): _shaped(value) for name, value in output.items()}
    if isinstance(output, tuple):
        return {"tuple": [_shaped(value) for value in output]}
    if isinstance(output, list):
        return [_shaped(value) for value in output]
    return output


def _named_structure(batch: Any, prefix: str = "in") -> tuple[Any, dict[str, Tensor]]:
    """The batch with names for tensors, and the tensors by name."""
    if isinstance(batch, Tensor):
        return {"input": prefix}, {prefix: batch}
    if isinstance(batch, Mapping):
        items = [(str(name), value) for name, value in batch.items()]
        kind = "mapping"
    elif isinstance(batch, tuple | list):
        items = [(str(number), value) for number, value in enumerate(batch)]
        kind = "sequence"
    else:
        raise InputError(
            f"a batch holds a {type(batch).__name__}",
            mend="Give tensors, tuples and mappings of tensors",
        )
    named: dict[str, Tensor] = {}
    parts: dict[str, Any] = {}
    # by place: names that hold dots could be those of other tensors
    for place, (name, value) in enumerate(items):
        parts[name], tensors = _named_structure(value, f"{prefix}.{place}")
        named.update(tensors)
    return {kind: parts}, named


def _filled(structure: Any, tensors: Any) -> Any:
    kind, parts = next(iter(structure.items()))
    if kind == "input":
        return next(tensors)
    if kind == "mapping":
        return {name: _filled(part, tensors) for name, part in parts.items()}
    return tuple(_filled(part, tensors) for part in parts.values())
