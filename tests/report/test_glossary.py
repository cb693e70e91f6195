"""Terms are explained where they first stand on a page, and nothing else is touched."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup, escape

from isthmus.report.glossary import GLOSSARY, Glossed

ASKED = ("recall@10", "retention", "update gain", "λ", "csa(shrinkage=0.4)", "CSA", "overlap@10")


@pytest.mark.parametrize("word", ASKED)
def test_what_readers_ask_about_is_explained(word: str) -> None:
    glossed = Glossed()
    found = glossed(f"about {word} here")
    ((_, _, meaning),) = glossed.entries
    assert escape(meaning) in found and word in found.striptags()


def test_only_the_first_of_each_is_marked_and_words_within_words_are_not() -> None:
    glossed = Glossed()
    assert glossed("retention and retention").count("data-tip") == 1
    assert "data-tip" not in glossed("more retention")
    assert "data-tip" not in Glossed()("a bridge, an example.csa.npy_p and users@p")


@given(st.text())
def test_text_stays_what_it_was(text: str) -> None:
    """Whatever the tips add, the words of the page are the same, and no mark-up gets in."""
    found = Glossed()(f"{text} recall@10 <b>")
    bare = re.sub(r'<span class="term"[^>]*>|</span>', "", found)
    assert bare == str(escape(f"{text} recall@10 <b>"))
    assert isinstance(found, Markup)


def test_a_page_lists_its_words_and_every_tip_leads_there(
    pages: dict[str, Path], read: Any
) -> None:
    for kind in ("fit", "evaluation", "diagnosis"):
        tree = read(pages[kind])
        keys = [e.attributes["id"] for e in tree.all("dd") if "id" in e.attributes]
        marked = [e for e in tree.all("span") if e.attributes.get("class") == "term"]
        assert marked and len(keys) == len(set(keys)) == len(marked)
        assert {e.attributes["aria-describedby"] for e in marked} == set(keys)
    meanings = {meaning for _, meaning in GLOSSARY.values()}
    assert len(meanings) == len(GLOSSARY)


def test_tips_open_by_keyboard_and_tables_that_are_cut_say_so(
    browser: Any, pages: dict[str, Path]
) -> None:
    browser.look(width=390, height=844)
    browser.open(pages["evaluation"])
    browser.until("return document.documentElement.dataset.ready === 'true'")
    shown = "return getComputedStyle(document.querySelector('.term'), '::after').display"
    assert browser.run(shown) == "none"
    browser.run("document.querySelector('.term').focus()")
    assert browser.run(shown) == "block"
    wide = browser.run(
        "return [...document.querySelectorAll('main > section > .table')].map(t => ["
        "t.querySelector('.scroll').scrollWidth > t.querySelector('.scroll').clientWidth + 1,"
        "t.querySelector('.hint').getBoundingClientRect().height > 0])"
    )
    assert any(cut for cut, _ in wide)
    assert all(cut == hinted for cut, hinted in wide)
    browser.look()
    browser.until("return !document.querySelector('main > section > .table.cut')")
