"""The page of a review in a real browser, served by the command; and who may not use it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.review.conftest import HOSTILE

from isthmus import artefact
from isthmus.bridge import Bridge, fit
from isthmus.bridge.assess import unseen_map_of, unseen_samples
from isthmus.bridge.held_out_samples import Queries
from isthmus.errors import InputError
from isthmus.registry import Registry
from isthmus.review import changed_queries, dossier_of
from isthmus.review.app import pictures_in
from isthmus.spaces.pairs import Pairs

pytest.importorskip("starlette", reason="the page of a review needs starlette")
pytest.importorskip("uvicorn", reason="the page of a review needs uvicorn")

POLICY = """
[stages.production]
gates = ["bridge.recall@10 >= 0.01"]
approvals = 1
"""


class Served:
    """``isthmus review`` in a process of its own."""

    def __init__(self, *arguments: object) -> None:
        program = "from isthmus.cli.app import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, "review", *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "ISTHMUS_USER": "bo"},
        )  # fmt: skip
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        assert self.address.startswith("http://127.0.0.1:"), self.process.communicate()
        self.root, self.token = self.address.split("/?token=")

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=30)
        return self.process.returncode


@pytest.fixture
def served(registry: Registry, files: tuple[Any, ...], tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "policy.toml").write_text(POLICY)
    made = Served(
        "docs.new-to-old", "-r", registry.url, "--policy", tmp_path / "policy.toml",
        "--gate", "retention>=0.1", *files,
    )  # fmt: skip
    yield made
    made.end()


class Answer:
    def __init__(self, opened: Any) -> None:
        self.status, self.headers = opened.status, dict(opened.headers)
        self.text = opened.read().decode()


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def ask(url: str, body: str | None = None, **headers: str) -> Answer:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, None if body is None else body.encode(), given)
    opener = urllib.request.build_opener(_Stay)
    try:
        return Answer(opener.open(request, timeout=20))
    except urllib.error.HTTPError as error:
        return Answer(error)


def test_it_is_looked_at_and_decided_in_a_browser(
    served: Served, browser: Any, registry: Registry, bridge: Bridge
) -> None:
    browser.look(1280)
    browser.forget()
    browser.driver.get(served.address)
    # the token does not stay in the address bar
    assert browser.driver.current_url == f"{served.root}/"
    page = browser.run("return document.body.innerText")
    assert bridge.evidence is not None
    assert str(bridge.evidence.verdict) in page
    release = registry.show("docs.new-to-old")
    for text in (release.digest, "published", "by ann: a first", "Stage production",
                 "approved by 1 person", "retention>=0.1", "Groups of queries", "Before: old model",
                 "what is ", "Nothing: you are the first."):  # fmt: skip
        assert text in page, text
    assert any(hostile in page for hostile in HOSTILE)
    assert browser.run("return window.hacked") is None
    assert browser.run("return document.scripts.length") == 0
    # nothing is fetched from elsewhere, pictures are drawn, nothing is complained of
    browser.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    browser.run("document.images[0].scrollIntoView()")
    browser.until("return [...document.images].some(i => i.complete && i.naturalWidth > 0)")
    fetched = [u for u in browser.fetched() if u.startswith("http")]
    assert fetched
    assert all(u.startswith(served.root) for u in fetched)
    assert browser.console() == []

    # by keys alone: the skip link, no decision yet, then a reason
    browser.run("document.querySelector('textarea').focus()")
    keys("\t", browser)
    assert browser.run("return document.activeElement.tagName") == "BUTTON"
    keys("\n", browser)
    browser.until("return document.querySelector('[role=alert]') !== null")
    assert "Choose a decision" in browser.run("return document.querySelector('form').innerText")
    assert registry.reviews("docs.new-to-old") == []

    browser.run("document.querySelector('input[value=reject]').focus()")
    keys(" ", browser)
    keys("\t", browser)
    assert browser.run("return document.activeElement.name") == "by"
    assert browser.run("return document.activeElement.value") == "bo"
    keys("\t\t", browser)
    keys("\n", browser)
    browser.until("return document.querySelector('[role=alert]') !== null")
    assert "needs a reason" in browser.run("return document.querySelector('form').innerText")
    assert registry.reviews("docs.new-to-old") == []

    browser.run("document.querySelector('textarea').focus()")
    keys(f"Two queries lose: {HOSTILE[1]}", browser)
    keys("\t", browser)
    keys("\n", browser)
    browser.until("return document.querySelector('[role=status]') !== null")
    (review,) = registry.reviews("docs.new-to-old")
    assert (review.decision, review.by) == ("reject", "bo")
    assert review.reason == f"Two queries lose: {HOSTILE[1]}"
    assert review.version == release.digest
    page = browser.run("return document.body.innerText")
    assert "Entry 1 stands in the audit log." in page
    assert "against: bo (reject)" in page
    assert browser.run("return window.hacked") is None


def keys(text: str, browser: Any) -> None:
    """Type into whatever has the focus; tab and return as the keys they are."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    chain = ActionChains(browser.driver)
    for letter in text:
        chain.send_keys({"\t": Keys.TAB, "\n": Keys.ENTER}.get(letter, letter))
    chain.perform()


