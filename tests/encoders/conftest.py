"""A tiny encoder on disk: an ONNX file of one to three nodes, and a vocabulary.

The file is written field by field, so that the tests need no package to make ONNX files.  Field
numbers are those of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "green", "blue", "big", "##ger", ","]
FLOAT, INT64 = 1, 7


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def value_info(name: str, kind: int, *shape: int | str) -> bytes:
    dims = b"".join(field(1, field(1 if isinstance(d, int) else 2, d)) for d in shape)
    tensor_type = field(1, kind) + field(2, dims)
    return field(1, name) + field(2, field(1, tensor_type))


def node(operator: str, inputs: list[str], outputs: list[str]) -> bytes:
    return (
        b"".join(field(1, name) for name in inputs)
        + b"".join(field(2, name) for name in outputs)
        + field(4, operator)
    )


def onnx_file(
    table: np.ndarray,
    *,
    quantised: bool = False,
    inputs: tuple[str, ...] = ("input_ids", "attention_mask"),
    outputs: tuple[str, ...] = ("last_hidden_state",),
) -> bytes:
    """Token states = rows of ``table``; with ``quantised``, through int8 at run time."""
    width = table.shape[1]
    tensor = b"".join(field(1, size) for size in table.shape) + field(2, FLOAT)
    tensor += field(8, "table") + field(9, table.astype("<f4").tobytes())
    nodes = [node("Gather", ["table", "input_ids"], ["states"])]
    last = "states"
    if quantised:
        nodes.append(node("DynamicQuantizeLinear", ["states"], ["small", "scale", "zero"]))
        nodes.append(node("DequantizeLinear", ["small", "scale", "zero"], ["restored"]))
        last = "restored"
    nodes += [node("Identity", [last], [name]) for name in outputs]
    graph = b"".join(field(1, n) for n in nodes) + field(2, "tiny") + field(5, tensor)
    graph += b"".join(field(11, value_info(name, INT64, "batch", "tokens")) for name in inputs)
    graph += b"".join(
        field(12, value_info(name, FLOAT, "batch", "tokens", width)) for name in outputs
    )
    return field(1, 8) + field(7, graph) + field(8, field(2, 17))


@pytest.fixture(scope="session")
def token_table() -> np.ndarray:
    """Rows of very different sizes, so that a shared quantisation scale shows."""
    table = np.random.default_rng(3).normal(size=(len(WORDS), 6))
    return (table * np.geomspace(1, 50, len(WORDS))[:, None]).astype(np.float32)


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def write_model(tmp_path: Path, token_table: np.ndarray) -> Callable[..., Path]:
    """Writes a tiny model with the given options of `onnx_file`, and returns its path."""

    def write(name: str = "tiny.onnx", **options: object) -> Path:
        path = tmp_path / name
        path.write_bytes(onnx_file(token_table, **options))  # type: ignore[arg-type]
        return path

    return write
