"""A plan on paper: rates are measured, and the rest is arithmetic."""

from __future__ import annotations

import pytest

pytest.importorskip("pyarrow")

from isthmus.migrate.paper_plan import MACHINES, Rates, measured_rates, paper_plan


def test_the_slower_of_processors_and_network_sets_the_pace() -> None:
    slow, fast = (paper_plan(10**8, 256, 16, Rates(r, r)) for r in (1e3, 1e9))
    for machine, of_slow, of_fast in zip(MACHINES, slow.machines, fast.machines, strict=True):
        assert of_slow.count == of_fast.count == -(-16 // machine.workers)
        assert of_slow.fit_bound == of_slow.transform_bound == "processors"
        assert of_slow.fit_hours == pytest.approx(1e8 / 1e3 / 16 / 3600)
        assert of_fast.fit_bound == of_fast.transform_bound == "network"
        sent = 2 * 4e8 * 256 * 8  # bits of both sides
        hours = sent / (of_fast.count * machine.gigabits * 1e9) / 3600
        assert of_fast.transform_hours == pytest.approx(hours)
        assert of_fast.dollars == pytest.approx(2 * hours * of_fast.count * machine.price)


def test_rates_are_of_rows_that_were_read_and_written() -> None:
    found = measured_rates(8, rows=3000)
    assert found.pairs > 0 and found.rows > 0
    assert "1,000,000 x 8 float32 pairs, 2 workers" in str(paper_plan(10**6, 8, 2, found))
