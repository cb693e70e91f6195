"""The Markdown page about a bridge, for people."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from isthmus.plain_text import markdown, markdown_block, markdown_code

__all__ = ["card"]


_WIDTH = 100


def card(bridge: Any, *, width: int = _WIDTH) -> str:
    """The page about an `isthmus.Bridge`, as its folder holds it in ``CARD.md``.

    ``width`` is that of the table of evidence, in characters.
    """
    import jinja2  # not for those who write no card

    template = files("isthmus.bridge").joinpath("card.md.jinja").read_text(encoding="utf-8")
    provenance = json.dumps(
        bridge.provenance.to_json(), indent=2, sort_keys=True, ensure_ascii=False
    )
    made = jinja2.Environment(
        # what stands in it without a filter is escaped; Markdown knows no other escaping
        autoescape=False,
        finalize=_finalised,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters |= {
        "code": _Marked.of(markdown_code),
        "block": _Marked.of(markdown_block),
        "made": _Marked,
    }
    source, target = bridge.names
    return made.from_string(template).render(
        bridge=bridge, source=source, target=target, provenance=provenance, width=width
    )


class _Marked(str):
    """Markdown that was made on purpose."""

    @classmethod
    def of(cls, filter_: Callable[..., str]) -> Callable[..., _Marked]:
        return lambda *given, **named: cls(filter_(*given, **named))


def _finalised(value: Any) -> Any:
    return value if isinstance(value, _Marked) or not isinstance(value, str) else markdown(value)
