"""Vectors kept in the user's cache folder, so that no text is encoded twice by the same model.

Texts are cut into chunks of `CHUNK_ROWS`; a chunk's file is named by a digest of all that shapes
its vectors.  A chunk is written whole or not at all, so a killed run resumes after its last chunk,
and a longer corpus with the same beginning encodes only what is new.  A file is a ``.npy`` followed
by its SHA-256: a damaged one is encoded again.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from isthmus.encoders.checks import check_encoded, check_texts
from isthmus.encoders.protocol import Encoder, Kind, Vectors
from isthmus.errors import OutputError
from isthmus.files import atomic_file
from isthmus.progress import Progress, silent

__all__ = ["CHUNK_ROWS", "cache_folder", "encode_cached"]

CHUNK_ROWS = 1024
_DIGEST_BYTES = hashlib.sha256().digest_size


def cache_folder() -> Path:
    """``$ISTHMUS_CACHE``, else ``$XDG_CACHE_HOME/isthmus``, else ``~/.cache/isthmus``."""
    if own := os.environ.get("ISTHMUS_CACHE"):
        return Path(own)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "isthmus"
    return Path.home() / ".cache" / "isthmus"


def encode_cached(
    encoder: Encoder,
    texts: Sequence[str],
    *,
    kind: Kind = "document",
    folder: Path | None = None,
    progress: Progress = silent,
) -> Vectors:
    """``encoder.encode(texts)``, computing only the chunks that ``folder`` does not hold yet.

    Args:
        encoder: Its ``name``, ``revision`` and ``dim`` identify the model.
        texts: Any number of texts, none of them blank.
        kind: What the texts are used for.
        folder: By default, `cache_folder`.
        progress: Told the number of texts done, cached ones included.

    Returns:
        Vectors ``(len(texts), encoder.dim)``, float32.

    Raises:
        InputError: if a text or a vector is unusable.
        OutputError: if the folder cannot be written.
    """
    check_texts(texts)
    plain_name = re.sub(r"[^A-Za-z0-9-]+", "_", encoder.name)
    place = (folder or cache_folder()) / "vectors" / plain_name
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"the cache folder cannot be made ({error.strerror})",
            where=str(place),
            mend="Set ISTHMUS_CACHE to a folder you may write to",
        ) from error

    vectors = np.empty((len(texts), encoder.dim), np.float32)
    for start in range(0, len(texts), CHUNK_ROWS):
        chunk = texts[start : start + CHUNK_ROWS]
        stop = start + len(chunk)

        def report(task: str, done: int, _: int | None, /, first: int = start) -> None:
            progress(task, first + done, len(texts))

        file = place / f"{_key(encoder, chunk, kind)}.npy"
        known = _read(file, (len(chunk), encoder.dim))
        if known is None:
            known = check_encoded(
                encoder.encode(chunk, kind=kind, progress=report),
                rows=len(chunk),
                dim=encoder.dim,
                name=encoder.name,
            )
            _write(file, known)
        vectors[start:stop] = known
        progress(f"encoding with {encoder.name}", stop, len(texts))
    return vectors


def _key(encoder: Encoder, texts: Sequence[str], kind: Kind) -> str:
    digest = hashlib.sha256()
    for part in (encoder.name, encoder.revision, str(encoder.dim), kind, *texts):
        # The length goes first, so that no two lists of parts run together to the same bytes.
        content = part.encode()
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()


def _write(file: Path, vectors: Vectors) -> None:
    buffer = io.BytesIO()
    np.save(buffer, vectors, allow_pickle=False)
    content = buffer.getvalue()
    with atomic_file(file, overwrite=True) as temporary:
        temporary.write_bytes(content + hashlib.sha256(content).digest())


def _read(file: Path, shape: tuple[int, int]) -> Vectors | None:
    """The vectors in ``file``; none if it is absent or damaged."""
    try:
        stored = file.read_bytes()
    except FileNotFoundError:
        return None
    content, digest = stored[:-_DIGEST_BYTES], stored[-_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        return None
    vectors = np.load(io.BytesIO(content), allow_pickle=False)
    return vectors if vectors.shape == shape and vectors.dtype == np.float32 else None
