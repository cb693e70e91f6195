"""The local page of a review: who may see it, what it shows, and the one thing it writes.

The address that is printed carries a token; whoever opens it gets a cookie for it, and the token
leaves the address bar.  A decision is taken only with that cookie, from a form that this server
made (it holds a second token), sent by a page of this server.  Host names of others are refused, so
that no page elsewhere reaches the server under a name of its own.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from urllib.parse import parse_qs

from markupsafe import Markup
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from isthmus.errors import IsthmusError
from isthmus.plain_text import shell_words
from isthmus.registry import DECISIONS
from isthmus.registry.aliases import this_user
from isthmus.registry.reviews import checked_decision
from isthmus.report.write import page_environment, page_style
from isthmus.review.dossier import Dossier
from isthmus.review.sections import answer_of_version, sections_of

__all__ = ["review_app"]

_MOST_BODY = 64 * 1024
_TONES = {"approve": "good", "reject": "bad", "request changes": "caution"}
_WORDS = {"approve": "approved", "reject": "rejected", "request changes": "asks for changes"}
_TYPES = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif",
    ".webp": "image/webp",
}  # fmt: skip
PICTURES = frozenset(_TYPES)

_Handler = Callable[[Request], Awaitable[Response]]


def review_app(
    dossier: Dossier,
    token: str,
    *,
    hosts: Sequence[str],
    once: bool = False,
    decided: Callable[[str], None] = lambda _: None,
) -> Starlette:
    """The application that shows a version and takes decisions about it.

    Args:
        dossier: what is shown.
        token: whoever does not know it sees nothing.
        hosts: the values of ``Host`` that are answered, such as ``127.0.0.1:8000``; none: all.
        once: whether the first decision is the last, after which nothing is asked for any more.
        decided: told each decision once it stands in the audit log.

    Example:
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from isthmus import artefact
        >>> from isthmus.registry import Registry
        >>> from isthmus.review import dossier_of, review_app
        >>> registry = Registry.open(Path("reg"), create=True)
        >>> artefact.write(Path("mean"), "table of means", {}, {"mean": np.ones(3)})
        >>> _ = registry.publish(Path("mean"), "means")
        >>> app = review_app(dossier_of(registry, "means"), "a-secret", hosts=["127.0.0.1:8000"])
        >>> [route.path for route in app.routes][:2]
        ['/', '/decide']
    """
    desk = _Desk(dossier, token, tuple(hosts), once, decided)
    routes = [
        Route("/", desk.guarded(desk.page), methods=["GET"]),
        Route("/decide", desk.guarded(desk.decide), methods=["POST"]),
        Route("/image/{number:int}", desk.guarded(desk.image), methods=["GET"]),
    ]
    return Starlette(routes=routes)


class _Desk:
    def __init__(
        self,
        dossier: Dossier,
        token: str,
        hosts: tuple[str, ...],
        once: bool,
        decided: Callable[[str], None],
    ) -> None:
        self._dossier, self._hosts, self._once, self._decided = dossier, hosts, once, decided
        self._token = token
        # what a form must hold cannot be computed from the address alone, nor the other way round
        self._csrf = _derived(token, "form")
        self._session = _derived(token, "session")
        self._cookie = f"isthmus-review-{_derived(token, 'name')[:8]}"
        self._pictures = [*dossier.shown.images.values()]
        self._numbers = {name: i for i, name in enumerate(dossier.shown.images)}
        self._template = page_environment(**{"review.html.jinja": _part("review.html.jinja")})
        self._style = _dark_by_itself(page_style()) + _part("review.css")

    # ---- who may -------------------------------------------------------------------------------

    def guarded(self, handler: _Handler) -> _Handler:
        """The handler behind the checks of host and session; every answer with its headers."""

        async def answer(request: Request) -> Response:
            response = await self._admitted(request, handler)
            response.headers["Cache-Control"] = "no-store"
            response.headers["X-Content-Type-Options"] = "nosniff"
            response.headers["X-Frame-Options"] = "DENY"
            response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
            return response

        return answer

    async def _admitted(self, request: Request, handler: _Handler) -> Response:
        if self._hosts and request.headers.get("host", "") not in self._hosts:
            return PlainTextResponse("This server is known by another name.\n", 421)
        given = request.query_params.get("token")
        if given is not None and _same(given, self._token) and request.method == "GET":
            # the address without the token is what a browser keeps and shows
            entered = Response(status_code=303, headers={"Location": request.url.path})
            entered.set_cookie(
                self._cookie, self._session, httponly=True, samesite="strict", path="/"
            )
            return entered
        held = request.cookies.get(self._cookie)
        if held is None or not _same(held, self._session):
            return PlainTextResponse(
                "Open the address that 'isthmus review' printed: it carries the token.\n", 403
            )
        return await handler(request)

    # ---- what is shown ---------------------------------------------------------------------------

    async def page(self, request: Request) -> Response:
        """The whole page."""
        done = request.query_params.get("entry", "")
        told = f"Entry {done} stands in the audit log." if done.isdigit() else ""
        return self._page(done=told)

    def _page(
        self,
        *,
        done: str = "",
        ended: bool = False,
        fault: str = "",
        given: dict[str, str] | None = None,
        code: int = 200,
    ) -> Response:
        dossier, nonce = self._dossier, secrets.token_urlsafe(16)
        stages = dossier.stages()
        html = self._template.get_template("review.html.jinja").render(
            release=dossier.release,
            bridge=dossier.bridge is not None,
            answer=answer_of_version(dossier),
            sections=sections_of(dossier, stages),
            changes=dossier.changes,
            texts=dossier.shown.texts,
            query_text=dossier.shown.query,
            images=self._numbers,
            card=dossier.card,
            reviews=dossier.reviews(),
            decisions=DECISIONS,
            tones=_TONES,
            words=_WORDS,
            given=given or {"decision": "", "by": this_user(), "reason": ""},
            done=done,
            ended=ended,
            fault=fault,
            csrf=self._csrf,
            registry=shell_words([dossier.registry.url]),
            nonce=nonce,
            style=Markup(self._style),
            version=version("isthmus"),
        )
        response = HTMLResponse(html, code)
        response.headers["Content-Security-Policy"] = (
            f"default-src 'none'; style-src 'nonce-{nonce}'; img-src 'self' data:; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        # no other site learns the address; the form's own origin is still told to this server
        response.headers["Referrer-Policy"] = "same-origin"
        return response

    async def image(self, request: Request) -> Response:
        """A picture of an item, by its number."""
        number = int(request.path_params["number"])
        if not 0 <= number < len(self._pictures):
            return PlainTextResponse("There is no such picture.\n", 404)
        path = self._pictures[number]
        return FileResponse(path, media_type=_TYPES[path.suffix.lower()])

    # ---- what is written -------------------------------------------------------------------------

    async def decide(self, request: Request) -> Response:
        """Write a decision into the registry's audit log."""
        if not self._from_here(request):
            return PlainTextResponse("This was not sent by the page of the review.\n", 403)
        body = bytearray()
        async for block in request.stream():
            body += block
            if len(body) > _MOST_BODY:
                return PlainTextResponse("That is too long.\n", 413)
        fields = parse_qs(body.decode("utf-8", errors="replace"), keep_blank_values=True)
        given = {name: fields.get(name, [""])[0].strip() for name in ("decision", "by", "reason")}
        if not _same(fields.get("csrf", [""])[0], self._csrf):
            return PlainTextResponse("This form is not of this review.\n", 403)
        try:
            if not given["decision"]:
                return self._page(fault="Choose a decision.", given=given, code=422)
            review = self._dossier.registry.approve(
                self._dossier.release.name,
                self._dossier.release.digest,
                by=given["by"],
                decision=checked_decision(given["decision"]),
                reason=given["reason"].replace("\r\n", "\n"),
            )
        except (IsthmusError, ValueError) as error:
            return self._page(fault=_told(error), given=given, code=422)
        self._decided(review.decision)
        if self._once:
            # nobody is there any more to answer where a redirection leads
            return self._page(
                done=f"Entry {review.sequence} stands in the audit log. The review has ended, "
                "and this page may be closed.",
                ended=True,
            )
        return Response(status_code=303, headers={"Location": f"/?entry={review.sequence}#log"})

    def _from_here(self, request: Request) -> bool:
        """Whether the browser says that a page of this very server sent it."""
        site = request.headers.get("sec-fetch-site", "same-origin")
        origin = request.headers.get("origin")
        expected = f"{request.url.scheme}://{request.headers.get('host', '')}"
        return site == "same-origin" and origin in (None, expected)


def _derived(token: str, purpose: str) -> str:
    return hmac.new(token.encode(), purpose.encode(), hashlib.sha256).hexdigest()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _told(error: Exception) -> str:
    if isinstance(error, IsthmusError):
        return str(error)
    return "the name or the reason cannot be kept: use plain text, 200 and 4,000 characters at most"


def _part(name: str) -> str:
    return files("isthmus.review").joinpath("page", name).read_text(encoding="utf-8")


def _dark_by_itself(style: str) -> str:
    """The style sheet of reports, dark where the system is: this page runs no script."""
    found = re.search(r':root\[data-theme="dark"\] (\{[^}]*\})', style)
    assert found is not None
    return f"{style}\n@media (prefers-color-scheme: dark) {{ :root {found[1]} }}\n"


def pictures_in(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by the names of their files without the ending."""
    return {
        path.stem: path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in PICTURES and path.is_file()
    }
