from __future__ import annotations

import pytest

from isthmus.evaluate.arms import ARMS, Verdict, in_order, of_role, words_of


def test_every_way_that_may_be_recommended_has_an_answer_that_serves():
    for arm in ARMS.values():
        assert (arm.verdict is not None and arm.verdict.serves) == (arm.role == "way"), arm.name


def test_every_answer_that_serves_is_that_of_some_arm():
    assert {v for v in Verdict if v.serves} == {
        arm.verdict for arm in ARMS.values() if arm.role == "way"
    }


@pytest.mark.parametrize("verdict", list(Verdict))
def test_good_news_are_those_that_serve(verdict):
    tone, short = verdict.answer
    assert (tone == "good") == verdict.serves
    assert short[0].isupper() and short.endswith(".")


def test_arms_are_shown_cheapest_first_between_the_fixed_ones():
    load = {"mixed": 1.0, "own": 0.5, "backfill": 3.0}
    names = ["control", "backfill", "mixed", "own", "new", "bridge", "old"]
    assert in_order(names, lambda n: load.get(n, 0.0)) == [
        *("old", "bridge", "own", "mixed", "backfill", "new", "control")
    ]


def test_words_have_the_parameters_of_the_label():
    assert words_of("mixed", "mixed 0.3") == "queries of both models mixed (0.3)"
    assert words_of("bridge") == "bridge"
    assert words_of("own", "own 3") == "own 3"


def test_what_comparisons_are_made_with_is_never_chosen():
    assert not any(ARMS[n].chosen for n in of_role("bound", "check"))
