"""Canonical probes: what one space is like, and what two of them share, in a few numbers each.

Those of one side read moments, and a bounded sample where rows are needed.
"""

from isthmus.evaluate.probes.clusters import ClusterAgreement, cluster_agreement
from isthmus.evaluate.probes.concepts import Concept, ConceptStability, concept_stability
from isthmus.evaluate.probes.dimensions import Dimensions, dimensions
from isthmus.evaluate.probes.hubness import Hubness, hubness
from isthmus.evaluate.probes.isotropy import Isotropy, isotropy
from isthmus.evaluate.probes.linear import LinearProbe, linear_probe
from isthmus.evaluate.probes.modality import ModalityGap, modality_gap
from isthmus.evaluate.probes.norms import NormDistribution, norm_distribution
from isthmus.evaluate.probes.precision import Precision, precision
from isthmus.evaluate.probes.result import ProbeResult
from isthmus.evaluate.probes.spectrum import Spectrum, spectrum

__all__ = [
    "ClusterAgreement",
    "Concept",
    "ConceptStability",
    "Dimensions",
    "Hubness",
    "Isotropy",
    "LinearProbe",
    "ModalityGap",
    "NormDistribution",
    "Precision",
    "ProbeResult",
    "Spectrum",
    "cluster_agreement",
    "concept_stability",
    "dimensions",
    "hubness",
    "isotropy",
    "linear_probe",
    "modality_gap",
    "norm_distribution",
    "precision",
    "spectrum",
]
