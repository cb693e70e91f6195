"""One table of formats: everything that people's tools write is the same rows, or is refused."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.spaces.formats.finding import format_of
from isthmus.spaces.formats.table import FORMATS, described
from isthmus.spaces.readers import open_vectors

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

ROWS = np.random.default_rng(4).standard_normal((30, 4)).astype(np.float32)
NAMES = [f"item {i}" for i in range(30)]


def _lists(rows: np.ndarray = ROWS) -> Any:
    return pa.array(rows.tolist(), pa.list_(pa.float32()))


def _records(path: Path) -> Path:
    lines = [
        json.dumps({"id": n, "embedding": r.tolist()}) for n, r in zip(NAMES, ROWS, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def _list_of_records(path: Path) -> Path:
    path.write_text(
        json.dumps([json.loads(line) for line in _records(path).read_text().splitlines()], indent=1)
    )
    return path


def _windows(path: Path) -> Path:
    text = _records(path).read_text().replace("\n", "\r\n")
    path.write_bytes(text.encode("utf-16"))
    return path


def _packed(path: Path) -> Path:
    out = path.with_name(path.name + ".gz")
    out.write_bytes(gzip.compress(_records(path).read_bytes()))
    return out


def _batch(path: Path) -> Path:
    answers = [
        {
            "custom_id": name,
            "response": {
                "status_code": 200,
                "body": {"object": "list", "data": [{"index": 0, "embedding": row.tolist()}]},
            },
            "error": None,
        }
        for name, row in zip(NAMES, ROWS, strict=True)
    ]
    path.write_text("\n".join(map(json.dumps, answers)))
    return path


def _csv_of_lists(path: Path) -> Path:
    rows = [f'{n},"{json.dumps(r.tolist())}"' for n, r in zip(NAMES, ROWS, strict=True)]
    path.write_text("\n".join(["id,embedding", *rows]))
    return path


def _csv_of_dimensions(path: Path) -> Path:
    heads = ",".join(["text", "id", "dim_0", "dim_1", "dim_2", "dim_3"])
    rows = [f"t 1,{n},{','.join(map(repr, r.tolist()))}" for n, r in zip(NAMES, ROWS, strict=True)]
    path.write_text("\ufeff" + "\r\n".join([heads, *rows]), encoding="utf-8")
    return path


def _tsv(path: Path) -> Path:
    path.write_text(_csv_of_dimensions(path).read_text(encoding="utf-8-sig").replace(",", "\t"))
    return path


def _per_dimension(path: Path) -> Path:
    # not in their order, and ten or more sort as numbers
    columns = {str(i): ROWS[:, i] for i in (3, 1, 0, 2)}
    pq.write_table(pa.table({"id": NAMES, **columns}), path)
    return path


def _struct(path: Path) -> str:
    inner = pa.StructArray.from_arrays([_lists()], names=["values"])
    pq.write_table(pa.table({"id": NAMES, "embedding": inner}), path)
    return f"{path}:embedding.values"


def _tensor(path: Path) -> Path:
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(ROWS)
    pq.write_table(pa.table({"id": NAMES, "x": column}), path)
    return path


def _nested(path: Path) -> Path:
    column = pa.array([[r] for r in ROWS.tolist()], pa.list_(pa.list_(pa.float32())))
    pq.write_table(pa.table({"id": NAMES, "x": column}), path)
    return path


def _upper(path: Path) -> Path:
    pq.write_table(pa.table({"id": NAMES, "x": _lists()}), path)
    return path


def _nameless(path: Path) -> Path:
    _upper(path.with_suffix(".parquet")).rename(path)
    return path


def _without_ids(write: Callable[[Path], Any]) -> Callable[[Path], Any]:
    write.__dict__["without_ids"] = True
    return write


@_without_ids
def _response(path: Path) -> Path:
    data = [
        {"index": i, "embedding": base64.b64encode(ROWS[i].astype("<f4").tobytes()).decode()}
        for i in np.random.default_rng(0).permutation(30).tolist()
    ]
    path.write_text(json.dumps({"object": "list", "data": data, "model": "m"}, indent=2))
    return path


def _glove(path: Path) -> Path:
    words = [n.replace(" ", "\u00a0") for n in NAMES]
    lines = [f"{w} {' '.join(map(repr, r.tolist()))}" for w, r in zip(words, ROWS, strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _word2vec(path: Path) -> Path:
    path.write_text("30 4\n" + _glove(path).read_text(encoding="utf-8"), encoding="utf-8")
    return path


CASES: list[tuple[Callable[[Path], Any], str]] = [
    (_records, "a.jsonl"),
    (_records, "A.NDJSON"),
    (_list_of_records, "a.json"),
    (_windows, "a.jsonl"),
    (_packed, "a.jsonl"),
    (_batch, "batch_output.jsonl"),
    (_response, "response.json"),
    (_csv_of_lists, "a.csv"),
    (_csv_of_dimensions, "a.csv"),
    (_tsv, "a.tsv"),
    (_per_dimension, "a.parquet"),
    (_struct, "a.parquet"),
    (_tensor, "a.parquet"),
    (_nested, "a.parquet"),
    (_upper, "A.PARQUET"),
    (_upper, "a.parquet.gzip"),
    (_upper, "a.snappy.parquet"),
    (_nameless, "part-00000"),
    (_glove, "a.vec"),
    (_word2vec, "a.vec"),
]


@pytest.mark.parametrize(("write", "name"), CASES, ids=lambda v: getattr(v, "__name__", v))
def test_what_tools_write_is_read(tmp_path: Path, write: Any, name: str) -> None:
    found = open_vectors(write(tmp_path / name))
    np.testing.assert_allclose(found.rows(0, 30), ROWS, rtol=1e-6)
    if hasattr(write, "without_ids"):
        assert found.ids is None
    else:
        assert found.ids is not None
        assert [n.replace("\u00a0", " ") for n in found.ids.tolist()] == NAMES


@pytest.mark.parametrize(
    "make", ["IndexFlatIP", "IndexFlatL2", "IndexHNSWFlat", "IndexIVFFlat", "IndexIDMap"]
)
def test_faiss_indexes_that_keep_vectors(tmp_path: Path, make: str) -> None:
    faiss = pytest.importorskip("faiss")
    index: Any = {
        "IndexFlatIP": lambda: faiss.IndexFlatIP(4),
        "IndexFlatL2": lambda: faiss.IndexFlatL2(4),
        "IndexHNSWFlat": lambda: faiss.IndexHNSWFlat(4, 8),
        "IndexIVFFlat": lambda: faiss.IndexIVFFlat(faiss.IndexFlatL2(4), 4, 2),
        "IndexIDMap": lambda: faiss.IndexIDMap(faiss.IndexFlatL2(4)),
    }[make]()
    if make == "IndexIVFFlat":
        index.train(ROWS)
    if make == "IndexIDMap":
        index.add_with_ids(ROWS, np.arange(100, 130))
    else:
        index.add(ROWS)
    faiss.write_index(index, str(tmp_path / "my.index"))
    found = open_vectors(tmp_path / "my.index")
    np.testing.assert_array_equal(found.rows(0, 30), ROWS)
    expected = list(range(100, 130)) if make == "IndexIDMap" else None
    assert (None if found.ids is None else found.ids.tolist()) == expected


def test_a_faiss_index_of_codes_is_refused(tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    index = faiss.IndexScalarQuantizer(4, faiss.ScalarQuantizer.QT_8bit)
    index.train(ROWS)
    index.add(ROWS)
    faiss.write_index(index, str(tmp_path / "a.faiss"))
    with pytest.raises(InputError, match="keeps codes, not the vectors"):
        open_vectors(tmp_path / "a.faiss")


# ---- ids ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array(np.arange(30, dtype=np.uint8)), list(range(30))),
        (pa.array(np.arange(30, dtype=np.int16)), list(range(30))),
        (pa.array(np.arange(30, dtype=np.uint64)), list(range(30))),
        (
            pa.array(np.arange(30, dtype=np.uint64) + np.uint64(2**63)),
            [str(2**63 + i) for i in range(30)],
        ),
        (pa.array([f"{i}" for i in range(30)]).dictionary_encode(), [f"{i}" for i in range(30)]),
        (pa.array([f"{i}".encode() for i in range(30)]), [f"{i}" for i in range(30)]),
        (
            pa.array([uuid.UUID(int=i).bytes for i in range(30)], pa.binary(16)),
            [str(uuid.UUID(int=i)) for i in range(30)],
        ),
        (pa.array(list(range(30))).cast(pa.decimal128(20, 0)), [str(i) for i in range(30)]),
    ],
    ids=["u1", "i2", "u8", "u8 beyond int64", "dictionary", "bytes", "uuid", "decimal"],
)
def test_ids_of_every_kind(tmp_path: Path, column: Any, expected: list[Any]) -> None:
    pq.write_table(pa.table({"id": column, "x": _lists()}), tmp_path / "a.parquet")
    found = open_vectors(tmp_path / "a.parquet").ids
    assert found is not None
    assert found.tolist() == expected


def test_extension_types_are_read_through(tmp_path: Path) -> None:
    if not hasattr(pa, "uuid"):
        pytest.skip("this pyarrow has no UUID type")
    storage = pa.array([uuid.UUID(int=i).bytes for i in range(30)], pa.binary(16))
    column = pa.ExtensionArray.from_storage(pa.uuid(), storage)
    table = pa.table({"id": column, "x": _lists()})
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    found = open_vectors(tmp_path / "a.arrow").ids
    assert found is not None
    assert found[3] == str(uuid.UUID(int=3))


@pytest.mark.parametrize("name", ["id", "ids", "_id", "ID", "Ids"])
def test_members_that_hold_ids_are_found_or_declined(tmp_path: Path, name: str) -> None:
    np.savez(tmp_path / "a.npz", **{name: np.array(NAMES), "embedding": ROWS})
    found = open_vectors(tmp_path / "a.npz")
    assert found.ids is not None
    assert found.ids.tolist() == NAMES
    assert open_vectors(tmp_path / "a.npz", ids=False).ids is None
    assert open_vectors(found, ids=False).ids is None


def test_a_column_that_looks_like_ids_is_told(tmp_path: Path) -> None:
    pq.write_table(pa.table({"doc_id": NAMES, "x": _lists()}), tmp_path / "a.parquet")
    found = open_vectors(tmp_path / "a.parquet")
    assert found.ids is None
    assert found.overlooked == "doc_id"
    named = open_vectors(tmp_path / "a.parquet", ids="doc_id")
    assert named.overlooked is None
    assert named.ids is not None
    assert open_vectors(tmp_path / "a.parquet", ids=False).overlooked is None


# ---- folders and patterns ----------------------------------------------------------------------


def test_numbered_shards_of_any_format_are_one_side(tmp_path: Path) -> None:
    for i in range(12):
        np.save(tmp_path / f"part-{i}.npy", ROWS[i * 2 : i * 2 + 2])
    np.save(tmp_path / "ids.npy", np.arange(24))
    for source in (tmp_path, tmp_path / "part-*.npy"):
        found = open_vectors(source, ids=tmp_path / "ids.npy")
        np.testing.assert_array_equal(found.rows(0, 24), ROWS[:24])
        assert found.locate(21) == (str(tmp_path / "part-10.npy"), 1)
        assert found.ids is not None
    np.save(tmp_path / "part-3.ids.npy", np.arange(2))
    with pytest.raises(InputError, match="1 of 12 files have ids"):
        open_vectors(tmp_path)
    assert open_vectors(tmp_path, ids=False).n == 24


def test_two_kinds_in_a_folder_are_not_mixed(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS)
    _upper(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"several kinds: NumPy \(a.npy\) and Parquet"):
        open_vectors(tmp_path)


SPELLINGS: dict[str, Callable[[np.ndarray], str]] = {
    "json": lambda row: json.dumps(row.tolist()),
    "nested": lambda row: json.dumps([row.tolist()]),
    "numpy": str,
    "repr": repr,
    "tuple": lambda row: str(tuple(row.tolist())),
    "braces": lambda row: "{" + ",".join(map(str, row.tolist())) + "}",
    "commas": lambda row: ",".join(map(str, row.tolist())),
    "semicolons": lambda row: "; ".join(map(str, row.tolist())),
    "spaces": lambda row: " ".join(map(str, row.tolist())),
    "base64": lambda row: base64.b64encode(row.astype("<f4").tobytes()).decode(),
}


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv", "a.parquet"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_vector_in_one_text_is_read_alike_by_all(
    tmp_path: Path, name: str, spelling: str
) -> None:
    path, rows = tmp_path / name, ROWS.astype(np.float32)
    texts = [SPELLINGS[spelling](row) for row in rows]
    if name == "a.jsonl":
        lines = (_line(id=n, embedding=t) for n, t in zip(NAMES, texts, strict=True))
        path.write_text("\n".join(lines))
    elif name == "a.parquet":
        pq.write_table(pa.table({"id": NAMES, "embedding": texts}), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.writer(file, delimiter="\t" if name == "a.tsv" else ",")
            writer.writerows([("id", "embedding"), *zip(NAMES, texts, strict=True)])
    found = open_vectors(path)
    assert found.ids is not None and found.ids.tolist() == NAMES
    np.testing.assert_allclose(found.rows(0, found.n), rows, rtol=1e-5)


def test_a_list_of_texts_holds_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = [[str(v) for v in row] for row in ROWS.tolist()]
    pq.write_table(pa.table({"id": NAMES, "embedding": texts}), path)
    np.testing.assert_array_equal(open_vectors(path).rows(0, 30), ROWS)
    texts[7][2] = "n/a"
    pq.write_table(pa.table({"id": NAMES, "embedding": texts}), path)
    with pytest.raises(InputError, match="embedding, row 7: .*a text that is no number"):
        open_vectors(path).rows(0, 30)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
@pytest.mark.parametrize("kind", ["digest", "float16", "float64", "int8"])
def test_base64_of_other_things_is_no_vector(tmp_path: Path, name: str, kind: str) -> None:
    """Taken for float32, each gives numbers, and none that a vector has."""
    rows = np.random.default_rng(0).standard_normal((8, 64))
    rows *= (100 if kind == "int8" else 1) / np.linalg.norm(rows, axis=1, keepdims=True)
    packed = [row.astype("f8" if kind == "digest" else kind).tobytes() for row in rows]
    texts = [
        hashlib.md5(each).hexdigest() if kind == "digest" else base64.b64encode(each).decode()
        for each in packed
    ]
    path = tmp_path / name
    if name == "a.jsonl":
        path.write_text("\n".join(_line(embedding=text) for text in texts))
    else:
        path.write_text("\n".join(["embedding", *texts]))
    with pytest.raises(InputError, match="neither a list of numbers nor base64 of float32"):
        open_vectors(path).rows(0, 8)


# ---- what is refused ---------------------------------------------------------------------------


def _line(**record: Any) -> str:
    return json.dumps(record)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", _line(id=1, embedding=[1, 2]) + "\nx", "line 2: this is not JSON"),
        ("a.jsonl", "3", "expected an object, found int"),
        ("a.jsonl", _line(id=1, text="x"), r"not clear which field.*fields: id, text"),
        ("a.jsonl", _line(embedding="?"), "row 0: the vector is neither a list"),
        ("a.jsonl", _line(embedding=[]), "has no numbers"),
        ("a.jsonl", _line(embedding=[1]) + "\n" + _line(embedding=[1, 2]), "row 1.*2 numbers"),
        ("a.jsonl", _line(id=1, embedding=[1]) + "\n" + _line(embedding=[1]), "id is missing"),
        ("a.jsonl", _line(custom_id="q", response=None, error={"code": 1}), "'q' of the batch"),
        ("a.json", _line(data=[{"index": 2, "embedding": [1]}]), r"numbered \[2\], expected 0"),
        ("a.json", "", "no rows"),
        ("a.json", "[" * 100_000, "line 1: this is not JSON .it is nested too deeply"),
        ("a.csv", "id,embedding\na,[1]\nb,[x]", "row 1: the vector is neither a list"),
        ("a.csv", "id,embedding\na,[1]\nb,3", "row 1: the vector is neither a list"),
        ("a.csv", "a,b\n1,2", "not clear which column"),
        ("a.csv", "id,d0,d1\na,1,2\nb,,3", "row 1"),
        ("a.vec", "3 2\na 1 2\nb 3 4\n", "announces 3 words of 2 numbers, and holds 2"),
        ("a.vec", "a 1 2\nb 3\n", "word 2|has 1 numbers"),
        ("a.vec", "the cat sat\n", "line 1: expected a word and its numbers"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        open_vectors(tmp_path / name)


def test_several_vectors_of_an_item_are_not_one(tmp_path: Path) -> None:
    tokens = pa.array([[[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]]], pa.list_(pa.list_(pa.float32())))
    pq.write_table(pa.table({"x": tokens}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="row 1: the row holds 2 vectors.*Pool"):
        open_vectors(tmp_path / "a.parquet")


def test_packed_binary_files_are_to_be_unpacked(tmp_path: Path) -> None:
    out = io.BytesIO()
    np.save(out, ROWS)
    (tmp_path / "a.npy.gz").write_bytes(gzip.compress(out.getvalue()))
    with pytest.raises(InputError, match=r"packed \.npy file cannot be reached.*gunzip"):
        open_vectors(tmp_path / "a.npy.gz")


def test_the_table_describes_itself() -> None:
    suffixes = [suffix for f in FORMATS for suffix in f.suffixes]
    assert len(suffixes) == len(set(suffixes))
    assert all(suffix in described() for suffix in suffixes)
    for found in FORMATS:
        assert format_of(Path(f"x{found.suffixes[0]}")) is found


_ONE = [0.5, -1.25, 2.0, 0.25]


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        # the answers of a batch come in any order: only their names join them
        ([{"key": n, "response": {"embedding": {"values": _ONE}}} for n in "ba"], ["b", "a"]),
        ([{"recordId": n, "modelInput": {}, "modelOutput": {"embedding": _ONE}} for n in "ba"],
         ["b", "a"]),
        ([{"recordId": n, "modelOutput": {"embeddings": [_ONE]}} for n in "ba"], ["b", "a"]),
        ([{"put": f"id:x::{n}", "fields": {"v": {"values": _ONE}}} for n in "ba"],
         ["id:x::b", "id:x::a"]),
        ([{"id": n, "_vectors": {"default": {"embeddings": [_ONE]}}} for n in "ba"], ["b", "a"]),
        ([{"index": i, "embedding": [_ONE]} for i in range(2)], None),
        ([{"outputs": [{"name": "e", "shape": [2, 4], "data": _ONE + _ONE}]}], None),
    ],
)  # fmt: skip
def test_answers_keep_their_names_and_their_rows(
    tmp_path: Path, lines: list[Any], names: list[str] | None
) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = open_vectors(str(tmp_path / "a.jsonl"))
    assert found.rows(0, found.n).tolist() == [_ONE, _ONE]
    assert (None if found.ids is None else found.ids[:].tolist()) == names


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"recordId": "r", "modelInput": {}, "error": {"errorCode": 400}}, "'r' .* not answered"),
        ({"key": "k", "response": {"candidates": []}}, "'k' of the batch was not answered"),
        ({"id": "x", "vectors": {"t": _ONE, "b": _ONE}}, r"fields: vectors\.t, vectors\.b"),
    ],
)
def test_what_an_answer_lacks_is_said(tmp_path: Path, line: Any, message: str) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(line))
    with pytest.raises(InputError, match=message):
        open_vectors(str(tmp_path / "a.jsonl"))
