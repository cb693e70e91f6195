"""The URL of a store, taken apart: what to open, and what may be shown of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, quote, unquote

from isthmus.errors import InputError
from isthmus.evaluate.scores import Metric
from isthmus.plain_text import redacted
from isthmus.stores.refusals import unknown_name

__all__ = ["OPTIONS", "Address", "parse"]

OPTIONS = ("id", "text", "metric")
"""What may stand behind the ``?`` of every URL: the id field, the text field, the metric."""

_METRICS = ("cosine", "dot", "l2")


@dataclass(frozen=True)
class Address:
    """A parsed URL: ``scheme://location?options#collection.column``.

    Attributes:
        scheme: the kind of store, such as ``lancedb``.
        location: a folder, a file, ``host:port``, or the whole connection string.
        parts: the names behind ``#``, split at the dots.
        options: what stands behind ``?``.
        raw: the URL as given; it may hold a password and is not shown.
    """

    scheme: str
    location: str = field(repr=False)
    parts: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    raw: str = field(default="", repr=False)

    @property
    def shown(self) -> str:
        """The URL without any secret."""
        return redacted(self.raw)

    @property
    def collection(self) -> str | None:
        """The first name behind ``#``."""
        return self.parts[0] if self.parts else None

    @property
    def column(self) -> str | None:
        """What follows the collection's name, dots included."""
        return ".".join(self.parts[1:]) or None

    def beside(self, collection: str) -> Address:
        """The address of another collection of the same database."""
        place = self.raw.partition("#")[0]
        return replace(self, parts=(collection,), raw=f"{place}#{quote(collection)}")

    @property
    def metric(self) -> Metric | None:
        """The metric that the URL names."""
        named = self.options.get("metric")
        if named is None:
            return None
        if named not in _METRICS:
            raise unknown_name("metric", named, _METRICS, where=self.shown)
        return named  # pyright: ignore[reportReturnType] (it is one of them)


def parse(url: str) -> Address:
    """Take a URL apart; only `OPTIONS` are taken out of what stands behind ``?``.

    Raises:
        InputError: if there is no scheme, or nothing behind it.
    """
    scheme, mark, rest = url.partition("://")
    if not mark:
        raise InputError(
            "the store has no scheme",
            where=redacted(url),
            mend="Write it as lancedb://folder#table",
        )
    body, _, fragment = rest.partition("#")
    location, _, query = body.partition("?")
    if not location:
        raise InputError("nothing follows the scheme", where=redacted(url))
    pairs = parse_qsl(query, keep_blank_values=True)
    ours = {name: value for name, value in pairs if name in OPTIONS}
    theirs = "&".join(f"{n}={quote(v)}" for n, v in pairs if n not in OPTIONS)
    return Address(
        scheme.lower(),
        f"{location}?{theirs}" if theirs else location,
        tuple(unquote(part) for part in fragment.split(".")) if fragment else (),
        ours,
        url,
    )