def test_it_fits_a_phone_and_a_dark_room(served: Served, browser: Any) -> None:
    browser.look()
    browser.driver.get(served.address)
    for width in (390, 1280):
        for scheme in ("light", "dark"):
            _fits(browser, width, scheme)


def _fits(browser: Any, width: int, scheme: str) -> None:
    browser.look(width, 800, scheme)
    browser.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert browser.run("return document.documentElement.scrollWidth") <= width
    back, ink = browser.run(
        "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
    )
    light = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (back, ink)]
    assert (light[0] > light[1]) == (scheme == "light")
    small = browser.run(
        "return [...document.querySelectorAll('.choice, form button')]"
        ".filter(n => n.getBoundingClientRect().height < 40).length"
    )
    assert small == 0
    columns = browser.run(
        "return getComputedStyle(document.querySelector('.sides')).gridTemplateColumns"
        ".split(' ').length"
    )
    assert columns == (1 if width < 600 else 2)


def test_who_may_not(served: Served, registry: Registry) -> None:
    host = served.root.removeprefix("http://")
    assert ask(served.root).status == 403
    assert ask(f"{served.root}/?token=wrong").status == 403
    assert ask(served.address, Host="evil.example").status == 421
    entered = ask(served.address)
    assert (entered.status, entered.headers["location"]) == (303, "/")
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert served.token not in cookie
    session = cookie.split(";")[0]
    page = ask(served.root, Cookie=session)
    assert page.status == 200
    assert served.token not in page.text
    for name, value in (
        ("content-security-policy", "default-src 'none'"),
        ("cache-control", "no-store"),
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
    ):
        assert value in page.headers[name]
    (csrf,) = re.findall(r'name="csrf" value="([^"]+)"', page.text)
    form = f"decision=approve&by=bo&reason=&csrf={csrf}"
    decide = f"{served.root}/decide"
    refused = [
        ask(decide, form),  # no session
        ask(decide, form.replace(csrf, "0" * 64), Cookie=session),  # not our form
        ask(decide, form, Cookie=session, Origin="http://evil.example"),
        ask(decide, form, Cookie=session, Sec_Fetch_Site="cross-site"),
        ask(decide, form, Cookie=session, Host="evil.example"),
        ask(f"{decide}?token={served.token}", form),  # the token alone writes nothing
        ask(decide, f"{form}&more={'x' * 70_000}", Cookie=session),
        ask(decide, form.replace("approve", "promote"), Cookie=session),
        ask(f"{served.root}/image/99999", Cookie=session),
        ask(f"{served.root}/image/0"),
    ]
    assert [r.status for r in refused] == [403, 403, 403, 403, 421, 403, 413, 422, 404, 403]
    assert ask(decide, Cookie=session).status == 405
    assert registry.reviews("docs.new-to-old") == []
    good = ask(decide, form, Cookie=session, Origin=f"http://{host}")
    assert (good.status, good.headers["location"]) == (303, "/?entry=1#log")
    assert [r.decision for r in registry.reviews("docs.new-to-old")] == ["approve"]


def test_once_ends_with_the_decision(registry: Registry) -> None:
    for decision, code in (("approve", 0), ("request changes", 1)):
        made = Served("docs.new-to-old", "-r", registry.url, "--once")
        session = ask(made.address).headers["set-cookie"].split(";")[0]
        page = ask(made.root, Cookie=session).text
        assert "They were not looked up" in page
        assert f" -r {registry.url} --old old.npy" in page
        (csrf,) = re.findall(r'name="csrf" value="([^"]+)"', page)
        form = f"decision={decision}&by=bo&reason=so&csrf={csrf}".replace(" ", "+")
        answer = ask(f"{made.root}/decide", form, Cookie=session)
        assert answer.status == 200
        assert "stands in the audit log. The review has ended" in answer.text
        assert "<form" in page and "<form" not in answer.text
        end = time.monotonic() + 30
        while made.process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        assert made.end() == code


