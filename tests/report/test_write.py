"""A page is whole, stands alone, escapes everything, and refuses before work."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from isthmus.errors import MissingExtraError, OutputError
from isthmus.plain_text import plain_text
from isthmus.report import check_report
from isthmus.report.blocks import (
    Card,
    Cards,
    Commands,
    Figure,
    Headline,
    Items,
    Page,
    Prose,
    Section,
    TextTable,
    Tile,
)
from isthmus.report.write import write_page

pytest.importorskip("plotly", reason="reports need plotly")

EVIL = "</script><script>alert(1)</script><b onclick='x'>&amp;\u2028"
SHOWN = plain_text(EVIL)
KINDS = ("diagnosis", "fit", "evaluation", "layers")


def page(text: str = EVIL, figures: bool = True) -> Page:
    """Every kind of block, with ``text`` wherever a text can stand."""
    table = TextTable(text, (text, text), ((text, "1"),), marked=frozenset({text}))
    figure = Figure(
        key="one", title=text, caption=text, alt=text, traces=({"x": [text], "y": [1]},),
        layout={"title": {"text": text}}, height=100, table=table,
    )  # fmt: skip
    blocks = [
        Prose(text),
        Items((text,)),
        Commands((text,)),
        Cards((Card(text, "bad", text, (text,), ((text, text),)),)),
        table,
    ]
    return Page(
        title=text,
        subtitle=text,
        answer=Headline(text, text, text, "good", (Tile(text, text, text),)),
        sections=(Section(text, blocks), Section("figures", (figure,) * figures)),
    )


def test_every_text_is_text(tmp_path: Path, read: Any) -> None:
    write_page(page(), tmp_path / "a.html")
    write_page(page("harmless"), tmp_path / "b.html")
    evil, harmless = read(tmp_path / "a.html"), read(tmp_path / "b.html")
    # whatever the text, the elements are the same
    assert [e.tag for e in evil.elements] == [e.tag for e in harmless.elements]
    for one, other in zip(evil.elements, harmless.elements, strict=True):
        assert set(one.attributes) == set(other.attributes)
        if one.tag not in ("script", "html", "body"):
            assert one.text.count(SHOWN) == other.text.count("harmless"), one.tag
    assert sum(e.text.count(SHOWN) for e in evil.all("p")) >= 5
    data = next(e for e in evil.all("script") if e.attributes.get("id") == "figures")
    assert "<" not in data.text
    assert json.loads(data.text)["one"]["data"][0]["x"] == [SHOWN]


def test_only_the_scripts_that_were_written_may_run(pages: dict[str, Path], read: Any) -> None:
    tree = read(pages["diagnosis"])
    (policy,) = (
        e.attributes["content"]
        for e in tree.all("meta")
        if e.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; ")
    scripts = [e for e in tree.all("script") if e.attributes.get("type") != "application/json"]
    assert len(scripts) == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_one_file_of_a_bearable_size(kind: str, pages: dict[str, Path], read: Any) -> None:
    assert pages[kind].stat().st_size < 6e6
    assert pages[kind].read_text(encoding="utf-8").count("plotly.js v") == 1  # embedded once
    for element in read(pages[kind]).elements:
        assert not element.attributes.get("src"), element
        assert element.attributes.get("href", "data:").startswith("data:"), element
    assert not [p for p in pages[kind].parent.iterdir() if "partial" in p.name]


@pytest.mark.parametrize("kind", KINDS)
def test_it_can_be_read_without_eyes(kind: str, pages: dict[str, Path], read: Any) -> None:
    tree = read(pages[kind])
    (root,) = tree.all("html")
    assert root.attributes["lang"] == "en"
    assert len(tree.all("h1")) == len(tree.all("main")) == 1
    levels = [int(e.tag[1]) for e in tree.elements if re.fullmatch("h[1-6]", e.tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for figure in tree.all("figure"):
        inside = {e.tag for e in figure.inside}
        assert {"h3", "table", "div"} <= inside
        (plot,) = (e for e in figure.inside if e.attributes.get("class") == "plot")
        assert plot.attributes["role"] == "img"
        assert len(plot.attributes["aria-label"]) > 40
    for table in tree.all("table"):
        assert any(e.tag == "caption" and e.text.strip() for e in table.inside)
        assert all(e.text.strip() for e in table.inside if e.tag == "th"), table.text
        assert {e.attributes["scope"] for e in table.inside if e.tag == "th"} == {"col", "row"}
    for button in tree.all("button"):
        assert button.text.strip() or button.attributes.get("aria-label")
    ids = [e.attributes["id"] for e in tree.elements if e.attributes.get("id")]
    assert len(ids) == len(set(ids))


def _contrast(one: str, other: str) -> float:
    """WCAG 2.2: relative luminances of #rrggbb."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1])
def test_contrast_is_enough_in_both_themes(theme: int, pages: dict[str, Path], read: Any) -> None:
    (style,) = read(pages["layers"]).all("style")
    blocks = re.findall(r":root[^{]*\{([^}]*)\}", style.text)
    colours = dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", blocks[theme]))
    for ground in ("paper", "surface"):
        for text in ("ink", "quiet"):
            assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for tone in ("good", "caution", "bad", "plain"):
        assert _contrast(colours[tone], colours[f"{tone}-soft"]) >= 4.5, tone
        for text in ("ink", "quiet"):
            assert _contrast(colours[text], colours[f"{tone}-soft"]) >= 4.5, (text, tone)
    for line in ("new", "old", "third", "fourth", "good"):
        assert _contrast(colours[line], colours["surface"]) >= 3, line
    for ends in ("far", "close"):
        heat = colours["heat-0" if ends == "far" else "heat-4"]
        assert _contrast(colours[f"on-heat-{ends}"], heat) >= 4.5, ends


def test_equal_results_give_equal_bytes(tmp_path: Path) -> None:
    write_page(page(), tmp_path / "a.html")
    write_page(page(), tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_page_without_figures_carries_no_plotly(tmp_path: Path) -> None:
    write_page(page(figures=False), tmp_path / "a.html")
    assert (tmp_path / "a.html").stat().st_size < 1e5


def test_what_exists_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "out.html"
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        write_page(page(), path)
    assert path.read_text() == "mine"
    write_page(page(), str(path), overwrite=True)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    with pytest.raises(OutputError, match="does not exist"):
        check_report(tmp_path / "nowhere" / "out.html")
    assert [p.name for p in tmp_path.iterdir()] == ["out.html"]


def test_without_plotly_it_is_refused_before_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    for attempt in (check_report, lambda path: write_page(page(), path)):
        with pytest.raises(MissingExtraError, match=r"pip install 'isthmus\[report\]'"):
            attempt(tmp_path / "out.html")
    assert not list(tmp_path.iterdir())


def test_no_text_turns_the_direction_of_what_stands_around_it(tmp_path: Path) -> None:
    write_page(page("a\u202egnp.exe\u2066\x1b[31m\x9b"), tmp_path / "r.html")
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    own = html.replace(_plotly_bundle(), "")
    assert not set(own) & set("\u202e\u2066\x1b\x9b")
    assert r"\u202egnp.exe" in own
    # and in the data of the plots the escape is a text, not the character
    assert r"\\u202egnp.exe" in own


def _plotly_bundle() -> str:
    from isthmus.report import write

    return write._plotly()
