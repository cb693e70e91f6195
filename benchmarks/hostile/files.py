"""Files of vectors, ids, texts, queries and judgements, damaged by one who knows the format."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hostile.attack import Attack, Clean, Target, change, mutated_bytes

__all__ = ["FILES", "table_columns", "write_faiss"]

_N, _DIM = 40, 6
_ROWS = np.random.default_rng(0).standard_normal((_N, _DIM)).astype(np.float32)
_IDS = [f"document {i}" for i in range(_N)]


# ---- clean ones --------------------------------------------------------------------------------


def _vectors(name: str, write: Callable[[Path], object], *forged: Attack) -> Target:
    def use(folder: Path) -> None:
        from isthmus.spaces.readers import open_vectors

        opened = open_vectors(folder / name)
        for start in range(0, min(opened.n, 10_000), 64):
            opened.rows(start, min(start + 64, opened.n))
        opened.take(np.array([0, opened.n - 1]))
        if opened.ids is not None:
            opened.ids[: min(opened.n, 100)].tolist()

    return Target(
        name.partition(".")[2], lambda f: write(f / name), use, (mutated_bytes, *forged * 2)
    )


def _npz(path: Path, pack: Callable[..., None] = np.savez_compressed) -> None:
    pack(path, vectors=_ROWS, ids=np.array(_IDS))


def _safetensors(path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"vectors": _ROWS, "ids": np.arange(_N)}, str(path))


def _table() -> Any:
    import pyarrow as pa

    return pa.table({"id": _IDS, "vector": pa.array(list(_ROWS), pa.list_(pa.float32(), _DIM))})


def _parquet(path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(_table(), path)


def _arrow(path: Path) -> None:
    import pyarrow.feather as feather

    feather.write_feather(_table(), path, compression="uncompressed")


def _jsonl(path: Path) -> None:
    lines = [json.dumps({"id": i, "vector": r.tolist()}) for i, r in zip(_IDS, _ROWS, strict=True)]
    path.write_text("\n".join(lines))


def _csv(path: Path) -> None:
    lines = ["id," + ",".join(f"v{i}" for i in range(_DIM))]
    lines += [f"{i},{','.join(map(str, r))}" for i, r in zip(_IDS, _ROWS.tolist(), strict=True)]
    path.write_text("\n".join(lines))


def _word2vec(path: Path) -> None:
    words = [f"word{i} {' '.join(map(str, row))}" for i, row in enumerate(_ROWS.tolist())]
    path.write_text("\n".join([f"{_N} {_DIM}", *words]))


def write_faiss(kind: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        import faiss

        index: Any = faiss.index_factory(_DIM, kind)
        index.train(_ROWS)
        if kind.startswith("IDMap"):
            index.add_with_ids(_ROWS, np.arange(_N))
        else:
            index.add(_ROWS)
        faiss.write_index(index, str(path))

    return write


# ---- forged ones -------------------------------------------------------------------------------

_DTYPES = (
    "<f2",
    "<f4",
    ">f8",
    "<i8",
    "|u1",
    "<U3",
    "|S4",
    "?",
    "<c8",
    "|O",
    "<M8[s]",
    "V8",
    "(2,)<f4",
)
_SHAPES = ((), (0,), (_N,), (0, _DIM), (_N, 0), (_N, _DIM, 1), (2**40, 2**30), (2**61, 4), (-1, 4),
           (1, 1), (_N * _DIM, 1), (10**7, 1))  # fmt: skip


def _npy_bytes(rng: np.random.Generator) -> bytes:
    dtype = _DTYPES[rng.integers(len(_DTYPES))] if rng.integers(2) else "<f4"
    shape = _SHAPES[rng.integers(len(_SHAPES))] if rng.integers(2) else (_N, _DIM)
    fields: dict[str, Any] = {
        "descr": dtype,
        "fortran_order": bool(rng.integers(2)),
        "shape": shape,
    }
    if rng.integers(4) == 0:
        change(fields, rng)
    text = repr(fields).encode("utf-8", "replace")
    body = _ROWS.tobytes()
    if rng.integers(3) == 0:
        body = rng.bytes(len(body))
    version = bytes([int(rng.choice([1, 1, 2, 3, 9])), 0])
    length = len(text) if rng.integers(4) else int(rng.choice([0, 1, 2**16 - 1, 2**31]))
    width = "<H" if version[0] == 1 else "<I"
    return (
        b"\x93NUMPY"
        + version
        + struct.pack(width, min(length, 256 ** struct.calcsize(width) - 1))
        + text
        + body
    )


def _forged_npy(folder: Path, clean: Clean, rng: np.random.Generator) -> None:
    (folder / next(iter(clean))).write_bytes(_npy_bytes(rng))


def _forged_npz(folder: Path, clean: Clean, rng: np.random.Generator) -> None:
    name = next(iter(clean))
    content = io.BytesIO()
    pack = zipfile.ZIP_DEFLATED if rng.integers(2) else zipfile.ZIP_STORED
    names = ("vectors.npy", "ids.npy", "ranges.npy", "x", "../x.npy", "dir/")
    with zipfile.ZipFile(content, "w", pack) as archive:
        for _ in range(rng.integers(0, 4)):
            body = _npy_bytes(rng)
            if rng.integers(4) == 0:
                body = clean[name][:200]
            archive.writestr(names[rng.integers(len(names))], body)
    (folder / name).write_bytes(content.getvalue())


def _forged_safetensors(folder: Path, clean: Clean, rng: np.random.Generator) -> None:
    name = next(iter(clean))
    content = clean[name]
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    for _ in range(rng.integers(1, 4)):
        change(header, rng)
    try:
        text = json.dumps(header, ensure_ascii=False).encode()
    except (UnicodeEncodeError, ValueError):
        text = b"{}"
    stated = len(text) if rng.integers(5) else int(rng.choice([0, 2**40, 2**63, len(text) - 1]))
    body = content[8 + length :]
    (folder / name).write_bytes(struct.pack("<Q", stated) + text + body)


def table_columns(rng: np.random.Generator) -> dict[str, Any]:
    import pyarrow as pa

    ragged = [list(range(int(rng.integers(0, 5)))) for _ in range(_N)]
    nulls = [None if rng.integers(5) == 0 else row.tolist() for row in _ROWS]
    holes = [[None, *row.tolist()[1:]] for row in _ROWS]
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: pa.array(ragged),
        lambda: pa.array(nulls),
        lambda: pa.array(holes),
        lambda: pa.array(list(_ROWS), pa.list_(pa.float32())),
        lambda: pa.array([[[1.0]]] * _N),
        lambda: pa.array([[]] * _N, pa.list_(pa.float32())),
        lambda: pa.array([[]] * _N, pa.list_(pa.float32(), 0)),
        lambda: pa.array(list(_ROWS.astype("f2")), pa.list_(pa.float16(), _DIM)),
        lambda: pa.array(_IDS),
        lambda: pa.array(_IDS).dictionary_encode(),
        lambda: pa.array([None] * _N),
        lambda: pa.array([{"a": 1}] * _N),
        lambda: pa.array([b"\xff\xfe"] * _N),
        lambda: pa.array([[float("nan")] * _DIM] * _N),
        lambda: pa.array(["x" * 20_000] * _N),
        lambda: pa.array([2**63 + 1] * _N, pa.uint64()),
        lambda: pa.array(["same"] * _N),
        lambda: pa.array([True] * _N),
        lambda: pa.array([[1, 2]] * _N, pa.list_(pa.uint64())),
    )
    names = ("id", "ids", "vector", "vectors", "embedding", "", "\x1b[2J", "a.b", "text")
    return {
        names[rng.integers(len(names))]: kinds[rng.integers(len(kinds))]()
        for _ in range(rng.integers(0, 4))
    }


def _forged_table(folder: Path, clean: Clean, rng: np.random.Generator) -> None:
    import pyarrow as pa
    import pyarrow.feather as feather
    import pyarrow.parquet as pq

    name = next(iter(clean))
    table = pa.table(table_columns(rng))
    if name.endswith("parquet"):
        pq.write_table(table, folder / name)
    else:
        feather.write_feather(table, folder / name, compression="uncompressed")


def _forged_lines(folder: Path, clean: Clean, rng: np.random.Generator) -> None:
    """Lines of JSON with other values; of all other texts, with other words."""
    name = next(iter(clean))
    lines = clean[name].decode().split("\n")
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(lines)))
        if name.endswith("jsonl"):
            try:
                value = json.loads(lines[at])
                change(value, rng)
                lines[at] = json.dumps(value, ensure_ascii=bool(rng.integers(2)))
            except ValueError:
                lines[at] = lines[at][:5]
        else:
            words = lines[at].replace(",", "\t").split("\t" if "," in lines[at] else " ")
            forged = (
                "NaN",
                "1e999",
                "",
                "9" * 50,
                "-",
                '"',
                "x" * 3000,
                "\0",
                "0x1",
                "\u202e",
                "1;2",
                "[1",
            )
            words[rng.integers(len(words))] = forged[rng.integers(len(forged))]
            lines[at] = ("," if "," in lines[at] else " ").join(words)
    (folder / name).write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))


# ---- what is not vectors -----------------------------------------------------------------------


def _log_jsonl(folder: Path) -> None:
    lines = [
        json.dumps({"query": f"what is {i % 9}", "clicked": [f"d{i}", "d0"], "count": i + 1})
        for i in range(30)
    ]  # fmt: skip
    (folder / "log.jsonl").write_text("\n".join(lines))


def _log_csv(folder: Path) -> None:
    lines = [f"what is {i % 9},d{i};d0,{i + 1}" for i in range(30)]
    (folder / "log.csv").write_text("\n".join(["query,doc_id,count", *lines]))


def _use_log(folder: Path) -> None:
    from isthmus.spaces.query_log import read_query_log

    log = read_query_log(next(folder.iterdir()))
    repr(log)
    log.among({"d0"})
    log.select(np.arange(min(2, len(log))))


def _use_qrels(folder: Path) -> None:
    from isthmus.spaces.qrels import read_qrels

    read_qrels(folder / "judged.txt", query_ids=np.arange(5), item_ids=np.array(["d1"]))


def _use_texts(folder: Path) -> None:
    from isthmus.spaces.texts import check_texts, read_texts

    check_texts(folder / "texts.jsonl")
    read_texts(folder / "texts.jsonl", {"d1", "d2"})


def _use_ids(folder: Path) -> None:
    from isthmus.spaces.readers import open_vectors

    open_vectors(_ROWS, ids=str(next(folder.iterdir())))


def _use_recipe(folder: Path) -> None:
    from isthmus.adapters.recipe import Recipe

    content = (folder / "recipe.txt").read_bytes().decode("utf-8", "replace")
    recipe = Recipe.parse(content)
    Recipe.from_json(recipe.to_json())
    str(recipe), repr(recipe)


def _write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


_RECIPE = "unit_norm | ridge(alpha=0.1) | unit_norm"

FILES: tuple[Target, ...] = (
    _vectors("side.npy", lambda path: np.save(path, _ROWS), _forged_npy),
    _vectors("side.npz", _npz, _forged_npz),
    _vectors("side.safetensors", _safetensors, _forged_safetensors),
    _vectors("side.parquet", _parquet, _forged_table),
    _vectors("side.arrow", _arrow, _forged_table),
    _vectors("side.csv", _csv, _forged_lines),
    _vectors("side.jsonl", _jsonl, _forged_lines),
    _vectors("side.vec", _word2vec, _forged_lines),
    _vectors("flat.faiss", write_faiss("Flat")),
    _vectors("map.idmap.faiss", write_faiss("IDMap,Flat")),
    _vectors("graph.hnsw.faiss", write_faiss("HNSW4,Flat")),
    _vectors("lists.ivf.faiss", write_faiss("IVF2,Flat")),
    Target("log.jsonl", _log_jsonl, _use_log, (mutated_bytes, _forged_lines, _forged_lines)),
    Target("log.csv", _log_csv, _use_log, (mutated_bytes, _forged_lines)),
    Target(
        "qrels",
        _write("judged.txt", "\n".join(f"{i} 0 d{i} {i % 3}" for i in range(30))),
        _use_qrels,
        (mutated_bytes, _forged_lines),
    ),
    Target(
        "texts",
        _write(
            "texts.jsonl",
            "\n".join(json.dumps({"id": f"d{i}", "text": f"t {i}"}) for i in range(30)),
        ),
        _use_texts,
        (mutated_bytes, _forged_lines),
    ),
    Target("ids.txt", _write("ids.txt", "\n".join(_IDS)), _use_ids, (mutated_bytes, _forged_lines)),
    Target(
        "ids.npy",
        lambda f: np.save(f / "ids.npy", np.array(_IDS)),
        _use_ids,
        (mutated_bytes, _forged_npy),
    ),
    Target("recipe", _write("recipe.txt", _RECIPE), _use_recipe, (mutated_bytes, _forged_lines)),
)
