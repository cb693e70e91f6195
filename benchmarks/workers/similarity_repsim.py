"""repsim: C++ behind Python; summaries of CCA are Yanai's GCD or Pillai's trace, never mean rho."""

import repsim


def _of(function, *arguments):
    return lambda x, y: function([x, y], *arguments)[0, 1]


METHODS = {
    "linear_cka": _of(repsim.cka, "linear", "gretton"),
    "debiased_cka": _of(repsim.cka, "linear", "song"),
    "rbf_cka": _of(repsim.cka, "rbf", "gretton"),
    "yanai": _of(repsim.cca, "yanai"),
    "svcca": _of(repsim.svcca, "pillai"),
    "pwcca": _of(repsim.pwcca),
}
