"""Keep, find, check, promote and undo what isthmus saves: spaces, bridges, stitched networks."""

from isthmus.registry.aliases import Entry
from isthmus.registry.collect import Collected
from isthmus.registry.difference import Difference, FileChange
from isthmus.registry.registry import Deprecation, Registry, Release
from isthmus.registry.version import StoredFile, Version

__all__ = [
    "Collected",
    "Deprecation",
    "Difference",
    "Entry",
    "FileChange",
    "Registry",
    "Release",
    "StoredFile",
    "Version",
]
