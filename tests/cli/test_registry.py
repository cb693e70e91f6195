"""``isthmus publish``, ``pull``, ``list`` and the other commands of a registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def at(bridge: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ISTHMUS_REGISTRY", "registry")
    monkeypatch.setenv("ISTHMUS_USER", "ann")
    return bridge


def test_a_day_with_a_registry(cli: Any, at: Path) -> None:
    cli("publish", at, "docs").refused("there is no registry here")
    entry = cli("publish", at, "docs", "--create", "-m", "first", "--json").json
    one = entry["version"]
    assert (entry["by"], entry["note"], entry["alias"]) == ("ann", "first", "latest")
    two = cli("publish", at, "docs", "--metadata", "team=search", "--json").json["version"]
    assert cli("list").out == "docs\n"
    listed = cli("list", "docs", "--json").json
    assert [release["version"] for release in listed] == [one, two]
    assert [release["aliases"] for release in listed] == [[], ["latest"]]

    for version in (one, two):
        done = cli("promote", f"docs@sha256:{version[:8]}", "production")
        assert done.code == 0 and version[:12] in done.out
    shown = cli("show", "docs@production", "--json").json
    assert shown["metadata"] == {"team": "search"}
    assert [entry["version"] for entry in shown["logs"]["production"]] == [two, one]
    found = cli("diff", f"docs@sha256:{one}", "docs", "--json").json
    assert found["content"] == [{"path": "metadata.team", "before": None, "after": "search"}]
    assert cli("rollback", "docs", "production", "--json").json["version"] == one
    cli("promote", "docs", "production", "--expect", f"docs@sha256:{two}").refused("it points to")

    assert cli("deprecate", "docs", "wrong model").code == 0
    cli("promote", "docs", "canary").refused("deprecated (wrong model)")
    done = cli("pull", "docs", "out")
    assert done.code == 0 and "deprecated: wrong model" in done.err and not done.out
    assert {p.name: p.read_bytes() for p in Path("out").iterdir()} == {
        p.name: p.read_bytes() for p in at.iterdir()
    }
    assert cli("gc", "--older-than", "0", "--json").json["objects"] == 0
    assert cli("verify").out.count("whole: ") == 2
    for command in (["list", "docs"], ["show", "docs@production"], ["diff", "docs", "docs"]):
        assert cli(*command).code == 0


def test_a_pull_overwrites_what_isthmus_wrote_alone(cli: Any, at: Path) -> None:
    cli("publish", at, "docs", "--create")
    assert cli("pull", "docs", "out").code == 0
    cli("pull", "docs", "out").refused("exists already")
    Path("out", "CARD.md").write_text("changed")
    assert cli("pull", "docs", "out", "--overwrite").code == 0
    assert Path("out", "CARD.md").read_bytes() == Path(at, "CARD.md").read_bytes()
    Path("out", "notes.txt").write_text("mine")
    cli("pull", "docs", "out", "--overwrite").refused("also holds 'notes.txt'")
    Path("other").mkdir()
    Path("other", "mine.txt").write_text("mine")
    cli("pull", "docs", "other", "--overwrite").refused("only a bridge is overwritten")
    assert Path("out", "notes.txt").exists() and Path("other", "mine.txt").exists()


def test_who_published_hears_that_their_approval_does_not_count(cli: Any, at: Path) -> None:
    assert cli("publish", at, "docs", "--create").code == 0
    own = cli("approve", "docs", "--by", " Ann", "-m", "mine")
    assert "published this version: policies count the approvals of others alone" in own.err
    assert "published this version" not in cli("approve", "docs", "--by", "eve", "-m", "fine").err


def test_decisions_are_shown(cli: Any, at: Path) -> None:
    version = cli("publish", at, "docs", "--create", "--json").json["version"]
    cli("approve", "docs", "--decision", "reject").refused("needs a reason")
    told = cli("approve", "docs", "--by", "bob", "-m", "the worst group is fine", "--json").json
    assert (told["by"], told["decision"], told["version"]) == ("bob", "approve", version)
    assert "by ann: slow" in cli("approve", "docs", "--decision", "reject", "-m", "slow").out
    shown = cli("show", "docs", "--json").json["reviews"]
    assert [(r["by"], r["decision"]) for r in shown] == [("ann", "reject"), ("bob", "approve")]
    assert "approve " + version[:12] in cli("show", "docs").out


def test_a_policy_decides(cli: Any, at: Path) -> None:
    Path("policy.toml").write_text(
        """
        [stages.shadow]
        gates = ["bridge.recall@10 >= 0.1", "measured.latency.p95 <= 20"]

        [stages.production]
        approvals = 1
        """
    )
    version = cli("publish", at, "docs", "--create", "--json").json["version"]
    promote = ("promote", "docs", "shadow", "--policy", "policy.toml")
    done = cli(*promote)
    assert done.code == 1 and not done.out
    assert "FAIL  measured.latency.p95 <= 20  (nothing: it was not measured)" in done.err
    quiet = cli(*promote, "-q").err
    assert "FAIL  measured.latency.p95 <= 20" in quiet and "pass" not in quiet
    Path("speed.json").write_text('{"p95": 12.5}')
    refused = cli("promote", "docs", "production", "--policy", "policy.toml", "--json")
    assert refused.code == 1 and refused.json["promoted"] is False
    assert cli(*promote, "--measured", "latency=speed.json").code == 0
    assert cli("approve", "docs", "--by", "bob").code == 0
    done = cli("promote", "docs", "production", "--policy", "policy.toml", "--json")
    judged = done.json["judged"]
    assert (done.code, judged["version"], judged["stage"]) == (0, version, "production")
    assert [c["found"] for c in judged["conditions"]] == ["it did", "bob"]
    cli(*promote, "--measured", "speed.json").refused("expected NAME=FILE")
    cli(*promote, "--measured", "a=policy.toml").refused("no JSON")
    done = cli(*promote, "--measured", f"a={at}")
    done.refused("there is a folder here, expected a file")
    assert "no JSON" not in done.err
    cli("promote", "docs", "shadow", "--measured", "a=b").refused("Add --policy")
    cli("promote", "docs", "canary", "--policy", "policy.toml").refused("no stage 'canary'")


def test_refusals(cli: Any, at: Path) -> None:
    assert cli("publish", at, "docs", "--create").code == 0
    cli("publish", "old.npy", "docs").refused("there is a file here")
    cli("publish", at, "../docs").refused("no name of an artefact")
    cli("publish", at, "docs", "--metadata", "x").refused("expected KEY=TEXT")
    cli("pull", "docs", "old.npy").refused("exists already")
    cli("pull", "docs@sha256:00000000", "out").refused("no such version")
    cli("rollback", "docs", "production").refused("no such alias")
    cli("list", "-r", "s4://x").refused("a registry is no 's4://'")
    for blob in Path("registry/blobs/sha256").iterdir():
        blob.write_bytes(blob.read_bytes() + b"x")
    cli("verify").refused("was changed after it was written")
    cli("pull", "docs", "out").refused("was changed after it was written")
    assert not Path("out").exists()


def test_signed(cli: Any, at: Path) -> None:
    pytest.importorskip("cryptography")
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    private, pem = ec.generate_private_key(ec.SECP256R1()), form.Encoding.PEM
    Path("ann.key").write_bytes(
        private.private_bytes(pem, form.PrivateFormat.PKCS8, form.NoEncryption())
    )
    Path("trust").mkdir()
    Path("trust/ann.pem").write_bytes(
        private.public_key().public_bytes(pem, form.PublicFormat.SubjectPublicKeyInfo)
    )
    version = cli("publish", at, "docs", "--create", "--json").json["version"]
    cli("pull", "docs", "out", "--trust", "trust").refused("nobody whose key lies in trust")
    cli("pull", "docs", "out", "--signature", "model.sig").refused("has no signature")
    cli("promote", "docs", "production", "--trust", "trust").refused("nobody whose key lies in")
    assert cli("sign", "docs", "--key", "ann.key").code == 0
    done = cli("verify", "docs", "--trust", "trust")
    assert done.out == f"whole: docs@sha256:{version} bridge, signed by ann\n"
    assert cli("pull", "docs", "out", "--trust", "trust", "--signature", "model.sig").code == 0
    assert Path("model.sig").is_file() and Path("out/bridge.json").is_file()
    assert cli("promote", "docs", "production", "--trust", "trust").code == 0
    assert cli("publish", at, "other", "--key", "ann.key").code == 0
    assert cli("show", "other", "--trust", "trust", "--json").json["signers"] == ["ann"]
