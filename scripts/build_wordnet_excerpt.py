"""Build the WordNet 3.0 excerpt that `isthmus.demo` ships.

    python scripts/build_wordnet_excerpt.py --wordnet /usr/share/wordnet

The folder is that of Debian's ``wordnet-base`` (or the ``dict`` folder of Princeton's own archive).
A line of the excerpt is: synset id, lexicographer file, lemmas, definition; tab-separated.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "isthmus" / "demo"

# The order is that of WordNet's own lexnames(5WN): the position is the number in the data files.
# fmt: off
LEXICOGRAPHER_FILES = (
    "adj.all", "adj.pert", "adv.all", "noun.Tops", "noun.act", "noun.animal", "noun.artifact",
    "noun.attribute", "noun.body", "noun.cognition", "noun.communication", "noun.event",
    "noun.feeling", "noun.food", "noun.group", "noun.location", "noun.motive", "noun.object",
    "noun.person", "noun.phenomenon", "noun.plant", "noun.possession", "noun.process",
    "noun.quantity", "noun.relation", "noun.shape", "noun.state", "noun.substance", "noun.time",
    "verb.body", "verb.change", "verb.cognition", "verb.communication", "verb.competition",
    "verb.consumption", "verb.contact", "verb.creation", "verb.emotion", "verb.motion",
    "verb.perception", "verb.possession", "verb.social", "verb.stative", "verb.weather", "adj.ppl",
)
# fmt: on

# Example sentences are quoted, after the definition.  They are left out: most repeat the lemma, so
# that matching one word would answer the query.
EXAMPLES = re.compile(r"[;,:]\s*\"")


class Synset(NamedTuple):
    """One line of the excerpt."""

    identifier: str
    lexicographer_file: str
    lemmas: str
    definition: str


def synsets(folder: Path) -> Iterator[Synset]:
    """Every synset of WordNet, in the order of the files."""
    for part_of_speech in ("noun", "verb", "adj", "adv"):
        with (folder / f"data.{part_of_speech}").open(encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("  "):
                    continue  # the licence, which opens each file
                head, _, gloss = line.partition("|")
                fields = head.split()
                words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
                # A syntactic marker such as (p) or (a) may follow an adjective.
                lemmas = [word.partition("(")[0].replace("_", " ") for word in words]
                yield Synset(
                    f"{fields[0]}-{fields[2]}",
                    LEXICOGRAPHER_FILES[int(fields[1])],
                    ", ".join(lemmas),
                    EXAMPLES.split(gloss, maxsplit=1)[0].strip(" \t\n;:,"),
                )


def select(candidates: Iterator[Synset], rows: int) -> list[Synset]:
    """The first ``rows`` by the hash of their id, so that every prefix is a uniform sample.

    A synset whose lemmas or definition were taken already (but for case) is passed over: it would
    be a second right answer that counts as wrong.
    """
    lemmas: set[str] = set()
    definitions: set[str] = set()
    chosen: list[Synset] = []
    for synset in sorted(candidates, key=lambda s: hashlib.sha256(s.identifier.encode()).digest()):
        query, document = synset.lemmas.casefold(), synset.definition.casefold()
        if not document or query in lemmas or document in definitions:
            continue
        lemmas.add(query)
        definitions.add(document)
        chosen.append(synset)
        if len(chosen) == rows:
            break
    return chosen


def licence(folder: Path) -> str:
    """The notice that opens WordNet's data files, without their line numbers."""
    with (folder / "data.noun").open(encoding="utf-8") as lines:
        notice = [line.strip().partition(" ")[2].strip() for line in lines if line.startswith("  ")]
    return "\n".join(notice) + "\n"


def main() -> None:
    """Write the excerpt and its licence, and say the checksum that `corpus.py` must hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--output", type=Path, default=PACKAGE)
    parser.add_argument("--rows", type=int, default=12_000)
    arguments = parser.parse_args()

    chosen = select(synsets(arguments.wordnet), arguments.rows)
    text = "".join("\t".join(synset) + "\n" for synset in chosen).encode()
    packed = gzip.compress(text, compresslevel=9, mtime=0)
    (arguments.output / "wordnet_excerpt.tsv.gz").write_bytes(packed)
    (arguments.output / "WORDNET_LICENSE").write_text(
        "wordnet_excerpt.tsv.gz is a modified excerpt of WordNet 3.0: a selection of its synsets,\n"
        "each with its lemmas and its definition, without examples and relations.\n"
        "WordNet's own notice follows.\n\n" + licence(arguments.wordnet),
        encoding="utf-8",
    )
    sys.stdout.write(
        f"{len(chosen)} synsets, {len(packed)} bytes compressed, "
        f"SHA-256 of the text: {hashlib.sha256(text).hexdigest()}\n"
    )


if __name__ == "__main__":
    main()
