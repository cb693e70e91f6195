"""``isthmus budget``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def test_the_curve_and_its_answer(cli: Any, here: Path) -> None:
    noisy = np.load(here / "old.npy")
    noisy += 0.2 * np.random.default_rng(0).standard_normal(noisy.shape).astype(np.float32)
    np.save(here / "old.npy", noisy)
    done = cli("budget", "old.npy", "new.npy", "--json")
    assert done.code == 0, done.err
    budgets, quality = done.json["budgets"], [q["value"] for q in done.json["quality"]]
    assert budgets == sorted(budgets)
    assert len(budgets) == len(quality) >= 3
    assert quality[-1] > quality[0]
    shown = cli("budget", "old.npy", "new.npy")
    assert done.json["answer"] in " ".join(shown.out.split())  # broken at the terminal's width
    assert f"{budgets[0]:,} pairs" in shown.out


def test_copies_are_counted_and_left_out(cli: Any, here: Path) -> None:
    for side in ("old", "new"):
        rows = np.load(here / f"{side}.npy")
        np.save(here / f"{side}.npy", np.concatenate([rows, rows[:400]]))
    done = cli("budget", "old.npy", "new.npy", "--json")
    share = round(100 * 400 / len(np.load(here / "old.npy")))
    assert f"notice: {share}% of the items are exact or near copies" in done.err
    assert "they are left out" in done.err


def test_the_items_to_encode_next_are_new_ones(cli: Any, here: Path) -> None:
    some = np.arange(0, 1200, 2)
    for side in ("old", "new"):
        np.save(here / f"some_{side}.npy", np.load(here / f"{side}.npy")[some])
        np.save(here / f"some_{side}.ids.npy", some)
    np.save(here / "old.ids.npy", np.arange(len(np.load(here / "old.npy"))))
    done = cli("budget", "some_old.npy", "some_new.npy", "--candidates", "old.npy",
               "--next", "50", "-o", "next.txt", "--json")  # fmt: skip
    assert done.code == 0, done.err
    chosen = done.json["next"]
    assert [int(line) for line in (here / "next.txt").read_text().split()] == chosen
    assert len(set(chosen)) == 50
    assert not set(chosen) & set(some.tolist())
    cli("budget", "some_old.npy", "some_new.npy", "--candidates", "old.npy", "-o",
        "next.txt").refused("next.txt: the output exists already")  # fmt: skip


def test_bad_input(cli: Any, here: Path) -> None:
    cli("budget", "old.npy", "new.npy", "-o", "x.txt").refused("--output")
    cli("budget", "old.npy", "new.npy", "--recipe", "ridge(alpha=auto)").refused("auto")
    cli("budget", "old.npy", "nowhere.npy").refused("nowhere.npy")
    np.save(here / "few.npy", np.load(here / "old.npy")[:8])
    cli("budget", "few.npy", "few.npy").refused("pairs")
