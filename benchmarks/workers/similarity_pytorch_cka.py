"""pytorch-cka: the unbiased estimator by (n, n) kernels, clamped to [0, 1]."""

import cka
import torch

torch.set_num_threads(1)


def debiased_cka(x, y):
    with torch.no_grad():
        return float(cka.cka_from_features(torch.from_numpy(x), torch.from_numpy(y)))


METHODS = {"debiased_cka": debiased_cka}
