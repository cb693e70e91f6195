"""Tensors become arrays and tensors again, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from isthmus import artefact  # noqa: E402
from isthmus.training.torch_tensors import as_arrays, as_tensors  # noqa: E402

KINDS = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8),
)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 2)], ids=str)
@pytest.mark.parametrize("dtype", KINDS, ids=str)
def test_they_come_back_from_a_file(tmp_path: Path, dtype, shape) -> None:
    size = torch.Size(shape)
    tensor = torch.arange(size.numel(), dtype=torch.float32).reshape(size).to(dtype)
    given = (
        {"a": tensor.requires_grad_(dtype.is_floating_point), "b": tensor.movedim(0, -1)}
        if (shape)
        else {"a": tensor}
    )
    artefact.write(tmp_path / "a", "test", {}, as_arrays(given))
    with artefact.read(tmp_path / "a", "test") as stored:
        found = as_tensors(stored.tensors)
    assert found.keys() == given.keys()
    for name, before in given.items():
        assert found[name].dtype == dtype
        assert torch.equal(found[name], before)
