from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.encoders import VectorCache, cache_folder


def test_the_folder_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ISTHMUS_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path.home() / ".cache" / "isthmus"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "isthmus"
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    assert VectorCache().folder == tmp_path / "own"
