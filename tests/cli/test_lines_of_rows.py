"""Files of one line a row follow the rows of the old model's file, whatever their ids are."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

N = 300
GROUPS = ("de", "fr", "is")


def _ids(kind: str, n: int) -> np.ndarray:
    shuffled = np.random.default_rng(3).permutation(n)
    return shuffled if kind == "integers" else np.array([f"k{i}" for i in shuffled])


@pytest.fixture
def named(here: Path) -> Callable[[str], np.ndarray]:
    """Gives the rows ids that are not their numbers, and the new model's another order."""

    def name(kind: str) -> np.ndarray:
        rng = np.random.default_rng(5)
        for prefix in ("", "q_"):
            old, new = (np.load(here / f"{prefix}{model}.npy")[:N] for model in ("old", "new"))
            np.save(here / f"{prefix}old.npy", old)
            ids = _ids(kind, len(old))
            other = rng.permutation(len(old))
            np.save(here / f"{prefix}new.npy", new[other])
            np.save(here / f"{prefix}old.ids.npy", ids)
            np.save(here / f"{prefix}new.ids.npy", ids[other])
        return _ids(kind, N)

    return name


def _groups(ids: np.ndarray) -> None:
    lines = [GROUPS[i % 7 % 3] for i in range(len(ids))]
    Path("groups.txt").write_text("\n".join(lines) + "\n\n")
    Path("groups.tsv").write_text(
        "".join(f"{name}\t{group}\n" for name, group in zip(ids.tolist(), lines, strict=True))
    )


@pytest.mark.parametrize("kind", ["integers", "text"])
@pytest.mark.parametrize("own", [True, False], ids=["queries", "items"])
def test_groups_by_line_are_the_groups_by_id(
    cli: Any, named: Any, bridge: Path, queries: Any, kind: str, own: bool
) -> None:
    _groups(named(kind))
    given = ("evaluate", bridge, "old.npy", "new.npy", *(queries if own else ()), "--json")
    by_id, by_line = (
        cli(*given, "--groups", f"groups.{suffix}").json["evidence"]["fairness"]
        for suffix in ("tsv", "txt")
    )
    assert by_line == by_id
    assert {g["name"] for g in by_id["groups"]} == set(GROUPS)


@pytest.mark.skipif(find_spec("plotly") is None, reason="reports need plotly")
@pytest.mark.parametrize("kind", ["integers", "text"])
def test_texts_by_line_stand_beside_the_query_and_item_they_are_of(
    cli: Any, here: Path, named: Any, queries: Any, kind: str
) -> None:
    ids = named(kind)
    _groups(ids)
    Path("items.txt").write_text("".join(f"item {name} it is\n" for name in ids.tolist()))
    Path("asked.txt").write_text("".join(f"question {name} it is\n" for name in ids.tolist()))
    done = cli(
        "fit", "old.npy", "new.npy", "-o", "b", *queries, "--recipe", "procrustes", "--json",
        "--report", "out.html", "--texts", "items.txt", "--query-texts", "asked.txt",
        "--groups", "groups.txt",
    )  # fmt: skip
    assert done.code == 0, done.err
    evidence = done.json["evidence"]
    page = html.unescape((here / "out.html").read_text(encoding="utf-8"))
    assert evidence["worst"]
    for query in evidence["worst"]:
        assert f"question {query['id']} it is<" in page
        assert f"Expected: item {query['answer']} it is ({query['answer']})" in page
    # held-out queries are of the group that their line says
    sizes = {g["name"]: g["n_queries"] for g in evidence["fairness"]["groups"]}
    everyone = {name: sum(GROUPS[i % 7 % 3] == name for i in range(len(ids))) for name in GROUPS}
    assert sizes == everyone


@pytest.mark.parametrize("lines", [1499, 1501])
@pytest.mark.parametrize("option", ["--groups", "--texts", "--query-texts"])
def test_more_or_fewer_lines_than_rows_are_refused(
    cli: Any, here: Path, bridge: Path, queries: Any, option: str, lines: int
) -> None:
    pytest.importorskip("plotly")
    Path("a.txt").write_text("x\n" * lines)
    rows = "old.npy" if option == "--texts" else "q_old.npy"
    for command in (("evaluate", bridge), ("fit", "-o", "x")):
        cli(
            *command, "old.npy", "new.npy", *queries, option, "a.txt", "--report", "out.html"
        ).refused(f"a.txt: it has {lines:,} lines, and {rows} has 1,500 rows")
    assert not (here / "x").exists()


def test_ids_that_match_nothing_are_told(cli: Any, here: Path, bridge: Path, queries: Any) -> None:
    pytest.importorskip("plotly")
    Path("g.tsv").write_text("".join(f"q{i}\tde\n" for i in range(1500)))
    lines = [json.dumps({"id": f"q{i}", "text": "t"}) for i in range(1500)]
    Path("t.jsonl").write_text("\n".join(lines))
    given = ("old.npy", "new.npy", *queries)
    cli("evaluate", bridge, *given, "--groups", "g.tsv").refused(
        "none of the 1,500 ids such as 'q0' is that of one of the 1,500 queries, such as '0'"
    )
    for option in ("--texts", "--query-texts"):
        done = cli(
            "evaluate", bridge, *given, option, "t.jsonl", "--report", "out.html", "--overwrite"
        )
        told = " ".join(done.err.split())
        assert "warning: t.jsonl has no text for any of the" in told, done.err
