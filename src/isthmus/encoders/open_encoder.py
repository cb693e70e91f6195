"""One door to every encoder: ``st:all-MiniLM-L6-v2`` names a model and its kind in one line."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

from isthmus.encoders.cache import VectorCache
from isthmus.encoders.cached import CachedEncoder
from isthmus.encoders.onnx import OnnxEncoder
from isthmus.encoders.openai_compatible import OPENAI_URL, OpenAiEncoder, Requests
from isthmus.encoders.packaged import (
    all_minilm_l6_int8,
    paraphrase_minilm_l3,
    wordllama_256,
)
from isthmus.encoders.precomputed import PrecomputedEncoder
from isthmus.encoders.prefixed import PrefixedEncoder
from isthmus.encoders.protocol import Encoder
from isthmus.encoders.sentence_transformers import SentenceTransformersEncoder
from isthmus.encoders.spend_cap import SpendCap
from isthmus.encoders.static import StaticEncoder
from isthmus.errors import InputError
from isthmus.progress import Progress, silent

__all__ = ["SPELLINGS", "Spending", "open_encoder", "open_model"]

log = logging.getLogger(__name__)

SPELLINGS = {
    "st": "st:FOLDER-OR-NAME",
    "openai": "openai:MODEL@URL",
    "onnx": "onnx:MODEL.onnx",
    "static": "static:TABLE.safetensors",
    "vectors": "vectors:FILE.npy",
    "package": "package:NAME",
}
"""How an encoder of each kind is written."""

_PACKAGED: dict[str, Callable[[], Encoder]] = {
    "all-minilm-l6-int8": all_minilm_l6_int8,
    "paraphrase-minilm-l3": paraphrase_minilm_l3,
    "wordllama-256": wordllama_256,
}
_CACHED = ("st", "openai", "onnx", "package")
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.txt.gz")


@dataclass(frozen=True)
class Spending:
    """What an encoder behind a URL may use.

    Attributes:
        cap: a bound on texts and tokens, for all encoders opened with it.
        key_env: the environment variable with the key; by default ``OPENAI_API_KEY``.
        requests: sizes, concurrency, timeout and retries.

    Example:
        >>> spending = Spending(SpendCap(max_tokens=1_000_000), key_env="MY_KEY")
        >>> spending.cap.room()
        (inf, 1000000)
    """

    cap: SpendCap | None = None
    key_env: str | None = None
    requests: Requests | None = None


def open_encoder(
    spelling: str,
    *,
    spending: Spending | None = None,
    cache: VectorCache | None = None,
    progress: Progress = silent,
) -> Encoder:
    """The encoder that ``spelling`` names, with its vectors cached where encoding takes work.

    ================================  ==============================================================
    ``st:FOLDER-OR-NAME``             sentence-transformers; options ``device``, ``truncate_dim``
    ``openai:MODEL[@URL]``            an OpenAI-compatible endpoint; ``dimensions``, ``label``
    ``onnx:MODEL.onnx``               ONNX Runtime; ``tokenizer``, ``name``, ``max_length``
    ``static:TABLE.safetensors``      mean of token vectors; ``tokenizer``, ``name``
    ``vectors:FILE[:KEY]``            precomputed, by id; ``queries``, ``ids``
    ``package:NAME``                  weights from an installed package
    ================================  ==============================================================

    Options follow a ``#``, as in a URL's query: ``onnx:m.onnx#max_length=256&query=query: ``.
    Every kind but ``vectors`` takes ``query`` and ``document``, the prefixes of either; percent
    signs and ``&`` in them are written ``%25`` and ``%26``.

    Args:
        spelling: as above.
        spending: limits and key of an endpoint.
        cache: by default, a `VectorCache` in the user's cache folder, if one is needed.
        progress: told about rows copied from Parquet files.

    Raises:
        InputError: for an unknown kind, name or option, naming the nearest, or for what the
            encoder itself refuses.
        MissingExtraError: if a package that the encoder needs is not installed.
        ServiceError: if an endpoint cannot be used.

    Example:
        >>> import numpy as np
        >>> np.save("docs.npy", np.eye(3, dtype=np.float32))
        >>> open_encoder("vectors:docs.npy").encode(["2"]).tolist()
        [[0.0, 0.0, 1.0]]
        >>> open_encoder("sentence:all-MiniLM-L6-v2")
        Traceback (most recent call last):
        isthmus.errors.InputError: 'sentence:all-MiniLM-L6-v2' names no kind of encoder. ...
    """
    encoder = open_model(spelling, spending=spending, progress=progress)
    return CachedEncoder(encoder, cache) if spelling.partition(":")[0] in _CACHED else encoder


def open_model(
    spelling: str, *, spending: Spending | None = None, progress: Progress = silent
) -> Encoder:
    """As `open_encoder`, and nothing is kept of what it encodes."""
    kind, colon, rest = spelling.partition(":")
    if kind not in SPELLINGS or not colon:
        raise InputError(
            f"'{spelling.partition('#')[0] if colon else spelling}' names no kind of encoder",
            mend=_near(kind, SPELLINGS) or f"Write one of {', '.join(SPELLINGS.values())}",
        )
    place, _, tail = rest.partition("#")
    if not place:
        raise InputError("the model is missing", where=spelling, mend=f"Write {SPELLINGS[kind]}")
    options = _Options(kind, tail)
    encoder = _OPENERS[kind](place, options, spending or Spending(), progress)
    log.debug("opened an encoder of kind %s: %s", kind, type(encoder).__name__)
    return encoder


class _Options:
    """What follows the ``#``, each taken once."""

    def __init__(self, kind: str, text: str) -> None:
        self._kind = kind
        self._values = dict(parse_qsl(text, keep_blank_values=True))
        known = _KNOWN[kind]
        for name in self._values:
            if name not in known:
                raise InputError(
                    f"an encoder of kind '{kind}' has no option '{name}'",
                    mend=_near(name, known) or f"There are {', '.join(known)}",
                )
        if text and not self._values:
            raise InputError(f"'#{text}' has no options", mend="Write #name=value&name=value")

    def text(self, name: str) -> str | None:
        return self._values.get(name)

    def path(self, name: str) -> Path | None:
        return Path(self._values[name]) if name in self._values else None

    def number(self, name: str) -> int | None:
        if name not in self._values:
            return None
        try:
            return int(self._values[name])
        except ValueError as error:
            raise InputError(
                f"'{self._values[name]}' is not a whole number", where=f"{self._kind}: #{name}"
            ) from error

    @property
    def prompts(self) -> dict[str, str]:
        return {k: v for k, v in self._values.items() if k in ("query", "document")}

    def prefixed(self, encoder: Encoder) -> Encoder:
        return PrefixedEncoder(encoder, **self.prompts) if self.prompts else encoder


