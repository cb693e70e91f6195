"""What the pages of evaluations say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.bridge import Bridge, fit
from isthmus.evaluate import Evaluation, Verdict
from isthmus.evaluate.gates import GateResult, check_gates
from isthmus.evaluate.price import Price
from isthmus.plain_text import plain_text
from isthmus.report import write_evaluation_report
from isthmus.report.blocks import Cards, Figure
from isthmus.report.evaluation import answer_of, evaluation_sections
from isthmus.report.evaluation_figures import arm_name, evaluation_figures, price_in_short
from isthmus.report.plots import span
from isthmus.spaces.pairs import Pairs

pytest.importorskip("plotly", reason="reports need plotly")


@pytest.fixture(scope="module")
def evidence(bridge: Bridge) -> Evaluation:
    assert bridge.evidence is not None
    return bridge.evidence


@pytest.fixture(scope="module")
def agreement(data: dict[str, np.ndarray]) -> Evaluation:
    found = fit(Pairs(data["new"], data["old"]), recipe="procrustes").evidence
    assert found is not None
    return found


def figures(found: Evaluation, gates: Any = ()) -> dict[str, Figure]:
    return {figure.key: figure for figure in evaluation_figures(found, gates)}


@pytest.mark.parametrize("verdict", Verdict)
def test_the_verdict_is_the_answer(evidence: Evaluation, verdict: Verdict) -> None:
    answer = answer_of(evidence.model_copy(update={"verdict": verdict}))
    assert answer.short.startswith("Yes") == (verdict.serves or verdict is Verdict.RE_EMBED)
    assert (answer.tone == "good") == verdict.serves
    assert str(verdict) in answer.sentence
    assert evidence.reason[1:] in answer.sentence


def test_a_failed_gate_stands_above_a_good_verdict(evidence: Evaluation) -> None:
    good = evidence.model_copy(update={"verdict": Verdict.USE_BRIDGE})
    passed, failed = GateResult("a>0", True, "1"), GateResult("b>0", False, "0")
    assert answer_of(good, (passed,)).tone == "good"
    answer = answer_of(good, (passed, failed))
    assert answer.tone == "bad"
    assert answer.short == "Not by the gates: 1 of 2 failed."
    kept = evidence.model_copy(update={"verdict": Verdict.KEEP_OLD})
    assert answer_of(kept, (failed,)).short == "No: keep the old model."


def test_the_plots_hold_every_arm_and_gate(evidence: Evaluation) -> None:
    gates = check_gates(evidence, ["retention>=0.43", "mixed.retention>=0.21", "recall@10>0.1"])
    drawn = figures(evidence, gates)
    assert list(drawn) == ["arms", "gains", "retention"]
    arms = drawn["arms"]
    assert arms.traces[-1]["x"] == [
        evidence.arms[n].metrics[evidence.primary].value for n in evidence.shown
    ]
    assert {row[0] for row in arms.table.rows} == {arm_name(evidence, n) for n in evidence.arms}
    notes = [n["text"] for n in drawn["retention"].layout["annotations"]]
    assert {"re-embedded", "gate 0.43", "gate 0.21"} <= set(notes)
    gains = drawn["gains"].traces[-1]["x"]
    best = max(
        a.to_old.value for n, a in evidence.arms.items()
        if n not in ("old", "naive", "control") and a.to_old is not None
    )  # fmt: skip
    assert max(gains) == best


def test_agreement_alone_makes_a_page_too(agreement: Evaluation, tmp_path: Path, read: Any) -> None:
    assert agreement.evidence_kind == "agreement"
    assert "retention" not in figures(agreement)
    write_evaluation_report(agreement, tmp_path / "out.html", title="Page <one>")
    tree = read(tmp_path / "out.html")
    assert tree.all("h1")[0].text == "Page <one>"
    assert "agreement with the old model alone" in tree.all("body")[0].text
    assert len(tree.all("figure")) == len(figures(agreement))


def test_agreement_draws_no_way_as_a_loss(agreement: Evaluation, tmp_path: Path, read: Any) -> None:
    """Against the old model's own results a re-embedded index can only look worse."""
    assert list(figures(agreement)) == ["arms"]
    assert "not worse ones" in figures(agreement)["arms"].caption
    assert [tile.name for tile in answer_of(agreement).tiles] == [
        "overlap@10, bridge", "overlap@10, re-embedded (other results, not worse ones)",
    ]  # fmt: skip
    write_evaluation_report(agreement, tmp_path / "out.html")
    headings = {cell.text for cell in read(tmp_path / "out.html").all("th")}
    assert not headings & {"minus the old model", "retention", "difference", "loses"}
    sections = evaluation_sections(agreement, (), None, None, ())
    shown = next(s for s in sections if s.title.startswith("Queries "))
    assert shown.title == "Queries whose results change most: bridge"
    cards = next(block for block in shown.blocks if isinstance(block, Cards))
    assert cards.cards[0].badge == f"{agreement.worst[0].loss:.0%} other results"


