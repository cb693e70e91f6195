"""What a running bridge answers over HTTP.

``POST /v1/embeddings`` speaks the protocol of OpenAI's embeddings, so that an application that
encodes its queries there changes an address and nothing else: texts go in, and vectors come out
that search the old index.  ``POST /search`` answers in the way that was chosen, by the code of
`isthmus.ways.Search`.  Vectors pass the `Guard` of their model's contract either way.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from isthmus.errors import InputError, IsthmusError, ServiceError, StoreUnavailableError
from isthmus.json_text import read_json
from isthmus.ways import Search, run_queries
from isthmus.ways.queries import QueryReader

__all__ = ["Served", "sidecar_app"]

_MOST_BODY = 16 * 2**20
_MOST_QUERIES = 2048
_MOST_RESULTS = 10_000
_LARGEST = 1e15
_SHOWN = 60  # characters of a key that is refused
_BEARER = "Bearer "

_EMBEDDING_KEYS = ("input", "model", "encoding_format", "dimensions", "user")
"""What OpenAI's clients send: ``model`` and ``user`` change no vector, and any is taken."""
_SEARCH_KEYS = ("queries", "vectors", "k", "explain")

_Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Served:
    """What there is to be asked.

    Attributes:
        reader: makes mapped queries of texts.
        model: what the answers of ``/v1/embeddings`` call their model: that of the old index.
        dim: width of those vectors.
        search: answers ``/search``; None where no index was named.
        way: what its way is called.

    Example:
        >>> from isthmus.ways import Recall, Way
        >>> way = Way(recall=Recall(kind="old"))
        >>> reader = QueryReader(way, None, old=None, new=None, maps_queries=False)
        >>> Served(reader, model="old", dim=384).search is None
        True
    """

    reader: QueryReader
    model: str
    dim: int
    search: Search | None = None
    way: str = ""


