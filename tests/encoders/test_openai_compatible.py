"""An encoder behind a URL, against a real server on a socket."""

from __future__ import annotations

import json
import logging
import pickle
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("httpx", reason="needs httpx: pip install 'isthmus[http]'")

from tests.encoders.embedding_server import (
    DIM,
    EmbeddingServer,
    Fault,
    broken_json,
    changed,
    drip,
    embedding_server,
    reset,
    silence,
    status,
    truncated,
    vector_of,
)

from isthmus.encoders import (
    CachedEncoder,
    OpenAiEncoder,
    Requests,
    Retry,
    SpendCap,
    VectorCache,
)
from isthmus.encoders.canary import CANARY
from isthmus.encoders.endpoint import _headers
from isthmus.encoders.openai_compatible import _embeddings
from isthmus.errors import InputError, IsthmusError, ServiceError, SpendCapError

Make = Callable[..., OpenAiEncoder]
TEXTS = [f"text number {n}" for n in range(20)]
QUICK = Retry(attempts=3, first=0.01)


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with embedding_server() as running:
        yield running


@pytest.fixture
def make(
    server: EmbeddingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Make]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-key")
    made: list[OpenAiEncoder] = []

    def build(*, requests: Requests | None = None, **options: Any) -> OpenAiEncoder:
        options.setdefault("folder", tmp_path / "canaries")
        requests = requests or Requests(items=6, timeout=5, retry=QUICK)
        made.append(OpenAiEncoder("small", server.url, requests=requests, **options))
        return made[-1]

    yield build
    for encoder in made:
        encoder.close()


def expected(texts: list[str], **options: Any) -> np.ndarray:
    return np.array([vector_of(text, **options) for text in texts])


@pytest.mark.parametrize("floats", [False, True], ids=["base64", "lists"])
def test_vectors_come_back_in_the_order_of_the_texts(
    make: Make, server: EmbeddingServer, floats: bool
) -> None:
    server.floats = floats
    encoder = make()
    assert (encoder.name, encoder.dim, encoder.revision) == ("small", DIM, "small-2024-01")
    seen: list[int] = []
    vectors = encoder.encode(TEXTS, progress=lambda task, done, total, /: seen.append(done))
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, expected(TEXTS))
    assert seen[-1] == 20 and seen == sorted(seen)
    assert {r["path"] for r in server.requests} == {"/v1/embeddings"}
    assert all(len(r["input"]) <= 6 for r in server.requests)
    assert {r["headers"]["Authorization"] for r in server.requests} == {"Bearer sk-test-key"}


def test_dimensions_are_asked_for_and_part_of_the_identity(
    make: Make, server: EmbeddingServer
) -> None:
    encoder = make(dimensions=4)
    assert encoder.dim == 4 and "dimensions=4" in encoder.revision
    np.testing.assert_array_equal(encoder.encode(TEXTS), expected(TEXTS, dim=4))
    assert {r["dimensions"] for r in server.requests} == {4}


def test_a_server_that_ignores_dimensions_is_refused(make: Make, server: EmbeddingServer) -> None:
    server.always = changed(
        lambda body, texts: body.update(data=server.reply({"input": texts})["data"])
    )
    with pytest.raises(ServiceError, match="8 components, 4 were asked for"):
        make(dimensions=4)


def test_requests_are_bounded_in_number_items_and_tokens(
    make: Make, server: EmbeddingServer
) -> None:
    encoder = make(requests=Requests(items=6, tokens=40, concurrency=3, timeout=5))
    server.pause = 0.02
    long = "a text that alone has more than forty bytes, and goes alone"
    texts = [*TEXTS, long]
    np.testing.assert_array_equal(encoder.encode(texts), expected(texts))
    assert 1 < server.most_at_once <= 3
    for request in server.requests[1:]:
        sent = [t for t in request["input"] if t != CANARY]
        assert sent == [long] or sum(len(t) + 2 for t in sent) <= 40


