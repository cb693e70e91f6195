"""Every kind of page in a real browser: drawn, silent, offline, dark, on a phone, on paper."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest

from isthmus.plain_text import plain_line
from isthmus.report.blocks import Headline, Page
from isthmus.report.write import write_page

pytest.importorskip("plotly", reason="reports need plotly")

KINDS = ("diagnosis", "fit", "evaluation", "layers")

DRAWN = """
return [...document.querySelectorAll('.plot')].map(node => ({
  key: node.dataset.figure,
  plotly: node.classList.contains('js-plotly-plot'),
  svgs: node.querySelectorAll('svg.main-svg').length,
  wanted: node.data.filter(t => t.type === 'heatmap' || t.x.length > 0).length,
  traces: node.querySelectorAll(
    '.scatterlayer > .trace, .barlayer > .trace, .heatmaplayer > .hm').length,
  marks: node.querySelectorAll('.point path, path.js-line, .hm image, path.point').length,
  width: node.querySelector('svg.main-svg').getBoundingClientRect().width,
  room: node.getBoundingClientRect().width,
}));
"""

TEXTS_THAT_DO_NOT_FIT = """
return [...document.querySelectorAll('.plot')].flatMap(node => {
  const box = node.getBoundingClientRect();
  return [...node.querySelectorAll('svg text')].filter(text => {
    const b = text.getBoundingClientRect();
    const small = parseFloat(getComputedStyle(text).fontSize) < 10;
    return b.width > 0 && (b.left < box.left - 2 || b.right > box.right + 2 || small);
  }).map(text => node.dataset.figure + ': ' + text.textContent);
});
"""

NAMES_THAT_OVERLAP = """
return [...document.querySelectorAll('.plot')].flatMap(node => {
  const boxes = [...node.querySelectorAll('.annotation-text-g')].map(
    t => [t.getBoundingClientRect(), t.textContent]);
  return boxes.flatMap(([a, one], i) => boxes.slice(i + 1).filter(([b]) =>
    a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1
  ).map(([, other]) => `${node.dataset.figure}: ${one} / ${other}`));
});
"""


@pytest.fixture(scope="module", params=KINDS)
def shown(request: pytest.FixtureRequest, browser: Any, pages: dict[str, Path]) -> Any:
    """The browser with one page open, once for all tests of that page."""
    browser.look()
    browser.open(pages[request.param])
    browser.until("return document.documentElement.dataset.ready === 'true'")
    return browser


def test_it_draws_every_figure_and_says_and_fetches_nothing(shown: Any) -> None:
    drawn = shown.run(DRAWN)
    assert drawn
    for figure in drawn:
        assert figure["plotly"], figure
        assert figure["svgs"] > 0, figure
        assert figure["traces"] == figure["wanted"] > 0, figure
        assert figure["marks"] > 0, figure
        assert figure["width"] == pytest.approx(figure["room"], abs=2)
    assert shown.console() == []
    assert [u for u in shown.fetched() if not u.startswith(("file:///", "data:", "chrome:"))] == []
    assert shown.run("return window.hacked") is None
    assert (
        shown.run("return document.querySelectorAll('img, main b:not(dd b), iframe').length") == 0
    )
    assert shown.run(NAMES_THAT_OVERLAP) == []
    assert shown.run(TEXTS_THAT_DO_NOT_FIT) == []


def test_every_table_is_there_and_opens(shown: Any) -> None:
    hidden = (
        "return [...document.querySelectorAll('table')].filter(t => !t.checkVisibility()).length"
    )
    folded = shown.run(hidden)
    assert folded > 0
    shown.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert shown.run(hidden) == 0
    assert shown.run("return [...document.querySelectorAll('tbody')].every(t => t.rows.length > 0)")
    shown.run("document.querySelectorAll('details').forEach(d => { d.open = false; })")


def test_dark_colours_follow_the_system_and_the_button(shown: Any) -> None:
    colours = """
      const node = document.querySelector('.plot');
      return [document.body, ...node.querySelectorAll('.xtick text, .bg')].slice(0, 3)
        .map(e => getComputedStyle(e)[e === document.body ? 'backgroundColor' : 'fill']);
    """
    light = shown.run(colours)
    shown.look(scheme="dark")
    shown.until("return document.documentElement.dataset.theme === 'dark'")
    dark = shown.run(colours)
    assert _luminance(light[0]) > 0.8
    assert _luminance(dark[0]) < 0.05
    assert light[-1] != dark[-1]
    shown.run("document.getElementById('theme').click()")
    assert shown.run(colours) == light
    shown.run("document.getElementById('theme').click()")
    assert shown.run(colours) == dark
    shown.look(scheme="light")  # what was chosen by hand stays
    assert shown.run(colours) == dark
    shown.run("document.getElementById('theme').click()")
    assert shown.run(colours) == light
    assert shown.console() == []


def test_a_phone_needs_no_scrolling_sideways(shown: Any) -> None:
    shown.look(width=375, height=720)
    fits = """return [...document.querySelectorAll('svg.main-svg')].every(
      s => s.getBoundingClientRect().right <= 375)"""
    shown.until(fits)
    shown.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert shown.run("return document.documentElement.scrollWidth") <= 375
    wide = """return [...document.querySelectorAll('main *')].filter(e =>
      e.getBoundingClientRect().right > 376 && !e.closest('.scroll') && !e.closest('svg'))
      .map(e => e.tagName + ' ' + e.className + ' ' + e.textContent.slice(0, 40))"""
    assert shown.run(wide) == []
    assert shown.run(TEXTS_THAT_DO_NOT_FIT) == []
    assert shown.run(NAMES_THAT_OVERLAP) == []
    shown.run("document.querySelectorAll('details').forEach(d => { d.open = false; })")
    shown.look()
    shown.until("return document.querySelector('svg.main-svg').getBoundingClientRect().width > 400")


def test_paper_is_light_and_holds_whole_figures(shown: Any) -> None:
    shown.look(scheme="dark")
    shown.run("""
      window.paper = null;
      addEventListener('beforeprint', () => { window.paper = {
        theme: document.documentElement.dataset.theme,
        widest: Math.max(...[...document.querySelectorAll('svg.main-svg')].map(
          s => s.getBoundingClientRect().width)),
        tallest: Math.max(...[...document.querySelectorAll('svg.main-svg')].map(
          s => s.getBoundingClientRect().height)),
      }; }, { once: true });
    """)
    printed = shown.cdp("Page.printToPDF", printBackground=True, paperWidth=8.27, paperHeight=11.69)
    pdf = base64.b64decode(printed["data"])
    assert pdf.startswith(b"%PDF-")
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) < 25
    paper = shown.run("return window.paper")
    assert paper["theme"] == "light"
    assert 200 < paper["widest"] <= 640  # A4 without margins is 680 wide
    assert paper["tallest"] <= 760  # and 1,009 high
    shown.look()
    shown.until("return document.querySelector('svg.main-svg').getBoundingClientRect().width > 400")
    assert shown.console() == []


def test_ids_in_plots_are_text(browser: Any, pages: dict[str, Path], diagnosis: Any) -> None:
    browser.look()
    browser.open(pages["diagnosis"])
    # A plot that is drawn anew, when its width comes to be known, drops its label: so each look
    # points at the row again.
    shown = """
      const node = document.querySelector('[data-figure=projection]');
      Plotly.Fx.hover(node, [{ curveNumber: 2, pointNumber: arguments[0] }]);
      return (node.querySelector('.hovertext')?.textContent ?? '').includes(arguments[1]);
    """
    kinds = {
        name.rpartition(" ")[0]: (row, name) for row, name in enumerate(diagnosis.projection.ids)
    }
    assert len(kinds) == 5  # as many as `HOSTILE` of conftest has
    for row, name in kinds.values():
        browser.until(shown, row, plain_line(" ".join(name.split())))
    inside = "[data-figure=projection] .hoverlayer"
    assert (
        browser.run(f"return document.querySelectorAll('{inside} a, {inside} image').length") == 0
    )
    assert browser.run("return window.hacked") is None


def test_commands_are_copied_as_they_are(browser: Any, pages: dict[str, Path]) -> None:
    browser.look()
    browser.open(pages["diagnosis"])
    browser.run("""
      window.copied = null;
      navigator.clipboard.writeText = async (text) => { window.copied = text; };
      document.querySelector('.copy').click();
    """)
    browser.until("return window.copied !== null")
    assert browser.run("return window.copied") == (
        "isthmus fit 'a b.npy' <new> --recipe 'unit_norm | procrustes'"
    )


def test_the_policy_of_the_page_stops_what_escaping_would_miss(
    browser: Any, tmp_path: Path
) -> None:
    written = tmp_path / "written.html"
    write_page(Page("title", "", Headline("", "", "", "good")), written)
    html = written.read_text(encoding="utf-8")
    added = "<script>window.hacked = 1</script><img src='http://127.0.0.1:9/x.png'></main>"
    (tmp_path / "opened.html").write_text(html.replace("</main>", added), encoding="utf-8")
    browser.open(tmp_path / "opened.html")
    assert browser.run("return [window.hacked, document.documentElement.dataset.ready]") == [
        None,
        "true",
    ]
    assert len(browser.console()) >= 2  # it says what it refused
    without = re.sub('<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    (tmp_path / "naked.html").write_text(without.replace("</main>", added), encoding="utf-8")
    browser.open(tmp_path / "naked.html")
    assert browser.run("return window.hacked") == 1
    assert "http://127.0.0.1:9/x.png" in browser.fetched()


def _luminance(colour: str) -> float:
    red, green, blue = (int(v) / 255 for v in re.findall(r"\d+", colour)[:3])
    return 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2
