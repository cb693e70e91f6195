"""An output stands on no input, and on no other output."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isthmus.errors import OutputError
from isthmus.file_places import check_apart, check_distinct


@pytest.mark.parametrize("spelled", ["a.npz", "./a.npz", "a.npz:rows", "link.npz", "b/../a.npz"])
def test_an_output_is_no_input(
    tmp_path: Path, spelled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.npz").write_text("what took a day")
    Path("b").mkdir()
    Path("link.npz").symlink_to("a.npz")
    with pytest.raises(OutputError, match="a.npz: the output is an input, which would be lost"):
        check_apart(Path("a.npz"), None, "gone.npy", spelled)
    check_apart(Path("a.npz"), "b", 3, np.ones(2))
    check_apart(Path("new.npz"), spelled)


def test_an_output_lies_in_no_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("vectors/deep").mkdir(parents=True)
    Path("my.bridge").mkdir()
    Path("my.bridge/tensors.safetensors").write_text("{}")
    Path("link").symlink_to("vectors")
    for given in ("vectors", "link", ["other", ("vectors",)], "vec*", "st:vectors"):
        with pytest.raises(OutputError, match=r"out.npy: the output lies in '.*', which is read"):
            check_apart(Path("vectors/deep/out.npy"), given)
    check_apart(Path("vectors/page.html"), "vectors")
    check_apart(Path("vectors-2/out.npy"), "vectors")
    with pytest.raises(OutputError, match="which is read"):
        check_apart(Path("my.bridge/page.html"), "my.bridge")


def test_outputs_have_places_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("link").symlink_to("a")
    for one, other in (("a", "./a"), ("a", "link"), ("a", "a/b"), ("a/b", "a")):
        with pytest.raises(OutputError, match="is written by this command too"):
            check_distinct(Path(one), Path(other))
    check_distinct(Path("a"), Path("ab"))
