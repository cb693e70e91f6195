"""Smaller and faster: pruned, truncated, quantised and distilled networks, and what they lose."""

from isthmus.nn.compact.distil import distil
from isthmus.nn.compact.prune import prune_weights, remove_units
from isthmus.nn.compact.quantise import quantise
from isthmus.nn.compact.table import Compact, compact_table, size_of
from isthmus.nn.compact.truncate import truncate

__all__ = [
    "Compact",
    "compact_table",
    "distil",
    "prune_weights",
    "quantise",
    "remove_units",
    "size_of",
    "truncate",
]
