"""``isthmus check``: contract against contract, bridge, model, file; exit code 1 if broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from isthmus import Bridge, Pairs, Space, fit
from isthmus.bridge import Fitting


def test_contract_against_contract(cli: Any, here: Path) -> None:
    pinned = Space(name="docs", version="1.2.0", dim=24, metric="cosine")
    pinned.save("pinned.json")
    pinned.revise(version="1.3.0").save("later.json")
    pinned.revise(version="1.3.0", dim=48).save("wider.json")
    assert cli("check", "pinned.json", "later.json").code == 0
    wider = cli("check", "pinned.json", "wider.json", "--former", "pinned.json", "--json")
    assert wider.code == 1
    assert [(c["condition"], c["passed"]) for c in wider.json["conditions"]] == [
        ("dim", False),
        ("the version moves by major or more", False),
    ]


def test_a_bridge_and_what_it_maps(cli: Any, bridge: Path) -> None:
    Bridge.load(bridge).target.save("pinned.json")
    assert cli("check", "pinned.json", bridge, "--vectors", "new.npy").code == 0
    np.save("loud.npy", 1e4 * np.load("old.npy"))
    loud = cli("check", "pinned.json", "loud.npy")
    assert loud.code == 0 and "which the contract says to flag" in loud.out


def test_vectors_of_another_model(cli: Any, here: Path) -> None:
    """Told where the source leaves directions empty; else it is said that nothing would tell."""
    rng = np.random.default_rng(0)
    for name, spectrum in (("thin", np.geomspace(1, 0.01, 24)), ("full", np.ones(24))):
        new = (rng.standard_normal((700, 24)) * spectrum).astype(np.float32)
        old = new @ np.linalg.qr(rng.standard_normal((24, 24)))[0].astype(np.float32)
        fitting = Fitting(source="m@2", target="m@1")
        fitted = fit(Pairs(new, old), recipe="procrustes", fitting=fitting)
        fitted.save(name)
        fitted.target.save(f"{name}.json")
        np.save("new.npy", new)
        np.save("old.npy", old)
        right = cli("check", f"{name}.json", name, "--vectors", "new.npy")
        wrong = cli("check", f"{name}.json", name, "--vectors", "old.npy")
        applied = cli("apply", name, "old.npy", f"{name}.npy")
        assert right.code == 0
        if name == "thin":
            assert wrong.code == 1 and "FAIL  the vectors are of m@2" in wrong.out
            assert "notice" not in right.err
            applied.refused("look like m@1, the target of this bridge")
        else:
            told = "whether these are vectors of m@2 could not be told"
            assert (wrong.code, applied.code) == (0, 0)
            assert told in right.err and told in applied.err
            assert "700 vectors of m@2 mapped to m@1" in applied.err


def test_live_vectors(cli: Any, here: Path) -> None:
    Space(name="docs", dim=24, metric="cosine", model="old").save("pinned.json")
    assert cli("check", "pinned.json", "old.npy").code == 0
    rows = np.load("old.npy")
    rows[5000 % 1500] = np.nan
    np.save("broken.npy", rows)
    broken = cli("check", "pinned.json", "broken.npy")
    assert broken.code == 1 and "FAIL  no vector is non finite  (1 of 1,500" in broken.out
    assert "row 500 " in broken.out
    np.save("narrow.npy", rows[:, :8])
    assert cli("check", "pinned.json", "narrow.npy").code == 1


def test_a_model(cli: Any, here: Path) -> None:
    Path("texts.txt").write_text("0\n1\n2\n")
    Space(name="docs", dim=24, metric="cosine", model="new").save("pinned.json")
    assert cli("canary", "record", "vectors:new.npy", "texts.txt", "-o", "c.json").code == 0
    check = (
        "check",
        "pinned.json",
        "vectors:new.npy",
        "--texts",
        "texts.txt",
        "--canary",
        "c.json",
    )
    assert cli(*check).code == 0
    np.save("sub.npy", np.load("old.npy"))
    other = cli("check", "pinned.json", "vectors:old.npy", "--canary", "c.json")
    assert other.code == 1
    assert "FAIL  model new  (old)" in other.out and "another model" in other.out


def test_refusals(cli: Any, bridge: Path) -> None:
    Space(name="docs", dim=24, metric="cosine").save("pinned.json")
    cli("check", "nothing.json", bridge).refused("cannot be read")
    cli("check", "pinned.json", "vectors:new.npy").refused("Give --texts or --canary")
    cli("check", "pinned.json", bridge, "--canary", "c.json").refused("asked of a model")
    cli("check", "pinned.json", "nothing.npy").refused()
    Path("folder").mkdir()
    cli("check", "pinned.json", "folder").refused()
