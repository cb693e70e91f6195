"""The artefact that does the job: fitted, folded, with its contracts and its evidence."""

from isthmus.bridge.apply import apply
from isthmus.bridge.assess import assess
from isthmus.bridge.bridge import Bridge, Tried
from isthmus.bridge.canary import Canary
from isthmus.bridge.coarse import align, check_bridge
from isthmus.bridge.fit import fit
from isthmus.bridge.held_out_samples import SampleSizes

__all__ = [
    "Bridge",
    "Canary",
    "SampleSizes",
    "Tried",
    "align",
    "apply",
    "assess",
    "check_bridge",
    "fit",
]
