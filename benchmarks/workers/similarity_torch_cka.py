"""torch-cka: the unbiased estimator of two models' layers, float32; here of one batch,
and of batches of 64."""

import warnings

import torch
from torch_cka import CKA

torch.set_num_threads(1)
warnings.simplefilter("ignore")


class Identity(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.out = torch.nn.Identity()

    def forward(self, rows):
        return self.out(rows)


def debiased_cka(x, y, size=None):
    sides = [
        torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(torch.from_numpy(rows).float()),
            batch_size=size or len(rows),
        )
        for rows in (x, y)
    ]
    layers = {"model1_layers": ["out"], "model2_layers": ["out"]}
    measured = CKA(Identity(), Identity(), model1_name="x", model2_name="y", **layers)
    with torch.no_grad():
        measured.compare(*sides)
    return float(measured.export()["CKA"][0, 0])


METHODS = {
    "debiased_cka": debiased_cka,
    "debiased_cka, batches of 64": lambda x, y: debiased_cka(x, y, 64),
}
