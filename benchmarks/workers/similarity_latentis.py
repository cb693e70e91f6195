"""latentis: CKA by centred (n, n) kernels; SVCCA that truncates correlations, not components."""

import torch
from latentis.measure.functional.cka import linear_cka, rbf_cka
from latentis.measure.functional.svcca import robust_svcca

torch.set_num_threads(1)


def _of(function):
    def measure(x, y):
        with torch.no_grad():
            return float(function(torch.from_numpy(x), torch.from_numpy(y)))

    return measure


METHODS = {
    "linear_cka": _of(linear_cka),
    "rbf_cka": _of(rbf_cka),
    "svcca": _of(robust_svcca),
}
