"""rat-embed: relative to 500 anchors of its own sampling; queries and gallery both move."""

from rat import RATranslator
from rat.sampling import farthest_point_sampling

ANCHORS = 500


def fit_relative(x, y):
    anchors = farthest_point_sampling(x, min(ANCHORS, len(x)))
    translator = RATranslator(normalize="always").fit_embeddings(x[anchors], y[anchors])
    return (
        lambda rows: translator.transform(rows, "a"),
        lambda rows: translator.transform(rows, "b"),
    )


METHODS = {"relative": fit_relative}