class _Refused(Exception):
    """A request that is refused for what it is."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def sidecar_app(served: Served, *, token: str | None, hosts: Sequence[str]) -> Starlette:
    """The application that answers for a bridge.

    Args:
        served: what it answers with.
        token: what a request has to carry as ``Authorization: Bearer``; None: nothing.
        hosts: the values of ``Host`` that are answered; none: all.

    Example:
        >>> import numpy as np
        >>> from starlette.testclient import TestClient
        >>> from isthmus.stores import MemoryStore
        >>> from isthmus.ways import Recall, Search, Way
        >>> from isthmus.ways.queries import QueryReader
        >>> way = Way(recall=Recall(kind="old"))
        >>> store = MemoryStore(["a", "b"], {"old": np.eye(2, dtype=np.float32)})
        >>> reader = QueryReader(way, None, old=None, new=None, maps_queries=False)
        >>> served = Served(reader, "old", 2, Search(way, store), "old")
        >>> client = TestClient(sidecar_app(served, token=None, hosts=()))
        >>> asked = {"vectors": {"old": [[0.1, 0.9]]}, "k": 1}
        >>> client.post("/search", json=asked).json()["answers"][0]["results"][0]["id"]
        'b'
    """
    sidecar = _Sidecar(served, token, tuple(hosts))
    return Starlette(
        routes=[
            Route("/health", sidecar.answering(sidecar.health), methods=["GET"]),
            Route("/v1/embeddings", sidecar.answering(sidecar.embeddings), methods=["POST"]),
            Route("/search", sidecar.answering(sidecar.search), methods=["POST"]),
        ]
    )


class _Sidecar:
    def __init__(self, served: Served, token: str | None, hosts: tuple[str, ...]) -> None:
        self._served, self._token, self._hosts = served, token, hosts

    def answering(self, handler: _Handler) -> _Handler:
        """The handler behind the checks of host and token; what it raises as JSON."""

        async def answer(request: Request) -> Response:
            try:
                self._check(request)
                return await handler(request)
            except _Refused as refused:
                return _error(refused.status, str(refused), "request")
            except IsthmusError as error:
                return _error(_status(error), str(error), type(error).__name__)

        return answer

    def _check(self, request: Request) -> None:
        if self._hosts and request.headers.get("host", "") not in self._hosts:
            raise _Refused(421, "This server is known by another name.")
        if self._token is None:
            return
        given = request.headers.get("authorization", "").encode("latin-1")
        if not hmac.compare_digest(given, f"{_BEARER}{self._token}".encode()):
            raise _Refused(401, "The token is missing or another one: Authorization: Bearer TOKEN.")

    async def health(self, request: Request) -> Response:
        """That it runs, and what it answers with."""
        del request
        served = self._served
        told: dict[str, Any] = {"status": "ok", "model": served.model, "dim": served.dim}
        if served.search is not None:
            told |= {"store": served.search.store.url, "way": served.way}
        guards = {"embeddings": served.reader.guards}
        if served.search is not None:
            guards["search"] = served.search.guards
        told["guard"] = {
            name: {model: str(guard.report) for model, guard in held.items()}
            for name, held in guards.items()
        }
        return JSONResponse(told)

    async def embeddings(self, request: Request) -> Response:
        """Mapped queries, as OpenAI answers."""
        asked = await _body(request, _EMBEDDING_KEYS)
        texts = asked.get("input")
        texts = [texts] if isinstance(texts, str) else texts
        how = asked.get("encoding_format", "float")
        if how not in ("float", "base64"):
            raise _Refused(400, "'encoding_format' is 'float' or 'base64'.")
        if asked.get("dimensions", self._served.dim) != self._served.dim:
            raise _Refused(400, f"'dimensions' is {self._served.dim}: that of the old index.")
        found = await run_in_threadpool(self._served.reader, _texts(texts, "input"))
        rows = found.bridged
        assert rows is not None
        shown: Callable[[NDArray[Any]], Any] = _base64 if how == "base64" else _floats
        data = [
            {"object": "embedding", "index": i, "embedding": shown(row)}
            for i, row in enumerate(np.asarray(rows))
        ]
        usage = {"prompt_tokens": 0, "total_tokens": 0}
        return JSONResponse(
            {"object": "list", "data": data, "model": self._served.model, "usage": usage}
        )

    async def search(self, request: Request) -> Response:
        """What the index holds for each query, in the way that is served."""
        search = self._served.search
        if search is None:
            raise _Refused(404, "No index was named: isthmus serve STORE --bridge ...")
        if request.query_params:
            raise _Refused(422, "What is asked stands in the body, and nothing behind a '?'.")
        asked = await _body(request, _SEARCH_KEYS)
        if ("queries" in asked) == ("vectors" in asked):
            raise _Refused(400, "Give 'queries', a list of texts, or 'vectors' by model.")
        k, explain = asked.get("k", 10), asked.get("explain", False)
        if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= _MOST_RESULTS:
            raise _Refused(400, f"'k' is a whole number from 1 to {_MOST_RESULTS:,}.")
        if not isinstance(explain, bool):
            raise _Refused(400, "'explain' is true or false.")
        queries: Any
        if "queries" in asked:
            queries = _texts(asked["queries"], "queries")
            names: Sequence[str | int] = queries
        else:
            queries = _vectors(asked["vectors"])
            names = range(len(next(iter(queries.values()))))

        def run() -> list[dict[str, Any]]:
            answers = run_queries(
                search, queries, k, way=self._served.way, names=names, explain=explain
            )
            return [answer.as_json(explain=explain) for answer in answers]

        return JSONResponse({"answers": await run_in_threadpool(run)})


async def _body(request: Request, known: Sequence[str]) -> dict[str, Any]:
    """What is asked, nothing that would be ignored; ``null`` is as if nothing was given."""
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > _MOST_BODY:
            raise _Refused(413, f"A request has {_MOST_BODY:,} bytes at the most.")
    try:
        found: Any = read_json(content)
    except (ValueError, RecursionError) as error:
        raise _Refused(400, f"This is no JSON ({error}).") from error
    if not isinstance(found, dict):
        raise _Refused(400, "A request is a JSON object.")
    asked = {k: v for k, v in cast("dict[str, Any]", found).items() if v is not None}
    unknown = [repr(key[:_SHOWN]) for key in asked if key not in known]
    if unknown:
        others = f" and {len(unknown) - 3:,} more" if len(unknown) > 3 else ""
        named = f"{', '.join(unknown[:3])}{others}"
        raise _Refused(422, f"Nothing is known of {named}; a request has: {', '.join(known)}.")
    return asked


def _texts(given: Any, name: str) -> list[str]:
    found = cast("list[Any]", given) if isinstance(given, list) else []
    if found and isinstance(found[0], (int, list)):
        raise _Refused(
            400,
            f"'{name}' holds token numbers, and texts are needed: tell the client not to tokenise "
            "(LangChain's OpenAIEmbeddings: check_embedding_ctx_length=False).",
        )
    if not found or not all(isinstance(text, str) and text.strip() for text in found):
        raise _Refused(400, f"'{name}' is a list of texts, none of them blank.")
    if len(found) > _MOST_QUERIES:
        raise _Refused(400, f"'{name}' has {_MOST_QUERIES:,} texts at the most.")
    return found


def _vectors(given: Any) -> dict[str, NDArray[np.float32]]:
    """Vectors by model, each ``(nq, d)`` and as many of one as of another."""
    wrong = _Refused(400, "'vectors' are rows of numbers by model: {\"old\": [[...]], ...}.")
    if not isinstance(given, Mapping) or not given or not {"old", "new"} >= given.keys():
        raise wrong
    found: dict[str, NDArray[np.float32]] = {}
    for model, rows in cast("Mapping[str, Any]", given).items():
        try:
            with np.errstate(over="ignore"):  # the guard refuses what is infinite, by its row
                found[model] = np.asarray(rows, dtype=np.float32)
        except (ValueError, TypeError, OverflowError):
            raise wrong from None
        if found[model].ndim != 2 or not 0 < len(found[model]) <= _MOST_QUERIES:
            raise wrong
        # their squares and products would be infinite; NaN and infinity are told by the guard
        large = np.isfinite(found[model]) & (np.abs(found[model]) > _LARGEST)
        if large.any():
            row = int(np.argmax(large.any(axis=1)))
            raise _Refused(422, f"Row {row} of '{model}' holds a number beyond {_LARGEST:g}.")
    if len({len(rows) for rows in found.values()}) > 1:
        raise _Refused(400, "'vectors' have as many rows of one model as of the other.")
    return found


def _floats(row: NDArray[Any]) -> list[float]:
    return np.asarray(row, dtype=np.float64).tolist()


def _base64(row: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(row, dtype="<f4").tobytes()).decode()


def _status(error: IsthmusError) -> int:
    if isinstance(error, InputError):
        return 422
    return 503 if isinstance(error, (ServiceError, StoreUnavailableError)) else 500


def _error(status: int, message: str, kind: str) -> Response:
    content = json.dumps({"error": {"message": message, "type": kind}}, ensure_ascii=False)
    return Response(content, status, media_type="application/json")
