"""``isthmus canary``: recorded once, checked without a bridge, exit code 1 for another model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def test_record_and_check(cli: Any, here: Path) -> None:
    Path("texts.txt").write_text("\n".join(map(str, range(12))))
    done = cli("canary", "record", "vectors:new.npy", "texts.txt", "-o", "c.json")
    assert done.code == 0 and "10 texts of new" in done.out
    assert "the first 10 of 12" in done.err
    told = cli("canary", "check", "c.json", "vectors:new.npy")
    assert told.code == 0 and told.out.startswith("the same model: vectors move by up to 0 ")
    other = cli("canary", "check", "c.json", "vectors:old.npy", "--json")
    assert other.code == 1 and other.json["same"] is False
    assert len(other.json["distances"]["document"]) == 10

    rows = np.load("new.npy")
    np.save("half.npy", rows.astype(np.float16).astype(np.float32))
    assert cli("canary", "check", "c.json", "vectors:half.npy").code == 0
    np.save("shorter.npy", rows[:, :8])
    shorter = cli("canary", "check", "c.json", "vectors:shorter.npy")
    assert shorter.code == 1 and "another width" in shorter.out


def test_refusals(cli: Any, here: Path) -> None:
    Path("texts.txt").write_text("0\n1\n")
    record = ("canary", "record", "vectors:new.npy", "texts.txt", "-o", "c.json")
    cli(*record).refused("3 to 10 different texts, got 2")
    Path("texts.txt").write_text("0\n1\n2\n")
    assert cli(*record).code == 0
    cli(*record).refused("exists already")
    assert cli(*record, "--overwrite", "--json").json["texts"] == 3
    cli("canary", "check", "nothing.json", "vectors:new.npy").refused("no canary here")
    cli("canary", "check", "texts.txt", "vectors:new.npy").refused("this is no canary")
    cli("canary", "check", "c.json", "nothing").refused("names no kind of encoder")
