"""pytorch-cka: the unbiased estimator by (n, n) kernels, clamped to [0, 1]; also batch by batch."""

import cka
import numpy as np
import torch

torch.set_num_threads(1)


class Columns(torch.nn.Module):
    """One side of rows that hold both."""

    def __init__(self, columns):
        super().__init__()
        self.columns, self.out = columns, torch.nn.Identity()

    def forward(self, rows):
        return self.out(rows[:, self.columns])


def debiased_cka(x, y):
    with torch.no_grad():
        return float(cka.cka_from_features(torch.from_numpy(x), torch.from_numpy(y)))


def in_batches(x, y):
    both = torch.from_numpy(np.concatenate([x, y], axis=1))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(both), batch_size=64)
    width = x.shape[1]
    first, second = Columns(slice(0, width)), Columns(slice(width, None))
    return float(cka.compute_cka(first, second, loader, layers=["out"], progress=False)[0][0, 0])


METHODS = {"debiased_cka": debiased_cka, "debiased_cka, batches of 64": in_batches}
