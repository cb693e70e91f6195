"""The table of conditions that a report shows."""

from __future__ import annotations

import numpy as np

from isthmus.evaluate.robustness import Outcomes, judge_robustness
from isthmus.report.blocks import Items, TextTable
from isthmus.report.robustness import robustness_sections


def test_every_condition_has_a_row_and_what_was_not_tried_is_said() -> None:
    way = (np.arange(200) % 5 > 0).astype(float)
    found = judge_robustness(
        "bridge",
        "recall@10",
        Outcomes("as judged", way, way),
        {"int8": Outcomes("an index of 8-bit integers", way, way)},
        part=("some", np.arange(200) < 50),
        absent={"prefix": "none was given"},
    )
    (section,) = robustness_sections(found)
    (table,) = [b for b in section.blocks if isinstance(b, TextTable)]
    assert [row[0] for row in table.rows] == ["int8", "out of domain"]
    assert table.rows[0][1] == "0.800"
    assert table.rows[0][2].startswith("0.000 [-")
    (items,) = [b for b in section.blocks if isinstance(b, Items)]
    assert items.items == ("not tried: prefix (none was given)",)
    assert not [*robustness_sections(None)]
