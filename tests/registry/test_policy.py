"""Policies: what a stage asks must hold of the recommended way, and stands in the log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus import Bridge, Pairs, fit
from isthmus.errors import InputError, RegistryError
from isthmus.evaluate import Judging
from isthmus.evaluate.robustness import Disturbances
from isthmus.registry import Judged, Policy, Registry, judge, parse_bound

from .conftest import Make


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((900, 8)).astype(np.float32)
    turn = np.linalg.qr(rng.standard_normal((8, 8)))[0].astype(np.float32)
    place = tmp_path_factory.mktemp("saved") / "b"
    fit(Pairs(x, x @ turn), recipe="procrustes").save(place)
    return place


def held(judged: Judged) -> dict[str, bool]:
    return {found.condition: found.passed for found in judged.conditions}


def test_stages_are_passed_in_their_order(registry: Registry, make: Make) -> None:
    policy = Policy.of_text("[stages.ablation]\n[stages.shadow]\n[stages.production]\nshare = 1.0")
    registry.publish(make(1), "table")
    assert held(judge(registry, "table", "shadow", policy)) == {"passed ablation": False}
    for stage in policy.stages:
        judged = judge(registry, "table", stage, policy)
        assert judged.passed
        entry = registry.promote("table", stage, judged=judged)
        assert entry.judged == judged and registry.log("table", stage)[0] == entry
    registry.publish(make(2), "table")
    assert not judge(registry, "table", "production", policy).passed
    for stage in ("ablation", "shadow"):
        registry.promote("table", stage, judged=judge(registry, "table", stage, policy))
    assert judge(registry, "table", "production", policy).passed
    # rolled back from the stage before, it has not passed it any more
    registry.rollback("table", "shadow")
    assert held(judge(registry, "table", "production", policy)) == {"passed shadow": False}


def test_what_does_not_hold_moves_nothing(registry: Registry, make: Make) -> None:
    policy = Policy.of_text("[stages.production]\napprovals = 1\n[stages.late]")
    registry.publish(make(1), "table", by="ann")
    judged = judge(registry, "table", "production", policy)
    with pytest.raises(RegistryError, match="asks for more: approved by 1 person .found nobody"):
        registry.promote("table", "production", judged=judged)
    assert registry.aliases("table") == ["latest"]
    registry.approve("table", "latest", by="bob")
    judged = judge(registry, "table", "production", policy)
    with pytest.raises(RegistryError, match="was judged for 'production'"):
        registry.promote("table", "late", judged=judged)
    registry.publish(make(2), "table")
    with pytest.raises(RegistryError, match="was judged for 'production'"):
        registry.promote("table", "production", judged=judged)
    registry.promote(f"table@sha256:{judged.version}", "production", judged=judged)
    with pytest.raises(InputError, match="no stage 'nothing'"):
        judge(registry, "table", "nothing", policy)


def test_people_count_once_and_not_for_themselves(registry: Registry, make: Make) -> None:
    policy = Policy.of_text("[stages.production]\napprovals = 2")
    registry.publish(make(1), "table", by="ann")

    def passes() -> bool:
        return judge(registry, "table", "production", policy).passed

    for by in ("ann", "bob", "Bob "):
        registry.approve("table", "latest", by=by)
        assert not passes()
    registry.approve("table", "latest", by="eve")
    assert passes()
    registry.approve("table", "latest", by="zoe", decision="request changes", reason="the card")
    assert not passes()
    registry.approve("table", "latest", by="zoe", reason="better")
    assert passes()


def test_gates_read_the_evidence_the_price_and_what_was_measured(
    registry: Registry, saved: Path
) -> None:
    registry.publish(saved, "docs")
    evidence = Bridge.load(saved).evidence
    assert evidence is not None
    low = evidence.arms["bridge"].metrics[evidence.primary].low
    assert low is not None
    policy = Policy.of_text(f"""
        [stages.production]
        gates = ["verdict in (use the bridge)", "{evidence.primary} >= {low - 1e-6}",
                 "{evidence.primary} >= {low + 1e-6}", "price.encodings <= 0",
                 "price.old_query < 1", "measured.probe.ece <= 0.05",
                 "measured.probe.worst.de >= 0.8", "measured.probe.worst.de <= 0.9",
                 "measured.nothing.at <= 1"]
    """)
    measured: dict[str, Any] = {
        "probe": {"ece": 0.06, "worst": {"de": {"value": 0.9, "low": 0.81, "high": 0.95}}}
    }
    found = judge(registry, "docs", "production", policy, measured=measured)
    assert [f.passed for f in found.conditions] == [
        *(True, True, False, True, True), *(False, True, False, False),
    ]  # fmt: skip
    assert [f.passed for f in judge(registry, "docs", "production", policy).conditions[5:]] == [
        False
    ] * 4


def test_other_artefacts_have_no_evidence(registry: Registry, make: Make) -> None:
    policy = Policy.of_text('[stages.production]\ngates = ["retention >= 0.1"]')
    registry.publish(make(1), "table")
    found = judge(registry, "table", "production", policy).conditions
    assert not found[0].passed and "a table has no evidence" in found[0].found


def test_deprecated_and_unsigned(registry: Registry, make: Make) -> None:
    policy = Policy.of_text("[stages.production]\nsigned = true")
    registry.publish(make(1), "table")
    registry.deprecate("table", "wrong model")
    assert held(judge(registry, "table", "production", policy)) == {
        "not deprecated": False,
        "signed": False,
    }


def test_a_policy_that_an_editor_of_windows_saved(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_bytes(b"\xef\xbb\xbf[stages.a]\r\napprovals = 2\r\n")
    assert Policy.load(tmp_path / "policy.toml").stage("a").approvals == 2


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "stages"),
        ("[stages]", "stages"),
        ("[stages.a]\nmore = 1", "stages.a.more"),
        ("[stages.A]", "no alias"),
        ("[stages.a]\napprovals = -1", "approvals"),
        ("[stages.a]\nsigned = 1", "signed"),
        ("[stages.a]\nshare = 0.0", "share"),
        ('[stages.a]\ngates = ["nonsense"]', "cannot be read"),
        ('[stages.a]\ngates = ["price.gold <= 1"]', "no 'gold'"),
        ('[stages.a]\nbounds = ["hit >= 1.5"]', "cannot be read"),
        ("[stages.a", "no TOML"),
        ("x = " + "[" * 100_000, "no TOML"),
        ("[stages.a]\napprovals = " + "9" * 5000, "no TOML"),
        ('[stages.a]\nbounds = ["hits >= 0.5"]', "nothing called 'hits' is monitored"),
        ('[stages.a]\nbounds = ["gap. >= 0.5"]', "nothing called 'gap.' is monitored"),
    ],
)
def test_other_policies_are_refused(text: str, match: str) -> None:
    with pytest.raises(InputError, match=match):
        Policy.of_text(text)


def test_bounds() -> None:
    assert str(parse_bound(" hit.de>=0.70 ")) == "hit.de >= 0.7"
    for text in ("hit", "hit > 0.5", "hit >= 0", "hit >= nan", "hit >= 1"):
        with pytest.raises(InputError, match="cannot be read"):
            parse_bound(text)


def test_robustness_is_asked_of_the_evidence(
    registry: Registry, saved: Path, tmp_path: Path
) -> None:
    asked = Policy.of_text('[stages.production]\ngates = ["robustness.worst >= -0.9"]')
    registry.publish(saved, "docs")
    assert held(judge(registry, "docs", "production", asked)) == {"robustness.worst >= -0.9": False}
    rng = np.random.default_rng(0)
    x = rng.standard_normal((900, 8)).astype(np.float32)
    judging = Judging(limits=None, resamples=100, disturbances=Disturbances())
    fit(Pairs(x, x[:, ::-1].copy()), recipe="procrustes", judging=judging).save(tmp_path / "b")
    registry.publish(tmp_path / "b", "docs")
    assert judge(registry, "docs", "production", asked).passed
    with pytest.raises(InputError, match="condition cannot be read"):
        Policy.of_text('[stages.production]\ngates = ["robustness. >= -0.9"]')
