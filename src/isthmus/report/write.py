"""From a page to one self-contained file of HTML that asks nothing of any server."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from isthmus.errors import missing_extra
from isthmus.files import atomic_file, check_output
from isthmus.plain_text import plain_text
from isthmus.report.blocks import Page
from isthmus.report.glossary import Glossed

__all__ = ["check_report", "page_environment", "page_style", "write_page"]

_PARTS = "isthmus.report"


def check_report(path: str | Path, *, overwrite: bool = False) -> None:
    """Refuse, before any work is spent, a report that cannot be written.

    Raises:
        MissingExtraError: if plotly is not installed.
        OutputError: if ``path`` exists and ``overwrite`` is false, or its folder cannot be written.

    Example:
        >>> from pathlib import Path
        >>> from isthmus.report import check_report
        >>> check_report("out.html")
        >>> _ = Path("out.html").write_text("mine")
        >>> check_report("out.html", overwrite=True)
    """
    if find_spec("plotly") is None:
        raise missing_extra("plotly", "report", "a report")
    check_output(Path(path), overwrite=overwrite)


def write_page(page: Page, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a page with its plots and everything that draws them, whole or not at all.

    Every text is escaped, also inside the data of the plots.  The file's own policy lets no script
    run but those that were written into it, and lets nothing be fetched.

    Raises:
        MissingExtraError, OutputError: as `check_report`.
    """
    check_report(path, overwrite=overwrite)
    html = _render(page)
    with atomic_file(Path(path), overwrite=overwrite) as file:
        file.write_text(html, encoding="utf-8")


def page_environment(**further: str) -> jinja2.Environment:
    """Templates of pages, the ``further`` ones by name; every text in them is escaped."""

    def source(name: str) -> str:
        return further[name] if name in further else _part(name)

    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_plain,
    )
    # a page that lists its words replaces this
    made.filters["glossed"] = plain_text
    return made


def page_style() -> str:
    """The style sheet of every page, dark where ``data-theme`` says so."""
    return _part("page.css")


def _render(page: Page) -> str:
    script, plotly = _part("page.js"), _plotly() if page.figures else ""
    run = " ".join(_digest(text) for text in (plotly, script) if text)
    made, glossed = page_environment(), Glossed()

    def explain(text: str) -> Markup:
        return glossed(plain_text(text))

    made.filters["glossed"] = explain
    return made.get_template("page.html.jinja").render(
        glossary=glossed,
        page=page,
        version=version("isthmus"),
        policy=f"default-src 'none'; script-src {run}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'",
        style=Markup(_part("page.css")),
        figures=Markup(_data(page)),
        plotly=Markup(plotly),
        script=Markup(script),
    )


def _plain(value: Any) -> Any:
    """Texts without what turns their direction, or that of the text around them."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return plain_text(value)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _part(name: str) -> str:
    return files(_PARTS).joinpath("page", name).read_text(encoding="utf-8")


def _plotly() -> str:
    bundle = files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")
    # a browser reads every end of line as this one, and the digest is of what it reads
    return bundle.replace("\r\n", "\n").replace("\r", "\n")


def _digest(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _data(page: Page) -> str:
    """The figures as JSON that cannot end the element it stands in."""
    specs: dict[str, Any] = {
        figure.key: {
            "data": figure.traces,
            "layout": figure.layout,
            "zoom": figure.zoom,
            "loose": figure.loose,
            "height": figure.height,
        }
        for figure in page.figures
    }
    text = json.dumps(_plain(specs), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
