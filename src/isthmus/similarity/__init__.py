"""How alike two spaces are: every measure by its definition, with its null and its interval."""

from isthmus.similarity.compare import compare
from isthmus.similarity.measure import INVARIANCES, MEASURES, Measure, parse_measures
from isthmus.similarity.neighbours import cknna, knn_jaccard, mutual_knn, nearest
from isthmus.similarity.of_moments import MOMENT_KEEP, MomentMeasures
from isthmus.similarity.of_rows import RowMeasures
from isthmus.similarity.result import Comparison, Null, Similarity
from isthmus.similarity.rsa import rsa

__all__ = [
    "INVARIANCES",
    "MEASURES",
    "MOMENT_KEEP",
    "Comparison",
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
]
