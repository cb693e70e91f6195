"""Run by a peer's interpreter: fits and maps with one peer, as told by JSON lines on stdin.

The peer's file in ``workers/`` defines ``METHODS``: a name and a function ``fit(x, y)`` that
returns ``(map_source, map_gallery)``, two functions array → array; ``map_gallery`` is None where
the target space is left as it is.  A measure is a function of ``(x, y)`` that returns its value.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import numpy as np  # noqa: E402 - after the thread limits

# What the peer prints must not get between the answers.
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def methods_of(path):
    spec = importlib.util.spec_from_file_location("peer_methods", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.METHODS


def main():
    methods, fitted, x, y = None, {}, None, None
    for line in sys.stdin:
        job = json.loads(line)
        try:
            if job["do"] == "load":
                methods = methods_of(sys.argv[1])
                x, y = np.load(job["x"]), np.load(job["y"])
                answer = {"methods": list(methods)}
            elif job["do"] == "fit":
                start = time.process_time()
                fitted[job["method"]] = methods[job["method"]](x, y)
                answer = {"cpu": time.process_time() - start}
            elif job["do"] == "value":
                answer = {"value": float(fitted[job["method"]])}
            else:
                source, gallery = fitted[job["method"]]
                np.save(job["out"], np.asarray(source(np.load(job["x"]))))
                if gallery is not None:
                    np.save(job["gallery"], np.asarray(gallery(np.load(job["y"]))))
                answer = {"maps_gallery": gallery is not None}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(answer), file=ANSWERS, flush=True)


main()