FAULTS: dict[str, Fault] = {
    "429": status(429, Retry_After="0"),
    "500": status(500),
    "503 with a page": status(503, "<html>busy</html>"),
    "reset": reset(),
    "truncated": truncated(0.5),
    "no body": truncated(0.0),
    "broken JSON": broken_json(),
    "not an object": changed(lambda body, texts: body.clear()),
    "an item missing": changed(lambda body, texts: body["data"].pop()),
    "an item too many": changed(lambda body, texts: body["data"].append(body["data"][0])),
    "an index twice": changed(lambda body, texts: [i.update(index=0) for i in body["data"]]),
    "an index that is text": changed(lambda body, texts: body["data"][0].update(index="0")),
    "no embedding": changed(lambda body, texts: body["data"][0].pop("embedding")),
    "half a float": changed(lambda body, texts: body["data"][0].update(embedding="AAAA")),
    "not base64": changed(lambda body, texts: body["data"][0].update(embedding="%%%")),
    "texts for numbers": changed(
        lambda body, texts: body["data"][0].update(embedding=["1.0"] * DIM)
    ),
    "null for a number": changed(
        lambda body, texts: body["data"][0].update(embedding=[None] * DIM)
    ),
    "nested": changed(lambda body, texts: body["data"][0].update(embedding=[[1.0], [2.0, 3.0]])),
    "ragged": changed(lambda body, texts: body["data"][0].update(embedding=[1.0, 2.0])),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_changes_nothing(
    make: Make, server: EmbeddingServer, fault: str
) -> None:
    encoder = make()
    server.faults = {2: FAULTS[fault], 4: FAULTS[fault]}
    np.testing.assert_array_equal(encoder.encode(TEXTS), expected(TEXTS))
    assert len(server.requests) == 1 + 4 + 2


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_ends_after_bounded_attempts(
    make: Make, server: EmbeddingServer, fault: str
) -> None:
    encoder = make()
    server.always = FAULTS[fault]
    with pytest.raises(ServiceError, match=r"rows 0 to 2: .*after 3 attempt\(s\)"):
        encoder.encode(TEXTS[:3])
    assert len(server.requests) == 1 + 3


def test_a_server_that_does_not_answer_in_time(make: Make, server: EmbeddingServer) -> None:
    encoder = make(requests=Requests(timeout=0.2, retry=QUICK))
    server.faults = {1: silence(0.6)}
    np.testing.assert_array_equal(encoder.encode(TEXTS[:3]), expected(TEXTS[:3]))
    server.always = silence(0.6)
    with pytest.raises(ServiceError, match=r"no answer within 0.2 s, after 3"):
        encoder.encode(TEXTS[:3])


def test_a_server_that_drips_does_not_hold_a_request_for_ever(
    make: Make, server: EmbeddingServer
) -> None:
    encoder = make(requests=Requests(timeout=0.3, retry=Retry(attempts=1)))
    server.always = drip(0.05)
    start = time.monotonic()
    with pytest.raises(ServiceError, match="no whole answer within 0.3 s"):
        encoder.encode(TEXTS[:1])
    assert time.monotonic() - start < 3


def test_retry_after_is_waited_for(make: Make, server: EmbeddingServer) -> None:
    encoder = make()
    server.faults = {1: status(429, Retry_After="1")}
    start = time.monotonic()
    encoder.encode(TEXTS[:1])
    assert time.monotonic() - start >= 1


def test_a_server_that_asks_to_wait_too_long_is_not_waited_for(
    make: Make, server: EmbeddingServer
) -> None:
    encoder = make()
    server.faults = {1: status(429, Retry_After="3600")}
    with pytest.raises(ServiceError, match="asks to wait 3600 s"):
        encoder.encode(TEXTS[:1])
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (status(400, {"error": {"message": "too long"}}), r"answered 400 \(too long\)"),
        (status(401), "Set the environment variable OPENAI_API_KEY"),
        (status(404, {"detail": "no such model"}), r"404 \(no such model\).*model's name"),
        (status(301, Location="http://127.0.0.1:9/v1"), "keys are not sent on"),
        (
            status(429, {"error": {"code": "insufficient_quota", "message": "no money"}}),
            r"429 \(no money\)",
        ),
    ],
)
def test_a_refusal_is_not_tried_again(
    make: Make, server: EmbeddingServer, fault: Fault, message: str
) -> None:
    encoder = make()
    server.always = fault
    with pytest.raises(ServiceError, match=message):
        encoder.encode(TEXTS[:1])
    assert len(server.requests) == 2


