"""Data of the demo: a licensed excerpt of WordNet 3.0, as texts with separate query texts."""

from __future__ import annotations

from isthmus.demo.corpus import Corpus, load_corpus

__all__ = ["Corpus", "load_corpus"]