def test_the_interval_of_the_verdict_stands_beside_that_of_the_plot(evidence: Evaluation) -> None:
    assert evidence.recommended is not None
    chosen = evidence.arms[evidence.recommended]
    caption = figures(evidence)["gains"].caption
    assert chosen.to_old_at_once is not None
    assert span(chosen.to_old_at_once) in caption and "beside all ways that compete" in caption


def test_prices_in_plots_are_one_short_line_with_units(evidence: Evaluation) -> None:
    whole = Price(encodings=40.9, encodings_cached=8.2, old_query=True, reembedded=0.1)
    assert price_in_short(whole) == "10% re-embedded, old encoder, 41 items a query"
    assert price_in_short(Price()) == "no extra cost"
    for note in figures(evidence)["gains"].layout["annotations"]:
        _, _, price = note["text"].partition('<span style="font-size:11px">')
        assert "<br>" not in price and len(price) < 60


def test_the_page_shows_what_the_evaluation_holds(
    pages: dict[str, Path], evidence: Evaluation, read: Any
) -> None:
    shown = " ".join(read(pages["evaluation"]).all("body")[0].text.split())
    for name, arm in evidence.arms.items():
        assert arm_name(evidence, name) in shown
        assert str(arm.metrics[evidence.primary]) in shown
        for estimate in (arm.to_old, arm.retention):
            assert estimate is None or str(estimate) in shown
        assert arm.price is None or str(arm.price) in shown
    assert "failed recall@10>=2" in shown
    assert "passed retention>=0.5" in shown


def test_the_worst_queries_come_with_their_texts(
    pages: dict[str, Path], evidence: Evaluation, texts: dict[str, str], read: Any
) -> None:
    shown = " ".join(read(pages["fit"]).all("main")[0].text.split())
    assert evidence.worst
    for query in evidence.worst[:8]:
        # what turns the direction of text is spelt out
        assert plain_text(" ".join(texts[query.id].split())) in shown
        assert query.answer is not None
        assert plain_text(f"Expected: {' '.join(texts[query.answer].split())}") in shown
    without = " ".join(read(pages["evaluation"]).all("main")[0].text.split())
    assert plain_text(" ".join(evidence.worst[0].id.split())) in without


def test_texts_of_queries_are_not_those_of_items(evidence: Evaluation) -> None:
    """Where a query is answered by the item of the same id, one id has two texts."""
    query = evidence.worst[0]
    assert query.answer is not None
    items = {query.answer: "the item", query.id: "the item"}

    def cards(query_texts: dict[str, str] | None) -> Any:
        *_, last = evaluation_sections(evidence, (), items, query_texts, ())
        (found,) = (b for b in last.blocks if isinstance(b, Cards))
        return found.cards[0]

    assert cards({query.id: "the query"}).title == "the query"
    assert cards({}).title == query.id
    assert cards(None).title == "the item"
    assert cards({}).lines[0] == f"Expected: the item ({query.answer})"


def test_long_texts_are_cut(evidence: Evaluation, tmp_path: Path) -> None:
    texts = {q.id: "word " * 10_000 for q in evidence.worst}
    write_evaluation_report(evidence, tmp_path / "a.html")
    write_evaluation_report(evidence, tmp_path / "b.html", texts=texts)
    sizes = [(tmp_path / name).stat().st_size for name in ("a.html", "b.html")]
    assert sizes[1] - sizes[0] < 20_000
