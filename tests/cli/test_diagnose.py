"""``isthmus diagnose``."""

from __future__ import annotations

import html
import json
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.diagnose import Diagnosis


def _commands(out: str) -> list[list[str]]:
    _, _, after = out.partition("\nto go on:\n")
    return [shlex.split(line)[1:] for line in after.splitlines()]


def test_the_verdict_and_the_commands_to_go_on(cli: Any, here: Path) -> None:
    done = cli("diagnose", "old.npy", "new.npy", "--sample", 300)
    assert done.code == 0, done.err
    assert "new (24 wide, float32) and old (24 wide, float32), 1,500 pairs, cosine" in done.out
    assert "verdict: " in done.out
    assert "not established:" in done.out
    assert "1,500 x 24→24" in done.err
    fit, evaluate = _commands(done.out)
    assert fit[:3] == ["fit", "old.npy", "new.npy"]
    assert cli(*fit).code == 0  # typed as printed
    assert (here / "my.bridge" / "bridge.json").exists()
    assert cli(*evaluate).code in (0, 1)


def test_json_is_the_diagnosis(cli: Any, here: Path) -> None:
    done = cli("diagnose", "old.npy", "new.npy", "--sample", 200, "--seed", 3, "--json")
    assert done.code == 0
    found = Diagnosis.from_json(done.out)
    assert (found.seed, found.sampled, found.n) == (3, 200, 1500)
    assert (found.x.name, found.y.name) == ("new", "old")
    assert found.x.source == "new.npy"
    assert json.loads(done.out)["recipe"] == found.recipe


def test_labels_ids_and_metric_are_passed_on(cli: Any, here: Path) -> None:
    np.save(here / "names.npy", np.arange(1500) + 7)
    (here / "classes.txt").write_text("\n".join(f"c{i % 3}" for i in range(1500)) + "\n")
    options = ("--ids", "names.npy", "--metric", "dot", "--labels", "classes.txt")
    done = cli("diagnose", "old.npy", "new.npy", *options, "--sample", 200)
    assert done.code == 0
    assert "class directions (labels), AUC" in done.out
    assert ", dot" in done.out.splitlines()[0]
    fit, evaluate = _commands(done.out)
    for option, value in zip(options[::2], options[1::2], strict=True):
        assert fit[fit.index(option) + 1] == value
    assert "--metric" not in evaluate  # the bridge knows it


def test_shuffled_rows_are_sent_back_for_ids(cli: Any, here: Path, data: Any) -> None:
    np.save(here / "new.npy", np.random.default_rng(1).permutation(data["new"]))
    done = cli("diagnose", "old.npy", "new.npy", "--sample", 300)
    assert done.code == 0
    assert "critical: wrong_pairing" in done.out
    assert _commands(done.out) == [["diagnose", "old.npy", "new.npy", "--ids", "IDS"]]
    assert "isthmus fit old" not in done.out


def test_rows_with_infinities_are_reported_not_refused(cli: Any, here: Path, data: Any) -> None:
    rows = data["new"].astype(np.float16)
    rows[[3, 90], 2] = np.inf
    np.save(here / "new.npy", rows)
    done = cli("diagnose", "old.npy", "new.npy", "--sample", 300)
    assert done.code == 0
    assert "critical: float16_overflow (new)" in done.out
    assert "1,498 pairs" in done.out


@pytest.mark.skipif(find_spec("plotly") is None, reason="reports need plotly")
def test_a_report_holds_the_commands_that_are_printed(cli: Any, here: Path) -> None:
    done = cli("diagnose", "old.npy", "new.npy", "--sample", 300, "--report", "out.html")
    assert done.code == 0, done.err
    assert "written: out.html" in done.err
    page = html.unescape((here / "out.html").read_text(encoding="utf-8"))
    for command in _commands(done.out):
        assert shlex.join(["isthmus", *command]) in page
    verdict = done.out.partition("verdict: ")[2].splitlines()[0]
    assert verdict.partition(" (")[2].removesuffix(")") in page


def test_without_plotly_a_report_is_refused_before_work(
    cli: Any, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    done = cli("diagnose", "nowhere.npy", "new.npy", "--report", "out.html")
    done.refused("a report needs the package 'plotly'", "pip install 'isthmus[report]'")
    assert not (here / "out.html").exists()


@pytest.mark.skipif(find_spec("plotly") is None, reason="reports need plotly")
def test_a_report_is_not_written_over(cli: Any, here: Path) -> None:
    (here / "out.html").write_text("mine")
    cli("diagnose", "old.npy", "new.npy", "--report", "out.html").refused("out.html", "exists")
    assert (here / "out.html").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (("old.npy", "nowhere.npy"), ("nowhere.npy: the file does not exist",)),
        (("old.npy", "short.npy"), ("1,499 rows", "1,500")),
        (("old.npy", "new.npy", "--sample", 2), ("a sample of 2 rows is too small",)),
        (("old.npy", "new.npy", "--metric", "hamming"), ("unknown metric",)),
        (("old.npy", "new.npy", "--labels", "few.txt"), ("few.txt: the labels have shape",)),
        (("old.npy", "flat.npy"), ("all rows are equal",)),
        (("old.npy", "nan.npy"), ("1,500 of 1,500 rows cannot be used",)),
    ],
)
def test_bad_input_is_one_line(cli: Any, here: Path, data: Any, arguments: Any, texts: Any) -> None:
    np.save(here / "short.npy", data["new"][:-1])
    np.save(here / "flat.npy", np.ones((1500, 24), np.float32))
    np.save(here / "nan.npy", np.full((1500, 24), np.nan, np.float32))
    (here / "few.txt").write_text("a\nb\n")
    cli("diagnose", *arguments).refused(*texts)


def test_the_gap_between_modalities_is_judged_where_they_differ(
    cli: Any, here: Path, data: Any
) -> None:
    np.save(here / "texts.npy", data["old"] + 4)
    asked = ("diagnose", "old.npy", "texts.npy", "--sample", 200)
    assert "modality_gap" not in cli(*asked).out
    done = cli(*asked, "--modalities", "image,text")
    assert done.code == 0 and "modality_gap" in done.out
    cli(*asked, "--modalities", "image").refused("--modalities: 'image' does not name two kinds")
