"""λ-orthogonal adapters between two frozen models: in closed form, then trained with a loss.

    pip install 'isthmus[torch,demo]'
    python examples/lambda_training.py

B maps the new model's vectors into the common space and is orthogonal up to λ, so that the new
model's own geometry is kept; F maps the old ones there (arXiv:2509.16664).
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from isthmus import top_k
from isthmus.demo import load_corpus
from isthmus.encoders import CachedEncoder, all_minilm_l6_int8, paraphrase_minilm_l3
from isthmus.moments import Moments
from isthmus.nn.compat import LambdaAdapters, joint_maps, train_lambda_adapters
from isthmus.training import Schedule

TEXTS = int(sys.argv[1]) if len(sys.argv) > 1 else 4_000
EPOCHS = int(sys.argv[2]) if len(sys.argv) > 2 else 5

corpus = load_corpus(TEXTS)
new, old = (
    torch.from_numpy(np.asarray(CachedEncoder(model).encode(corpus.documents, kind="document")))
    for model in (all_minilm_l6_int8(), paraphrase_minilm_l3())
)
held_out = TEXTS // 5
train = TensorDataset(old[held_out:], new[held_out:])
loader = DataLoader(train, batch_size=256, shuffle=True)


def found_again(adapters: LambdaAdapters) -> float:
    """How often a new vector finds the old one of its own item, among items that were held out."""
    with torch.no_grad():
        backward, forward = adapters(new[:held_out], old[:held_out])
    first = top_k(backward.numpy(), forward.numpy(), 1).indices[:, 0]
    return float((first == np.arange(held_out)).mean())


adapters = LambdaAdapters(new.shape[1], old.shape[1], lam=1.0)
print(f"as they are initialised: {found_again(adapters):.3f}")

# what the moments of the pairs say, in one pass and without an epoch
moments = Moments(new.shape[1], old.shape[1])
moments.update(new[held_out:].numpy(), old[held_out:].numpy())
adapters.start(joint_maps(moments.second(), lam=1.0, relative=False))
print(f"in closed form: {found_again(adapters):.3f}, B is {adapters.departure:.2f} from orthogonal")

train_lambda_adapters(
    adapters, loader, Schedule(EPOCHS, seed=0), validate=lambda a: 1 - found_again(a)
)
print(f"after {EPOCHS} epochs: {found_again(adapters):.3f}, {adapters.departure:.2f}")