# ---- what is gathered --------------------------------------------------------------------------


def test_a_way_that_needs_vectors_of_its_own_is_named_where_the_bridge_is_shown(
    bridge: Bridge,
    rows: dict[str, np.ndarray],
    ids: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = Pairs(rows["new"], rows["old"], ids=ids)
    asked = Queries(Pairs(rows["q_new"], rows["q_old"], ids=ids))
    held_out = unseen_samples(bridge, pairs, asked).test_part()
    way = SimpleNamespace(part="some", joins=True)
    monkeypatch.setattr(Bridge, "recommended", property(lambda _: ("backfill", way)))
    found = changed_queries(bridge, held_out)
    assert (found.way, found.instead_of) == ("bridge", "a part re-embedded")
    monkeypatch.setattr(Bridge, "recommended", property(lambda _: None))
    assert changed_queries(bridge, held_out).instead_of is None


def test_changes_are_those_of_the_way_that_serves(
    bridge: Bridge, rows: dict[str, np.ndarray], ids: np.ndarray
) -> None:
    pairs = Pairs(rows["new"], rows["old"], ids=ids)
    asked = Queries(Pairs(rows["q_new"], rows["q_old"], ids=ids))
    held_out = unseen_samples(bridge, pairs, asked).test_part()
    found = changed_queries(bridge, held_out, most=10)
    assert found.queries == len(held_out.queries)
    assert 0 < len(found.shown) <= 10
    turns = [q.turn for q in found.shown]
    told = min(found.lose, 4), min(found.gain, 4)
    assert turns[: sum(told)] == ["loses"] * told[0] + ["gains"] * told[1]
    assert sum(told) > 0
    old = {n: v / np.linalg.norm(v) for n, v in zip(ids.tolist(), rows["old"], strict=True)}
    for q in found.shown:
        best = sorted(old, key=lambda n, q=q: -float(old[n] @ rows["q_old"][int(q.id[5:])]))
        assert [n.id for n in q.before] == best[:5]
        after = {n.id for n in q.after}
        assert {n.id for n in q.before if n.fate == "stays"} == after & set(best[:5])
        assert q.change == pytest.approx(1 - len(after & set(best[:5])) / 5)
        for n in (*q.before, *q.after):
            assert n.relevant == (n.id == q.id)


def test_a_version_of_another_kind_is_reviewed_without_evidence(tmp_path: Path) -> None:
    artefact.write(tmp_path / "m", "table of means", {"rows": 3}, {"mean": np.ones(3)})
    registry = Registry.open(tmp_path / "registry", create=True)
    registry.publish(tmp_path / "m", "means")
    dossier = dossier_of(registry, "means")
    assert (dossier.bridge, dossier.gates, dossier.changes) == (None, (), None)
    from isthmus.review.sections import answer_of_version, sections_of

    assert answer_of_version(dossier) is None
    assert sections_of(dossier, []) == []


def test_pictures_are_known_by_their_names(tmp_path: Path) -> None:
    for name in ("a.png", "b.JPG", "c.svg", "d.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert sorted(pictures_in(tmp_path)) == ["a", "b"]


def test_a_port_that_is_taken_is_refused(registry: Registry) -> None:
    import socket

    from isthmus.review.serve import serve_review

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match="nothing can listen there"):
            serve_review(dossier_of(registry, "docs.new-to-old"), port=port, ready=print)


def test_queries_that_a_map_was_fitted_on_are_shown_behind_maps_that_were_not() -> None:
    rng = np.random.default_rng(0)
    items, noise = rng.standard_normal((2, 100, 90)).astype(np.float32)
    turn = np.linalg.qr(rng.standard_normal((90, 90)))[0].astype(np.float32)
    new = [
        rows @ turn + 0.5 * rng.standard_normal(rows.shape) for rows in (items, items + 2 * noise)
    ]
    pairs, asked = Pairs(new[0], items), Queries(Pairs(new[1], items + 2 * noise))
    bridge = fit(pairs, queries=asked, recipe="ridge(alpha=0.0001)")
    samples = unseen_samples(bridge, pairs, asked)
    held_out = samples.judging_part()
    seen, unseen = (
        changed_queries(bridge, held_out, chain=chain)
        for chain in (None, unseen_map_of(bridge, samples))
    )
    assert seen.queries == unseen.queries == 100
    assert seen.lose == 0 < unseen.lose
