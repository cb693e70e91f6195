"""The demo's corpus: words that ask for their definition, from WordNet 3.0.

The query is the lemmas of a synset ("print run, press run"), the document its definition ("the
period that presses run to produce an issue of a newspaper").  Every query has one right document.
Example sentences are left out, since most of them repeat a lemma.  WordNet's licence lies beside
the data, in ``WORDNET_LICENSE``; ``scripts/build_wordnet_excerpt.py`` builds both.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import dataclass
from importlib.resources import files

from isthmus.errors import InputError

__all__ = ["Corpus", "load_corpus"]

EXCERPT_SHA256 = "eb192dbdfe246fdb9023f6a90e156d31121f66d4b1186286aebda49df23887d9"
"""Digest of the text, not of the compressed bytes, which depend on the version of zlib."""


@dataclass(frozen=True)
class Corpus:
    """Parallel texts: entry i of every field belongs to the same synset.

    Attributes:
        ids: Byte offset in WordNet's file and part of speech, as in ``02084071-n``.
        queries: Lemmas, joined by a comma.
        documents: Definitions.
        classes: Lexicographer files, as in ``noun.animal``.

    Example:
        >>> len(Corpus(("1",), ("print run",), ("the period that presses run",), ("noun.time",)))
        1
    """

    ids: tuple[str, ...]
    queries: tuple[str, ...]
    documents: tuple[str, ...]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)


def load_corpus(rows: int | None = None) -> Corpus:
    """The first ``rows`` texts of the excerpt, or all; any prefix is a uniform sample of WordNet.

    Raises:
        InputError: if the file in the package is damaged, or has fewer than ``rows`` texts.

    Example:
        >>> corpus = load_corpus(100)
        >>> len(corpus), len(set(corpus.ids))
        (100, 100)
    """
    file = files("isthmus.demo") / "wordnet_excerpt.tsv.gz"
    damaged = InputError(
        "the excerpt of WordNet in the package is damaged",
        where=str(file),
        mend="Install isthmus again",
    )
    try:
        content = gzip.decompress(file.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise damaged from error
    if hashlib.sha256(content).hexdigest() != EXCERPT_SHA256:
        raise damaged

    lines = content.decode().splitlines()
    if rows is not None and not 0 < rows <= len(lines):
        raise InputError(
            f"the excerpt has {len(lines)} texts, {rows} were asked for",
            where="rows",
            mend=f"Ask for 1 to {len(lines)}",
        )
    ids, classes, queries, documents = zip(
        *(line.split("\t") for line in lines[:rows]), strict=True
    )
    return Corpus(ids, queries, documents, classes)
