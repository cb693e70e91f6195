"""Tables in, tables out, for every estimator of the public names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus import adapters
from isthmus.adapters import Center, Ridge, UnitNorm
from isthmus.adapters.steps.base import LinearAdapter
from isthmus.adapters.steps.normalisers import Normaliser
from isthmus.errors import InputError

pd = pytest.importorskip("pandas")

X = np.random.default_rng(0).standard_normal((60, 4))
Y = X @ np.random.default_rng(1).standard_normal((4, 4)) + 1
TABLE = pd.DataFrame(X, columns=list("abcd"), index=np.arange(60) + 100)
TARGET = pd.DataFrame(Y, columns=list("pqrs"))

PUBLIC = [getattr(adapters, name) for name in adapters.__all__]
ESTIMATORS = [
    made
    for made in PUBLIC
    if isinstance(made, type)
    and issubclass(made, LinearAdapter | Normaliser)
    and made is not adapters.PriorRidge
]


def made(kind: type) -> Any:
    return kind()


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_a_table_gives_what_its_array_gives(kind: type) -> None:
    by_table, by_array = made(kind).fit(TABLE, TARGET), made(kind).fit(X, Y)
    expected = by_array.transform(X)
    # a table keeps its columns together, and sums in another order
    np.testing.assert_allclose(by_table.transform(TABLE), expected, rtol=0, atol=1e-12)
    assert by_table.feature_names_in_.tolist() == list("abcd")
    assert not hasattr(by_array, "feature_names_in_")
    assert by_table.score(TABLE, TARGET) == pytest.approx(by_array.score(X, Y))
    shown = by_table.set_output(transform="pandas").transform(TABLE)
    assert list(shown.columns) == by_table.get_feature_names_out().tolist()
    assert list(shown.columns) == (
        list("pqrs") if issubclass(kind, LinearAdapter) else list("abcd")
    )
    assert shown.index.equals(TABLE.index)
    np.testing.assert_allclose(shown.to_numpy(), expected, rtol=0, atol=1e-12)
    assert len(by_array.get_feature_names_out()) == 4


def test_the_score_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    noisy = Y + np.random.default_rng(2).standard_normal(Y.shape)
    fitted = Ridge().fit(X, noisy)
    expected = metrics.r2_score(noisy, fitted.transform(X))
    assert 0.2 < expected < 0.99
    assert fitted.score(X, noisy) == pytest.approx(expected)
    assert Ridge().fit(X, noisy[:, 0]).score(X, pd.Series(noisy[:, 0])) == pytest.approx(
        metrics.r2_score(noisy[:, 0], Ridge().fit(X, noisy[:, 0]).transform(X))
    )
    assert Center().fit(X).score(X) == pytest.approx(1)
    assert UnitNorm().fit(X).score(X) < 0.99


def test_a_pipeline_of_tables_keeps_them() -> None:
    pipeline = pytest.importorskip("sklearn.pipeline")
    scalers = pytest.importorskip("sklearn.preprocessing")
    steps = pipeline.make_pipeline(scalers.StandardScaler(), Ridge()).set_output(transform="pandas")
    shown = steps.fit(TABLE, TARGET).transform(TABLE)
    assert list(shown.columns) == list("pqrs")
    assert steps[:-1].get_feature_names_out().tolist() == list("abcd")
    assert steps.score(TABLE, TARGET) > 0.99


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_a_copy_for_a_search_answers_with_the_same_table(kind: type) -> None:
    base = pytest.importorskip("sklearn.base")
    copied = base.clone(made(kind).set_output(transform="pandas"))
    assert isinstance(copied.fit(TABLE, TARGET).transform(TABLE), pd.DataFrame)


def test_what_scikit_learn_was_told_holds() -> None:
    sklearn = pytest.importorskip("sklearn")
    with sklearn.config_context(transform_output="pandas"):
        shown = Ridge().fit(TABLE, TARGET).transform(TABLE)
    assert list(shown.columns) == list("pqrs")
    with pytest.raises(InputError, match="no output 'excel'"):
        Ridge().set_output(transform="excel")


def test_columns_of_another_table_are_refused() -> None:
    fitted = Ridge().fit(TABLE, TARGET)
    with pytest.raises(InputError, match="unseen at fit time: z; seen at fit time, .* missing: a"):
        fitted.transform(TABLE.rename(columns={"a": "z"}))
    with pytest.raises(InputError, match="in the same order"):
        fitted.transform(TABLE[list("dcba")])
    with pytest.raises(InputError, match="not equal to feature_names_in_"):
        fitted.get_feature_names_out(list("abcz"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("text", "got str"),
        (None, "got NoneType"),
        (3, "got int"),
        ({"a": 1}, "got dict"),
        ((row for row in X), "got generator"),
        ([[1.0, 2.0], [3.0]], "not of one width"),
        ([["a", "b"]], "not numbers"),
        (TABLE.assign(a="q"), "not numbers"),
        (TABLE.astype("datetime64[ns]"), "not numbers"),
        (TABLE["a"], "Expected 2D array"),
        (np.ma.masked_greater(X, 1), "masked entries"),
        (TABLE.astype("Float64").mask(X > 1), "contains NaN"),
    ],
    ids=[
        "text",
        "None",
        "number",
        "dict",
        "generator",
        "ragged",
        "strings",
        "string-column",
        "dates",
        "one-column",
        "masked",
        "missing",
    ],
)
@pytest.mark.parametrize("side", ["source", "transform"])
def test_what_is_no_table_of_numbers_is_refused_in_a_sentence(
    given: Any, said: str, side: str
) -> None:
    calls = {
        "source": lambda: Ridge().fit(given, Y),
        "transform": lambda: Ridge().fit(X, Y).transform(given),
    }
    if "NaN" in said and side != "transform":
        said = "NaN|finite"
    with pytest.raises(InputError, match=said.replace("(", r"\(")) as caught:
        calls[side]()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        X.tolist(),
        list(X),
        tuple(map(tuple, X)),
        np.ma.masked_array(X, mask=False),
        TABLE.astype("Float64"),
        TABLE.astype("double[pyarrow]"),
        pd.Series(list(X)),
        pd.DataFrame({"vector": list(X)}),
        X.astype(object),
    ],
    ids=lambda given: type(given).__name__,
)
def test_every_container_gives_the_same_rows(given: Any) -> None:
    fitted = Ridge().fit(X, Y)
    np.testing.assert_allclose(fitted.transform(given), fitted.transform(X), rtol=0, atol=1e-12)
