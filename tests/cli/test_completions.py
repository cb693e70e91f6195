"""What a shell completes: commands, options, and the words that an option takes."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from isthmus.cli.app import app


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("ev", {"evaluate"}),
        ("migrate cu", {"cutover"}),
        ("fit --queries-", {"--queries-old", "--queries-new"}),
        ("diagnose a b --metric ", {"cosine", "dot", "l2"}),
        ("evaluate a b c --primary recall@1", {"recall@1", "recall@10", "recall@100"}),
        ("fit a b --kind c", {"corpus"}),
        ("threshold 0.5 --keep ", {"share", "precision"}),
        ("threshold 0.5 --way bridge", {"bridge", "bridge_rescore"}),
        ("search index --way mi", {"mixed", "mixed_rescore"}),
        ("monitor log.jsonl --side ", {"source", "target"}),
        ("schema mig", {"migrate"}),
        ("schema migrate sta", {"status"}),
    ],
)
def test_words_are_completed(typed: str, expected: set[str]) -> None:
    words = f"isthmus {typed}".split()
    asked = {
        "_ISTHMUS_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - (not typed.endswith(" "))),
    }
    done = CliRunner().invoke(app, [], prog_name="isthmus", env=asked)
    assert set(done.output.split()) == expected
