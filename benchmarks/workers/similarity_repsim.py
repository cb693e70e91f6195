"""repsim: C++ behind Python; what it calls Pillai's trace is the mean canonical correlation."""

import repsim


def _of(function, *arguments):
    return lambda x, y: function([x, y], *arguments)[0, 1]


METHODS = {
    "linear_cka": _of(repsim.cka, "linear", "gretton"),
    "debiased_cka": _of(repsim.cka, "linear", "song"),
    "rbf_cka": _of(repsim.cka, "rbf", "gretton"),
    "mean_cca": _of(repsim.cca, "pillai"),
    "yanai": _of(repsim.cca, "yanai"),
    "svcca": _of(repsim.svcca, "pillai"),
    "pwcca": _of(repsim.pwcca),
}
