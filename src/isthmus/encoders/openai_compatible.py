"""Models behind an OpenAI-compatible ``/embeddings`` endpoint, of any vendor or one's own."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from isthmus.array_types import Embeddings
from isthmus.encoders.canary import CANARY, check_canary, known_canary
from isthmus.encoders.checks import check_encoded, check_texts, opening_of
from isthmus.encoders.endpoint import Endpoint
from isthmus.encoders.openai_reply import Reply, read_reply
from isthmus.encoders.protocol import Kind, gathered
from isthmus.encoders.retry import Refused, Retry, Transient
from isthmus.encoders.spend_cap import Reservation, SpendCap
from isthmus.errors import InputError, ServiceError
from isthmus.locks import ForkLock
from isthmus.progress import Progress, silent

__all__ = ["OPENAI_URL", "OpenAiEncoder", "Requests"]

OPENAI_URL = "https://api.openai.com/v1"
_CANARY_EVERY = 100  # texts: full batches always carry the canary, single queries now and then
_WIDEST = 1 << 16  # components, where the width is not known yet
_BYTES_PER_NUMBER = 32  # of a float64 written out, and its comma
_FRAME = 1 << 16  # bytes of an answer around the vectors


@dataclass(frozen=True)
class Requests:
    """How texts are made into requests.

    Attributes:
        items: texts in one request, at most; at least 2, for one place is the canary's.
        tokens: of one request, at most; a text's tokens are bounded by its bytes in UTF-8 plus 2,
            which no byte-level tokeniser passes.  A longer text goes alone.
        concurrency: requests at once.
        timeout: seconds for one request.
        retry: what happens after a failure that may pass.

    Example:
        >>> Requests(items=32, retry=Retry(attempts=3)).concurrency
        4
    """

    items: int = 256
    tokens: int = 200_000
    concurrency: int = 4
    timeout: float = 60.0
    retry: Retry = field(default_factory=Retry)

    def __post_init__(self) -> None:
        for parameter, least in (("items", 2), ("tokens", 1), ("concurrency", 1)):
            value = getattr(self, parameter)
            if value < least:
                raise InputError(f"{value} is too small", where=parameter, mend=f"At least {least}")
        if not self.timeout > 0:
            raise InputError(f"{self.timeout} is too small", where="timeout", mend="Give seconds")


class OpenAiEncoder:
    """A model asked over HTTP; made with one request, which tells its width and identity.

    Vectors come back as the server made them; nothing is normalised.  With the texts travels a
    canary, a text whose vector is known: a server that puts another model behind the same name is
    found out before its vectors are mixed with those of the first, also between two runs that
    share ``folder``.

    Args:
        model: the model's name, as the server knows it.
        url: ``/embeddings`` is appended if it does not end so.
        dimensions: asked of models that can shorten their vectors.
        label: distinguishes a model that was changed behind its name from what it was before.
        key_env: see `Endpoint`.
        cap: a bound on texts and tokens, which several encoders may share.
        requests: sizes, concurrency, timeout and retries.
        folder: where the canary's vector is kept; by default, in `cache_folder`.

    Raises:
        MissingExtraError: if httpx is not installed.
        InputError: if the URL or the key cannot be used.
        ServiceError: if the server cannot be reached, refuses, or has another model than before.
        SpendCapError: if the cap does not allow the first request.

    Example:
        >>> from isthmus.encoders import OpenAiEncoder
        >>> model = "text-embedding-3-small"
        >>> asked = OpenAiEncoder(model, key_env="OPENAI_API_KEY")  # doctest: +SKIP
        >>> asked.encode(["a bank"], kind="query").shape  # doctest: +SKIP
        (1, 1536)
        >>> OpenAiEncoder(model, dimensions=0)
        Traceback (most recent call last):
            ...
        isthmus.errors.InputError: dimensions: 0 is too small. Give 1 or more.
    """

    def __init__(
        self,
        model: str,
        url: str = OPENAI_URL,
        *,
        dimensions: int | None = None,
        label: str | None = None,
        key_env: str | None = None,
        cap: SpendCap | None = None,
        requests: Requests | None = None,
        folder: str | Path | None = None,
    ) -> None:
        if dimensions is not None and dimensions < 1:
            raise InputError(
                f"{dimensions} is too small", where="dimensions", mend="Give 1 or more"
            )
        self.name = model
        self.cap = SpendCap() if cap is None else cap
        self._requests = requests or Requests()
        self._dimensions = dimensions
        self._endpoint = Endpoint(
            _embeddings(url),
            key_env=key_env,
            timeout=self._requests.timeout,
            connections=self._requests.concurrency,
        )
        self._rng = self._requests.retry.rng()
        self._lock = ForkLock()
        self._since_canary = 0
        self._most = self._requests.items - 1
        self._format = {"encoding_format": "base64"}
        self._model: str | None = None
        self._canary: Embeddings | None = None
        self.dim = dimensions or 0
        first = self._first_reply()
        self.dim = first.vectors.shape[1]
        self._model = first.model
        self.revision = ", ".join(
            [first.model or model]
            + [f"dimensions={dimensions}"] * (dimensions is not None)
            + [f"label={label}"] * (label is not None)
        )
        self._canary = known_canary(
            first.vectors[0],
            identity=(self._endpoint.url, model, str(dimensions), label or ""),
            where=self._where,
            folder=None if folder is None else Path(folder),
        )

    def __repr__(self) -> str:
        return f"OpenAiEncoder({self.name!r}, {self._endpoint.place!r}, dim={self.dim})"

    def close(self) -> None:
        """Close the connections."""
        self._endpoint.close()

    def encode(
        self, texts: Sequence[str], *, kind: Kind = "document", progress: Progress = silent
    ) -> Embeddings:
        """See `Encoder.encode`; queries and documents are encoded alike.

        Raises:
            ServiceError: if the server fails more often than is retried, refuses, or is found to
                have changed its model.
            SpendCapError: before the call that would pass the cap.
        """
        return gathered(self, self.batches(texts, kind=kind), len(texts), progress)

    def batches(
        self, texts: Sequence[str], *, kind: Kind = "document"
    ) -> Iterator[tuple[slice, Embeddings]]:
        """See `InBatches.batches`; a failure is raised after every answer that was paid for."""
        check_texts(texts)
        running: dict[Future[Embeddings], slice] = {}
        failure: BaseException | None = None
        given_up = threading.Event()
        start = 0
        with ThreadPoolExecutor(self._requests.concurrency) as pool:
            try:
                while running or (start < len(texts) and failure is None):
                    while (
                        failure is None
                        and start < len(texts)
                        and len(running) < self._requests.concurrency
                    ):
                        stop, reserved = self._reserve(texts, start)
                        if reserved is None:
                            # what runs may give back a part of what it reserved
                            if not running:
                                failure = self.cap.refusal(f"text {start + 1:,} of {len(texts):,}")
                            break
                        rows = slice(start, stop)
                        task = pool.submit(self._ask, texts[rows], start, reserved, given_up)
                        running[task] = rows
                        start = stop
                    for task in wait(running, return_when=FIRST_COMPLETED).done:
                        rows = running.pop(task)
                        error = task.exception()
                        if error is None:
                            yield rows, task.result()
                        else:
                            failure = failure or error
                            given_up.set()
            finally:
                given_up.set()
        if failure is not None:
            raise failure

    @property
    def _where(self) -> str:
        return f"{self.name} at {self._endpoint.place}"

    def _reserve(self, texts: Sequence[str], start: int) -> tuple[int, Reservation | None]:
        """The end of the longest batch from ``start`` that requests and cap allow."""
        free_items, free_tokens = self.cap.room()
        free_tokens -= _bound(CANARY)
        most = min(self._most, free_items, len(texts) - start)
        tokens = _bound(texts[start])
        if most < 1 or tokens > free_tokens:
            return start, None
        stop = start + 1
        while stop - start < most:
            with_next = tokens + _bound(texts[stop])
            if with_next > min(self._requests.tokens, free_tokens):
                break
            tokens, stop = with_next, stop + 1
        return stop, self.cap.reserve(stop - start, tokens + _bound(CANARY))

    def _ask(
        self, texts: Sequence[str], first_row: int, reserved: Reservation, given_up: threading.Event
    ) -> Embeddings:
        with self._lock:
            self._since_canary += len(texts)
            canary = self._since_canary >= _CANARY_EVERY
            if canary:
                self._since_canary = 0
        return self._asked(texts, first_row, reserved, given_up, canary=canary)

    def _asked(
        self,
        texts: Sequence[str],
        first_row: int,
        reserved: Reservation,
        given_up: threading.Event,
        *,
        canary: bool,
    ) -> Embeddings:
        """Vectors ``(n, dim)``; what the server refuses together is asked for in halves."""
        sent = [*texts, CANARY] if canary else [*texts]
        rows = f"texts, rows {first_row} to {first_row + len(texts) - 1}"
        try:
            reply = self._reply(sent, reserved, given_up, rows)
        except Refused as refused:
            if len(texts) == 1:
                raise Refused(
                    f"the text '{opening_of(texts[0])}': {refused.what}",
                    where=refused.where,
                    mend=f"{refused.mend}; give another text, or leave that item out",
                ) from None
            return self._halves(texts, first_row, given_up, canary=canary)
        if canary:
            assert self._canary is not None
            check_canary(reply.vectors[-1], self._canary, where=self._where)
        return check_encoded(
            reply.vectors[: len(texts)],
            rows=len(texts),
            dim=self.dim,
            name=self.name,
            texts=texts,
        )

    def _halves(
        self, texts: Sequence[str], first_row: int, given_up: threading.Event, *, canary: bool
    ) -> Embeddings:
        middle = (len(texts) + 1) // 2
        found: list[Embeddings] = []
        for start, part in ((0, texts[:middle]), (middle, texts[middle:])):
            tokens = sum(map(_bound, part)) + _bound(CANARY)
            reserved = self.cap.reserve(len(part), tokens)
            if reserved is None:
                raise self.cap.refusal(f"text {first_row + start + 1:,}")
            found.append(
                self._asked(
                    part, first_row + start, reserved, given_up, canary=canary and not start
                )
            )
        # all of it was done in the end: there were too many of them
        with self._lock:
            self._most = min(self._most, middle)
        return np.concatenate(found)

    def _first_reply(self) -> Reply:
        """Of the canary alone; in numbers where the server refuses to give base64."""
        try:
            return self._first()
        except Refused:
            self._format = {}
            try:
                return self._first()
            except Refused:
                pass
            raise

    def _first(self) -> Reply:
        reserved = self.cap.reserve(0, _bound(CANARY))
        if reserved is None:
            raise self.cap.refusal("the first request")
        reply = self._reply([CANARY], reserved, threading.Event(), "the first request")
        check_encoded(reply.vectors, rows=1, dim=reply.vectors.shape[1], name=self.name)
        return reply

    def _reply(
        self, texts: list[str], reserved: Reservation, given_up: threading.Event, what: str
    ) -> Reply:
        """A checked answer, after as many attempts as `Retry` allows."""
        payload: dict[str, Any] = {
            "model": self.name,
            "input": texts,
            **self._format,
        }
        if self._dimensions is not None:
            payload["dimensions"] = self._dimensions
        widest = _WIDEST if self._canary is None else self.dim
        most_bytes = len(texts) * (_FRAME + _BYTES_PER_NUMBER * widest)
        once = reserved.tokens
        failures = 0
        while True:
            try:
                reply = read_reply(self._endpoint.post(payload, most_bytes=most_bytes), len(texts))
            except ServiceError:
                self.cap.release(reserved)
                raise
            except Transient as failure:
                failures += 1
                delay = self._requests.retry.delay(failures, failure, self._rng)
                if delay is None or given_up.wait(delay):
                    if not failure.charged:
                        self.cap.settle(reserved, reserved.tokens - once)
                    raise ServiceError(
                        f"{what}: {failure.what}, after {failures} attempt(s)"
                        + (f"; it asks to wait {failure.wait:.0f} s" if failure.wait else ""),
                        where=self._where,
                        mend="Run again later: what is encoded already is in the cache",
                    ) from None
                if failure.charged:
                    self.cap.repeat(reserved, once)
                continue
            if reply.tokens is not None:
                self.cap.settle(reserved, reserved.tokens - once + reply.tokens)
            self._check_identity(reply)
            return reply

    def _check_identity(self, reply: Reply) -> None:
        if self._model is not None and reply.model not in (None, self._model):
            raise ServiceError(
                f"the server answered with the model '{reply.model}', and with '{self._model}' "
                "before",
                where=self._where,
                mend="Ask for a model by a name that the server keeps to one version",
            )
        width = reply.vectors.shape[1]
        if self.dim and width != self.dim:
            expected = (
                f"{self.dim} were asked for"
                if self._canary is None
                else f"the first had {self.dim}"
            )
            raise ServiceError(
                f"the vectors have {width} components, {expected}",
                where=self._where,
                mend="Look at the model and at dimensions",
            )


def _embeddings(url: str) -> str:
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    return parts._replace(
        path=path if path.endswith("/embeddings") else f"{path}/embeddings"
    ).geturl()


def _bound(text: str) -> int:
    """The most tokens that a byte-level tokeniser makes of a text, with two special ones."""
    return len(text.encode()) + 2
