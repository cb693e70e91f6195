"""A new type of input for a frozen model: a projector into its space, or parts inside it."""

from isthmus.nn.modality.attach import AttachOptions, attach
from isthmus.nn.modality.attached import Attached
from isthmus.nn.modality.conditioned import Conditioned
from isthmus.nn.modality.hubs import HubOffsets, hub_offsets, with_offsets
from isthmus.nn.modality.inserts import Insert, bottleneck, film, own_norm, prompts
from isthmus.nn.modality.measure import (
    Change,
    Measured,
    compare_measured,
    measure_classes,
    measure_retrieval,
)
from isthmus.nn.modality.projector import Projector
from isthmus.nn.modality.tune import PairedInputs, Tuning, tune

__all__ = [
    "AttachOptions",
    "Attached",
    "Change",
    "Conditioned",
    "HubOffsets",
    "Insert",
    "Measured",
    "PairedInputs",
    "Projector",
    "Tuning",
    "attach",
    "bottleneck",
    "compare_measured",
    "film",
    "hub_offsets",
    "measure_classes",
    "measure_retrieval",
    "own_norm",
    "prompts",
    "tune",
    "with_offsets",
]
