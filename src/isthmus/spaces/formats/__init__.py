"""The file formats that vectors are read from: one table, and a reader each."""

from isthmus.spaces.formats.table import FORMATS, Format, described, format_of, vector_files

__all__ = ["FORMATS", "Format", "described", "format_of", "vector_files"]
