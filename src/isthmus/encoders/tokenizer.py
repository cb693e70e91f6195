"""Tokenizers from a local file: a ``tokenizer.json``, or the vocabulary of an uncased BERT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from isthmus.errors import InputError, missing_extra
from isthmus.spaces.text_files import text_of_file

__all__ = ["load_tokenizer"]

_LONGEST_VOCABULARY = 1 << 26


def load_tokenizer(path: Path, *, max_length: int | None = None) -> Any:
    """A ``tokenizers.Tokenizer`` without padding, truncating at ``max_length`` tokens if given.

    A file ``*.json`` is read as it is.  A file ``*.txt`` or ``*.txt.gz`` is a vocabulary of one
    token per line, cut by BERT's uncased WordPiece (Devlin et al. 2019, google-research/bert).

    Raises:
        MissingExtraError: if the package tokenizers is not installed.
        InputError: if the file is missing, of another kind, or cannot be read.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise missing_extra("tokenizers", "onnx", "a tokenizer") from error
    if not path.is_file():
        raise InputError("there is no such file", where=str(path), mend="Look at the path")
    tokenizer: Any
    if path.suffix == ".json":
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the package raises bare Exception
            raise InputError(
                f"not a tokenizer that the package tokenizers can read ({error})",
                where=str(path),
                mend="Export it with save_pretrained, which writes tokenizer.json",
            ) from error
    elif path.name.endswith((".txt", ".txt.gz")):
        tokenizer = _uncased_wordpiece(path)
    else:
        raise InputError(
            "the kind of tokenizer is unknown",
            where=str(path),
            mend="Give a tokenizer.json, or a vocab.txt of an uncased BERT",
        )
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if max_length is not None:
        tokenizer.enable_truncation(max_length)
    return tokenizer


def _uncased_wordpiece(path: Path) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    with text_of_file(path) as file:
        text = file.read(_LONGEST_VOCABULARY + 1)
    if len(text) > _LONGEST_VOCABULARY:
        raise InputError(
            f"a vocabulary has no more than {_LONGEST_VOCABULARY:,} characters", where=str(path)
        )
    lines = text.splitlines()
    vocabulary = {token: number for number, token in enumerate(lines)}
    for token in ("[UNK]", "[CLS]", "[SEP]"):
        if token not in vocabulary:
            raise InputError(
                f"the vocabulary has no token {token}",
                where=str(path),
                mend="Give the vocab.txt of a BERT model",
            )
    tokenizer: Any = Tokenizer(
        models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100)
    )
    # Strings such as "[SEP]" inside a text stay special, as in the models' own tokenizer.json.
    tokenizer.add_special_tokens(
        [t for t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if t in vocabulary]
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    return tokenizer
