from __future__ import annotations

import json
import re

import pytest

pytest.importorskip("plotly")

from isthmus.errors import OutputError
from isthmus.migrate.plan import CurvePoint, Estimated, Model, OrderCurve, Plan, Serving, Target
from isthmus.report.migration import write_migration_steps, write_plan_report
from isthmus.ways.way import Recall


def plan(**changes):
    found = {
        "target": Target(
            store="lancedb:///db#docs", collection="docs<script>", count=10, text_field="text",
            old_column="vector", old_dim=4, metric="cosine", new_column="new", new_dim=6,
            alias="live", alias_old="docs", alias_new="docs__new",
        ),
        "new": Model(spelling="st:b", name="b", revision="1", dim=6),
        "serving": Serving(recall=Recall(kind="old")),
        "curve": (
            CurvePoint(share=0, value=0.4, gain=0.0, low=-0.01, high=0.01),
            CurvePoint(share=1, value=0.6, gain=0.2, low=0.1, high=0.3),
        ),
        "kept": 0.4,
        "estimated": Estimated(scan_rate=1e4, encode_rate=100, search_ms=2, rows=10**8, hours=278,
                               disk=10**9, money=3.5, price=0.02, assumed=True),
        "steps": (("filling", "COPY ..."),),
        "by_hand": ("Let the application read 'live'.",),
        "verdict": "migrate: the full index reaches 0.600",
        **changes,
    }  # fmt: skip
    return Plan(**found).signed()


def test_the_page_shows_the_curve_the_steps_and_the_costs(tmp_path):
    write_plan_report(plan(), tmp_path / "plan.html")
    text = (tmp_path / "plan.html").read_text()
    for said in (
        "<p>The full index reaches 0.600.</p>", "COPY ...", "100,000,000 items (assumed)",
        "Let the application read", "keeping the old model", "278.0 h", "docs&lt;script&gt;",
    ):  # fmt: skip
        assert said in text, said
    assert "docs<script>" not in text
    with pytest.raises(OutputError):
        write_plan_report(plan(), tmp_path / "plan.html")


def test_the_commands_are_shown_and_the_disk_has_a_unit(tmp_path):
    run = "isthmus migrate run 'my plans/p.json' --key-env KEY"
    write_plan_report(plan(), tmp_path / "plan.html", commands=[run])
    text = (tmp_path / "plan.html").read_text()
    assert run.replace("'", "&#39;") in text
    assert ">1 GB<" in text


def test_each_order_is_a_row_with_a_column_for_each_share(tmp_path):
    orders = (
        OrderCurve(order="popularity", shares=(0.02, 0.25), values=(0.61, 0.64)),
        OrderCurve(order="popularity, by the error of the items", shares=(0.02, 0.25),
                   values=(0.62, 0.65)),
    )  # fmt: skip
    write_plan_report(plan(orders=orders, order_why="popularity: no other"), tmp_path / "plan.html")
    text = (tmp_path / "plan.html").read_text()
    assert "opularity</span>: no other." in text
    rows = re.findall(r"<tr>(.*?)</tr>", text)
    cells = [[re.sub("<.*?>", "", c) for c in re.findall(r"<t[hd].*?</t[hd]>", r)] for r in rows]
    assert ["order", "2%", "25%"] in cells and ["popularity", "0.610", "0.640"] in cells


def test_every_step_is_named_at_its_point(tmp_path, browser):
    steps = [("the old model", 0.412), ("the naive swap", 0.19),
             ("10% filled, both columns searched as one", 0.467),
             ("cut over, for callers with the old model", 0.439),
             ("rolled back, the old model", 0.412)]  # fmt: skip
    page = tmp_path / "steps.html"
    write_migration_steps(steps, page, asked=300, restored="10 of 10 vectors")
    browser.look(width=390, height=844)
    browser.open(page)
    browser.until("return document.documentElement.dataset.ready === 'true'")
    named = browser.run(
        "return [...document.querySelectorAll('.annotation-text-g text')].map(t => ["
        "[...t.querySelectorAll('tspan.line')].map(l => l.textContent).join(' ')"
        " || t.textContent, t.getBoundingClientRect().left, t.getBoundingClientRect().right])"
    )
    shown = [text for text, left, right in named if left >= 0 and right <= 390]
    assert len(shown) == len(named)
    for number, (name, _) in enumerate(steps, 1):
        assert f"{number}. {name}" in shown
    assert browser.run("return document.documentElement.scrollWidth") <= 390
    gap = "return parseFloat(getComputedStyle(document.querySelector('footer')).paddingTop)"
    assert browser.run(gap) > 0
    browser.look()


def test_a_plan_without_queries_has_no_curve(tmp_path):
    write_plan_report(plan(curve=(), kept=None, verdict="the quality was not measured: ..."),
                      tmp_path / "plan.html")  # fmt: skip
    text = (tmp_path / "plan.html").read_text()
    assert "Quality while it fills" not in text
    assert "not measured" in text


def test_a_plan_is_saved_and_read_as_it_was(tmp_path):
    made = plan()
    made.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == made
    assert json.loads((tmp_path / "plan.json").read_text())["digest"] == made.digest