def refusing(wrong: Callable[[list[str]], bool], code: int) -> Fault:
    """Refuses requests whose texts are ``wrong`` together."""

    def answer(handler: Any) -> None:
        asked = handler.server.requests[-1]
        if wrong(asked["input"]):
            content = json.dumps({"error": {"message": "too much"}}).encode()
            handler.answer(code, content)
        else:
            handler.answer(200, json.dumps(handler.server.reply(asked)).encode())

    return Fault(before=answer)


@pytest.mark.parametrize("code", [400, 413, 422])
def test_what_is_refused_together_is_asked_for_in_parts(
    make: Make, server: EmbeddingServer, code: int
) -> None:
    encoder = make(requests=Requests(items=9, concurrency=1, retry=QUICK))
    server.always = refusing(lambda texts: len(texts) > 3, code)
    np.testing.assert_array_equal(encoder.encode(TEXTS), expected(TEXTS))
    assert encoder.cap.items == len(TEXTS)
    assert encoder.cap.tokens == sum(len(t.split()) for t in [*TEXTS, CANARY])
    asked = len(server.requests)
    np.testing.assert_array_equal(encoder.encode(TEXTS[:9]), expected(TEXTS[:9]))
    # how many the server takes is known by now
    assert [len(r["input"]) for r in server.requests[asked:]] == [2, 2, 2, 2, 1]


def test_a_text_that_is_refused_is_named(make: Make, server: EmbeddingServer) -> None:
    encoder = make(requests=Requests(items=6, concurrency=1, retry=QUICK))
    server.always = refusing(lambda texts: TEXTS[9] in texts, 400)
    refused = r"text 'text number 9': the server answered 400 \(too much\)"
    with pytest.raises(ServiceError, match=refused):
        encoder.encode(TEXTS)
    assert encoder.cap.items < len(TEXTS)


def test_a_server_that_refuses_base64_is_asked_for_numbers(
    make: Make, server: EmbeddingServer
) -> None:
    server.faults = {0: status(422, {"detail": "encoding_format: extra fields not permitted"})}
    encoder = make()
    np.testing.assert_array_equal(encoder.encode(TEXTS), expected(TEXTS))
    assert ["encoding_format" in r for r in server.requests[:3]] == [True, False, False]


def test_an_error_that_comes_with_200_is_told(make: Make, server: EmbeddingServer) -> None:
    encoder = make()
    server.always = Fault(after=lambda body, texts: {"error": {"message": "no GPU, sk-test-key"}})
    with pytest.raises(ServiceError, match=r"with an error \(no GPU, \*\*\*\)"):
        encoder.encode(TEXTS[:1])


