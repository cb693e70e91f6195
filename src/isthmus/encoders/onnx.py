"""Transformer encoders in ONNX files, run by ONNX Runtime on the CPU.

Texts are run in batches of one token length, so that nothing is ever padded.  A model whose
activations are quantised at run time (``DynamicQuantizeLinear``) takes its scale from the whole
batch, which makes a vector depend on its neighbours; such a model gets one text per run.  Of the
two packaged models neither does this: the int8 file of all-MiniLM-L6-v2 stores int8 weights and
computes in float32.  Over 1,000 WordNet glosses both gave bit-identical vectors for batches of 1,
16 and 64, padded or not, on one thread or two (ONNX Runtime 1.31, x86-64 with AVX-512).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.array_types import Embeddings
from isthmus.encoders.checks import check_encoded, check_texts
from isthmus.encoders.protocol import Kind
from isthmus.encoders.tokenizer import load_tokenizer
from isthmus.errors import InputError, missing_extra
from isthmus.inputs import read_whole
from isthmus.progress import Progress, silent
from isthmus.threads import processors

__all__ = ["OnnxEncoder"]

_WINDOW = 4096  # texts whose tokens are held at once: memory does not grow with their number
_KNOWN_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})


class OnnxEncoder:
    """A transformer's mean-pooled token states, scaled to unit length.

    ``v = Σ_t h_t / |Σ_t h_t|`` over all tokens of the text, special ones included, as in
    Sentence-BERT (Reimers and Gurevych 2019, section 3).

    Args:
        model: The ONNX file.
        tokenizer: See `load_tokenizer`.
        name: The model's name.
        max_length: Texts are cut at this number of tokens.
        batch_size: Texts per run, at most.
        threads: Batches run at once; by default, the processors this process may use.
        output: The output that holds the token states ``(batch, tokens, dim)``; needed only where
            a model has several of that rank and none is called ``last_hidden_state``.
        revision: By default, a digest of the two files and of the options that shape a vector.
            Give one where the weights lie outside of the ONNX file.

    Raises:
        MissingExtraError: if onnxruntime or tokenizers is not installed.
        InputError: if a file cannot be loaded, or is not a transformer of this kind.

    Example:
        >>> from pathlib import Path
        >>> from isthmus.encoders import OnnxEncoder
        >>> files = Path("model.onnx"), Path("tokenizer.json")
        >>> OnnxEncoder(*files, name="mine").encode(["a bank"]).shape  # doctest: +SKIP
        (1, 384)
        >>> OnnxEncoder(*files, name="mine", max_length=1)
        Traceback (most recent call last):
            ...
        isthmus.errors.InputError: max_length: 1 is too small. At least 3.
    """

    def __init__(
        self,
        model: str | Path,
        tokenizer: str | Path,
        *,
        name: str,
        max_length: int = 128,
        batch_size: int = 16,
        threads: int | None = None,
        output: str | None = None,
        revision: str | None = None,
    ) -> None:
        model, tokenizer = Path(model), Path(tokenizer)
        for parameter, value, least in (
            ("max_length", max_length, 3),
            ("batch_size", batch_size, 1),
            ("threads", 1 if threads is None else threads, 1),
        ):
            if value < least:
                raise InputError(f"{value} is too small", where=parameter, mend=f"At least {least}")
        self.name = name
        self.max_length = max_length
        self._tokenizer = load_tokenizer(tokenizer, max_length=max_length)
        self._threads = threads
        self._session = _session(model)
        self._inputs = _input_names(self._session, model)
        self._output, self.dim = _token_states(self._session, model, output)
        weights = read_whole(model)
        self.batch_size = 1 if b"DynamicQuantize" in weights else batch_size
        self.revision = revision or _revision(
            weights, read_whole(tokenizer), f"{self._output} mean unit_norm {max_length}".encode()
        )

    def encode(
        self, texts: Sequence[str], *, kind: Kind = "document", progress: Progress = silent
    ) -> Embeddings:
        """See `Encoder.encode`; queries and documents are encoded alike, rows have unit norm."""
        check_texts(texts)
        vectors = np.empty((len(texts), self.dim), np.float32)
        done = 0
        with ThreadPoolExecutor(self._threads or processors()) as pool:
            for start in range(0, len(texts), _WINDOW):
                encodings = self._tokenizer.encode_batch(list(texts[start : start + _WINDOW]))
                tokens: list[list[int]] = [encoding.ids for encoding in encodings]
                batches = list(_equal_length_batches(tokens, self.batch_size))
                runs = pool.map(self._run, ([tokens[row] for row in rows] for rows in batches))
                for rows, found in zip(batches, runs, strict=True):
                    vectors[[start + row for row in rows]] = found
                    done += len(rows)
                    progress(f"encoding with {self.name}", done, len(texts))
        return check_encoded(vectors, rows=len(texts), dim=self.dim, name=self.name)

    def _run(self, tokens: list[list[int]]) -> Embeddings:
        ids = np.array(tokens, np.int64)
        feed = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
        }
        states = self._session.run([self._output], {name: feed[name] for name in self._inputs})[0]
        # The mask is all ones, so that the masked mean is the mean.
        pooled = states.mean(axis=1, dtype=np.float64)
        norms = np.linalg.norm(pooled, axis=1, keepdims=True)
        return (pooled / np.maximum(norms, np.finfo(np.float64).tiny)).astype(np.float32)


def _equal_length_batches(tokens: list[list[int]], batch_size: int) -> Iterator[list[int]]:
    """Row numbers in batches of equal token length, the longest first to meet a lack of memory."""
    rows_of: defaultdict[int, list[int]] = defaultdict(list)
    for row, ids in enumerate(tokens):
        rows_of[len(ids)].append(row)
    for length in sorted(rows_of, reverse=True):
        rows = rows_of[length]
        for start in range(0, len(rows), batch_size):
            yield rows[start : start + batch_size]


def _session(model: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise missing_extra("onnxruntime", "onnx", "an ONNX encoder") from error
    if not model.is_file():
        raise InputError("there is no such file", where=str(model), mend="Look at the path")
    options: Any = onnxruntime.SessionOptions()
    # Short texts are too little work to share out: whole batches run beside each other instead.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only: the runtime warns about absent graphics cards
    try:
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's exceptions have no public common class
        raise InputError(
            f"not a model that ONNX Runtime {onnxruntime.__version__} can load ({error})",
            where=str(model),
            mend="Download or export the model again",
        ) from error


def _input_names(session: Any, model: Path) -> list[str]:
    names: list[str] = [node.name for node in session.get_inputs()]
    unknown = sorted(set(names) - _KNOWN_INPUTS)
    if unknown or "input_ids" not in names:
        raise InputError(
            f"the model's inputs are {names}",
            where=str(model),
            mend="Export it with input_ids, attention_mask and token_type_ids only",
        )
    return names


def _token_states(session: Any, model: Path, wanted: str | None) -> tuple[str, int]:
    """Name and width of the output with the token states."""
    widths: dict[str, object] = {
        node.name: node.shape[2] for node in session.get_outputs() if len(node.shape) == 3
    }
    if wanted is None:
        wanted = "last_hidden_state"
        if wanted not in widths and len(widths) == 1:
            (wanted,) = widths
    width = widths.get(wanted)
    if not isinstance(width, int):
        raise InputError(
            f"no output '{wanted}' of shape (batch, tokens, dim) with a fixed dim; "
            f"there are {[(node.name, node.shape) for node in session.get_outputs()]}",
            where=str(model),
            mend="Name the output that holds the token states, or export the model with one",
        )
    return wanted, width


def _revision(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return f"sha256:{digest.hexdigest()}"
