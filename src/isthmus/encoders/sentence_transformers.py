"""Models of the library sentence-transformers, from a folder or by their name on a hub."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isthmus.array_types import Embeddings
from isthmus.encoders.checks import check_encoded, check_texts
from isthmus.encoders.protocol import Kind
from isthmus.errors import InputError, missing_extra
from isthmus.locks import ForkLock
from isthmus.progress import Progress, silent

__all__ = ["SentenceTransformersEncoder"]

_WINDOW = 1024  # texts handed over at once, so that progress is told and memory bounded


class SentenceTransformersEncoder:
    """A ``SentenceTransformer`` with its own prompts for queries and documents.

    The vectors are those of the library's ``encode_query`` and ``encode_document``; nothing is
    normalised that the model does not normalise itself.

    Args:
        model: a folder, a name on a hub, or a loaded ``SentenceTransformer``.
        name: by default, the folder's or the model's name.
        prompts: what stands before queries and documents (keys ``query`` and ``document``), in
            place of the prompts that the model brings.
        device: as in PyTorch, such as ``cuda:1``; by default the library's choice.
        truncate_dim: the first components only, for models trained for that.
        batch_size: texts at once.

    Raises:
        MissingExtraError: if sentence-transformers is not installed.
        InputError: if the model cannot be loaded.

    Example:
        >>> from isthmus.encoders import SentenceTransformersEncoder
        >>> prompts = {"query": "query: ", "document": "passage: "}
        >>> model = SentenceTransformersEncoder("./e5-small", prompts=prompts)  # doctest: +SKIP
        >>> model.encode(["a bank"], kind="query").shape  # doctest: +SKIP
        (1, 384)
    """

    def __init__(
        self,
        model: Any,
        *,
        name: str | None = None,
        prompts: Mapping[str, str] | None = None,
        device: str | None = None,
        truncate_dim: int | None = None,
        batch_size: int = 32,
    ) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise missing_extra("sentence-transformers", "st", "such an encoder") from error
        if unknown := set(prompts or ()) - {"query", "document"}:
            raise InputError(f"unknown keys {sorted(unknown)}", where="prompts")
        if isinstance(model, str | Path):
            name = name or (Path(model).resolve().name if Path(model).exists() else str(model))
            loaded = _load(SentenceTransformer, str(model), device)
        else:
            name, loaded = name or "sentence-transformer", model
        self._model: Any = loaded
        self._prompts = {**loaded.prompts, **(prompts or {})}
        self._truncate_dim = truncate_dim
        self._batch_size = batch_size
        self._lock = ForkLock()  # fast tokenisers cannot be shared by two threads
        self.name = name
        width = self._run(["a"], "document").shape[1]
        self.dim = int(width)
        self.revision = _revision(loaded, self._prompts, self.dim)

    def __repr__(self) -> str:
        return f"SentenceTransformersEncoder({self.name!r}, dim={self.dim})"

    def encode(
        self, texts: Sequence[str], *, kind: Kind = "document", progress: Progress = silent
    ) -> Embeddings:
        """See `Encoder.encode`; queries and documents get the prompts of their kind."""
        import numpy as np

        check_texts(texts)
        vectors = np.empty((len(texts), self.dim), np.float32)
        for start in range(0, len(texts), _WINDOW):
            some = list(texts[start : start + _WINDOW])
            stop = start + len(some)
            vectors[start:stop] = check_encoded(
                self._run(some, kind), rows=len(some), dim=self.dim, name=self.name, texts=some
            )
            progress(f"encoding with {self.name}", stop, len(texts))
        return vectors

    def _run(self, texts: list[str], kind: Kind) -> Any:
        encode = self._model.encode_query if kind == "query" else self._model.encode_document
        options: dict[str, Any] = {"batch_size": self._batch_size, "show_progress_bar": False}
        if self._truncate_dim is not None:
            options["truncate_dim"] = self._truncate_dim
        if kind in self._prompts:
            options["prompt"] = self._prompts[kind]
        with self._lock:
            return encode(texts, convert_to_numpy=True, **options)


def _load(make: Any, model: str, device: str | None) -> Any:
    try:
        return make(model, device=device)
    except Exception as error:  # the libraries beneath raise many kinds
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"sentence-transformers cannot load it ({type(error).__name__}: {reason})",
            where=model,
            mend="Give a folder with modules.json, or the name of a model on the hub",
        ) from error


def _revision(model: Any, prompts: Mapping[str, str], dim: int) -> str:
    """A digest of the weights, the tokeniser, the modules' options and the prompts."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        host = tensor.detach().cpu()
        # numpy has no bfloat16, and every bfloat16 is a float32
        host = host.float() if "bfloat16" in str(tensor.dtype) else host
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(host.contiguous().numpy().reshape(-1).view("u1").data)
    fast: Any = getattr(getattr(model, "tokenizer", None), "backend_tokenizer", None)
    for part in (
        fast.to_str() if fast is not None else "",
        repr(model),
        repr(sorted(prompts.items())),
        str(dim),
    ):
        digest.update(hashlib.sha256(part.encode()).digest())
    return f"sha256:{digest.hexdigest()}"
