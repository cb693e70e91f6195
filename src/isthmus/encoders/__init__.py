"""Models that make vectors from texts, behind one small protocol.

What an encoder needs (ONNX Runtime, tokenizers, sentence-transformers, httpx) is imported only
when one that needs it is made.
"""

from __future__ import annotations

from isthmus.encoders.cache import VectorCache
from isthmus.encoders.cached import CachedEncoder
from isthmus.encoders.callable import CallableEncoder
from isthmus.encoders.folder import cache_folder
from isthmus.encoders.model_canary import CanaryCheck, ModelCanary
from isthmus.encoders.onnx import OnnxEncoder
from isthmus.encoders.open_encoder import Spending, open_encoder
from isthmus.encoders.openai_compatible import OpenAiEncoder, Requests
from isthmus.encoders.packaged import all_minilm_l6_int8, paraphrase_minilm_l3, wordllama_256
from isthmus.encoders.precomputed import PrecomputedEncoder, encode_items
from isthmus.encoders.prefixed import PrefixedEncoder
from isthmus.encoders.protocol import Encoder, InBatches, Kind
from isthmus.encoders.retry import Retry
from isthmus.encoders.sentence_transformers import SentenceTransformersEncoder
from isthmus.encoders.spend_cap import SpendCap
from isthmus.encoders.static import StaticEncoder

__all__ = [
    "CachedEncoder",
    "CallableEncoder",
    "CanaryCheck",
    "Encoder",
    "InBatches",
    "Kind",
    "ModelCanary",
    "OnnxEncoder",
    "OpenAiEncoder",
    "PrecomputedEncoder",
    "PrefixedEncoder",
    "Requests",
    "Retry",
    "SentenceTransformersEncoder",
    "SpendCap",
    "Spending",
    "StaticEncoder",
    "VectorCache",
    "all_minilm_l6_int8",
    "cache_folder",
    "encode_items",
    "open_encoder",
    "paraphrase_minilm_l3",
    "wordllama_256",
]
