"""A bridge behind HTTP: a real server on a port, asked by an HTTP client of its own."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="a sidecar needs starlette")
pytest.importorskip("uvicorn", reason="a sidecar needs uvicorn")

from isthmus.bridge import Bridge, fit
from isthmus.encoders import CallableEncoder, open_encoder
from isthmus.errors import InputError
from isthmus.serve import Served, listening_at, sidecar_app
from isthmus.spaces.pairs import Pairs
from isthmus.stores import MemoryStore
from isthmus.ways import Recall, Search, Way
from isthmus.ways.queries import QueryReader

N, NEW_DIM, OLD_DIM = 700, 12, 8
RNG = np.random.default_rng(0)
LATENT = RNG.standard_normal((N, 6))
NEW = (LATENT @ RNG.standard_normal((6, NEW_DIM))).astype(np.float32)
TEXTS = {"text": [f"text {i}" for i in range(N)]}
OLD = (LATENT @ RNG.standard_normal((6, OLD_DIM))).astype(np.float32)


def encoder(rows: np.ndarray, name: str) -> CallableEncoder:
    """Texts are numbers of rows; ``nan`` is what a model should never answer."""

    def encode(texts: Any) -> np.ndarray:
        out = [rows[int(t) % N if t.isdigit() else 0] for t in texts]
        out = [row * (np.nan if t == "nan" else 1) for t, row in zip(texts, out, strict=True)]
        return np.array(out, dtype=np.float32)

    return CallableEncoder(encode, name=name, revision="1", dim=rows.shape[1])


@pytest.fixture(scope="module")
def bridge() -> Bridge:
    return fit(Pairs(NEW, OLD, metric="cosine"), recipe="ridge")


class Asked:
    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, content, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                found = error.read()
            return error.code, json.loads(found)["error"] if found[:1] == b"{" else found


def running(bridge: Bridge, token: str | None = None, indexed: bool = True) -> Iterator[Asked]:
    new, old = encoder(NEW, "new"), encoder(OLD, "old")
    store = MemoryStore(np.arange(N), {"old": OLD}, payload=TEXTS)
    way = Way(recall=Recall(kind="bridge"))
    search = Search(way, store, bridge=bridge, new=new, old=old) if indexed else None
    reader = QueryReader(way, bridge, old=None, new=new, maps_queries=True)
    served = Served(reader, "old-model", OLD_DIM, search, "bridge")
    with listening_at("127.0.0.1", 0) as place:
        server = place.server(sidecar_app(served, token=token, hosts=place.hosts))
        thread = threading.Thread(target=place.run, args=(server,))
        thread.start()
        try:
            yield Asked(place.url)
        finally:
            server.should_exit = True
            thread.join(timeout=30)
            assert not thread.is_alive()


@pytest.fixture
def ask(bridge: Bridge) -> Iterator[Asked]:
    yield from running(bridge)


@pytest.fixture
def with_token(bridge: Bridge) -> Iterator[Asked]:
    yield from running(bridge, "sésame", indexed=False)


@pytest.mark.parametrize("how", ["float", "base64"])
def test_embeddings_are_mapped_queries(ask: Asked, bridge: Bridge, how: str) -> None:
    asked = {"input": ["3", "5", "3"], "model": "any", "encoding_format": how}
    code, found = ask("/v1/embeddings", asked)
    assert (code, found["object"], found["model"]) == (200, "list", "old-model")
    assert [item["index"] for item in found["data"]] == [0, 1, 2]
    rows = [item["embedding"] for item in found["data"]]
    if how == "base64":
        import base64

        rows = [np.frombuffer(base64.b64decode(row), "<f4") for row in rows]
    np.testing.assert_allclose(rows, bridge.transform(NEW[[3, 5, 3]]), rtol=1e-5)
    code, one = ask("/v1/embeddings", {"input": "3"})
    np.testing.assert_allclose(one["data"][0]["embedding"], rows[0], rtol=1e-5)


def test_our_own_client_of_such_endpoints_reads_it(
    ask: Asked, bridge: Bridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path))
    pytest.importorskip("httpx", reason="the client needs httpx: pip install 'isthmus[http]'")
    client = open_encoder(f"openai:old@{ask.url}/v1")
    found = client.encode(["7", "8"], kind="query")
    np.testing.assert_allclose(found, bridge.transform(NEW[[7, 8]]), rtol=1e-5)


def test_a_search_is_that_of_the_way(ask: Asked, bridge: Bridge) -> None:
    store = MemoryStore(np.arange(N), {"old": OLD})
    search = Search(Way(recall=Recall(kind="bridge")), store, bridge=bridge)
    expected = search(NEW[:4], 3)
    code, found = ask("/search", {"queries": ["0", "1", "2", "3"], "k": 3})
    assert code == 200
    ids = [[result["id"] for result in answer["results"]] for answer in found["answers"]]
    assert ids == expected.ids.tolist()
    first = found["answers"][1]
    assert (first["query"], first["way"], first["results"][0]["text"]) == ("1", "bridge", "text 1")
    code, by_vectors = ask("/search", {"vectors": {"new": NEW[:4].tolist()}, "k": 3})
    told = [[result["id"] for result in answer["results"]] for answer in by_vectors["answers"]]
    assert told == ids
    code, explained = ask("/search", {"queries": ["1"], "k": 1, "explain": True})
    assert explained["answers"][0]["price"]["new_queries"] == 1


def test_callers_at_once_get_their_own_answers(ask: Asked) -> None:
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda i: ask("/search", {"queries": [str(i)], "k": 1}), range(100)))
    assert [answer["answers"][0]["query"] for _, answer in found] == [str(i) for i in range(100)]
    hits = [answer["answers"][0]["results"][0]["id"] for _, answer in found]
    assert np.mean(np.array(hits) == np.arange(100)) > 0.9


def test_vectors_that_break_the_contract_are_refused_and_counted(ask: Asked) -> None:
    code, error = ask("/v1/embeddings", {"input": ["1", "nan"]})
    assert code == 422
    assert "text 'nan'" in error["message"]
    code, error = ask("/search", {"vectors": {"new": [[1.0] * (NEW_DIM - 1)]}})
    assert code == 422
    assert f"{NEW_DIM}" in error["message"]
    code, health = ask("/health")
    assert (code, health["status"], health["dim"], health["way"]) == (200, "ok", OLD_DIM, "bridge")
    assert "new" in health["guard"]["search"]


@pytest.mark.parametrize(
    ("path", "body", "code", "told"),
    [
        ("/v1/embeddings", b"{", 400, "no JSON"),
        ("/v1/embeddings", b"[]", 400, "a JSON object"),
        ("/v1/embeddings", {}, 400, "a list of texts"),
        ("/v1/embeddings", {"input": [[1, 2]]}, 400, "check_embedding_ctx_length=False"),
        ("/v1/embeddings", {"input": [1, 2]}, 400, "holds token numbers"),
        ("/v1/embeddings", {"input": [None]}, 400, "a list of texts"),
        ("/v1/embeddings", {"input": [" "]}, 400, "none of them blank"),
        ("/v1/embeddings", {"input": ["1"] * 2049}, 400, "2,048 texts at the most"),
        ("/v1/embeddings", {"input": "1", "dimensions": 3}, 400, "'dimensions' is 8"),
        ("/v1/embeddings", {"input": "1", "encoding_format": "int8"}, 400, "'float' or 'base64'"),
        ("/v1/embeddings", b'{"input": "' + b"x" * (16 << 20) + b'"}', 413, "16,777,216 bytes"),
        ("/search", {}, 400, "Give 'queries'"),
        ("/search", {"queries": ["1"], "vectors": {}}, 400, "Give 'queries'"),
        ("/search", {"queries": ["1"], "k": 0}, 400, "from 1 to 10,000"),
        ("/search", {"queries": ["1"], "k": True}, 400, "from 1 to 10,000"),
        ("/search", {"queries": ["1"], "explain": 1}, 400, "true or false"),
        ("/search", {"vectors": {"other": [[1.0]]}}, 400, "rows of numbers by model"),
        ("/search", {"vectors": {"new": [["x"]]}}, 400, "rows of numbers by model"),
        ("/search", {"vectors": {"new": [[1.0], [1.0, 2.0]]}}, 400, "rows of numbers by model"),
        ("/search", {"vectors": {"new": [], "old": []}}, 400, "rows of numbers by model"),
        ("/search", {"vectors": {"new": [[1e300] * NEW_DIM]}}, 422, "row 0"),
        ("/search", {"vectors": {"new": [[3e38] * NEW_DIM]}}, 422, "Row 0 of 'new' holds a number"),
        ("/search", {"vectors": {"new": [[-1e19] * NEW_DIM]}}, 422, "beyond 1e+15"),
        (
            "/search",
            {"queries": ["1"], "filter": {"a": 1}},
            422,
            "'filter'; a request has: queries",
        ),
        ("/search", {"queries": ["1"], "where": "a=1", "top_k": 3}, 422, "'where', 'top_k';"),
        ("/search", {str(i): i for i in range(9)}, 422, "'0', '1', '2' and 6 more;"),
        ("/search?filter=a", {"queries": ["1"]}, 422, "behind a '?'"),
        (
            "/v1/embeddings",
            {"input": "1", "truncate": "END"},
            422,
            "'truncate'; a request has: input",
        ),
        ("/v1/embeddings", {"input": "1", "input_type": "query"}, 422, "'input_type'"),
    ],
    ids=range(29),
)
def test_what_is_no_request_is_told(ask: Asked, path: str, body: Any, code: int, told: str) -> None:
    found, error = ask(path, body)
    assert (found, told in error["message"]) == (code, True), error


def test_large_numbers_warn_nobody(ask: Asked) -> None:
    large = NEW[0].astype(np.float64) * (1e15 / np.abs(NEW[0]).max())
    assert ask("/search", {"vectors": {"new": [large.tolist()]}})[0] == 200


@pytest.mark.parametrize(
    "more",
    [
        {"model": "text-embedding-3-small", "user": "u-1"},
        {"dimensions": OLD_DIM, "encoding_format": "float"},
        {"dimensions": None, "encoding_format": None, "user": None},
    ],
    ids=["names", "shape", "null"],
)
def test_what_clients_of_openai_send_is_taken(ask: Asked, more: dict[str, Any]) -> None:
    plain = ask("/v1/embeddings", {"input": ["3"]})
    assert plain[0] == 200
    assert ask("/v1/embeddings?api-version=2024-02-01", {"input": ["3"], **more}) == plain


def test_only_who_has_the_token_is_answered(with_token: Asked) -> None:
    for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "sésame"}):
        code, error = with_token("/v1/embeddings", {"input": "1"}, **headers)
        assert code == 401
        assert "sésame" not in error["message"]
    right = {"Authorization": "Bearer sésame".encode().decode("latin-1")}
    assert with_token("/v1/embeddings", {"input": "1"}, **right)[0] == 200
    code, error = with_token("/search", {"queries": ["1"]}, **right)
    assert (code, error["message"][:19]) == (404, "No index was named:")


def test_other_names_of_the_server_are_refused(ask: Asked) -> None:
    code, error = ask("/health", None, Host="evil.example")
    assert (code, error["message"]) == (421, "This server is known by another name.")


def test_a_port_that_is_taken_is_told() -> None:
    with (
        listening_at("127.0.0.1", 0) as place,
        pytest.raises(InputError, match=f"127.0.0.1:{place.port}: nothing can listen there"),
        listening_at("127.0.0.1", place.port),
    ):
        pass
