from __future__ import annotations

import gzip
import os
import runpy
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from isthmus.demo import Corpus, load_corpus
from isthmus.demo import corpus as module
from isthmus.errors import InputError

SCRIPT = Path(__file__).parents[2] / "scripts" / "build_wordnet_excerpt.py"
WORDNET = Path(os.environ.get("ISTHMUS_WORDNET", "/usr/share/wordnet"))


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load_corpus()


def test_there_are_enough_texts_of_every_kind(corpus: Corpus) -> None:
    assert len(corpus) == 12_000
    assert len(set(corpus.classes)) == 45
    assert {len(corpus.queries), len(corpus.documents), len(corpus.classes)} == {12_000}


def test_every_query_has_one_right_document(corpus: Corpus) -> None:
    assert len(set(corpus.ids)) == 12_000
    assert len({query.casefold() for query in corpus.queries}) == 12_000
    assert len({document.casefold() for document in corpus.documents}) == 12_000


def test_texts_are_clean(corpus: Corpus) -> None:
    for text in corpus.queries + corpus.documents:
        assert text == text.strip()
        assert text
        assert '"' not in text
    # Some definitions of WordNet's own hold an underscore; lemmas had theirs replaced.
    assert not any("_" in query for query in corpus.queries)


def test_a_prefix_is_a_sample_of_all(corpus: Corpus) -> None:
    first = load_corpus(1000)
    assert first.ids == corpus.ids[:1000]
    share = [
        sum(c.startswith("noun") for c in cs) / len(cs) for cs in (first.classes, corpus.classes)
    ]
    assert abs(share[0] - share[1]) < 0.05  # three standard deviations


@pytest.mark.parametrize("rows", [0, -1, 12_001])
def test_more_texts_than_there_are_is_an_error(rows: int) -> None:
    with pytest.raises(InputError, match="12000 texts"):
        load_corpus(rows)


@pytest.mark.parametrize("damage", ["content", "cut", "not gzip"])
def test_a_damaged_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    good = (files("isthmus.demo") / "wordnet_excerpt.tsv.gz").read_bytes()
    bad = {
        "content": gzip.compress(gzip.decompress(good).replace(b"noun", b"verb", 1)),
        "cut": good[:-2000],
        "not gzip": b"<html>",
    }[damage]
    (tmp_path / "wordnet_excerpt.tsv.gz").write_bytes(bad)
    monkeypatch.setattr(module, "files", lambda package: tmp_path)
    with pytest.raises(InputError, match="damaged"):
        load_corpus()


def test_the_licence_is_beside_the_data() -> None:
    notice = (files("isthmus.demo") / "WORDNET_LICENSE").read_text(encoding="utf-8")
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in notice
    assert "modified excerpt" in notice


@pytest.mark.real
@pytest.mark.skipif(
    not (WORDNET / "data.noun").is_file(),
    reason="needs WordNet: apt install wordnet-base, or ISTHMUS_WORDNET=folder",
)
def test_the_script_builds_the_shipped_excerpt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["build", "--wordnet", str(WORDNET), "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert module.EXCERPT_SHA256 in capsys.readouterr().out
    for name in ("wordnet_excerpt.tsv.gz", "WORDNET_LICENSE"):
        shipped = (files("isthmus.demo") / name).read_bytes()
        built = (tmp_path / name).read_bytes()
        if name.endswith(".gz"):
            shipped, built = gzip.decompress(shipped), gzip.decompress(built)
        assert built == shipped
