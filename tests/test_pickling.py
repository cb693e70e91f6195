"""What travels to other processes maps there as it does here."""

from __future__ import annotations

import copy
import pickle

import numpy as np

import isthmus


def test_a_bridge_that_has_mapped_can_be_sent() -> None:
    rng = np.random.default_rng(0)
    new = rng.standard_normal((300, 8)).astype(np.float32)
    old = new @ np.linalg.qr(rng.standard_normal((8, 8)))[0].astype(np.float32)
    bridge = isthmus.fit((new, old), recipe="unit_norm | procrustes | unit_norm")
    expected = bridge.transform(new[:5]), bridge.transform(new[0])
    for sent in (pickle.loads(pickle.dumps(bridge)), copy.deepcopy(bridge)):
        np.testing.assert_array_equal(sent.transform(new[:5]), expected[0])
        np.testing.assert_array_equal(sent.transform(new[0]), expected[1])
        assert sent.source == bridge.source
