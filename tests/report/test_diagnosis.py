"""What the page of a diagnosis says, on diagnoses of every kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.diagnose import Diagnosis, Relation, diagnose
from isthmus.report import write_diagnosis_report
from isthmus.report.blocks import Cards, Figure
from isthmus.report.diagnosis import _ANSWERS, _capital, _page
from isthmus.report.diagnosis_figures import diagnosis_figures, measure_name
from isthmus.similarity import MEASURES

pytest.importorskip("plotly", reason="reports need plotly")


def figures(found: Diagnosis) -> dict[str, Figure]:
    return {figure.key: figure for figure in diagnosis_figures(found)}


@pytest.fixture(scope="module")
def few() -> Diagnosis:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 4))
    return diagnose(x, x @ rng.standard_normal((4, 3)))


@pytest.fixture(scope="module")
def shuffled(data: dict[str, np.ndarray]) -> Diagnosis:
    order = np.random.default_rng(1).permutation(len(data["new"]))
    return diagnose(data["new"], data["old"][order], names=("new", "old"))


def test_everything_a_diagnosis_says_is_on_its_page(
    pages: dict[str, Path], diagnosis: Diagnosis, read: Any
) -> None:
    (body,) = read(pages["diagnosis"]).all("body")
    shown = " ".join(body.text.split())

    def has(text: str) -> bool:
        return " ".join(text.split()) in shown

    assert has(diagnosis.verdict)
    assert diagnosis.findings
    for finding in diagnosis.findings:
        for text in (finding.remedy, finding.measure, finding.meaning[1:]):
            assert has(text), text
    for text in diagnosis.not_established:
        assert has(text)
    assert diagnosis.recipe is not None
    assert has(diagnosis.recipe)
    assert has(diagnosis.recipe_reason)
    for name, similarity in diagnosis.similarities.items():
        assert has(measure_name(name))
        assert has(similarity.definition)
    assert has("isthmus fit 'a b.npy' <new> --recipe 'unit_norm | procrustes'")


def test_findings_come_first_the_gravest_on_top(shuffled: Diagnosis) -> None:
    page = _page(shuffled, ())
    (cards,) = (b for b in page.sections[0].blocks if isinstance(b, Cards))
    assert [c.title.partition(" (")[0] for c in cards.cards] == [
        f.name.replace("_", " ") for f in shuffled.findings
    ]
    assert cards.cards[0].badge == "critical"
    assert page.answer.tone == "bad"
    assert page.answer.short == _ANSWERS[Relation.MISPAIRED][1]


def test_every_relation_has_an_answer() -> None:
    assert set(_ANSWERS) == set(Relation)


def test_a_critical_finding_overrules_a_good_relation(data: dict[str, np.ndarray]) -> None:
    rows = data["new"].copy()
    rows[[3, 90], 2] = np.inf
    found = diagnose(rows, data["old"])
    assert found.finding("float16_overflow") or found.findings[0].severity == "critical"
    answer = _page(found, ()).answer
    assert answer.tone == "bad"
    assert answer.short.startswith("Not before this is mended: ")


def test_the_figures_hold_the_numbers(diagnosis: Diagnosis) -> None:
    drawn = figures(diagnosis)
    assert list(drawn) == [
        "projection", "maps", "overlap", "spectra", "similarities", "distances", "norms",
        "cosines", "hubness",
    ]  # fmt: skip
    projection, both = drawn["projection"], diagnosis.projection
    assert both is not None
    links, old, new = projection.traces
    assert list(zip(new["x"], new["y"], strict=True)) == list(both.x)
    assert list(zip(old["x"], old["y"], strict=True)) == list(both.y)
    assert links["x"][:3] == [both.x[0][0], both.y[0][0], None]
    assert len(links["x"]) == 3 * len(both.ids)
    overlap = diagnosis.measured.overlap
    assert overlap is not None
    bars, chance = drawn["overlap"].traces
    assert np.array(bars["y"]) * overlap.n == pytest.approx(np.array(overlap.histogram))
    assert sum(chance["y"]) == pytest.approx(1)
    mean = np.dot(chance["x"], chance["y"]) / overlap.k
    assert mean == pytest.approx(overlap.chance)
    for side, trace in zip((diagnosis.x, diagnosis.y), drawn["spectra"].traces, strict=True):
        shares = side.spectrum.shares
        assert trace["y"] == pytest.approx(shares[np.array(trace["x"]) - 1])
        assert trace["x"][0] == 1
    for side, trace in zip((diagnosis.x, diagnosis.y), drawn["norms"].traces, strict=True):
        area = np.dot(np.diff(trace["x"]), trace["y"][:-1])
        assert area == pytest.approx(1)
        assert trace["x"][0] * side.norms.median == pytest.approx(side.norms.edges[0])
    defined = {n for n, s in diagnosis.similarities.items() if s.value is not None}
    named = {row[0] for key in ("similarities", "distances") for row in drawn[key].table.rows}
    assert named == {measure_name(n) for n in defined}


def test_wide_spaces_do_not_make_large_pages(diagnosis: Diagnosis) -> None:
    wide = np.arange(1, 5001) ** -0.5
    spectrum = diagnosis.x.spectrum.model_copy(update={"eigenvalues": tuple(wide.tolist())})
    grown = diagnosis.model_copy(
        update={"x": diagnosis.x.model_copy(update={"spectrum": spectrum, "dim": 5000})}
    )
    trace = figures(grown)["spectra"].traces[0]
    assert len(trace["x"]) <= 250
    assert (trace["x"][0], trace["x"][-1]) == (1, 5000)


def test_unit_norms_leave_no_empty_plot(diagnosis: Diagnosis, data: dict[str, np.ndarray]) -> None:
    unit = {k: v / np.linalg.norm(v, axis=1, keepdims=True) for k, v in data.items()}
    assert "norms" not in figures(diagnose(unit["new"], unit["old"]))
    one = figures(diagnose(unit["new"], data["old"]))["norms"]
    assert len(one.traces) == 1
    assert "All rows of x are equally long" in one.caption


def test_few_pairs_still_make_a_page(few: Diagnosis, tmp_path: Path, read: Any) -> None:
    assert few.relation is Relation.UNDETERMINED
    write_diagnosis_report(few, tmp_path / "out.html")
    drawn = figures(few)
    assert "maps" not in drawn
    assert {"spectra", "norms"} <= set(drawn)
    assert len(read(tmp_path / "out.html").all("figure")) == len(drawn)


def test_a_diagnosis_read_from_json_gives_the_same_page(
    diagnosis: Diagnosis, tmp_path: Path
) -> None:
    again = Diagnosis.from_json(diagnosis.to_json())
    for name, found in (("a", diagnosis), ("b", again)):
        write_diagnosis_report(found, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_every_measure_has_a_name_for_people() -> None:
    assert len({measure_name(name) for name in MEASURES}) == len(MEASURES)
    assert all("_" not in measure_name(name) for name in MEASURES)


def test_names_in_plots_are_escaped(diagnosis: Diagnosis) -> None:
    for figure in diagnosis_figures(diagnosis):
        shown = str(replace(figure, table=figure.table).traces) + str(figure.layout)
        assert "<img" not in shown
        assert "<a " not in shown
        assert "<script" not in shown


def test_a_sentence_that_begins_with_a_side_keeps_its_name() -> None:
    assert _capital("old is twice as long", ("new", "old")) == "old is twice as long"
    assert _capital("one side is rotated", ("new", "old")) == "One side is rotated"
