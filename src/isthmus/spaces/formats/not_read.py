"""Kinds of files that vectors lie in and are not read from: why, and the one line that helps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from isthmus.plain_text import shell_words

__all__ = ["NOT_READ", "NotRead", "kind_not_read"]

_PICKLES = "pickled objects run code when they are loaded"
_OTHERS = "this kind of file is not read"
_INDEX = "an index of another library is not read"


@dataclass(frozen=True)
class NotRead:
    """One kind of file.

    Attributes:
        suffixes: how such files are called.
        why: they are not read.
        mend: what to do.  ``{path}`` and ``{out}`` stand for the file and a name for what is made
            of it; after ``python:``, a program to be run by ``python -c``.
        magic: how such files begin, behind ``at`` bytes; that tells more than their names do.
        by_name: whether the name alone tells, since other kinds begin alike.
    """

    suffixes: tuple[str, ...]
    why: str
    mend: str
    magic: tuple[bytes, ...] = ()
    at: int = 0
    by_name: bool = False

    def way_on(self, path: Path) -> str:
        """What to do with this file."""
        packed = path.with_suffix(".npy").name if path.suffix else "vectors.npy"
        quoted, out = repr(str(path)), repr(packed)
        first, program, code = self.mend.partition("python:")
        if not program:
            return self.mend.format(path=shell_words([str(path)]), out=packed, quoted=quoted)
        return f"{first or 'Run: '}python -c {_shell(code.format(path=quoted, out=out))}"

    def begins(self, begin: bytes) -> bool:
        """Whether a file that begins so is of this kind."""
        return begin[self.at :].startswith(self.magic) if self.magic else False


def _shell(program: str) -> str:
    """A program between double quotes where it holds none, as people write it."""
    plain = not set(program) & set('"$`\\!')
    return f'"{program}"' if plain else shell_words([program])


def _saved(expression: str, *modules: str) -> str:
    """The program that saves what ``expression`` gives."""
    return f"python:import {', '.join(['numpy', *modules])}; numpy.save({{out}}, {expression})"


NOT_READ: tuple[NotRead, ...] = (
    NotRead(
        (".pt", ".pth", ".ckpt"),
        _PICKLES,
        _saved("torch.load({path}, weights_only=True).float().numpy()", "torch"),
        by_name=True,
    ),
    NotRead(
        (".kv", ".wordvectors", ".model"),
        _PICKLES,
        "python:from gensim.models import KeyedVectors; "
        "KeyedVectors.load({path}).save_word2vec_format('words.vec')",
        by_name=True,
    ),
    NotRead(
        (".joblib",),
        _PICKLES,
        "If you wrote it yourself: "
        'python -c "import joblib, numpy; numpy.save(\'{out}\', joblib.load({quoted}))"',
        by_name=True,
    ),
    NotRead(
        (".pkl", ".pickle"),
        _PICKLES,
        "If you wrote it yourself, save the vectors as a float32 .npy file with numpy.save, or a "
        "frame with pandas: "
        'python -c "import pandas; pandas.read_pickle({quoted}).to_parquet(\'vectors.parquet\')"',
        (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
        by_name=True,
    ),
    NotRead(
        (".h5", ".hdf5", ".hdf", ".he5", ".h5ad"),
        "HDF5 is not read",
        _saved("h5py.File({path})['NAME'][:]", "h5py")
        + " # with the name of the data set, such as train or X",
        (b"\x89HDF\r\n\x1a\n",),
    ),
    NotRead(
        (".mat",),
        "files of MATLAB are not read",
        _saved("scipy.io.loadmat({path})['NAME']", "scipy.io")
        + " # with the variable's name; files of version 7.3 are HDF5: "
        "h5py.File(path)['NAME'][:].T",
        (b"MATLAB 5.0",),
    ),
    NotRead(
        (),
        "files of MATLAB are not read",
        _saved("h5py.File({path})['NAME'][:].T", "h5py") + " # with the variable's name",
        (b"MATLAB 7.3",),
    ),
    NotRead(
        (".zarr",), "Zarr is not read",
        _saved("zarr.open({path}, mode='r')['NAME'][:]", "zarr") + " # with the array's name",
    ),
    NotRead(
        (".duckdb", ".ddb"),
        "a database of DuckDB is not read",
        "python:import duckdb; duckdb.connect({path}, read_only=True).sql('FROM TABLE')"
        ".write_parquet('vectors.parquet') # with the name of the table",
        (b"DUCK",),
        at=8,
    ),
    NotRead(
        (".db", ".sqlite", ".sqlite3", ".db3"),
        "a database of SQLite is not read",
        "Name the table itself, as sqlite://FILE#TABLE.COLUMN (extra sqlite), or run: "
        "python:import numpy, sqlite3; numpy.save({out}, numpy.stack([numpy.frombuffer(row[0], "
        "'float32') for row in sqlite3.connect({path}).execute('SELECT COLUMN FROM TABLE ORDER BY "
        "rowid')])) # with the names of the column and the table",
        (b"SQLite format 3\0",),
    ),
    NotRead(
        (".sql", ".dump", ".copy", ".pgdump"), "a dump of PostgreSQL is not read",
        "Name the table itself, as postgresql://user@host/database#table.column, or run: "
        "psql -c '\\copy (SELECT id, COLUMN FROM TABLE) TO vectors.csv CSV HEADER'",
        (b"PGDMP",),
    ),
    NotRead(
        (".avro",), _OTHERS,
        "python:import polars; polars.read_avro({path}).write_parquet('vectors.parquet')",
        (b"Obj\x01",),
    ),
    NotRead(
        (".msgpack", ".mpk"), _OTHERS,
        _saved("numpy.array(msgpack.load(open({path}, 'rb')), 'float32')", "msgpack"),
    ),
    NotRead(
        (".tfrecord", ".tfrecords"),
        _OTHERS,
        "python:import numpy, tensorflow as tf; numpy.save({out}, [tf.train.Example.FromString("
        "r.numpy()).features.feature['NAME'].float_list.value for r in "
        "tf.data.TFRecordDataset({path})]) # with the name of the feature",
    ),
    NotRead(
        (".xlsx", ".xls", ".ods", ".numbers"), _OTHERS,
        "python:import pandas; pandas.read_excel({path}).to_parquet('vectors.parquet')",
        by_name=True,
    ),
    NotRead(
        (".rds", ".rda", ".rdata"),
        "objects of R are not read",
        "In R: arrow::write_parquet(as.data.frame(readRDS({quoted})), 'vectors.parquet')",
        by_name=True,
    ),
    NotRead(
        (".sas7bdat", ".sav", ".dta"), _OTHERS,
        "Read it with pandas, as in pandas.read_stata({quoted}).to_parquet('vectors.parquet')",
    ),
    NotRead(
        (".usearch",), _INDEX,
        "python:import numpy; from usearch.index import Index; i = Index.restore({path}); "
        "numpy.save({out}, i.get(i.keys)) # Ask it for its vectors",
        (b"usearch",),
    ),
    NotRead(
        (".ann", ".annoy"), _INDEX,
        "python:import annoy, numpy; i = annoy.AnnoyIndex(WIDTH, 'angular'); i.load({path}); "
        "numpy.save({out}, [i.get_item_vector(n) for n in range(i.get_n_items())])",
    ),
    NotRead(
        (".hnsw", ".hnswlib"), _INDEX,
        "python:import hnswlib, numpy; i = hnswlib.Index('cosine', WIDTH); i.load_index({path}); "
        "numpy.save({out}, i.get_items(sorted(i.get_ids_list())))",
    ),
    NotRead(
        (".voy", ".voyager"), _INDEX,
        "python:import numpy, voyager; i = voyager.Index.load({path}); "
        "numpy.save({out}, i.get_vectors(sorted(i.ids)))",
        (b"VOYA",),
    ),
    NotRead(
        (".nmslib", ".scann"), _INDEX,
        "Give the vectors themselves, as they were encoded: it keeps codes of them",
    ),
    NotRead(
        (), "a binary model of fastText is not read",
        "python:import fasttext, numpy; m = fasttext.load_model({path}); numpy.save({out}, "
        "[m.get_word_vector(w) for w in m.words])",
        (b"\xba\x16\x4f\x2f",),
    ),
    NotRead(
        (".gguf", ".ggml", ".onnx", ".tflite", ".pb", ".keras"),
        "this is a model, not vectors that it made",
        "Encode the items with it first, and save what it gives with numpy.save",
        (b"GGUF",),
        by_name=True,
    ),
    NotRead((".lance",), "a table of LanceDB is a store", "Name it as lancedb://FOLDER#TABLE.COLUMN"),
    NotRead(
        (".ivecs", ".ibin"),
        "whole numbers are the neighbours that a benchmark expects, not vectors",
        "Name the file beside it that ends in .fvecs, .bvecs, .fbin, .u8bin or .i8bin",
        by_name=True,
    ),
    NotRead(
        (".memmap", ".dat", ".raw", ".f32", ".mmap"), "raw numbers without a header are not read",
        _saved("numpy.fromfile({path}, 'float32').reshape(-1, WIDTH)")
        + " # if they are float32, with their width",
    ),
    NotRead(
        (".f16", ".fp16"), "raw numbers without a header are not read",
        _saved("numpy.fromfile({path}, 'float16').reshape(-1, WIDTH)") + " # with their width",
    ),
    NotRead(
        (".tar", ".tgz", ".7z", ".rar"), "files inside an archive are not reached into",
        "Unpack it, and name what was in it",
        by_name=True,
    ),
    NotRead(
        (".txt",), "a .txt file may hold ids, texts or word vectors",
        "Name word vectors .vec, and give ids with ids= (--ids)",
    ),
)  # fmt: skip
"""A new kind is a row here."""


def kind_not_read(suffix: str, begin: bytes = b"") -> NotRead | None:
    """The kind of a file by how it begins, else by its name; None for one that is not known."""
    named = next((kind for kind in NOT_READ if suffix in kind.suffixes), None)
    if named is not None and named.by_name:
        return named
    return next((kind for kind in NOT_READ if kind.begins(begin)), named)
