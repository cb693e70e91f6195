"""isthmus: swap a pretrained embedding model without breaking what was built on it.

The public names, loaded when first used so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus.lazy import lazy_names

if TYPE_CHECKING:
    from isthmus.adapters import Procrustes, Recipe, Ridge
    from isthmus.bridge import Bridge, Fitting, Queries, SampleSizes, apply, assess, fit
    from isthmus.diagnose import Diagnosis, diagnose
    from isthmus.evaluate import Evaluation, Trial, Verdict, top_k
    from isthmus.moments import FoldMoments, Moments
    from isthmus.scale import open_engine, open_pairs
    from isthmus.similarity import Comparison, GridMoments, compare, similarity_grid
    from isthmus.spaces.compatibility import check_compatible
    from isthmus.spaces.contract import Space
    from isthmus.spaces.guard import Guard
    from isthmus.spaces.pairs import Pairs
    from isthmus.spaces.readers import open_vectors
    from isthmus.stores import open_store
    from isthmus.ways import Way, evaluate_upgrade

__version__ = "0.1.0"

_HOMES = {
    "isthmus.adapters": ("Procrustes", "Recipe", "Ridge"),
    "isthmus.bridge": ("Bridge", "Fitting", "Queries", "SampleSizes", "apply", "assess", "fit"),
    "isthmus.diagnose": ("Diagnosis", "diagnose"),
    "isthmus.evaluate": ("Evaluation", "Trial", "Verdict", "top_k"),
    "isthmus.moments": ("FoldMoments", "Moments"),
    "isthmus.scale": ("open_engine", "open_pairs"),
    "isthmus.similarity": ("Comparison", "GridMoments", "compare", "similarity_grid"),
    "isthmus.spaces.compatibility": ("check_compatible",),
    "isthmus.spaces.contract": ("Space",),
    "isthmus.spaces.guard": ("Guard",),
    "isthmus.spaces.pairs": ("Pairs",),
    "isthmus.spaces.readers": ("open_vectors",),
    "isthmus.stores": ("open_store",),
    "isthmus.ways": ("Way", "evaluate_upgrade"),
}

__all__ = [
    "Bridge",
    "Comparison",
    "Diagnosis",
    "Evaluation",
    "Fitting",
    "FoldMoments",
    "GridMoments",
    "Guard",
    "Moments",
    "Pairs",
    "Procrustes",
    "Queries",
    "Recipe",
    "Ridge",
    "SampleSizes",
    "Space",
    "Trial",
    "Verdict",
    "Way",
    "apply",
    "assess",
    "check_compatible",
    "compare",
    "diagnose",
    "evaluate_upgrade",
    "fit",
    "open_engine",
    "open_pairs",
    "open_store",
    "open_vectors",
    "similarity_grid",
    "top_k",
]


__getattr__, __dir__ = lazy_names(__name__, _HOMES)
