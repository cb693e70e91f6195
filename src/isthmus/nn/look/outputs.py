"""What a module returned: finding the tensor in it, and putting another in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, cast

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from isthmus.errors import InputError

__all__ = ["replace_tensor", "tensor_of"]

_HIDDEN = ("last_hidden_state", "hidden_states", "x", "out", "output", "features", "logits")
"""Keys that carry the representation, as Hugging Face, torchvision and timm call them."""


def tensor_of(output: Any, where: str, part: str | int | None = None) -> Tensor:
    """The activation in what a module returned.

    A tensor is itself; of a tuple or list it is the first tensor (recurrent and attention layers
    return the sequence first); of a mapping or a Hugging Face output the value of the one key, or
    of ``last_hidden_state`` and its like.

    Args:
        output: what the module returned.
        where: the layer's name, for errors.
        part: the key or the position that is wanted, where the rule above is not.

    Raises:
        InputError: where no tensor, or no certain one, is found.
    """
    return output if isinstance(output, Tensor) else _at(output, _path(output, where, part))


def replace_tensor(output: Any, new: Tensor, where: str, part: str | int | None = None) -> Any:
    """``output`` with the tensor that `tensor_of` finds replaced by ``new``."""
    if isinstance(output, Tensor):
        return new
    return _with(output, _path(output, where, part), new)


def _path(output: Any, where: str, part: str | int | None) -> tuple[Any, ...]:
    if isinstance(output, Tensor):
        return ()
    if isinstance(output, PackedSequence) or _is_packed(output):
        raise InputError(
            "the layer returns a packed sequence, whose rows are steps and not items",
            where=f"layer {where}",
            mend="Give it padded sequences, with batch_first=True and a mask",
        )
    parts = _parts(output)
    if not parts:
        raise InputError(
            f"the layer returns {_described(output)}, which holds no tensor",
            where=f"layer {where}",
            mend="Tap another layer",
        )
    if part is not None:
        if part not in parts:
            raise InputError(
                f"the layer's output has no part {part!r}",
                where=f"layer {where}",
                mend=f"Choose part= from {', '.join(repr(name) for name in parts)}",
            )
        return (part, *_path(parts[part], where, None))
    held = {name: value for name, value in parts.items() if _holds(value)}
    named = [name for name in _HIDDEN if name in held]
    if isinstance(output, Mapping) or is_dataclass(output):
        chosen = next(iter(held)) if len(held) == 1 else (named or [None])[0]
        if chosen is None:
            raise InputError(
                f"the layer returns {_described(output)}, and which part is meant is not clear",
                where=f"layer {where}",
                mend="Say which with part=",
            )
    else:
        chosen = next(iter(held), None)
        if chosen is None:
            raise InputError(
                f"the layer returns {_described(output)}, which holds no tensor",
                where=f"layer {where}",
                mend="Tap another layer",
            )
    return (chosen, *_path(held[chosen], where, None))


def _is_packed(output: Any) -> bool:
    return isinstance(output, tuple) and any(
        isinstance(value, PackedSequence) for value in cast(tuple[Any, ...], output)
    )


def _parts(output: Any) -> dict[Any, Any]:
    if isinstance(output, Mapping):
        return dict(output)
    if is_dataclass(output) and not isinstance(output, type):
        return {f.name: getattr(output, f.name) for f in fields(output)}
    if isinstance(output, Sequence) and not isinstance(output, str | bytes):
        return dict(enumerate(output))
    return {}


def _holds(value: Any) -> bool:
    """Whether there is an activation in it: at least a batch of vectors, of real numbers."""
    if isinstance(value, Tensor):
        return value.ndim >= 2 and value.is_floating_point()
    return any(_holds(inner) for inner in _parts(value).values())


def _at(output: Any, path: tuple[Any, ...]) -> Tensor:
    for key in path:
        output = _parts(output)[key]
    return output


def _with(output: Any, path: tuple[Any, ...], new: Tensor) -> Any:
    if not path:
        return new
    key, rest = path[0], path[1:]
    inner = _with(_parts(output)[key], rest, new)
    if isinstance(output, Mapping):
        # Hugging Face outputs keep their class, whose attributes the next layer reads
        made: Any = type(output)
        return made(**{**dict(output), key: inner})
    if is_dataclass(output) and not isinstance(output, type):
        made = type(output)
        return made(**{**_parts(output), key: inner})
    values: list[Any] = list(_parts(output).values())
    values[key] = inner
    made = type(output)
    return made(*values) if hasattr(output, "_fields") else made(values)


def _described(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"a tensor of shape {tuple(output.shape)}"
    parts = _parts(output)
    if isinstance(output, Mapping) or is_dataclass(output):
        return f"{type(output).__name__} with {', '.join(repr(name) for name in parts)}"
    return f"{type(output).__name__} of {len(parts)}" if parts else f"{type(output).__name__}"
