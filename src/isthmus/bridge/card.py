"""The Markdown page about a bridge, for people."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import jinja2

__all__ = ["card"]


def card(bridge: Any) -> str:
    """The page about an `isthmus.Bridge`, as its folder holds it in ``CARD.md``."""
    template = files("isthmus.bridge").joinpath("card.md.jinja").read_text(encoding="utf-8")
    provenance = json.dumps(bridge.provenance, indent=2, sort_keys=True)
    made = jinja2.Environment(autoescape=False, keep_trailing_newline=True).from_string(template)
    return made.render(bridge=bridge, provenance=provenance)
