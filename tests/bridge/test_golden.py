"""A bridge that was saved once, by another process and perhaps another processor, works here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from isthmus.artefact import TENSORS, manifest_name
from isthmus.bridge import Bridge

GOLDEN = Path(__file__).parents[1] / "golden"


def test_the_golden_bridge_maps_as_it_did() -> None:
    expected = {k: np.array(v) for k, v in json.loads((GOLDEN / "bridge.json").read_text()).items()}
    bridge = Bridge.load(GOLDEN / "bridge")
    rows = expected["rows"].astype(np.float32)
    mapped, trust = bridge.transform(rows, return_trust=True)
    np.testing.assert_allclose(mapped, expected["mapped"], atol=1e-5)
    np.testing.assert_allclose(trust, expected["trust"], atol=1e-4)
    assert np.ptp(expected["mapped"]) > 0.1  # or any map would do
    one, of_one = bridge.transform(rows[2], return_trust=True)
    np.testing.assert_allclose(one, expected["mapped"][2], atol=1e-5)
    np.testing.assert_allclose(of_one, expected["trust"][2], atol=1e-4)
    assert bridge.evidence is not None and bridge.ways.keys() <= bridge.evidence.arms.keys()


def test_the_golden_bridge_is_saved_again_byte_for_byte(tmp_path: Path) -> None:
    Bridge.load(GOLDEN / "bridge").save(tmp_path / "again")
    for name in (manifest_name("bridge"), TENSORS):
        assert (tmp_path / "again" / name).read_bytes() == (GOLDEN / "bridge" / name).read_bytes()
