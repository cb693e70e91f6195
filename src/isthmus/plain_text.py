"""Text from elsewhere that is shown to people.

Nothing in it commands a terminal or a page, and no URL in it tells a password.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable

__all__ = [
    "markdown",
    "markdown_block",
    "markdown_code",
    "plain_line",
    "plain_text",
    "redacted",
    "shell_words",
    "without_secrets",
]

_COMMANDS = (
    # control characters of ASCII and Latin 1, but tabs and line breaks
    r"\x00-\x08\x0b-\x1f\x7f-\x9f"
    # what turns the direction of the text around it, or joins lines in some readers
    r"\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"
    # what stands for no character
    r"\ud800-\udfff\ufff9-\ufffb"
)
_UNSAFE = re.compile(f"[{_COMMANDS}]")
_UNSAFE_IN_LINE = re.compile(f"[\n\t{_COMMANDS}]")
_SECRET = re.compile(
    # names of files are none
    r"(?i)(?<![\w-])(?!(?:passfile|sslkey)\s*=)([\w-]*(?:pass|token|secret|key|signature|credential)[\w-]*\s*=\s*)"
    r"(?:'[^']*'|\"[^\"]*\"|[^\s&;#'\"]+)"
)
_PASSWORD = re.compile(r"(?<=:/)(/?[^/#?\s:@\[]*:)(?!(?<=[^/]:)\d{1,5}[/?#])\S*@")
"""A URL that was taken for a path has one slash, and a password all that is before the last ``@``.

A port stands behind a host, and ends where the path begins.
"""
_MARKDOWN = re.compile(r"[\\`*<|~]|&(?=[#\w])|\](?=\()|(?<![^\W_])_|_(?![^\W_])")
"""Emphasis, code, HTML, entities, links and the ends of cells; the rest means itself."""


def _escaped(found: re.Match[str]) -> str:
    # four digits: JSON reads them back
    return f"\\u{ord(found[0]):04x}"


def plain_text(text: str) -> str:
    r"""The text with characters that command a terminal, or turn its direction, spelt out.

    Example:
        >>> plain_text("red: \x1b[31m")
        'red: \\u001b[31m'
    """
    return _UNSAFE.sub(_escaped, text)


def plain_line(text: str) -> str:
    r"""As `plain_text`, with line breaks spelt out as well.

    Example:
        >>> plain_line("one\ntwo")
        'one\\u000atwo'
    """
    return _UNSAFE_IN_LINE.sub(_escaped, text)


def redacted(url: str) -> str:
    """``url`` without the password, and without any option that looks like a secret.

    Example:
        >>> redacted("postgresql://me:word@host/db?sslpassword=k#docs")
        'postgresql://me:***@host/db?sslpassword=***#docs'
    """
    return without_secrets(_PASSWORD.sub(r"\1***@", url))


def without_secrets(text: str) -> str:
    """``text`` with whatever follows ``password=``, ``token=`` and the like put out of sight."""
    return _SECRET.sub(r"\1***", text)


def shell_words(words: Iterable[str]) -> str:
    r"""Words as a shell reads them, on one line that commands no terminal; URLs are `redacted`.

    Example:
        >>> shell_words(["isthmus", "inspect", "my bridge"])
        "isthmus inspect 'my bridge'"
        >>> print(shell_words(["inspect", "two\nlines"]))
        inspect $'two\x0alines'
    """
    return " ".join(_shell_word(redacted(word) if ":/" in word else word) for word in words)


def _shell_word(word: str) -> str:
    if not _UNSAFE_IN_LINE.search(word):
        return shlex.quote(word)
    # the bytes that a name has, whatever they mean
    kept = re.sub(r"['\\]", r"\\\g<0>", word)
    spelt = _UNSAFE_IN_LINE.sub(
        lambda found: "".join(f"\\x{byte:02x}" for byte in os.fsencode(found[0])), kept
    )
    return f"$'{spelt}'"


def markdown(text: object) -> str:
    r"""Text inside a paragraph or a cell of Markdown, which means itself and no mark-up or HTML.

    Example:
        >>> markdown("a_b <b>[c](d) | e")
        'a_b \\<b>[c\\](d) \\| e'
    """
    return _MARKDOWN.sub(lambda found: f"\\{found[0]}", plain_line(str(text)))


def markdown_code(text: object, *, cell: bool = False) -> str:
    r"""Text as code inside a paragraph or a cell of Markdown.

    Example:
        >>> markdown_code("center | ridge")
        '`center | ridge`'
        >>> markdown_code("center | ridge", cell=True)
        '`center \\| ridge`'
    """
    line = plain_line(str(text))
    line = line.replace("|", "\\|") if cell else line
    fence = "`" * (_longest_run(line) + 1)
    room = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{room}{line}{room}{fence}"


def markdown_block(text: object, language: str = "") -> str:
    """Text as a block of code of Markdown, whatever it holds."""
    lines = plain_text(str(text))
    fence = "`" * max(3, _longest_run(lines) + 1)
    return f"{fence}{language}\n{lines}\n{fence}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
