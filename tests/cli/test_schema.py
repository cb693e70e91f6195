"""``isthmus schema``: real results of the commands are what their schemas say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from isthmus.cli.app import app
from isthmus.cli.json_schemas import json_schema, known_schemas

jsonschema = pytest.importorskip("jsonschema")


def held(command: str, result: Any) -> None:
    """By the closed schema: a field that nobody wrote down is a fault."""
    jsonschema.Draft202012Validator(json_schema(command, closed=True)).validate(result)


def commands(app: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Those that print JSON, as they are typed."""
    if hasattr(app, "commands"):
        for name, part in app.commands.items():
            yield from commands(part, (*path, name))
    elif any("--json" in option.opts for option in app.params):
        yield " ".join(path)


def test_every_command_that_prints_json_has_a_schema() -> None:
    # what it prints is held against it by the fixture `cli`, in every test of tests/cli
    assert {*commands(get_command(app)), "error"} == {*known_schemas()}


@pytest.mark.parametrize("command", known_schemas())
def test_every_schema_is_one_and_has_its_version(cli: Any, command: str) -> None:
    printed = cli("schema", *command.split()).json
    jsonschema.Draft202012Validator.check_schema(printed)
    assert printed["$id"] == f"isthmus/v1/{command.replace(' ', '-')}.json"
    assert '"additionalProperties": false' not in cli("schema", *command.split()).out


def test_what_has_no_schema_is_said(cli: Any) -> None:
    assert cli("schema").out.splitlines() == [*known_schemas()]
    cli("schema", "nothing").refused("there is no schema of 'nothing'")


def test_results_about_a_bridge(cli: Any, bridge: Path, queries: tuple[str, ...]) -> None:
    data = ("old.npy", "new.npy")
    held("evaluate", cli("evaluate", bridge, *data, *queries, "--json").json)
    held("evaluate", cli("evaluate", bridge, *data, *queries, "--against", bridge, "--json").json)
    held("apply", cli("apply", bridge, "new.npy", "mapped.npy", "--json").json)
    held("inspect", cli("inspect", bridge, "--json").json)
    held("card", cli("card", bridge, "--json").json)
    held("card", cli("card", "--diff", bridge, bridge, "--json").json)
    for old in ("0.7", "9"):
        held("threshold", cli("threshold", old, "--bridge", bridge, "--json").json)
    held("error", cli("threshold", "0.7", "--bridge", "nowhere", "--json").json)
    fast = ("--recipe", "unit_norm | procrustes | unit_norm")
    held("fit", cli("fit", *data, *queries, *fast, "-o", "other.bridge", "--json").json)


def test_results_about_pairs(cli: Any, here: Path) -> None:
    held("diagnose", cli("diagnose", "old.npy", "new.npy", "--json").json)
    held("budget", cli("budget", "old.npy", "new.npy", "--json").json)


def test_results_about_a_running_model(cli: Any, bridge: Path) -> None:
    Path("rows.txt").write_text("".join(f"{row}\n" for row in range(5)))
    held("canary record", cli("canary", "record", "vectors:old.npy", "rows.txt", "-o", "c.json",
                              "--json").json)  # fmt: skip
    held("canary check", cli("canary", "check", "c.json", "vectors:old.npy", "--json").json)
    assert cli("canary", "check", "c.json", "vectors:new.npy", "--json").json["same"] is False
    held("monitor", cli("monitor", "new.npy", "--bridge", bridge, "--json").json)
    from isthmus import Bridge

    Bridge.load(bridge).target.save("pinned.json")
    held("check", cli("check", "pinned.json", bridge, "--json").json)


def test_the_demo_prints_an_evaluation_or_steps(fitted: Any) -> None:
    held("demo", fitted.evidence.model_dump(mode="json"))
    held("demo", [{"step": "before", "recall@10": 0.5}])


def test_results_of_a_consumer(cli: Any, bridge: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("sums_of_a_test.py").write_text(
        "class Sum:\n    def predict(self, X):\n        return X.sum(axis=1)\nsums = Sum()\n"
    )
    monkeypatch.syspath_prepend(str(Path.cwd()))
    given = ("consumers", bridge, "old.npy", "new.npy", "--estimator", "sums_of_a_test:sums")
    held("consumers", cli(*given, "--json").json)
    held("consumers", cli(*given, "--max-loss", "0", "--json").json)


def test_results_of_a_registry(cli: Any, bridge: Path) -> None:
    at = ("-r", "reg", "--json")
    held("publish", cli("publish", bridge, "docs", "--create", "-m", "a", *at).json)
    held("publish", cli("publish", bridge, "docs", "--metadata", "team=search", *at).json)
    held("promote", cli("promote", "docs", "production", *at).json)
    first = cli("list", "docs", *at).json[0]["version"]
    held("promote", cli("promote", f"docs@sha256:{first}", "production", *at).json)
    held("rollback", cli("rollback", "docs", "production", *at).json)
    held("approve", cli("approve", "docs", "--by", "bo", "-m", "so", *at).json)
    for asked in ((), ("docs",)):
        held("list", cli("list", *asked, *at).json)
        held("verify", cli("verify", *asked, *at).json)
    held("show", cli("show", "docs", *at).json)
    held("diff", cli("diff", f"docs@sha256:{first}", "docs", *at).json)
    held("pull", cli("pull", "docs", "mine", *at).json)
    held("deprecate", cli("deprecate", f"docs@sha256:{first}", "old", *at).json)
    held("gc", cli("gc", *at).json)
    Path("policy.toml").write_text("[stages.production]\napprovals = 3\n")
    refused = cli("promote", "docs", "production", "--policy", "policy.toml", *at)
    assert refused.code == 1
    held("promote", refused.json)


def test_a_field_that_nobody_wrote_down_is_a_fault_here_and_passed_over_by_others() -> None:
    result = {"output": "a.npy", "rows": 3, "dim": 4, "more": 1}
    with pytest.raises(jsonschema.ValidationError, match="more"):
        held("apply", result)
    jsonschema.Draft202012Validator(json_schema("apply")).validate(result)
    with pytest.raises(jsonschema.ValidationError, match="rows"):
        jsonschema.Draft202012Validator(json_schema("apply")).validate({**result, "rows": "3"})
