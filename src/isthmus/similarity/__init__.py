"""How alike two spaces are: every measure by its definition, with its null and its interval."""

from isthmus.similarity.catalogue import MEASURES, parse_measures
from isthmus.similarity.compare import compare, measured
from isthmus.similarity.grid import Grid, similarity_grid
from isthmus.similarity.grid_moments import GridMoments
from isthmus.similarity.measure import INVARIANCES, Measure
from isthmus.similarity.neighbours import cknna, knn_jaccard, mutual_knn, nearest
from isthmus.similarity.null import Null
from isthmus.similarity.paired_moments import MOMENT_KEEP, PairedMoments
from isthmus.similarity.result import Comparison, Similarity
from isthmus.similarity.row_sample import RowSample, RowSampling
from isthmus.similarity.rsa import rsa

__all__ = [
    "INVARIANCES",
    "MEASURES",
    "MOMENT_KEEP",
    "Comparison",
    "Grid",
    "GridMoments",
    "Measure",
    "Null",
    "PairedMoments",
    "RowSample",
    "RowSampling",
    "Similarity",
    "cknna",
    "compare",
    "knn_jaccard",
    "measured",
    "mutual_knn",
    "nearest",
    "parse_measures",
    "rsa",
    "similarity_grid",
]
