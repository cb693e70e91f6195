"""How alike two spaces are: every measure by its definition, with its null and its interval."""

from isthmus.similarity.compare import compare
from isthmus.similarity.grid import GRID_MEASURES, Grid, similarity_grid
from isthmus.similarity.grid_moments import GridMoments
from isthmus.similarity.measure import INVARIANCES, MEASURES, Measure, parse_measures
from isthmus.similarity.neighbours import cknna, knn_jaccard, mutual_knn, nearest
from isthmus.similarity.of_moments import MOMENT_KEEP, MomentMeasures
from isthmus.similarity.of_rows import RowMeasures
from isthmus.similarity.result import Comparison, Null, Similarity
from isthmus.similarity.rsa import rsa

__all__ = [
    "GRID_MEASURES",
    "INVARIANCES",
    "MEASURES",
    "MOMENT_KEEP",
    "Comparison",
    "Grid",
    "GridMoments",
    "Measure",
    "MomentMeasures",
    "Null",
    "RowMeasures",
    "Similarity",
    "cknna",
    "compare",
    "knn_jaccard",
    "mutual_knn",
    "nearest",
    "parse_measures",
    "rsa",
    "similarity_grid",
]
