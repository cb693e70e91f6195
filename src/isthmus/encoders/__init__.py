"""Models that make vectors from texts, behind one small protocol.

ONNX Runtime and tokenizers are imported only when an encoder that needs them is made.
"""

from __future__ import annotations

from isthmus.encoders.cache import cache_folder, encode_cached
from isthmus.encoders.callable import CallableEncoder
from isthmus.encoders.onnx import OnnxEncoder
from isthmus.encoders.packaged import all_minilm_l6_int8, paraphrase_minilm_l3, wordllama_256
from isthmus.encoders.protocol import Encoder, Kind, Vectors
from isthmus.encoders.static import StaticEncoder

__all__ = [
    "CallableEncoder",
    "Encoder",
    "Kind",
    "OnnxEncoder",
    "StaticEncoder",
    "Vectors",
    "all_minilm_l6_int8",
    "cache_folder",
    "encode_cached",
    "paraphrase_minilm_l3",
    "wordllama_256",
]
