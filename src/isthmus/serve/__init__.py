"""A bridge behind HTTP: mapped queries for whoever asks for embeddings, and searches.

Needs Starlette and uvicorn (extra ``serve``).
"""

from typing import TYPE_CHECKING

from isthmus.lazy import lazy_names

if TYPE_CHECKING:
    from isthmus.serve.app import Served, sidecar_app
    from isthmus.serve.listening import Place, listening_at

_HOMES = {
    "isthmus.serve.app": ("Served", "sidecar_app"),
    "isthmus.serve.listening": ("Place", "listening_at"),
}

__all__ = ["Place", "Served", "listening_at", "sidecar_app"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
