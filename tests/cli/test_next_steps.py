"""What is printed to type next: executed in order, every command agrees with those before it."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus import Pairs, diagnose
from isthmus.bridge import Bridge
from isthmus.cli.next_steps import Asked, after_diagnosis, after_fit, after_live_fit
from isthmus.cli.results import called_as
from isthmus.evaluate.arms import Verdict
from isthmus.ways import Part, Recall, Way


def next_steps(out: str) -> list[list[str]]:
    lines = out.partition("\nto go on:\n")[2].splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("  isthmus ")]


def test_a_diagnosis_ends_in_a_plain_fit_with_the_same_judges(
    cli: Any, here: Path, queries: tuple[str, ...]
) -> None:
    (here / "qrels.tsv").write_text("".join(f"{i} {i}\n" for i in range(1500)))
    judges = (*queries, "--qrels", "qrels.tsv", "--primary", "mrr")
    done = cli("diagnose", "old.npy", "new.npy", *judges, "--sample", 300, "--metric", "dot")
    fit, evaluate = next_steps(done.out)
    assert fit == [
        "fit", "old.npy", "new.npy", "--metric", "dot", *judges, "-o", "my.bridge"
    ]  # fmt: skip
    assert evaluate == ["evaluate", "my.bridge", "old.npy", "new.npy", *judges]


def test_queries_that_do_not_belong_to_the_items_are_refused(
    cli: Any, here: Path, queries: tuple[str, ...]
) -> None:
    np.save(here / "q_new.npy", np.load(here / "q_new.npy")[:-1])
    cli("diagnose", "old.npy", "new.npy", *queries).refused("1,499 rows", "1,500")


def test_rows_that_a_fit_refuses_are_not_sent_to_it(cli: Any, here: Path, data: Any) -> None:
    rows = data["new"].copy()
    rows[3] = 0
    np.save(here / "new.npy", rows)
    assert next_steps(cli("diagnose", "old.npy", "new.npy", "--sample", 300).out) == []
    assert cli("fit", "old.npy", "new.npy", "-o", "b").code == 2


def test_failed_gates_are_not_followed_by_a_way_to_serve(
    cli: Any, here: Path, queries: tuple[str, ...]
) -> None:
    plain = ("fit", "old.npy", "new.npy", "-o", "b", "--recipe", "procrustes")
    done = cli(*plain, *queries, "--gate", "recall@10>=0.99999")
    assert done.code == 1
    inspect, evaluate = next_steps(done.out)
    assert inspect == ["inspect", "b"]
    assert evaluate[-2:] == ["--gate", "recall@10>=0.99999"]
    again = cli(*evaluate)
    assert again.code == 1 and next_steps(again.out) == []


def test_an_output_that_is_there_is_said_to_be_replaced(
    cli: Any, here: Path, queries: tuple[str, ...], bridge: Path
) -> None:
    done = cli("diagnose", "old.npy", "new.npy", *queries, "--sample", 300)
    assert next_steps(done.out)[0][-3:] == ["-o", "my.bridge", "--overwrite"]


def test_another_question_recommends_nothing(cli: Any, here: Path, bridge: Path) -> None:
    done = cli("evaluate", bridge, "old.npy", "new.npy")
    assert done.code == 0 and "another question is asked" in done.err
    assert next_steps(done.out) == []


def recommending(fitted: Bridge, name: str) -> Bridge:
    """The same bridge where the evidence recommends another way."""
    evidence = fitted.evidence
    assert evidence is not None
    ways = {**fitted.ways, "mixed": Way(recall=Recall(kind="mixed", alpha=0.5))}
    other = {"recommended": name, "verdict": Verdict.USE_BRIDGE}
    arms = {**evidence.arms, "mixed": evidence.arms["bridge"]}
    return replace(
        fitted, ways=ways, evidence=evidence.model_copy(update={**other, "arms": arms})
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("bridge", "apply b q_new.npy queries_for_the_old_index.npy"),
        ("mixed", "search old.npy --vectors-old q_old.npy --vectors-new q_new.npy --bridge b"),
        ("rescore", "search STORE TEXT --bridge b --new ENC"),
    ],
)
def test_what_is_recommended_is_what_is_run(
    cli: Any, fitted: Bridge, here: Path, name: str, command: str
) -> None:
    found = recommending(fitted, name)
    found.save(here / "b")
    queries = {"--queries-old": "q_old.npy", "--queries-new": "q_new.npy"}
    last = after_fit(found, Path("b"), Asked("old.npy", "new.npy", queries), passed=True)[-1]
    assert last == f"isthmus {command}"
    if "STORE" not in command:
        done = cli(*shlex.split(command))
        assert done.code == 0, done.err


LIVE = Asked(
    "lancedb://db#docs",
    None,
    {
        "--old": "st:a",
        "--new": "st:b",
        "--key-env": "KEY",
        "--queries": "log.csv",
        "--qrels": "qrels.txt",
    },
)


def test_a_live_fit_is_followed_by_a_search_of_its_index(fitted: Bridge) -> None:
    found = recommending(fitted, "mixed")
    assert after_live_fit(found, Path("b"), LIVE, "why?")[-1] == (
        "isthmus search 'lancedb://db#docs' 'why?' --bridge b --old st:a --new st:b --key-env KEY"
    )
    assert len(after_live_fit(found, Path("b"), LIVE, None)) == 1


def test_a_part_is_filled_before_it_is_searched(fitted: Bridge) -> None:
    way = Way(recall=Recall(kind="old"), part=Part(share=0.1))
    found = recommending(replace(fitted, ways={**fitted.ways, "backfill": way}), "backfill")
    assert after_live_fit(found, Path("b"), LIVE, "why?")[-1] == (
        "isthmus plan 'lancedb://db#docs' --old st:a --new st:b --key-env KEY --queries log.csv "
        "--qrels qrels.txt --bridge b -o plan.json"
    )


def test_commands_begin_as_isthmus_was_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    program = folder / "isthmus"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.argv", [str(program)])
    monkeypatch.setenv("PATH", "/nowhere")
    assert called_as() == shlex.quote(str(program))
    monkeypatch.setenv("PATH", str(folder))
    assert called_as() is None
    monkeypatch.setattr("sys.argv", ["pytest"])
    assert called_as() is None


def test_every_option_that_judges_is_typed_again(
    cli: Any, here: Path, queries: tuple[str, ...]
) -> None:
    (here / "groups.tsv").write_text("".join(f"{i}\t{'ab'[i % 2]}\n" for i in range(1500)))
    judged = ("--groups", "groups.tsv", "--primary", "mrr", "--horizon", "rows=5000")
    judged += ("--horizon", "queries_per_day=10", "--gate", "mrr>=0.1", "--no-old-encoder")
    judged += ("--paired-only", "--robustness")
    done = cli("fit", "old.npy", "new.npy", "-o", "b", "--recipe", "procrustes", *queries, *judged)
    evaluate = next_steps(done.out)[1]
    assert evaluate == ["evaluate", "b", "old.npy", "new.npy", *queries, *judged]
    evidence = Bridge.load(here / "b").evidence
    assert evidence is not None
    again = cli(*evaluate, "--json").json["evidence"]
    assert again == evidence.model_dump(mode="json")


def test_no_command_repeats_a_secret_and_each_says_what_to_type_again(fitted: Bridge) -> None:
    from isthmus.cli.migrate import LimitOptions, PlaceOptions, after_run
    from isthmus.migrate import State

    url = "postgresql://me:S3CRET@host:5432/db?sslpassword=S3CRET#docs.old"
    kept = "'postgresql://me:***@host:5432/db?sslpassword=***#docs.old'"
    live = replace(LIVE, old=url)
    on_files = Asked(url, url, {"--queries-old": url, "--queries-new": url})
    at = PlaceOptions(store=url)
    found = recommending(fitted, "mixed")
    rows = np.random.default_rng(0).standard_normal((300, 6), dtype=np.float32)
    pairs = Pairs(rows[:, ::-1].copy(), rows)
    commands = [
        *after_diagnosis(diagnose(pairs, sample=100), on_files),
        *after_fit(found, Path("b"), on_files, passed=True),
        *after_fit(recommending(fitted, "bridge"), Path("b"), on_files, passed=True),
        *after_live_fit(found, Path("b"), live, "why?"),
        *(after_run(s, Path("p"), LimitOptions(), at, None) for s in (State.FULL, State.FILLING)),
    ]
    named = [each for each in commands if "host" in each]
    assert len(named) >= 7
    for each in named:
        assert "S3CRET" not in each
        assert kept in each
        assert each.endswith("  # type the secret again for ***; PostgreSQL also reads PGPASSWORD, "
                             "without ':***'")  # fmt: skip
    for each in set(commands) - set(named):
        assert "#" not in each


def test_a_way_that_the_bridge_does_not_hold_is_had_by_a_fit(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixty pairs leave open whether mixed queries gain, six hundred show it."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    items = rng.standard_normal((600, 24))
    asked, turn = items + 0.6 * rng.standard_normal((600, 24)), rng.standard_normal((24, 24))
    for name, rows in {"items": items, "queries": asked}.items():
        old = rows + 0.7 * rng.standard_normal(rows.shape)
        new = rows @ turn + 0.1 * rng.standard_normal(rows.shape)
        for model, seen in {"old": old, "new": new}.items():
            np.save(f"{name}_{model}.npy", seen.astype(np.float32))
            np.save(f"few_{name}_{model}.npy", seen[:60].astype(np.float32))

    def files(few: str) -> list[str]:
        old, new = (f"{few}queries_{model}.npy" for model in ("old", "new"))
        sides = (f"{few}items_old.npy", f"{few}items_new.npy")
        return [*sides, "--queries-old", old, "--queries-new", new]

    assert cli("fit", *files("few_"), "-o", "b").code == 0
    done = cli("evaluate", "b", *files(""), "--report", "page.html")
    assert done.code == 0, done.err
    assert "this bridge does not hold mixed" in " ".join(done.out.split())
    (fit,) = next_steps(done.out)
    assert fit == ["fit", *files(""), "-o", "my.bridge"]
    assert shlex.join(["isthmus", *fit]) in Path("page.html").read_text(encoding="utf-8")
    assert cli(*fit).code == 0
    assert "mixed" in str(Bridge.load("my.bridge").recommended)


def test_names_that_begin_with_a_dash_are_no_options(
    cli: Any, here: Path, queries: tuple[str, ...]
) -> None:
    for old, new in (("old.npy", "-o.npy"), ("new.npy", "--new x.npy")):
        (here / new).write_bytes((here / old).read_bytes())
    judged = ("--queries-old", "q_old.npy", "--queries-new", "q_new.npy", "-o", "-b")
    done = cli("fit", *judged, "--", "-o.npy", "--new x.npy")
    assert done.code == 0, done.err
    for command in next_steps(done.out):
        if command[0] != "search":
            again = cli(*command)
            assert again.code in (0, 1), again.err
    fitted = Bridge.load(here / "-b")
    asked = Asked("lancedb://db", None, {})
    last = after_live_fit(fitted, Path("-b"), asked, "-5 degrees")[-1]
    assert shlex.split(last)[-3:] == ["--", "lancedb://db", "-5 degrees"]


def test_queries_of_both_models_are_held_against_each_other_by_their_ids(
    cli: Any, fitted: Bridge, here: Path
) -> None:
    recommending(fitted, "mixed").save(here / "b")
    names = [f"q{i}" for i in range(len(np.load(here / "q_old.npy")))]
    sides = ("--vectors-old", "q_old.npy", "--vectors-new", "q_new.npy")
    command = ("search", "old.npy", *sides, "--bridge", "b", "-k", 1)
    without = cli(*command, "--json")
    for model in ("old", "new"):
        (here / f"q_{model}.ids.txt").write_text("\n".join(names) + "\n")
    done = cli(*command, "--json")
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == len(without.out.splitlines()) == len(names)
    assert '"q0"' in done.out.splitlines()[0]
    names[3], names[4] = names[4], names[3]
    (here / "q_new.ids.txt").write_text("\n".join(names) + "\n")
    cli(*command).refused("row 3 is query 'q3'", "'q4' of q_new.npy")
