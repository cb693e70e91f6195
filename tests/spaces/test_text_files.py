"""Text files of any system are read alike, and damaged ones are one kind of error."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from pathlib import Path

import pytest

from isthmus.errors import InputError
from isthmus.spaces.query_log import read_query_log
from isthmus.spaces.text_files import suffix_of, text_of_file
from isthmus.spaces.texts import read_lines, read_texts

PACKED = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".XZ": lzma.compress}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("packed", list(PACKED))
def test_encodings_and_compressions_are_seen_through(
    tmp_path: Path, encoding: str, packed: str
) -> None:
    mark = "\ufeff" if encoding == "utf-16-le" else ""

    def written(name: str, text: str) -> Path:
        path = tmp_path / f"{name}{packed}"
        path.write_bytes(PACKED[packed]((mark + text).encode(encoding)))
        return path

    assert read_texts(written("a.tsv", "d1\tcafé\r\n")) == {"d1": "café"}
    assert read_lines(written("a.txt", "é\n\nb\r\n")) == ["é", "b"]
    log = read_query_log(written("a.csv", 'query,clicked\n"old\nbridge",d1;é\n'))
    assert log.texts == ("old bridge",) and log.items == ["d1", "é"]
    assert suffix_of(tmp_path / f"a.CSV{packed}") == ".csv"


@pytest.mark.parametrize("kind", ["zstd", "lz4"])
@pytest.mark.parametrize("text", ["", "a", "ab", "abc" * 9999])
def test_what_arrow_unpacks_can_be_begun_again(tmp_path: Path, kind: str, text: str) -> None:
    pa = pytest.importorskip("pyarrow")
    path = tmp_path / "a.txt"
    with pa.CompressedOutputStream(str(path), kind) as packed:
        packed.write(text.encode())
    with text_of_file(path) as file:
        assert file.read() == text
        file.seek(0)
        assert file.read() == text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"\xff", "not UTF-8 text"),
        ("a.txt", b"\xff\xfea", "not UTF-8 text"),
        ("a.txt.gz", gzip.compress(b"x" * 999, mtime=0)[:-4], "cannot be read"),
        ("a.txt.xz", lzma.compress(b"x" * 999)[:-4], "cannot be read"),
        ("a.txt.bz2", bz2.compress(b"x" * 999)[:-4], "cannot be read"),
        ("a.txt", None, "no such file"),
    ],
)
def test_damaged_files_are_one_kind_of_error(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with (
        pytest.raises(InputError, match=rf"{name}.*{message}"),
        text_of_file(tmp_path / name) as file,
    ):
        file.read()


def test_pipes_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(InputError, match="a pipe"), text_of_file(tmp_path / "a.txt"):
        pass
