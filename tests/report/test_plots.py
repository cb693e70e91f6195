"""Numbers and names as plots show them, and the plot of dots."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from isthmus.report.plots import Row, dots, fixed, log_ticks, number, plain, shortened


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"), (0.0, "0"), (0.12345, "0.123"), (1.0, "1.00"), (12.345, "12.3"),
        (123.4, "123"), (1234.5, "1,234"), (-0.5, "-0.500"), (0.00012, "1.2e-04"),
        (65504.0, "65,504"), (3.2e7, "3.2e+07"), (0.05, "0.050"),
    ],
)  # fmt: skip
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert number(value) == text


@given(st.floats(-1e300, 1e300))
def test_a_number_is_near_its_value(value: float) -> None:
    read = float(number(value).replace(",", ""))
    assert read == pytest.approx(value, rel=0.06)


def test_zero_has_no_sign() -> None:
    assert [fixed(v) for v in (-0.0001, -0.0, 0.0, -0.5)] == ["0.000", "0.000", "0.000", "-0.500"]
    assert fixed(-0.004, 2) == "0.00"


@given(st.text(max_size=300))
def test_plain_text_has_no_markup(text: str) -> None:
    shown = plain(text)
    assert "<" not in shown
    assert ">" not in shown
    undone = shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert undone == shortened(text)
    assert len(undone) <= 160


@given(st.floats(1e-8, 1e8), st.floats(1, 1e6))
@example(21428572.0, 1.0)
def test_logarithmic_axes_have_a_few_ticks_inside(low: float, ratio: float) -> None:
    axis = log_ticks(low, low * ratio)
    ticks = axis["tickvals"]
    assert 1 <= len(ticks) <= 16
    assert len(axis["ticktext"]) == len(ticks)
    assert all(0.98 * low <= t <= 1.06 * low * ratio for t in ticks)
    if ratio > 10:
        assert len(ticks) >= 2


def test_log_ticks_are_written_for_people() -> None:
    assert log_ticks(100, 9000)["ticktext"] == ["100", "300", "1k", "3k"]
    assert log_ticks(1e-4, 0.1, percent=True)["ticktext"] == ["0.01%", "0.1%", "1%", "10%"]


def test_dots_hold_every_row_interval_and_line() -> None:
    rows = [
        Row("one", 0.5, 0.4, 0.6, (0.0, 0.1)),
        Row("a name so long that it does not fit on a single line of a phone", 0.9, hover="why"),
    ]
    traces, layout, height = dots(rows, "axis", lines=((1.5, "bound"),), reach=(0.0, 1.0))
    chance, interval, points = traces
    assert chance["x"] == [0.05]
    assert interval["x"] == [0.4, 0.6]
    assert interval["y"] == [points["y"][0]] * 2
    assert points["x"] == [0.5, 0.9]
    assert "0.500 [0.400, 0.600]" in points["hovertext"][0]
    assert "why" in points["hovertext"][1]
    low, high = layout["xaxis"]["range"]
    assert low <= 0 < 1.5 <= high  # a line beyond the reach is still seen
    texts = [note["text"] for note in layout["annotations"]]
    assert texts[0] == "bound"
    assert texts[2].count("<br>") == 1
    # the second row has room for its second line
    ys = points["y"]
    assert height > -ys[1] > -2 * ys[0]


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0])
def test_one_value_alone_has_an_axis(value: float) -> None:
    _, layout, _ = dots([Row("only", value)], "axis")
    low, high = layout["xaxis"]["range"]
    assert math.isfinite(low)
    assert low < value < high
