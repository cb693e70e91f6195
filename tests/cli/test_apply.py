"""``isthmus apply``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.bridge import Bridge, fit
from isthmus.spaces.pairs import Pairs
from isthmus.spaces.readers import open_vectors


@pytest.mark.parametrize("suffix", [".npy", ".safetensors", ".parquet"])
def test_it_maps_what_python_maps(
    cli: Any, bridge: Path, data: dict[str, np.ndarray], suffix: str
) -> None:
    np.save("ids.npy", np.arange(1500) + 10**6)
    done = cli("apply", bridge, "q_new.npy", f"out{suffix}", "--ids", "ids.npy")
    assert (done.code, done.out) == (0, "")
    assert f"1,500 vectors of new mapped to old: out{suffix}" in done.err
    found = open_vectors(f"out{suffix}")
    np.testing.assert_array_equal(found.rows(0, 1500), Bridge.load(bridge).transform(data["q_new"]))
    np.testing.assert_array_equal(found.ids, np.arange(1500) + 10**6)


def test_json(cli: Any, bridge: Path) -> None:
    done = cli("apply", bridge, "new.npy", "out.npy", "--json")
    assert done.json == {"output": "out.npy", "rows": 1500, "dim": 24}


def test_the_inverse(cli: Any, here: Path, data: dict[str, np.ndarray]) -> None:
    bridge = fit(Pairs(data["new"], data["old"], metric="l2"), recipe="ridge(alpha=1e-6)")
    bridge.save(here / "l2.bridge")
    assert cli("apply", "l2.bridge", "old.npy", "back.npy", "--inverse").code == 0
    np.testing.assert_array_equal(np.load("back.npy"), bridge.inverse().transform(data["old"]))
    cli("apply", "l2.bridge", "new.npy", "wrong.npy", "--inverse").refused(
        "new.npy: these vectors look like new, the target of this bridge"
    )
    lossy = fit(Pairs(data["new"], data["old"]), recipe="layer_norm | procrustes | unit_norm")
    lossy.save(here / "lossy.bridge")
    cli("apply", "lossy.bridge", "old.npy", "x.npy", "--inverse").refused("no inverse")
    assert not (here / "wrong.npy").exists()


def test_vectors_of_another_model(cli: Any, bridge: Path, data: dict[str, np.ndarray]) -> None:
    cli("apply", bridge, "old.npy", "out.npy").refused("old.npy: these vectors look like old")
    np.save("permuted.npy", data["new"][:, np.random.default_rng(0).permutation(24)])
    cli("apply", bridge, "permuted.npy", "out.npy").refused("do not come from new")
    np.save("narrow.npy", data["new"][:, :20])
    cli("apply", bridge, "narrow.npy", "out.npy").refused("row 0: the vectors are 20 wide")
    assert not Path("out.npy").exists()
    assert cli("apply", bridge, "permuted.npy", "out.npy", "--no-check").code == 0


def test_an_output_that_exists_is_kept(cli: Any, bridge: Path) -> None:
    Path("out.npy").write_bytes(b"mine")
    Path("beside.ids.txt").write_bytes(b"mine")
    cli("apply", bridge, "new.npy", "out.npy").refused(
        "out.npy: the output exists already", "--over"
    )
    cli("apply", bridge, "new.npy", "beside.npy").refused("beside.ids.txt: the output exists")
    assert Path("out.npy").read_bytes() == b"mine"
    assert cli("apply", bridge, "new.npy", "out.npy", "--overwrite").code == 0
    assert np.load("out.npy").shape == (1500, 24)
    cli("apply", bridge, "new.npy", "out.csv").refused("out.csv: vectors are not written as '.csv'")
    cli("apply", bridge, "new.npy", "no/out.npy").refused("does not exist. Create it first")
