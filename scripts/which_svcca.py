"""Print the numbers of docs/which-svcca.md: each measure, and what goes by the same name elsewhere.

    python scripts/which_svcca.py            # variants, written out below
    python scripts/which_svcca.py --peers    # also the packages themselves, installed when missing

The variants are a few lines each, from the descriptions and the observed values of the packages.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from isthmus.similarity import RowSampling, compare

Array = np.ndarray
Measure = Callable[[Array, Array], float]


def related(n: int, dx: int, dy: int, seed: int = 0) -> tuple[Array, Array]:
    """Two layers that share 12 directions; principal variances fall like those of a network."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n, 12)) * np.arange(1, 13) ** -0.5
    x, y = (
        shared @ rng.standard_normal((12, d)) + 0.4 * rng.standard_normal((n, d)) for d in (dx, dy)
    )
    return x * np.arange(1, dx + 1) ** -0.5, y


def centred(x: Array) -> Array:
    """Rows about their mean."""
    return x - x.mean(axis=0)


# ---- SVCCA and PWCCA ---------------------------------------------------------------------------


def correlations(x: Array, y: Array) -> tuple[Array, Array, Array]:
    """Canonical correlations, and weights on centred rows that give unit variates of x and y."""
    (q_x, r_x), (q_y, r_y) = np.linalg.qr(centred(x)), np.linalg.qr(centred(y))
    u, rho, vt = np.linalg.svd(q_x.T @ q_y, full_matrices=False)
    return rho, np.linalg.solve(r_x, u), np.linalg.solve(r_y, vt.T)


def components(x: Array, keep: Callable[[Array], int]) -> Array:
    """The principal components that ``keep`` counts from the singular values."""
    u, s, _ = np.linalg.svd(centred(x), full_matrices=False)
    k = keep(s)
    return u[:, :k] * s[:k]


def share(power: int, of: float) -> Callable[[Array], int]:
    """The fewest that reach a share of the sum of singular values to a power."""
    return lambda s: int(np.argmax(np.cumsum(s**power) / np.sum(s**power) >= of)) + 1


def svcca(keep: Callable[[Array], int]) -> Measure:
    """Mean canonical correlation of the components that are kept."""
    return lambda x, y: float(correlations(components(x, keep), components(y, keep))[0].mean())


def standardised(x: Array, y: Array) -> float:
    """Ten components of neurons of unit variance."""
    return svcca(lambda s: 10)(x / x.std(axis=0), y / y.std(axis=0))


def truncated_correlations(x: Array, y: Array) -> float:
    """No components are left out, but the small correlations are."""
    rho = correlations(x, y)[0]
    return float(rho[: share(1, 0.98)(rho)].mean())


def mean_square(x: Array, y: Array) -> float:
    """Σρ² over the smaller number of components."""
    keep = share(2, 0.99)
    return float((correlations(components(x, keep), components(y, keep))[0] ** 2).mean())


def weighted(rho: Array, alpha: Array) -> float:
    """The mean of ``rho`` weighted by ``alpha``."""
    return float(alpha @ rho / alpha.sum())


def pwcca_of_x(x: Array, y: Array) -> float:
    """Morcos et al. 2018, in the direction of x."""
    rho, w_x, _ = correlations(x, y)
    return weighted(rho, np.abs((centred(x) @ w_x).T @ centred(x)).sum(axis=1))


def pwcca_unwhitened(x: Array, y: Array) -> float:
    """Directions from coefficients of whitened neurons, laid on neurons that are not whitened.

    The means are added back, and the directions made orthonormal over the rows.
    """
    rho, w_x, _ = correlations(x, y)
    values, vectors = np.linalg.eigh(centred(x).T @ centred(x))
    coefficients = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T @ w_x
    # neuron i's mean is added to direction i
    directions = np.linalg.qr(centred(x) @ coefficients + x.mean(axis=0)[: len(rho)])[0]
    return weighted(rho, np.abs(directions.T @ x).sum(axis=1))


def pwcca_over_rows(x: Array, y: Array) -> float:
    """Variates weighed by the sum of their absolute values over the rows."""
    rho, w_x, _ = correlations(x, y)
    return weighted(rho, np.abs(centred(x) @ w_x).sum(axis=0))


# ---- CKA ---------------------------------------------------------------------------------------


def biased(k: Array, other: Array) -> float:
    """The HSIC of Gretton et al. 2005."""
    h = np.eye(len(k)) - 1 / len(k)
    return float(np.sum((h @ k @ h) * (h @ other @ h))) / (len(k) - 1) ** 2


def unbiased(k: Array, other: Array) -> float:
    """The HSIC of Song et al. 2012, equation 5."""
    n = len(k)
    k, other = k - np.diag(np.diag(k)), other - np.diag(np.diag(other))
    total = np.sum(k * other) + k.sum() * other.sum() / ((n - 1) * (n - 2))
    return float(total - 2 / (n - 2) * (k.sum(0) @ other.sum(0))) / (n * (n - 3))


def cka(top: Callable[[Array, Array], float], below: Callable[[Array, Array], float]) -> Measure:
    """One estimator above the line, one below it."""

    def measure(x: Array, y: Array) -> float:
        k, other = x @ x.T, y @ y.T
        return top(k, other) / np.sqrt(below(k, k) * below(other, other))

    return measure


def not_centred(x: Array, y: Array) -> float:
    """The cosine of the raw kernels."""
    k, other = x @ x.T, y @ y.T
    return float(np.sum(k * other) / (np.linalg.norm(k) * np.linalg.norm(other)))


