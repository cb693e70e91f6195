"""The saturating power law: recovered, bounded, and no worse than an outside optimiser."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st

from isthmus.adapters.budget.power_law import fit_power_law
from isthmus.errors import InputError

BUDGETS = [100, 250, 500, 1000, 2000, 4000]


@given(st.floats(0.3, 0.99), st.floats(0.5, 20), st.floats(0.3, 1.5))
def test_a_law_is_recovered_from_its_values(a: float, b: float, c: float) -> None:
    values = a - b * np.array(BUDGETS, dtype=float) ** -c
    law = fit_power_law(BUDGETS, values)
    np.testing.assert_allclose([law.at(n)[0] for n in BUDGETS], values, atol=2e-3 * b)
    assert law.a[0] <= 1.0


def test_the_residual_is_that_of_an_outside_optimiser(rng: np.random.Generator) -> None:
    n = np.array(BUDGETS, dtype=float)
    values = 0.8 - 3 * n**-0.6 + 0.005 * rng.standard_normal(len(n))
    found, _ = scipy.optimize.curve_fit(
        lambda n, a, b, c: a - b * n**-c, n, values, p0=[0.8, 3, 0.6], maxfev=20_000
    )
    theirs = ((found[0] - found[1] * n ** -found[2] - values) ** 2).sum()
    law = fit_power_law(BUDGETS, values)
    ours = sum((law.at(m)[0] - v) ** 2 for m, v in zip(BUDGETS, values, strict=True))
    assert ours <= 1.05 * theirs


def test_many_curves_at_once_are_each_fitted_alone(rng: np.random.Generator) -> None:
    curves = 0.7 - 2 * np.array(BUDGETS) ** -0.5 + 0.01 * rng.standard_normal((5, len(BUDGETS)))
    together = fit_power_law(BUDGETS, curves)
    for i, curve in enumerate(curves):
        alone = fit_power_law(BUDGETS, curve)
        assert (together.a[i], together.b[i], together.c[i]) == (alone.a[0], alone.b[0], alone.c[0])


def test_the_asymptote_keeps_to_the_metric() -> None:
    rising = [0.1, 0.3, 0.5, 0.7, 0.9, 1.0]
    law = fit_power_law(BUDGETS, rising)
    assert law.a[0] <= 1.0
    assert fit_power_law(BUDGETS, np.array(rising) * 5, bound=10.0).a[0] > 1.0


def test_flat_and_falling_curves_are_level_at_once() -> None:
    for values in ([0.4] * 6, [0.5, 0.45, 0.42, 0.41, 0.4, 0.4], [0.0] * 6):
        law = fit_power_law(BUDGETS, values)
        assert law.b[0] == 0
        assert law.a[0] == pytest.approx(np.mean(values))
        assert law.enough(0.01)[0] == 1


def test_enough_is_where_the_law_comes_within_the_tolerance() -> None:
    law = fit_power_law(BUDGETS, 0.9 - 4 * np.array(BUDGETS) ** -0.7)
    n = law.enough(0.02)[0]
    assert law.a[0] - law.at(n)[0] == pytest.approx(0.02)


def test_too_few_budgets_are_refused() -> None:
    for budgets, values in (
        ([10, 20], [0.1, 0.2]),
        ([10, 10, 20], [0.1] * 3),
        ([0, 1, 2], [0.1] * 3),
    ):
        with pytest.raises(InputError, match="at least 3 different positive budgets"):
            fit_power_law(budgets, np.array(values))
