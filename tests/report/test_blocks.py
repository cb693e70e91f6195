from __future__ import annotations

from isthmus.report.blocks import Figure, Prose, Section, TextTable


def test_columns_of_numbers_are_found() -> None:
    rows = (
        ("a", "0.813 [0.781, 0.845]", "1,234", "-", "10% more", "0.1 ± 0.02", ""),
        ("b", "-0.030 [-0.059, -0.002]", "12", "5.5e-05", "none", "-", ""),
    )
    table = TextTable("caption", tuple("abcdefg"), rows)
    found = [table.is_number(i) for i in range(7)]
    assert found == [False, True, True, True, False, True, False]


def test_figures_alone_share_the_width() -> None:
    table = TextTable("", ("a",), (("b",),))
    figure = Figure("k", "t", "c", "a", (), {}, 100, table)
    arrangements = [Section("", (figure,) * n).arrangement for n in range(5)]
    assert arrangements == ["", "", "pairs", "pairs", "columns"]
    assert Section("", (figure, Prose("text"), figure)).arrangement == ""
