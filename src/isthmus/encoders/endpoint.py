"""One HTTP address that is asked in JSON; its key stays in the environment and in the request."""

from __future__ import annotations

import json
import os
import time
import weakref
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from isthmus.encoders.retry import Refused, Transient, retry_after
from isthmus.errors import InputError, ServiceError, missing_extra
from isthmus.json_text import read_json

if TYPE_CHECKING:
    import httpx

__all__ = ["OPENAI_KEY", "Endpoint"]

OPENAI_KEY = "OPENAI_API_KEY"
_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_AS_IT_IS = frozenset({400, 413, 422})
_AZURE = (".azure.com", ".azure.us", ".azure.cn")
_QUOTED = 200  # characters of a server's own words in a message
_ERROR_BYTES = 1 << 16


class Endpoint:
    """An address for JSON requests with an optional bearer key.

    The key is read from the environment for each request and is never an attribute, so that no
    copy, ``repr``, pickle or traceback of this object holds it; where a server repeats it in its
    answer, it is cut out.

    Args:
        url: ``http://`` or ``https://``, without user name or password.
        key_env: the environment variable with the key.  By default ``OPENAI_API_KEY``, which may
            be unset for a server that asks for no key.
        timeout: seconds for one request, all of it.
        connections: requests made at once.

    Raises:
        MissingExtraError: if httpx is not installed.
        InputError: if the URL cannot be used or holds a password, or the variable that
            ``key_env`` names is unset.
    """

    def __init__(
        self, url: str, *, key_env: str | None = None, timeout: float = 60.0, connections: int = 4
    ) -> None:
        try:
            import httpx
        except ImportError as error:
            raise missing_extra("httpx", "http", "an encoder behind a URL") from error
        parts = _checked(url)
        self.url = url
        self.place = f"{parts.scheme}://{parts.hostname}"
        """The address as messages show it: without the query, which may hold a secret."""
        if parts.port is not None:
            self.place += f":{parts.port}"
        self.place += parts.path
        self._key_env = key_env or OPENAI_KEY
        self._key_needed = key_env is not None
        self._timeout = timeout
        self._key()
        try:
            self._client = httpx.Client(
                timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)),
                limits=httpx.Limits(max_connections=connections),
            )
        except (ImportError, OSError, ValueError, httpx.InvalidURL) as error:
            # the name of a proxy may hold a password
            raise InputError(
                "the proxy, or the file of certificates, that the environment names cannot be used",
                where="ALL_PROXY, HTTP_PROXY, HTTPS_PROXY, SSL_CERT_FILE or SSL_CERT_DIR",
                mend="Set it to one that can, or unset it; one of SOCKS needs pip install "
                "'httpx[socks]'",
            ) from error
        weakref.finalize(self, self._client.close)

    def __repr__(self) -> str:
        return f"Endpoint({self.place!r})"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def post(self, payload: dict[str, Any], *, most_bytes: int) -> Any:
        """The JSON value that the server answers to ``payload`` with.

        Args:
            payload: sent as JSON.
            most_bytes: an answer of more is refused.

        Raises:
            Transient: for a failure after which the same request can be made again.
            Refused: for a request that the server may do in parts.
            ServiceError: for any other.
        """
        import httpx

        key = self._key()
        headers = _headers(urlsplit(self.url).hostname or "", key)
        content = json.dumps(payload, ensure_ascii=False).encode()
        try:
            with self._client.stream("POST", self.url, content=content, headers=headers) as answer:
                limit = most_bytes if answer.is_success else _ERROR_BYTES
                body = self._read(answer, limit)
        except httpx.TimeoutException:
            raise Transient(f"no answer within {self._timeout:g} s", charged=True) from None
        except httpx.ConnectError as error:
            raise Transient(f"the server cannot be reached ({_hidden(str(error), key)})") from None
        except httpx.TransportError as error:
            what = _hidden(str(error), key) or type(error).__name__
            raise Transient(f"the connection broke ({what})", charged=True) from None
        except httpx.DecodingError:
            raise Transient("the answer is compressed and damaged", charged=True) from None
        if not answer.is_success:
            raise self._refusal(answer, body, key)
        try:
            found = read_json(body)
        except ValueError:
            raise Transient("the answer is not JSON, or only its beginning", charged=True) from None
        if isinstance(found, dict) and found.get("error") and not found.get("data"):
            raise Transient(f"the server answered with an error ({_quoted(body, key)[0]})")
        return found

    def _read(self, answer: httpx.Response, limit: int) -> bytes:
        # the client's timeout is for each piece: a server that drips would never meet it
        end = time.monotonic() + self._timeout
        body = bytearray()
        for piece in answer.iter_bytes():
            body += piece
            if len(body) > limit and answer.is_success:
                raise ServiceError(
                    f"the answer is larger than {limit:,} bytes, the most that it can need",
                    where=self.place,
                    mend="Look at the address: this is not an embeddings endpoint",
                )
            if len(body) > limit:
                break
            if time.monotonic() > end:
                raise Transient(f"no whole answer within {self._timeout:g} s", charged=True)
        return bytes(body)

    def _refusal(self, answer: httpx.Response, body: bytes, key: str | None) -> Exception:
        message, code = _quoted(body, key)
        status = answer.status_code
        what = f"the server answered {status}" + (f" ({message})" if message else "")
        # a used-up quota comes back as 429 and does not pass by waiting
        if status in _AGAIN and code != "insufficient_quota":
            return Transient(what, wait=retry_after(answer.headers.get("Retry-After")))
        if status in (401, 403):
            mend = f"Set the environment variable {self._key_env} to a key that this server knows"
        elif status == 404:
            mend = "Look at the model's name and at the URL, which often ends in /v1"
        elif answer.is_redirect:
            mend = "Give the address that it points to; keys are not sent on to other places"
        else:
            mend = "Look at what the server says"
        refused = Refused if status in _AS_IT_IS else ServiceError
        return refused(what, where=self.place, mend=mend)

    def _key(self) -> str | None:
        key = os.environ.get(self._key_env, "").strip()
        if not key:
            if self._key_needed:
                raise InputError(
                    "the environment variable is not set",
                    where=self._key_env,
                    mend="Set it to the key, or name another with --key-env",
                )
            return None
        if not key.isascii() or not key.isprintable():
            raise InputError(
                "the key holds characters that no HTTP header can",
                where=self._key_env,
                mend="Set it again; a quotation mark or a line break may have slipped in",
            )
        return key


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port  # read here: a port that is no number raises
    except ValueError:
        parts, port = urlsplit(""), 0
    if "@" in parts.netloc:
        raise InputError(
            "a URL with a user name or password is not read, for it would be shown and stored",
            where=f"{parts.scheme}://…@{parts.hostname}",
            mend="Keep the key in an environment variable and name it with --key-env",
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        shown = url.partition("?")[0].rpartition("@")[2]
        raise InputError(
            "this is not an address of a server",
            where=shown,
            mend="Write one like https://api.openai.com/v1 or http://localhost:8080/v1",
        )
    return parts


def _headers(host: str, key: str | None) -> dict[str, str]:
    """Of a request; deployments of Azure look for the key in a header of their own."""
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
        if host.endswith(_AZURE):
            headers["api-key"] = key
    return headers


def _quoted(body: bytes, key: str | None) -> tuple[str, str | None]:
    """`_words` as a message may hold them: short, and without the key."""
    message, code = _words(body)
    return _hidden(message, key)[:_QUOTED], code


def _words(body: bytes) -> tuple[str, str | None]:
    """What a server says about its refusal, in one line, and its code for it."""
    text = body.decode("utf-8", errors="replace")
    code = None
    try:
        found: Any = read_json(text)
    except ValueError:
        found = None
    if isinstance(found, dict):
        inner: Any = found.get("error", found)
        if isinstance(inner, dict):
            code = inner.get("code")
            inner = inner.get("message", inner.get("detail", ""))
        text = inner if isinstance(inner, str) else str(inner)
    return " ".join(text.split()), code if isinstance(code, str) else None


def _hidden(text: str, key: str | None) -> str:
    return text.replace(key, "***") if key else text
