"""One number for all weights of a network: whether it is the one that something was made for."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

__all__ = ["weights_digest"]


def weights_digest(model: nn.Module) -> str:
    """SHA-256 of the names, shapes, dtypes and bytes of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        whole = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tuple(whole.shape)} {whole.dtype}\n".encode())
        digest.update(whole.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
