"""A safetensors file of which the shapes and digests are known from elsewhere.

It is read through the file, never mapped: a map of a file that somebody truncates kills the
process.  The file's own index is not parsed: it is what follows from the stated tensors, or the
file is refused.  So whatever it claims, nothing is allocated that was not expected.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from isthmus.errors import InputError

__all__ = ["BFLOAT16", "Spec", "Tensors", "all_finite", "open_tensors", "plain", "write_tensors"]

BFLOAT16 = np.dtype([("bfloat16", "<u2")])
"""How NumPy, which has no bfloat16, carries its bits: 16-bit numbers, ``array.view(BFLOAT16)``."""

_DTYPES = {
    "BOOL": np.dtype("?"),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "BF16": BFLOAT16,
    **{
        f"{kind}{8 * size}": np.dtype(f"<{kind.lower()}{size}")
        for kind in "UIF"
        for size in (2, 4, 8)
    },
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_MOST_AXES = 8
_LONGEST_AXIS = 2**48
_BLOCK = 2**18

Shape = tuple[int | None, ...]
"""What is expected of a tensor; None is any length."""


class Spec(NamedTuple):
    """What is known of a tensor before it is read."""

    dtype: str
    """In the words of safetensors, such as ``F32``."""
    shape: list[int]
    digest: str
    """SHA-256 of its bytes."""

    @classmethod
    def of(cls, tensor: NDArray[Any]) -> Spec:
        """The spec of a tensor as `plain` returns it."""
        digest = hashlib.sha256(_bytes(tensor)).hexdigest()
        return cls(_NAMES[tensor.dtype], list(tensor.shape), digest)

    @classmethod
    def checked(cls, stated: Any) -> Spec:
        """The spec that a manifest states.

        Raises:
            ValueError: for one that no tensor has.
        """
        match stated:
            case [str(dtype), list(shape), str(digest)]:
                axes = cast(list[Any], shape)
                if dtype in _DTYPES and len(axes) <= _MOST_AXES and all(map(_is_length, axes)):
                    return cls(dtype, axes, digest)
            case _:
                pass
        raise ValueError("a tensor is stated as dtype, shape and digest")

    @property
    def bytes(self) -> int:
        """The room it takes."""
        return math.prod(self.shape) * _DTYPES[self.dtype].itemsize


def _is_length(value: Any) -> bool:
    return type(value) is int and 0 <= value < _LONGEST_AXIS


def plain(name: str, tensor: NDArray[Any]) -> NDArray[Any]:
    """The tensor, contiguous and little-endian; not copied where it is so already.

    Raises:
        InputError: for a dtype that files do not hold.
    """
    dtype = tensor.dtype if tensor.dtype == BFLOAT16 else tensor.dtype.newbyteorder("<")
    if dtype not in _NAMES:
        raise InputError(f"a file holds no tensors of dtype {tensor.dtype}", where=f"'{name}'")
    # ascontiguousarray would make a row of a number
    return np.asarray(tensor, dtype=dtype, order="C")


def write_tensors(
    file: BinaryIO, tensors: Mapping[str, NDArray[Any]], specs: Mapping[str, Spec]
) -> None:
    """Write tensors, as `plain` returns them, with the index that follows from their specs."""
    file.write(_header(specs))
    for name in _order(specs):
        file.write(_bytes(tensors[name]))


def open_tensors(file: BinaryIO, specs: Mapping[str, Spec], place: Path) -> Tensors:
    """The tensors of a file that is as long as was stated, and begins as it should.

    Raises:
        InputError: for any other file.
    """
    header = _header(specs)
    size = os.fstat(file.fileno()).st_size
    expected = len(header) + sum(spec.bytes for spec in specs.values())
    fault = None
    if size != expected:
        fault = f"the file has {size:,} bytes, expected {expected:,}"
    elif file.read(len(header)) != header:
        fault = "the file lists others than the manifest"
    if fault is not None:
        raise InputError(
            f"the tensors are damaged: {fault}",
            where=str(place),
            mend="Copy the folder again, or make it again",
        )
    offsets, start = dict[str, int](), len(header)
    for name in _order(specs):
        offsets[name] = start
        start += specs[name].bytes
    return Tensors(file, specs, offsets)


@dataclass(eq=False)
class Tensors(Mapping[str, NDArray[Any]]):
    """The tensors of a file that is open, by name: a mapping that reads what is looked at.

    A part's ``unpack`` looks at its own, so that `unused` shows what belongs to none.  What is read
    is compared with its digest, and infinity and NaN are refused unless ``finite`` is false.
    """

    file: BinaryIO
    specs: Mapping[str, Spec]
    offsets: Mapping[str, int]
    finite: bool = True
    prefix: str = ""
    seen: dict[str, NDArray[Any] | None] = field(default_factory=dict[str, Any])

    def under(self, prefix: str, *, finite: bool = True) -> Tensors:
        """The tensors of a part, as `isthmus.artefact.prefixed` named them.

        Args:
            prefix: the part.
            finite: whether all its numbers must be; not so for a network's masks.
        """
        return replace(self, prefix=f"{self.prefix}{prefix}/", finite=finite)

    @override
    def __iter__(self) -> Iterator[str]:
        start = len(self.prefix)
        return (name[start:] for name in self.specs if name.startswith(self.prefix))

    @override
    def __len__(self) -> int:
        return sum(1 for _ in self)

    @override
    def __contains__(self, name: object) -> bool:
        return f"{self.prefix}{name}" in self.specs

    @override
    def __getitem__(self, name: str) -> NDArray[Any]:
        whole = self.prefix + name
        found = self.seen.get(whole)
        if found is None:
            found = self.seen[whole] = self._read(whole, self._spec(whole))
        return found

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, which is not read.

        Raises:
            ValueError: where there is none.
        """
        return tuple(self._spec(self.prefix + name).shape)

    def take(self, name: str, shape: Shape, dtype: Any = np.float32) -> NDArray[Any]:
        """Read a tensor that must have a certain shape and dtype, which are looked at before.

        Raises:
            ValueError: for a tensor that is missing, or is not as expected.
        """
        whole = self.prefix + name
        spec = self._spec(whole)
        if len(spec.shape) != len(shape) or any(
            e not in (None, f) for f, e in zip(spec.shape, shape, strict=True)
        ):
            words = ", ".join("any" if e is None else str(e) for e in shape)
            raise ValueError(f"the tensor '{whole}' has shape {spec.shape}, expected [{words}]")
        self._check_dtype(whole, (dtype,))
        self.seen[whole] = None
        return self._read(whole, spec)

    def check(self, *, dtypes: Collection[Any], most_bytes: int) -> None:
        """Refuse what no such artefact holds, before anything is read.

        Raises:
            ValueError: for a tensor of another dtype, or more bytes in all.
        """
        for name in self:
            self._check_dtype(self.prefix + name, dtypes)
        size = sum(spec.bytes for n, spec in self.specs.items() if n.startswith(self.prefix))
        if size > most_bytes:
            raise ValueError(f"the tensors take {size:,} bytes, and {most_bytes:,} at the most")

    def verify(self) -> None:
        """Compare all of them with their digests, and keep none.

        Raises:
            ValueError: for the first that was changed.
        """
        for name in self:
            self._read(self.prefix + name, self._spec(self.prefix + name))
        self.skip()

    def skip(self) -> None:
        """Leave all of them unread."""
        self.seen.update(dict.fromkeys(self.prefix + name for name in self))

    @property
    def unused(self) -> list[str]:
        """Names that nobody looked at."""
        return [name for name in self if self.prefix + name not in self.seen]

    def _spec(self, whole: str) -> Spec:
        if whole not in self.specs:
            raise ValueError(f"the tensor '{whole}' is missing")
        return self.specs[whole]

    def _check_dtype(self, whole: str, expected: Collection[Any]) -> None:
        spec, names = self.specs[whole], [_NAMES[np.dtype(dtype)] for dtype in expected]
        if spec.dtype not in names:
            raise ValueError(f"the tensor '{whole}' is {spec.dtype}, expected {' or '.join(names)}")

    def _read(self, whole: str, spec: Spec) -> NDArray[Any]:
        try:
            tensor = np.empty(spec.shape, dtype=_DTYPES[spec.dtype])
        except MemoryError as error:
            raise ValueError(
                f"the tensor '{whole}' of {spec.bytes:,} bytes does not fit into memory"
            ) from error
        content = _bytes(tensor)
        self.file.seek(self.offsets[whole])
        # one that was truncated after it was opened ends early
        if cast(Any, self.file).readinto(content) != len(content):
            raise ValueError(f"the tensor '{whole}' ends early")
        if hashlib.sha256(content).hexdigest() != spec.digest:
            raise ValueError(f"the tensor '{whole}' was changed after it was written")
        if spec.dtype == "BOOL" and (tensor.view(np.uint8) > 1).any():
            raise ValueError(f"the tensor '{whole}' holds more than true and false")
        if self.finite and not all_finite(tensor):
            raise ValueError(f"the tensor '{whole}' holds a number that is not finite")
        return tensor


def all_finite(tensor: NDArray[Any]) -> bool:
    """Whether no number of a tensor is infinite or NaN."""
    if tensor.dtype == BFLOAT16:
        exponent = 0x7F80
        return not ((tensor.view("<u2") & exponent) == exponent).any()
    if tensor.dtype.kind != "f":
        return True
    flat = tensor.reshape(-1)
    # in blocks: a mask of all of it would be a quarter of its size
    return all(np.isfinite(flat[i : i + _BLOCK]).all() for i in range(0, flat.size, _BLOCK))


def _bytes(tensor: NDArray[Any]) -> memoryview:
    return memoryview(cast(Any, tensor.reshape(-1).view(np.uint8)))


def _order(specs: Mapping[str, Spec]) -> list[str]:
    """Wide dtypes first, so that every tensor is aligned; then by name."""
    return sorted(specs, key=lambda name: (-_DTYPES[specs[name].dtype].itemsize, name))


def _header(specs: Mapping[str, Spec]) -> bytes:
    """What a safetensors file of these tensors begins with: the length of its index, the index."""
    end, index = 0, dict[str, Any]()
    for name in _order(specs):
        start, end = end, end + specs[name].bytes
        dtype, shape, _ = specs[name]
        index[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(index, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
