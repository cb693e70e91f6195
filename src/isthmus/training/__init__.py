"""Maps that are trained on rows with PyTorch, which is imported only when one is.

Arrays go in and come out as numpy, so that what was trained runs without PyTorch.
"""

from isthmus.training.examples import Examples
from isthmus.training.lambda_orthogonal import LambdaTerms, train_lambda_orthogonal
from isthmus.training.linear import polish_map
from isthmus.training.network import Network, train_network
from isthmus.training.objective import LOSSES
from isthmus.training.schedule import Schedule

__all__ = [
    "LOSSES",
    "Examples",
    "LambdaTerms",
    "Network",
    "Schedule",
    "polish_map",
    "train_lambda_orthogonal",
    "train_network",
]
