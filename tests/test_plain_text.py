"""Text from elsewhere commands neither a terminal nor a page."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.plain_text import (
    markdown,
    markdown_block,
    markdown_code,
    plain_line,
    plain_text,
    shell_words,
)

HOSTILE = [
    "\x1b[2J\x1b]0;title\x07",
    "\x9b31m",
    "a\rb",
    "a\x08b",
    "\u202egnp.exe",
    "\u2066\u2069",
    "\u2028",
    "\ud800",
    "\x00",
]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_commands_are_spelt_out(text: str) -> None:
    for made in (plain_text(text), plain_line(text), str(InputError(text, where=text, mend=text))):
        assert made.isprintable()
    # in JSON, the escapes are those of the characters
    written = plain_text(json.dumps(text, ensure_ascii=False))
    assert written.isprintable()
    assert json.loads(written) == text


def test_a_shell_reads_the_words_that_were_given() -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash")
    bytes_of_no_text = os.fsdecode(b"caf\xe9")
    words = ["a b", "it's\n$HOME", "back\\slash\n", "\n0a", "\t`x`", bytes_of_no_text]
    words += ["\u202e", "é"]
    line = shell_words(["printf", "%s\\0", *words])
    assert plain_line(line) == line
    read = subprocess.run([bash, "-c", line], capture_output=True, check=True).stdout
    assert [os.fsdecode(word) for word in read.split(b"\0")[:-1]] == words


@given(st.text())
def test_what_is_shown_is_printable_or_a_break(text: str) -> None:
    shown = plain_text(text)
    assert not [c for c in shown if c in "\x1b\x9b\r\x7f\u202e"]
    assert "\n" not in plain_line(text)
    assert json.loads(plain_text(json.dumps(text, ensure_ascii=False))) == text


def test_ordinary_text_of_any_script_stays_as_it_is() -> None:
    for text in ("new → old", "日本語", "שלום", "naïve café 🙂", "a\tb\nc"):
        assert plain_text(text) == text


@pytest.mark.parametrize(
    "text",
    ["<script>alert(1)</script>", "[click](http://evil)", "a | b", "**bold** _em_ ~~gone~~", "`x`",
     "&lt;", "&#60;", "x\n# heading", "![i](x)", "a\\", "``` `"],
)  # fmt: skip
def test_markdown_renders_it_as_the_text_itself(text: str) -> None:
    markdown_it = pytest.importorskip("markdown_it")
    render = markdown_it.MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    import html
    import re

    shown = plain_line(text)
    for made in (f"say {markdown(text)} so", f"say {markdown_code(text)} so"):
        page = render.render(made)
        assert not re.search("<(?!/?(p|code)>)", page), page
        assert html.unescape(re.sub("<[^>]*>", "", page)).strip() == f"say {shown} so"
    table = f"| a | b |\n|---|---|\n| {markdown(text)} | {markdown_code(text, cell=True)} |"
    page = render.render(table)
    assert page.count("<td>") == 2
    cells = [html.unescape(re.sub("<[^>]*>", "", c)) for c in re.findall("<td>(.*?)</td>", page)]
    assert cells == [shown, shown]
    block = render.render(markdown_block(f"{text}\n```\nafter", "json") + "\n\nend")
    assert block.count("<pre>") == 1
    assert block.endswith("<p>end</p>\n")
