"""Side-by-side measurements of isthmus, bare BLAS, other libraries and peers.

``python -m benchmarks`` from the repository root prints the table.  One thread everywhere, unless
``ISTHMUS_BENCH_THREADS`` says otherwise: the limits must be in the environment before NumPy loads
its BLAS.
"""

from __future__ import annotations

import os

for _variable in (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
):
    os.environ[_variable] = os.environ.get("ISTHMUS_BENCH_THREADS", "1")