@pytest.mark.parametrize("proxy", ["nonsense://user:secret@127.0.0.1:9", "http://[::1"])
def test_a_proxy_of_the_environment_that_cannot_be_used(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(InputError, match="ALL_PROXY") as refused:
        OpenAiEncoder("small", "http://127.0.0.1:9/v1")
    assert "secret" not in str(refused.value)


def test_deployments_of_azure_are_given_the_key_as_they_want_it() -> None:
    assert _headers("mine.openai.azure.com", "k")["api-key"] == "k"
    assert "api-key" not in _headers("api.openai.com", "k")
    place = "https://mine.openai.azure.com/openai/deployments/small/embeddings?api-version=1"
    assert _embeddings(place) == _embeddings(place.replace("/embeddings", "")) == place


def test_an_answer_beyond_all_bounds_is_not_read(make: Make, server: EmbeddingServer) -> None:
    encoder = make()
    server.always = changed(lambda body, texts: body.update(more="x" * 1_000_000))
    with pytest.raises(ServiceError, match="larger than"):
        encoder.encode(TEXTS[:1])


def test_the_text_of_a_vector_that_is_not_finite_is_named(
    make: Make, server: EmbeddingServer
) -> None:
    encoder = make(requests=Requests(items=6, concurrency=1, retry=QUICK))

    def spoil(body: dict[str, Any], texts: list[str]) -> None:
        item = next(i for i in body["data"] if i["index"] == 2)
        item["embedding"] = [float("nan")] * DIM

    server.floats = True
    server.faults = {2: changed(spoil)}
    wanted = "'small', text 'text number 7': a vector has values that are not finite"
    with pytest.raises(InputError, match=wanted):
        encoder.encode(TEXTS)
    assert len(server.requests) == 3


def test_a_width_that_changes_is_refused(make: Make, server: EmbeddingServer) -> None:
    encoder = make()
    server.always = changed(
        lambda body, texts: body.update(
            data=server.reply({"input": texts, "dimensions": 3})["data"]
        )
    )
    with pytest.raises(ServiceError, match="3 components, the first had 8"):
        encoder.encode(TEXTS)


def test_a_model_that_changes_its_stated_name_is_found_out(
    make: Make, server: EmbeddingServer
) -> None:
    encoder = make()
    server.stated = "small-2025-09"
    with pytest.raises(ServiceError, match="'small-2025-09', and with 'small-2024-01' before"):
        encoder.encode(TEXTS)


def test_a_model_that_changes_silently_is_found_out_in_a_run(
    make: Make, server: EmbeddingServer
) -> None:
    encoder = make(requests=Requests(items=64, concurrency=1, retry=QUICK))
    texts = [f"text {n}" for n in range(300)]
    np.testing.assert_array_equal(encoder.encode(texts), expected(texts))
    server.model = "other"  # the stated name stays
    with pytest.raises(ServiceError, match="another model behind this name"):
        encoder.encode(texts)
    # one canary in a hundred texts: at most that many are asked of the other model
    assert sum(t == CANARY for t in server.texts) >= 3


def test_a_model_that_changes_silently_is_found_out_between_runs(
    make: Make, server: EmbeddingServer, tmp_path: Path
) -> None:
    assert make().revision == make().revision
    server.model = "other"
    with pytest.raises(ServiceError, match=r"in an earlier run.*#label=2"):
        make()
    again = make(label="2")
    assert again.revision == "small-2024-01, label=2"
    np.testing.assert_array_equal(again.encode(TEXTS), expected(TEXTS, model="other"))
    for file in (tmp_path / "canaries" / "canaries").iterdir():
        file.write_text("{ damaged")
    assert make().revision == "small-2024-01"


def test_a_server_that_states_no_model_is_known_by_what_was_asked(
    make: Make, server: EmbeddingServer
) -> None:
    server.stated = None
    encoder = make()
    assert encoder.revision == "small"
    np.testing.assert_array_equal(encoder.encode(TEXTS), expected(TEXTS))


def test_what_was_answered_before_a_failure_is_kept(
    make: Make, server: EmbeddingServer, tmp_path: Path
) -> None:
    encoder = make(requests=Requests(items=6, concurrency=1, retry=Retry(attempts=1)))
    cached = CachedEncoder(encoder, VectorCache(tmp_path))
    server.faults = {3: status(500)}
    with pytest.raises(ServiceError):
        cached.encode(TEXTS)
    server.requests.clear()
    server.faults = {}
    np.testing.assert_array_equal(cached.encode(TEXTS), expected(TEXTS))
    assert [t for t in server.texts if t != CANARY] == TEXTS[10:]


def test_answers_under_way_are_kept_when_another_fails(make: Make, server: EmbeddingServer) -> None:
    encoder = make(requests=Requests(items=6, concurrency=4, retry=Retry(attempts=1)))
    server.pause = 0.05
    server.faults = {1: status(500)}
    rows: list[slice] = []
    with pytest.raises(ServiceError):
        for part, _ in encoder.batches(TEXTS):
            rows.append(part)
    assert len(rows) == 3


class TestSpendCap:
    def test_items_are_never_passed(
        self, make: Make, server: EmbeddingServer, tmp_path: Path
    ) -> None:
        cap = SpendCap(max_items=12)
        cached = CachedEncoder(make(cap=cap), VectorCache(tmp_path))
        with pytest.raises(SpendCapError, match=r"text 13 of 20 .*--max-items"):
            cached.encode(TEXTS)
        assert len(set(server.texts) - {CANARY}) == 12 == cap.items
        np.testing.assert_array_equal(cached.encode(TEXTS[:12]), expected(TEXTS[:12]))
        assert cap.items == 12

    def test_tokens_are_never_passed_and_settled_by_what_the_server_counts(
        self, make: Make, server: EmbeddingServer
    ) -> None:
        cap = SpendCap(max_tokens=200)
        encoder = make(cap=cap)
        first = len(CANARY.split())
        assert cap.tokens == first
        encoder.encode(TEXTS[:4])
        assert cap.tokens == first + 4 * 3
        with pytest.raises(SpendCapError, match="--max-tokens"):
            encoder.encode(["word " * 30] * 8)
        counted = sum(len(t.split()) for t in server.texts)
        assert cap.tokens == counted <= 200

    def test_a_long_text_that_could_pass_the_cap_is_not_sent(
        self, make: Make, server: EmbeddingServer
    ) -> None:
        encoder = make(cap=SpendCap(max_tokens=200))
        with pytest.raises(SpendCapError, match="text 1 of 1"):
            encoder.encode(["a" * 300])
        assert len(server.requests) == 1

    def test_a_cap_of_nothing_asks_nothing(self, make: Make, server: EmbeddingServer) -> None:
        with pytest.raises(SpendCapError, match="first request"):
            make(cap=SpendCap(max_tokens=0))
        assert not server.requests

    def test_what_may_have_been_counted_is_counted(
        self, make: Make, server: EmbeddingServer
    ) -> None:
        cap = SpendCap()
        encoder = make(cap=cap)
        before = cap.tokens
        server.faults = {1: broken_json(), 2: status(500)}
        encoder.encode(TEXTS[:1])
        bound = len(TEXTS[0]) + 2 + len(CANARY) + 2
        assert cap.tokens == before + bound + len(TEXTS[0].split())
        assert cap.items == 1

    def test_a_refused_call_is_not_counted(self, make: Make, server: EmbeddingServer) -> None:
        cap = SpendCap()
        encoder = make(cap=cap)
        before = cap.tokens
        server.always = status(400)
        with pytest.raises(ServiceError):
            encoder.encode(TEXTS[:1])
        assert (cap.items, cap.tokens) == (0, before)

    def test_threads_share_a_cap(self, make: Make, server: EmbeddingServer) -> None:
        cap = SpendCap(max_items=50)
        encoder = make(cap=cap)

        def ask(n: int) -> int:
            try:
                return len(encoder.encode([f"{n} {i}" for i in range(10)]))
            except SpendCapError:
                return 0

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, range(8)))
        sent = len([t for t in server.texts if t != CANARY])
        assert sent == cap.items <= 50