def in_batches(size: int, hsic: Callable[[Array, Array], float]) -> Measure:
    """HSIC averaged over batches before the ratio is taken, as for networks with much data."""

    def measure(x: Array, y: Array) -> float:
        sums = np.zeros(3)
        for start in range(0, len(x), size):
            rows = slice(start, start + size)
            k, other = x[rows] @ x[rows].T, y[rows] @ y[rows].T
            sums += hsic(k, other), hsic(k, k), hsic(other, other)
        return float(sums[0] / np.sqrt(sums[1] * sums[2]))

    return measure


# ---- Procrustes --------------------------------------------------------------------------------


def alignment(x: Array, y: Array) -> float:
    """``s``: nuclear norm of the normalised cross-product."""
    x, y = centred(x), centred(y)
    return float(np.linalg.norm(x.T @ y, "nuc") / (np.linalg.norm(x) * np.linalg.norm(y)))


def without_centring(x: Array, y: Array) -> float:
    """The distance, means left in."""
    s = np.linalg.norm(x.T @ y, "nuc") / (np.linalg.norm(x) * np.linalg.norm(y))
    return float(np.sqrt(2 - 2 * s))


def ours(name: str) -> Measure:
    """The measure of this package."""

    def measure(x: Array, y: Array) -> float:
        found = compare(x, y, measures=[name], sampling=RowSampling(rows=len(x), permutations=1))[
            name
        ].value
        return float("nan") if found is None else found

    return measure


TABLES: dict[str, dict[str, Measure]] = {
    "SVCCA": {
        "isthmus: 99 % of the variance, mean rho": ours("svcca"),
        "99 % of the sum of singular values, not of their squares": svcca(share(1, 0.99)),
        "20 components whatever the spectrum": svcca(lambda s: 20),
        "10 components of standardised neurons": standardised,
        "1 component": svcca(lambda s: 1),
        "all components, correlations up to 98 % of their sum": truncated_correlations,
        "99 % of the variance, mean of rho squared": mean_square,
        "all components: plain mean CCA": ours("mean_cca"),
    },
    "PWCCA": {
        "isthmus: mean of both directions": ours("pwcca"),
        "weights of x, original neurons": pwcca_of_x,
        "weights of y, original neurons": lambda x, y: pwcca_of_x(y, x),
        "weights of x, coefficients of whitened neurons": pwcca_unwhitened,
        "weights of x, absolute variates over the rows": pwcca_over_rows,
    },
    "linear CKA": {
        "isthmus linear_cka: biased": ours("linear_cka"),
        "isthmus debiased_cka": ours("debiased_cka"),
        "unbiased over biased": cka(unbiased, biased),
        "biased, batches of 64": in_batches(64, biased),
        "unbiased, batches of 64": in_batches(64, unbiased),
        "unbiased, batches of 8": in_batches(8, unbiased),
        "not centred": not_centred,
    },
    "Procrustes": {
        "isthmus procrustes: sqrt(2 - 2s)": ours("procrustes"),
        "isthmus procrustes_disparity: 1 - s^2": ours("procrustes_disparity"),
        "isthmus procrustes_angle: arccos s": ours("procrustes_angle"),
        "squared distance 2 - 2s": lambda x, y: 2 - 2 * alignment(x, y),
        "half of it, 1 - s": lambda x, y: 1 - alignment(x, y),
        "not centred": without_centring,
    },
    "Others": {f"isthmus {name}": ours(name) for name in ("yanai", "rbf_cka", "rsa", "mutual_knn")},
}


def inputs() -> dict[str, tuple[Array, Array]]:
    """The columns of the tables."""
    rng = np.random.default_rng(1)
    x, y = related(2_048, 64, 48)
    few = related(160, 64, 48)
    return {
        "related": (x, y),
        "offset": (x + 10, y - 10),
        "few rows": few,
        "unrelated": (rng.standard_normal((2_048, 64)), rng.standard_normal((2_048, 48))),
    }


def tables(columns: dict[str, tuple[Array, Array]]) -> Iterator[str]:
    """Every variant on every input."""
    for title, variants in TABLES.items():
        yield f"\n{title:<60}" + "".join(f"{name:>11}" for name in columns)
        for name, measure in variants.items():
            yield f"{name:<60}" + "".join(f"{measure(x, y):>11.4f}" for x, y in columns.values())


def peer_tables(columns: dict[str, tuple[Array, Array]]) -> Iterator[str]:
    """What the packages give on the same inputs."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from benchmarks import peers
    from benchmarks.harness import Absent

    for peer in peers.SIMILARITY_PEERS.values():
        found: dict[str, list[str]] = {}
        try:
            for x, y in columns.values():
                with (
                    tempfile.TemporaryDirectory() as name,
                    peers.Worker(peer, Path(name)) as worker,
                ):
                    paths = [Path(name) / f"{side}.npy" for side in "xy"]
                    for path, rows in zip(paths, (x, y), strict=True):
                        np.save(path, rows)
                    for method in worker.load(*paths):
                        try:
                            worker.ask("fit", method=method)
                            shown = f"{worker.value(method):>11.4f}"
                        except Absent:
                            shown = f"{'fails':>11}"
                        found.setdefault(method, []).append(shown)
        except Absent as absent:
            yield f"{peer.name}: {absent}"
            continue
        for method, shown in found.items():
            yield f"{f'{peer.name} {peers.version(peer.name)} {method}':<60}" + "".join(shown)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", action="store_true", help="also run the packages themselves")
    asked = parser.parse_args()
    columns = inputs()
    for name, (x, y) in columns.items():
        sys.stdout.write(f"{name}: {len(x)} rows, {x.shape[1]} and {y.shape[1]} dimensions\n")
    for line in tables(columns):
        sys.stdout.write(f"{line}\n")
    if asked.peers:
        sys.stdout.write(f"\n{'packages':<60}" + "".join(f"{name:>11}" for name in columns) + "\n")
        for line in peer_tables(columns):
            sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
