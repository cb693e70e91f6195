"""mini-vec2vec: never sees which rows belong together; the two sides are shuffled apart."""

import numpy as np
from mini_vec2vec import MiniVec2Vec


def fit_unpaired(x, y):
    shuffled = np.random.default_rng(0).permutation(len(y))
    model = MiniVec2Vec().fit(x, y[shuffled], verbose=False)
    mean, width = y.mean(axis=0), model.W.shape[0]

    def source(rows):
        centred = rows - x.mean(axis=0)
        centred /= np.linalg.norm(centred, axis=1, keepdims=True)
        padded = np.pad(centred, ((0, 0), (0, width - rows.shape[1])))
        return (padded @ model.W)[:, : y.shape[1]]

    return source, lambda rows: rows - mean


METHODS = {"unpaired": fit_unpaired}
