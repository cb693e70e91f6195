"""rebasis: its closed-form adapters, on unit rows as its own selection prepares them."""

from rebasis.core.linear import LinearAdapter, LowRankAffineAdapter
from rebasis.core.procrustes import CenteredProcrustesAdapter

METHODS = {
    "linear": lambda x, y: (LinearAdapter.fit(x, y).apply, None),
    "centred procrustes": lambda x, y: (CenteredProcrustesAdapter.fit(x, y).apply, None),
    "low rank": lambda x, y: (LowRankAffineAdapter.fit(x, y).apply, None),
}
