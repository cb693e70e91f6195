"""What shells complete after an option that takes one of a few words."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import typer

__all__ = ["METRICS", "PRIMARIES", "one_of", "schema_words", "way_names"]

METRICS = ("cosine", "dot", "l2")
PRIMARIES = ("recall@1", "recall@10", "recall@100", "cmc@1", "mrr", "map", "ndcg@10")

Complete = Callable[[str], list[str]]


def one_of(*words: str) -> Complete:
    """Completes any of these words.

    Example:
        >>> one_of("share", "precision")("p")
        ['precision']
    """

    def complete(incomplete: str) -> list[str]:
        return _starting(words, incomplete)

    return complete


def way_names(incomplete: str) -> list[str]:
    """Completes the name of a way to serve."""
    from isthmus.evaluate.arms import ARMS

    return _starting(ARMS, incomplete)


def schema_words(ctx: typer.Context, incomplete: str) -> list[str]:
    """Completes what `isthmus schema` knows, word by word."""
    from isthmus.cli.json_schemas import known_schemas

    typed = list(ctx.params.get("command") or ())
    known = [name.split() for name in known_schemas()]
    following = [name[len(typed)] for name in known
                 if len(name) > len(typed) and name[: len(typed)] == typed]  # fmt: skip
    return _starting(dict.fromkeys(following), incomplete)


def _starting(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]
