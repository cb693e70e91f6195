"""latentis: standardised Procrustes, zero-padded where the widths differ; and its least squares."""

import torch
from latentis.transform.translate import MatrixAligner, Procrustes
from latentis.transform.translate.functional import lstsq_align_state

torch.set_num_threads(1)


def _fit(translator, x, y):
    with torch.no_grad():
        translator.fit(torch.from_numpy(x), torch.from_numpy(y))

    def transform(rows):
        with torch.no_grad():
            return translator.transform(torch.from_numpy(rows))[0].numpy()

    return transform, None


def fit_procrustes(x, y):
    return _fit(Procrustes(), x, y)


def fit_least_squares(x, y):
    return _fit(MatrixAligner("least squares", lstsq_align_state), x, y)


METHODS = {"procrustes": fit_procrustes, "least squares": fit_least_squares}
