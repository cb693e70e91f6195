"""What people's tools write beside the plain forms is the same rows, or is refused."""

from __future__ import annotations

import gzip
import io
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.spaces.readers import open_vectors

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

ROWS = np.random.default_rng(4).standard_normal((30, 4)).astype(np.float32)
NAMES = [f"wört{i}" for i in range(30)]


def _binary(path: Path, ends: bytes = b"", rows: int = 30) -> None:
    words = zip(NAMES[:rows], ROWS, strict=False)
    body = b"".join(name.encode() + b" " + row.tobytes() + ends for name, row in words)
    path.write_bytes(b"30 4\n" + body)


def _feather_1(path: Path) -> None:
    from pyarrow import feather

    table = pa.table({"id": NAMES, **{f"d{i}": ROWS[:, i] for i in range(4)}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        feather.write_feather(table, path, version=1)


def _feather_2(path: Path, kind: str) -> None:
    from pyarrow import feather

    feather.write_feather(_table(), path, compression=kind)


def _orc(path: Path) -> None:
    from pyarrow import orc

    orc.write_table(_table(), path)


def _table() -> Any:
    vectors = pa.array(ROWS.tolist(), pa.list_(pa.float32()))
    return pa.table({"text": NAMES[::-1], "id": NAMES, "v": vectors})


def _lines(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _semicolons(path: Path, point: str) -> None:
    rows = [
        ";".join([name, *(repr(v).replace(".", point) for v in row)])
        for name, row in zip(NAMES, ROWS.tolist(), strict=True)
    ]
    _lines(path, ["id;d0;d1;d2;d3", *rows])


def _printed(path: Path) -> None:
    with np.printoptions(floatmode="unique"):
        rows = [f'{name},"{row}"' for name, row in zip(NAMES, ROWS, strict=True)]
    _lines(path, ["id,embedding", *rows])


def _named() -> list[tuple[str, list[float]]]:
    return list(zip(NAMES, ROWS.tolist(), strict=True))


def _frame() -> Any:
    import pandas as pd

    return pd.DataFrame(ROWS, columns=pd.Index([f"d{i}" for i in range(4)]), index=pd.Index(NAMES))


def _parted(path: Path, parting: str, before: str = "", *, head: bool = True) -> None:
    rows = [parting.join([n, *map(repr, r)]) for n, r in _named()]
    names = [parting.join(["id", "d0", "d1", "d2", "d3"])] if head else []
    path.write_text(before + "\n".join([*names, *rows]) + "\n", encoding="utf-8")


def _packed(path: Path, kind: str) -> None:
    plain = path.with_name("plain.csv")
    _parted(plain, ",")
    with pa.CompressedOutputStream(str(path), kind) as file:
        file.write(plain.read_bytes())


def _gzipped(path: Path, write: Callable[[Path], Any]) -> None:
    plain = path.with_name("plain.bin")
    write(plain)
    path.write_bytes(gzip.compress(plain.read_bytes()))


def _stream(path: Path, kind: Any) -> None:
    ids = pa.array([n.encode() if "binary" in str(kind) else n for n in NAMES], kind)
    table = pa.table({"id": ids, "v": pa.array(ROWS.tolist(), pa.list_(pa.float32()))})
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)


def _zipped(path: Path, others: dict[str, bytes], folder: str = "") -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in (("v", ROWS), ("ids", np.array(NAMES))):
            held = io.BytesIO()
            np.save(held, array)
            entry = zipfile.ZipInfo()
            entry.filename = f"{folder}{name}.npy"  # as it stands, where zip programs write so
            archive.writestr(entry, held.getvalue())
        for name, content in others.items():
            archive.writestr(name, content)


def _listed() -> Any:
    import pandas as pd

    return pd.DataFrame({"id": NAMES, "v": ROWS.tolist()})


def _spark(path: Path, places: list[int] | None) -> None:
    held = [{"type": 1, "indices": places, "values": r} for _, r in _named()]
    kind = pa.struct(
        [
            ("type", pa.int8()),
            ("indices", pa.list_(pa.int32())),
            ("values", pa.list_(pa.float64())),
        ]
    )
    pq.write_table(pa.table({"id": NAMES, "features": pa.array(held, kind)}), path)


def _index(path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    index = faiss.IndexFlatL2(4)
    index.add(ROWS)
    faiss.write_index(index, str(path))


WRITTEN: dict[str, tuple[str, Callable[[Path], Any], bool]] = {
    "word2vec": ("a.bin", lambda p: _binary(p, b"\n"), True),
    "gensim": ("a.bin", _binary, True),
    "gensim, named as text": ("a.w2v", _binary, True),
    "R": ("a.feather", _feather_1, True),
    "a spreadsheet": ("a.csv", lambda p: _semicolons(p, "."), True),
    "a spreadsheet with decimal commas": ("a.csv", lambda p: _semicolons(p, ","), True),
    "pandas, of numpy rows": ("a.csv", _printed, True),
    "numpy.savetxt": ("a.csv", lambda p: np.savetxt(p, ROWS, delimiter=","), False),
    "a bare list": ("a.json", lambda p: p.write_text(json.dumps(ROWS.tolist())), False),
    "bare lists on lines": ("a.jsonl", lambda p: _lines(p, list(map(str, ROWS.tolist()))), False),
    "names and vectors": (
        "a.json",
        lambda p: p.write_text(json.dumps(dict(zip(NAMES, ROWS.tolist(), strict=True)))),
        True,
    ),
    "Ollama": (
        "a.json",
        lambda p: p.write_text(json.dumps({"model": "m", "embeddings": ROWS.tolist()})),
        False,
    ),
    "Cohere": (
        "a.json",
        lambda p: p.write_text(
            json.dumps({"id": "x", "embeddings": {"float": ROWS.tolist()}, "texts": NAMES})
        ),
        False,
    ),
    "a vector database, its ids beside": (
        "a.json",
        lambda p: p.write_text(json.dumps({"ids": NAMES, "embeddings": ROWS.tolist()})),
        True,
    ),
    "a vector database, by names": (
        "a.json",
        lambda p: p.write_text(
            json.dumps({"vectors": {n: {"values": r} for n, r in _named()}, "namespace": ""})
        ),
        True,
    ),
    "a vector database, on lines": (
        "a.jsonl",
        lambda p: _lines(p, [json.dumps({"id": n, "values": r}) for n, r in _named()]),
        True,
    ),
    "a search engine, on lines": (
        "a.jsonl",
        lambda p: _lines(
            p, [json.dumps({"_id": n, "_source": {"t": "a", "embedding": r}}) for n, r in _named()]
        ),
        True,
    ),
    "a search engine, its answer": (
        "a.json",
        lambda p: p.write_text(
            json.dumps({"hits": {"hits": [{"_id": n, "_source": {"v": r}} for n, r in _named()]}})
        ),
        True,
    ),
    "PostgreSQL, to the web": (
        "a.jsonl",
        lambda p: _lines(p, [json.dumps({"id": n, "embedding": str(r)}) for n, r in _named()]),
        True,
    ),
    "PostgreSQL, its arrays": (
        "a.csv",
        lambda p: _lines(
            p, ["id,embedding", *(f'{n},"{{{",".join(map(str, r))}}}"' for n, r in _named())]
        ),
        True,
    ),
    "pandas, with an index": ("a.csv", lambda p: _frame().to_csv(p), True),
    "pandas, with an index, Parquet": ("a.parquet", lambda p: _frame().to_parquet(p), True),
    "tabs under another name": ("a.csv", lambda p: _parted(p, "\t"), True),
    "bars": ("a.csv", lambda p: _parted(p, "|"), True),
    "Excel, which says what parts": ("a.csv", lambda p: _parted(p, ";", "sep=;\n"), True),
    "decimal commas in quotes": (
        "a.csv",
        lambda p: _lines(
            p,
            [
                "id,d0,d1,d2,d3",
                *(",".join([n, *(f'"{v}"'.replace(".", ",") for v in r)]) for n, r in _named()),
            ],
        ),
        True,
    ),
    "no line of names": ("a.tsv", lambda p: _parted(p, "\t", head=False), True),
    "packed with zstd": ("a.csv.zst", lambda p: _packed(p, "zstd"), True),
    "packed with lz4": ("a.csv.lz4", lambda p: _packed(p, "lz4"), True),
    "word2vec, packed": ("a.bin.gz", lambda p: _gzipped(p, _binary), True),
    "Hive, as ORC": ("a.orc", _orc, True),
    "ORC under another name": ("a.dat", _orc, True),
    "Feather, packed with lz4": ("a.feather", lambda p: _feather_2(p, "lz4"), True),
    "Feather, packed with zstd": ("a.feather", lambda p: _feather_2(p, "zstd"), True),
    "a stream of Arrow": ("a.arrows", lambda p: _stream(p, pa.string()), True),
    "ids as views of bytes": ("a.arrow", lambda p: _stream(p, pa.binary_view()), True),
    "numpy beside other files": ("a.npz", lambda p: _zipped(p, {"README.txt": b"hello"}), True),
    "macOS": ("a.npz", lambda p: _zipped(p, {"__MACOSX/._v.npy": b"\0\5"}), True),
    "Windows": ("a.npz", lambda p: _zipped(p, {}, "out\\"), True),
    "numpy, texts as objects": (
        "a.npz",
        lambda p: np.savez(p, v=ROWS, id=np.array(NAMES), text=np.array(NAMES, dtype=object)),
        True,
    ),
    "DuckDB": (
        "a.csv",
        lambda p: _lines(p, ["id,v", *(f'{n},"{r}"' for n, r in _named())]),
        True,
    ),
    "a database, its copy": (
        "a.tsv",
        lambda p: _lines(p, [f"{n}\t{json.dumps(r)}" for n, r in _named()]),
        True,
    ),
    "remarks before a table, and backslashes": (
        "a.csv",
        lambda p: _lines(
            p,
            ["# of 2026", "text,id,v", *(f'"so \\"a\\", b",{n},"{r}"' for n, r in _named())],
        ),
        True,
    ),
    "columns parted by spaces": ("a.csv", lambda p: _parted(p, " "), True),
    "GloVe, by its own name": ("glove.4d.txt", lambda p: _parted(p, " ", head=False), True),
    "word vectors parted by tabs": (
        "a.vec",
        lambda p: _parted(p, "\t", "30 4\n", head=False),
        True,
    ),
    "pandas, with a named index": (
        "a.parquet",
        lambda p: _frame().rename_axis("item").to_parquet(p),
        True,
    ),
    "pandas, by columns": ("a.json", lambda p: _listed().to_json(p, double_precision=12), True),
    "pandas, by its index": (
        "a.json",
        lambda p: _listed().set_index("id").to_json(p, orient="index", double_precision=12),
        True,
    ),
    "pandas, in parts": (
        "a.json",
        lambda p: _listed().to_json(p, orient="split", double_precision=12),
        True,
    ),
    "jq": (
        "a.json",
        lambda p: _lines(p, [json.dumps({"id": n, "v": r}, indent=2) for n, r in _named()]),
        True,
    ),
    "a search engine, to be loaded": (
        "a.ndjson",
        lambda p: _lines(
            p,
            [json.dumps({"index": {"_id": n}}) + "\n" + json.dumps({"v": r}) for n, r in _named()],
        ),
        True,
    ),
    "a document store": (
        "a.json",
        lambda p: p.write_text(
            json.dumps(
                [
                    {"_id": {"$oid": n}, "v": [{"$numberDouble": str(x)} for x in r]}
                    for n, r in _named()
                ]
            ).replace('"v"', '"embedding"')
        ),
        True,
    ),
    "ids beside the vectors": (
        "a.json",
        lambda p: p.write_text(
            json.dumps({"data": [{"t": "", "_x": {"id": n, "vector": r}} for n, r in _named()]})
        ),
        True,
    ),
    "a model behind an address": (
        "a.json",
        lambda p: p.write_text(json.dumps([[r] for _, r in _named()])),
        False,
    ),
    "rows of two parts": ("a.json", lambda p: p.write_text(json.dumps(_named())), True),
    "unpacked by a browser": ("a.csv.gz", lambda p: _parted(p, ","), True),
    "packed under a plain name": (
        "a.jsonl",
        lambda p: p.write_bytes(
            gzip.compress(
                "".join(json.dumps({"id": n, "v": r}) + "\n" for n, r in _named()).encode()
            )
        ),
        True,
    ),
    "Spark's vectors": ("a.parquet", lambda p: _spark(p, None), True),
    "FAISS under another name": ("a.bin", lambda p: _index(p), False),
    "Gemini": (
        "a.json",
        lambda p: p.write_text(json.dumps({"embeddings": [{"values": r} for r in ROWS.tolist()]})),
        False,
    ),
}


@pytest.mark.parametrize("tool", WRITTEN)
def test_the_rows_are_those_that_were_written(tool: str, tmp_path: Path) -> None:
    name, write, named = WRITTEN[tool]
    path = tmp_path / name
    write(path)
    opened = open_vectors(path)
    np.testing.assert_allclose(opened.rows(0, 30), ROWS, rtol=1e-6, atol=1e-7)
    assert (opened.ids is not None) == named
    if opened.ids is not None:
        assert opened.ids.tolist() == NAMES


@pytest.mark.parametrize("kind", ["parquet", "csv", "feather"])
def test_shards_of_arrays_take_their_ids_from_a_table(kind: str, tmp_path: Path) -> None:
    from pyarrow import csv, feather

    folder = tmp_path / "shards"
    folder.mkdir()
    for number in range(12):
        part = slice(number * 30 // 12, (number + 1) * 30 // 12)
        np.save(folder / f"part-{number}.npy", ROWS[part])
    ids = tmp_path / f"ids.{kind}"
    table = pa.table({"title": NAMES[::-1], "id": NAMES})
    write = {"parquet": pq.write_table, "csv": csv.write_csv, "feather": feather.write_feather}
    write[kind](table, ids)
    opened = open_vectors(folder, ids=str(ids))
    np.testing.assert_array_equal(opened.rows(0, 30), ROWS)
    assert opened.ids is not None and opened.ids.tolist() == NAMES
    write[kind](table.rename_columns(["title", "text"]), ids)
    with pytest.raises(InputError, match=r"which column holds the ids; columns: title, text"):
        open_vectors(folder, ids=str(ids))


def test_binary_files_that_are_cut_or_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    _binary(path, rows=20)
    with pytest.raises(InputError, match=r"announces 30 words of 4 numbers, and ends in word 21"):
        open_vectors(path)
    path.write_bytes(ROWS.tobytes())
    with pytest.raises(InputError, match=r"nothing tells what numbers.*numpy\.save"):
        open_vectors(path)


def test_an_array_that_numpy_cut_short_is_refused(tmp_path: Path) -> None:
    _lines(tmp_path / "a.csv", ["id,embedding", 'a,"[0.1 0.2 ... 0.9]"'])
    with pytest.raises(InputError, match="neither a list of numbers"):
        open_vectors(tmp_path / "a.csv")


def test_columns_that_are_called_by_whole_numbers_are_names(tmp_path: Path) -> None:
    _lines(tmp_path / "a.csv", ["0,1,2", "0.5,1.5,2.5", "3.5,4.5,5.5"])
    assert open_vectors(tmp_path / "a.csv").n == 2


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["007", "7", "10"], ["007", "7", "10"]),
        (["7", "10", "-3"], [7, 10, -3]),
        (["1.0", "2.0", "3.0"], ["1.0", "2.0", "3.0"]),
        (["18446744073709551615", "2", "3"], ["18446744073709551615", "2", "3"]),
        (["2024-01-05", "2024-01-06", "x"], ["2024-01-05", "2024-01-06", "x"]),
        (["True", "NA", "1e5"], ["True", "NA", "1e5"]),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_ids_of_text_files_are_what_is_written(
    tmp_path: Path, written: list[str], expected: list[Any]
) -> None:
    lines = [f"{name},0.5,{i}" for i, name in enumerate(written, 1)]
    _lines(tmp_path / "a.csv", ["id,d0,d1", *lines])
    found = open_vectors(tmp_path / "a.csv")
    assert found.ids is not None and found.ids.tolist() == expected
    # a table of ids beside arrays, and shards of which only the second tells
    _lines(tmp_path / "ids.csv", ["id", *written])
    again = open_vectors(np.ones((3, 2)), ids=str(tmp_path / "ids.csv"))
    assert again.ids is not None and again.ids.tolist() == expected
    folder = tmp_path / "shards"
    folder.mkdir()
    for part in (1, 2):
        _lines(folder / f"{part}.csv", ["id,d0,d1", *(lines[1:] if part == 1 else lines[:1])])
    parts = open_vectors(folder)
    assert parts.ids is not None and parts.ids.tolist() == [*expected[1:], expected[0]]


def test_words_of_several_parts(tmp_path: Path) -> None:
    names = [". . .", "at name@domain.com", "11 5", *NAMES[3:]]
    body = [f"{n} {' '.join(map(repr, r))}" for n, r in zip(names, ROWS.tolist(), strict=True)]
    _lines(tmp_path / "a.vec", ["30 4", *body])
    _lines(tmp_path / "b.vec", [body[5], *body])
    for name, first in (("a.vec", 0), ("b.vec", 1)):
        found = open_vectors(tmp_path / name, ids=None if first == 0 else False)
        np.testing.assert_allclose(found.rows(first, found.n), ROWS, rtol=1e-6)
        if found.ids is not None:
            assert found.ids.tolist() == names


def test_the_numbers_of_an_index_are_its_ids(tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    numbers = np.arange(30)[::-1].copy() + 100
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(4), 4, 2)
    index.train(ROWS)
    index.add_with_ids(ROWS, numbers)
    faiss.write_index(index, str(tmp_path / "a.faiss"))
    found = open_vectors(tmp_path / "a.faiss")
    assert found.ids is not None
    places = found.ids.tolist()
    assert sorted(places) == sorted(numbers.tolist())
    np.testing.assert_array_equal(found.rows(0, 30), ROWS[[129 - place for place in places]])


@pytest.mark.parametrize(("kind", "exact"), [("SQ8,RFlat", True), ("SQfp16", False)])
def test_indexes_that_keep_vectors_beside_codes(tmp_path: Path, kind: str, exact: bool) -> None:
    faiss = pytest.importorskip("faiss")
    index = faiss.index_factory(4, kind)
    index.train(ROWS)
    index.add(ROWS)
    faiss.write_index(index, str(tmp_path / "a.faiss"))
    rows = open_vectors(tmp_path / "a.faiss").rows(0, 30)
    np.testing.assert_allclose(rows, ROWS, rtol=0 if exact else 1e-3)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n", "git lfs pull"),
        ("a.csv", b"<!DOCTYPE html><html>404</html>", "a web page.*Download it again"),
        ("a.parquet", b"", "the file is empty"),
        ("a.h5", b"\x89HDF\r\n", r"h5py\.File\('.*/a\.h5'\)\['NAME'\]"),
        ("a.usearch", b"usearch", "Ask it for its vectors"),
        ("a.ivecs", b"\4\0\0\0", r"neighbours .*ends in \.fvecs"),
        ("a.tar.gz", b"\x1f\x8b", "Unpack it"),
        (
            "model.safetensors.index.json",
            b'{"metadata": {}, "weight_map": {"w": "model-1.safetensors"}}',
            "index of a model's weights.*model-1.safetensors:TENSOR",
        ),
        ("a.json", b'{"embeddings": {"int8": [[1, 2]]}}', r"embedding_types=\['float'\]"),
        ("a.csv", "id,d0,d1\né,0.5,1.5\n".encode("latin-1"), "Save it as UTF-8"),
        ("a.jsonl", b'{"text": "a", "box": {"edges": [1, 2, 3, 4]}}', "not clear which field"),
    ],
)
def test_what_is_no_file_of_vectors_names_the_way_on(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_vectors(tmp_path / name)


def test_columns_that_are_no_vectors_are_told_apart(tmp_path: Path) -> None:
    tokens = pa.array([[1, 2, 3]] * 30)
    lists = pa.array(ROWS.tolist(), pa.list_(pa.float32()))
    pq.write_table(pa.table({"dense": lists, "tokens": tokens}), tmp_path / "a.parquet")
    np.testing.assert_array_equal(open_vectors(tmp_path / "a.parquet").rows(0, 30), ROWS)
    held = pa.table({"id": NAMES, "embedding": pa.array([r.tobytes() for r in ROWS])})
    pq.write_table(held, tmp_path / "b.parquet")
    with pytest.raises(InputError, match="holds bytes.*numpy.frombuffer"):
        open_vectors(tmp_path / "b.parquet")


def test_archives_of_other_things_are_refused(tmp_path: Path) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    sparse.save_npz(tmp_path / "a.npz", sparse.csr_matrix(ROWS))
    with pytest.raises(InputError, match=r"sparse matrix of scipy.*toarray\(\)"):
        open_vectors(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("xl/workbook.xml", "<x/>")
    with pytest.raises(InputError, match=r"holds no \.npy file, but xl/workbook\.xml"):
        open_vectors(tmp_path / "b.npz")


def test_a_tensor_of_eight_bit_floats_hides_no_other(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    rows = torch.from_numpy(ROWS)
    save_file({"a": rows.to(torch.float8_e4m3fn), "b": rows}, tmp_path / "a.safetensors")
    found = open_vectors(f"{tmp_path / 'a.safetensors'}:b")
    np.testing.assert_array_equal(found.rows(0, 30), ROWS)
    with pytest.raises(InputError, match=r"F8_E4M3, expected float16.*Convert"):
        open_vectors(f"{tmp_path / 'a.safetensors'}:a")


def test_sparse_vectors_and_named_fields_are_refused(tmp_path: Path) -> None:
    _spark(tmp_path / "a.parquet", [0, 2, 4, 6])
    with pytest.raises(InputError, match="sparse vectors.*vector_to_array"):
        open_vectors(tmp_path / "a.parquet")
    fields = np.zeros(3, dtype=[("id", "U10"), ("vector", "f4", (4,))])
    np.save(tmp_path / "a.npy", fields)
    np.savez(tmp_path / "a.npz", a=fields)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(InputError, match="named fields: id, vector"):
            open_vectors(tmp_path / name)


def test_lines_of_numbers_are_no_word_vectors(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "a.vec", ROWS)
    with pytest.raises(InputError, match="numbers alone.*Name the file .csv"):
        open_vectors(tmp_path / "a.vec")
    (tmp_path / "a.vec").rename(tmp_path / "a.csv")
    np.testing.assert_allclose(open_vectors(tmp_path / "a.csv").rows(0, 30), ROWS, rtol=1e-6)
    np.savetxt(tmp_path / "a.txt", ROWS)
    with pytest.raises(InputError, match="may hold ids, texts or word vectors"):
        open_vectors(tmp_path / "a.txt")
