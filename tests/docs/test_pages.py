"""Every page is found from the README, the index and the menu, and links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in (ROOT / "docs").glob("*.md") if path.name != "index.md")


def _links(page: Path) -> set[str]:
    found = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    return {link.split("#")[0] for link in found if "://" not in link}


def test_every_page_is_found_from_where_a_reader_begins() -> None:
    assert len(PAGES) > 10
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in PAGES:
        assert f"docs/{page.name}" in _links(ROOT / "README.md"), page.name
        assert page.name in _links(ROOT / "docs/index.md"), page.name
        assert f": {page.name}\n" in menu, page.name


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES, ROOT / "docs/index.md"]:
        for link in _links(page):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