def _st(place: str, options: _Options, spending: Spending, progress: Progress) -> Encoder:
    return SentenceTransformersEncoder(
        place,
        prompts=options.prompts,
        device=options.text("device"),
        truncate_dim=options.number("truncate_dim"),
    )


def _openai(place: str, options: _Options, spending: Spending, progress: Progress) -> Encoder:
    # a model's name may hold an @ itself
    model, at, address = place.partition("@http")
    if not at and "@" in place.strip("@"):
        raise InputError(
            f"'{place.rpartition('@')[2]}' is not a URL",
            mend="Write openai:MODEL@https://HOST/v1, or openai:MODEL for OpenAI's own",
        )
    return options.prefixed(
        OpenAiEncoder(
            model,
            f"http{address}" if at else OPENAI_URL,
            dimensions=options.number("dimensions"),
            label=options.text("label"),
            key_env=spending.key_env,
            cap=spending.cap,
            requests=spending.requests,
        )
    )


def _onnx(place: str, options: _Options, spending: Spending, progress: Progress) -> Encoder:
    model = _only(Path(place), "*.onnx")
    return options.prefixed(
        OnnxEncoder(
            model,
            options.path("tokenizer") or _tokenizer(model),
            name=options.text("name") or _name(model),
            max_length=options.number("max_length") or 128,
        )
    )


def _static(place: str, options: _Options, spending: Spending, progress: Progress) -> Encoder:
    table = _only(Path(place), "*.safetensors")
    return options.prefixed(
        StaticEncoder(
            table,
            options.path("tokenizer") or _tokenizer(table),
            name=options.text("name") or _name(table),
        )
    )


def _vectors(place: str, options: _Options, spending: Spending, progress: Progress) -> Encoder:
    return PrecomputedEncoder(
        place, queries=options.text("queries"), ids=options.text("ids"), progress=progress
    )


def _package(place: str, options: _Options, spending: Spending, progress: Progress) -> Encoder:
    if place not in _PACKAGED:
        raise InputError(
            f"'{place}' is no packaged encoder",
            mend=_near(place, _PACKAGED) or f"There are {', '.join(_PACKAGED)}",
        )
    return options.prefixed(_PACKAGED[place]())


_OPENERS: dict[str, Callable[[str, _Options, Spending, Progress], Encoder]] = {
    "st": _st,
    "openai": _openai,
    "onnx": _onnx,
    "static": _static,
    "vectors": _vectors,
    "package": _package,
}
_PREFIXES = ("query", "document")
_KNOWN: dict[str, tuple[str, ...]] = {
    "st": ("device", "truncate_dim", *_PREFIXES),
    "openai": ("dimensions", "label", *_PREFIXES),
    "onnx": ("tokenizer", "name", "max_length", *_PREFIXES),
    "static": ("tokenizer", "name", *_PREFIXES),
    "vectors": ("queries", "ids"),
    "package": _PREFIXES,
}


def _near(name: str, known: Iterable[str]) -> str | None:
    found = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    return f"Did you mean '{SPELLINGS.get(found[0], found[0])}'?" if found else None


def _only(path: Path, pattern: str) -> Path:
    """``path``, or the only file of its kind in the folder ``path``."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(
            "there is no such file or folder", where=str(path), mend="Look at the path"
        )
    found = sorted(path.glob(pattern))
    if len(found) != 1:
        raise InputError(
            f"the folder holds {len(found)} files {pattern}",
            where=str(path),
            mend="Name the file itself",
        )
    return found[0]


def _tokenizer(model: Path) -> Path:
    for folder in (model.parent, model.parent.parent):
        for name in _TOKENIZERS:
            if (folder / name).is_file():
                return folder / name
    raise InputError(
        f"there is none of {', '.join(_TOKENIZERS)} beside the model",
        where=str(model),
        mend="Name the tokenizer, as in #tokenizer=FILE",
    )


def _name(model: Path) -> str:
    """The name of the file, or of its folder where every model's file is called alike."""
    return model.resolve().parent.name if model.stem in ("model", "embeddings") else model.stem
