"""The file formats that vectors are read from: what they are called, and who reads them.

A new format is a row of `FORMATS` and a file with its reader.  Readers are imported when a file is
read, so that ``--help`` can name every format and load none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isthmus.spaces.formats.contents import Contents, Wanted

__all__ = ["FORMATS", "Format", "described"]


@dataclass(frozen=True)
class Format:
    """One kind of file, and how vectors are read from one or several of them."""

    name: str
    """What `--help` and messages call it."""
    suffixes: tuple[str, ...]
    reader: str
    """Module and function in this room."""
    magic: tuple[bytes, ...] = ()
    """How such files begin, where that tells them from all others."""
    extra: str | None = None
    """The optional dependency it needs."""
    text: bool = False
    """Read through gzip, bzip2 or xz as well."""

    def read(self, files: Sequence[Path], wanted: Wanted) -> Contents:
        """The vectors of ``files``, by the format's own reader."""
        module, function = self.reader.split(":")
        return getattr(import_module(f"isthmus.spaces.formats.{module}"), function)(files, wanted)


FORMATS: tuple[Format, ...] = (
    Format("NumPy", (".npy",), "arrays:open_npy", (b"\x93NUMPY",)),
    Format("NumPy archive", (".npz",), "arrays:open_npz", (b"PK\x03\x04",)),
    Format("safetensors", (".safetensors",), "arrays:open_safetensors"),
    Format("Parquet", (".parquet", ".pq"), "arrow:open_parquet", (b"PAR1",), "parquet"),
    Format(
        "Arrow",
        (".arrow", ".arrows", ".feather", ".ipc"),
        "arrow:open_ipc",
        (b"ARROW1",),
        "parquet",
    ),
    Format("ORC", (".orc",), "arrow:open_orc", (b"ORC",), "parquet"),
    Format("JSON", (".jsonl", ".ndjson", ".json"), "json_lines:open_json", text=True),
    Format("CSV", (".csv", ".tsv", ".tab"), "csv_file:open_csv", (), "parquet", text=True),
    Format(
        "word2vec (text or binary) or GloVe",
        (".vec", ".w2v", ".glove", ".bin"),
        "word2vec:open_word2vec",
        text=True,
    ),
    Format(
        "raw rows of neighbour benchmarks",
        (".fvecs", ".bvecs", ".fbin", ".u8bin", ".i8bin"),
        "neighbour_benchmarks:open_raw_rows",
    ),
    Format(
        "FAISS index",
        (".faiss", ".index"),
        "faiss_index:open_faiss",
        (b"IxF", b"IxM", b"IHN", b"IwF", b"IxP", b"IxS"),
        "faiss",
    ),
)


def described() -> str:
    """The formats in one sentence, for ``--help``."""
    listed = [f"{f.name} ({', '.join(f.suffixes)})" for f in FORMATS]
    return f"{', '.join(listed[:-1])} and {listed[-1]}"
