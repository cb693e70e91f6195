import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier


@pytest.fixture(scope="session")
def views():
    """Left halves of digits as a frozen space, spectra of the right halves as the new modality."""
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8) / 16
    left = images[:, :, :4].reshape(len(images), -1)
    frozen = MLPClassifier((48,), max_iter=25, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a few epochs are enough
        frozen.fit(left[:1000], labels[:1000])
    hidden = np.tanh(left @ frozen.coefs_[0] + frozen.intercepts_[0])
    spectra = np.fft.rfft2(images[:, :, 3:])
    new = np.concatenate([np.abs(spectra), np.cos(np.angle(spectra))], axis=1)
    return new.reshape(len(images), -1).astype(np.float32), hidden.astype(np.float32), labels
