"""Descriptions of Debian's packages: a short line asks for the long text.  Each package's licence.

The index is fetched by the ordinary apt client into a folder of its own; nothing is installed and
the machine's apt is left as it was.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.study.apt import Apt, apt_client
from isthmus.encoders import cache_folder
from isthmus.files import atomic_file
from isthmus.spaces.split import hash_ids

__all__ = ["descriptions"]

_SHORTEST = 80
_EMPTY_SHELL = re.compile(
    r"transitional|dummy|debug(ging)? symbols|meta-?\s?package", re.IGNORECASE
)


def descriptions(n: int, language: str = "en") -> tuple[list[str], list[str]]:
    """Short and long descriptions of ``n`` packages, in an order that a hash decides."""
    name = "debian" if language == "en" else f"debian-{language}"
    file = cache_folder() / "study" / f"{name}.jsonl.gz"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(file, overwrite=True) as temporary, gzip.open(temporary, "wt") as out:
            for record in _records(language):
                out.write(json.dumps(record) + "\n")
    with gzip.open(file, "rt") as lines:
        kept = [json.loads(line) for line, _ in zip(lines, range(n), strict=False)]
    return [short for short, _ in kept], [long for _, long in kept]


def _records(language: str) -> list[tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    mend = "copy study/debian*.jsonl.gz of the cache folder from a machine that has them"
    with apt_client("descriptions", mend, language=language) as apt:
        for file in sorted(apt.lists.glob(f"*main_i18n_Translation-{language}*")):
            for stanza in _stanzas(apt, file):
                short, long = _texts(stanza.get(f"Description-{language}", ""))
                if len(long) >= _SHORTEST and not _EMPTY_SHELL.search(short):
                    found.setdefault(stanza["Package"], (short, long))
    names = np.array(sorted(found))
    ordered = names[np.argsort(hash_ids(names))]
    # where two packages share a text, which of them is meant cannot be told
    records: list[tuple[str, str]] = []
    seen: set[str] = set()
    for package in ordered.tolist():
        short, long = found[package]
        if short.lower() in seen or long.lower() in seen:
            continue
        seen |= {short.lower(), long.lower()}
        records.append((short, long))
    return records


def _stanzas(apt: Apt, file: Path) -> Iterator[dict[str, str]]:
    content = apt.run("/usr/lib/apt/apt-helper", "cat-file", str(file)).decode("utf-8", "replace")
    for block in content.split("\n\n"):
        fields: dict[str, str] = {}
        key = ""
        for line in block.splitlines():
            if line.startswith((" ", "\t")):
                fields[key] = fields.get(key, "") + "\n" + line[1:]
            else:
                key, _, value = line.partition(":")
                fields[key] = value.strip()
        if "Package" in fields:
            yield fields


def _texts(description: str) -> tuple[str, str]:
    short, _, rest = description.partition("\n")
    paragraphs = re.split(r"\n\.\n", rest)
    return short.strip(), "\n".join(re.sub(r"\s+", " ", p).strip() for p in paragraphs)