class TestKey:
    KEY = "sk-very-secret-0123456789"

    def test_the_key_appears_nowhere(
        self,
        make: Make,
        server: EmbeddingServer,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setenv("MY_KEY", self.KEY)
        monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
        caplog.set_level(logging.DEBUG)
        encoder = make(key_env="MY_KEY", cap=SpendCap(max_items=100))
        cached = CachedEncoder(encoder)
        cached.encode(TEXTS)
        said = [repr(encoder), str(encoder), repr(cached), repr(encoder.cap), encoder.revision]
        said += [repr(vars(encoder)), repr(vars(encoder._endpoint))]
        said += [repr(vars(encoder._endpoint._client))]
        # a server that repeats the key in whatever it says
        echoes = [
            status(401, {"error": {"message": f"Incorrect API key provided: {self.KEY}"}}),
            status(400, {"error": f"Bearer {self.KEY}"}),
            status(500, {"detail": self.KEY}),
            status(403, "x" * 190 + self.KEY),
        ]
        for fault in echoes:
            server.always = fault
            with pytest.raises(IsthmusError) as caught:
                encoder.encode(["another text"])
            error: BaseException | None = caught.value
            while error is not None:
                said += [str(error), repr(error), *traceback.format_exception(error)]
                said.append(repr(vars(error)))
                error = error.__cause__ or error.__context__
        assert any("***" in text for text in said)
        out, err = capfd.readouterr()
        said += [out, err, caplog.text, *(repr(vars(r)) for r in caplog.records)]
        assert not [text for text in said if self.KEY in text or "very-secret" in text]
        files = [f for f in tmp_path.rglob("*") if f.is_file()]
        assert len(files) >= 2
        assert not [f for f in files if self.KEY.encode() in f.read_bytes()]
        assert server.requests[-1]["headers"]["Authorization"] == f"Bearer {self.KEY}"

    def test_no_copy_of_the_encoder_carries_it(
        self, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MY_KEY", self.KEY)
        encoder = make(key_env="MY_KEY")
        try:
            content = pickle.dumps(encoder)
        except TypeError:
            content = b""
        assert self.KEY.encode() not in content

    def test_a_named_variable_must_be_set(
        self, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("MY_KEY", raising=False)
        with pytest.raises(InputError, match="MY_KEY: the environment variable is not set"):
            make(key_env="MY_KEY")

    def test_a_server_without_keys_gets_none(
        self, make: Make, server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        make().encode(TEXTS)
        assert all("Authorization" not in r["headers"] for r in server.requests)

    @pytest.mark.parametrize("key", ["sk-a\u2026b", "sk-a\nb"])
    def test_a_key_that_no_header_can_hold_is_not_shown(
        self, make: Make, monkeypatch: pytest.MonkeyPatch, key: str
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", key)
        with pytest.raises(InputError, match="OPENAI_API_KEY") as caught:
            make()
        assert "sk-a" not in str(caught.value)

    @pytest.mark.parametrize(
        "url",
        [
            "https://me:very-secret@host/v1",
            "https://very-secret@host/v1",
            "https://me:very-secret@host:port/v1",
            "me:very-secret@host",
            "ftp://host/v1?key=very-secret",
        ],
    )
    def test_a_secret_in_a_url_is_refused_and_not_shown(self, url: str, tmp_path: Path) -> None:
        with pytest.raises(InputError) as caught:
            OpenAiEncoder("small", url, folder=tmp_path)
        assert "very-secret" not in "".join(traceback.format_exception(caught.value)).replace(
            f'"{url}"', ""
        )


@pytest.mark.parametrize(
    "url", ["", "localhost:8080", "https://", "http://host:99999/v1", "file:///x"]
)
def test_an_address_that_is_none_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not an address"):
        OpenAiEncoder("small", url, folder=tmp_path)


def test_a_server_that_is_gone(tmp_path: Path) -> None:
    with embedding_server() as server:
        url = server.url
    with pytest.raises(
        ServiceError, match=r"first request: the server cannot be reached .*refused"
    ):
        OpenAiEncoder("small", url, folder=tmp_path, requests=Requests(retry=QUICK))


def test_a_server_that_goes_in_the_middle(tmp_path: Path) -> None:
    with embedding_server() as server:
        encoder = OpenAiEncoder(
            "small", server.url, folder=tmp_path, requests=Requests(retry=QUICK)
        )
        encoder.encode(TEXTS)
    with pytest.raises(ServiceError, match="after 3 attempt"):
        encoder.encode(TEXTS)
    encoder.close()


def test_many_callers_at_once(make: Make, server: EmbeddingServer) -> None:
    encoder = make()
    server.faults = {n: status(503) for n in range(3, 40, 7)}

    def ask(n: int) -> None:
        texts = [f"caller {n}, text {i}" for i in range(13)]
        np.testing.assert_array_equal(encoder.encode(texts), expected(texts))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(16)))


def test_blank_texts_cost_nothing(make: Make, server: EmbeddingServer) -> None:
    encoder = make()
    with pytest.raises(InputError, match="row 1"):
        encoder.encode(["a", " "])
    assert len(server.requests) == 1
    assert encoder.encode([]).shape == (0, DIM)


@pytest.mark.parametrize(
    "options", [{"items": 1}, {"tokens": 0}, {"concurrency": 0}, {"timeout": 0}]
)
def test_requests_that_cannot_be_made_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        Requests(**options)
