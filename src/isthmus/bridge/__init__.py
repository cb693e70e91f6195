"""The artefact that does the job: fitted, folded, with its contracts and its evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus.lazy import lazy_names

if TYPE_CHECKING:
    from isthmus.bridge.apply import apply, check_canary
    from isthmus.bridge.assess import assess
    from isthmus.bridge.bridge import Bridge
    from isthmus.bridge.canary import Canary
    from isthmus.bridge.coarse import align, check_bridge
    from isthmus.bridge.fit import fit
    from isthmus.bridge.fit_store import fit_sample
    from isthmus.bridge.fitting import Fitting
    from isthmus.bridge.held_out_samples import Queries, SampleSizes
    from isthmus.bridge.judge_live import judge_live, with_live_evidence
    from isthmus.bridge.live_order import live_order
    from isthmus.bridge.parted.moments import StoredMoments, write_moments
    from isthmus.bridge.store_sample import ModelChange, StoreSample, sample_store
    from isthmus.bridge.tried import Tried
    from isthmus.bridge.unpaired_pools import read_pools

_HOMES = {
    "isthmus.bridge.apply": ("apply", "check_canary"),
    "isthmus.bridge.assess": ("assess",),
    "isthmus.bridge.bridge": ("Bridge",),
    "isthmus.bridge.canary": ("Canary",),
    "isthmus.bridge.coarse": (
        "align",
        "check_bridge",
    ),
    "isthmus.bridge.fit": ("fit",),
    "isthmus.bridge.fit_store": ("fit_sample",),
    "isthmus.bridge.fitting": ("Fitting",),
    "isthmus.bridge.held_out_samples": ("Queries", "SampleSizes"),
    "isthmus.bridge.judge_live": (
        "judge_live",
        "with_live_evidence",
    ),
    "isthmus.bridge.live_order": ("live_order",),
    "isthmus.bridge.parted.moments": ("StoredMoments", "write_moments"),
    "isthmus.bridge.store_sample": (
        "ModelChange",
        "StoreSample",
        "sample_store",
    ),
    "isthmus.bridge.tried": ("Tried",),
    "isthmus.bridge.unpaired_pools": ("read_pools",),
}

__all__ = [
    "Bridge",
    "Canary",
    "Fitting",
    "ModelChange",
    "Queries",
    "SampleSizes",
    "StoreSample",
    "StoredMoments",
    "Tried",
    "align",
    "apply",
    "assess",
    "check_bridge",
    "check_canary",
    "fit",
    "fit_sample",
    "judge_live",
    "live_order",
    "read_pools",
    "sample_store",
    "with_live_evidence",
    "write_moments",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
