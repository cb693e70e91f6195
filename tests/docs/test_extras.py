"""What can be installed beside the core is named where people look for it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_readme_names_every_extra_and_no_other() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    _, _, section = (ROOT / "README.md").read_text().partition("## Extras\n")
    named = re.findall(r"`([a-z0-9]+)`", section.partition("Licensed under")[0])
    assert sorted(named) == sorted(declared["optional-dependencies"])
