import json
import math
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")
stats = pytest.importorskip("scipy.stats")

from isthmus.errors import InputError  # noqa: E402
from isthmus.training.ablation import ablate  # noqa: E402

SEEDS = [0, 1, 2, 3]


def run(setting, seed):
    """a adds 2, b adds 1 and takes 3 away beside a; every seed has a luck of its own."""
    luck = float(np.random.default_rng(seed).normal(0, 10))
    own = float(np.random.default_rng([seed, setting["a"], setting["b"]]).normal(0, 0.1))
    a, b = setting["a"], setting["b"]
    return {"score": luck + own + 2 * a + b - 3 * a * b, "cost": a + b}


def test_main_effects_are_averaged_over_the_other_factors_and_luck_cancels():
    found = ablate(["a", "b"], run, SEEDS)
    assert len(found.cells) == 4
    for factor, expected in (("a", 0.5), ("b", -0.5)):
        effect = found.effect(factor, "score")
        assert effect.value == pytest.approx(expected, abs=0.2)
        assert effect.high - effect.low < 1
    assert found.effect("a", "cost").value == 1
    cell = found.cell(a=True, b=False)
    # the interval of a cell has the luck in it
    assert cell.means["score"].high - cell.means["score"].low > 5


@pytest.mark.parametrize(
    ("design", "effects", "cells"),
    [("drop_one", {"a": -1, "b": -2}, 3), ("add_one", {"a": 2, "b": 1}, 3)],
)
def test_one_factor_at_a_time_is_judged_beside_everything_or_nothing(design, effects, cells):
    found = ablate(["a", "b"], run, SEEDS, design=design)
    assert len(found.cells) == cells
    for factor, expected in effects.items():
        assert found.effect(factor, "score").value == pytest.approx(expected, abs=0.2)


def test_intervals_are_students_over_paired_differences():
    found = ablate(["a", "b"], run, SEEDS, design="add_one", level=0.9)
    none, a = found.cells[:2]
    apart = np.subtract(a.values["score"], none.values["score"])
    expected = stats.ttest_1samp(apart, 0).confidence_interval(0.9)
    effect = found.effect("a", "score")
    assert (effect.low, effect.high) == pytest.approx((expected.low, expected.high))


def test_a_factor_of_several_levels_is_compared_with_its_first():
    found = ablate(
        {"depth": [1, 2, 4], "on": [False, True]},
        lambda s, seed: s["depth"] ** 2 + 10 * s["on"],
        [0, 1],
    )
    shown = [(e.factor, e.level, e.against, e.metrics["value"].value) for e in found.effects]
    assert shown == [("depth", 2, 1, 3), ("depth", 4, 1, 15), ("on", True, False, 10)]
    one = ablate({"depth": [1, 2, 4]}, lambda s, seed: s["depth"], [0], design="drop_one")
    assert [e.level for e in one.effects] == [4]
    assert len(ablate({"depth": [1, 2, 4]}, lambda s, seed: 0, [0], design="add_one").cells) == 3


def test_it_prints_its_tables_and_is_json():
    found = ablate(["a", "b"], run, [0])
    text = str(found)
    assert "full design, 1 seed\n" in text and "main effects" in text
    assert "a: False → True" in text and "[" not in text
    assert json.loads(found.to_json())["cells"][0]["means"]["score"]["reason"] == "one seed"
    text = str(ablate(["a", "b"], run, SEEDS, design="drop_one"))
    assert "main effects" not in text and text.count("[") == 2 * (3 + 2)


def test_runs_in_the_journal_are_not_repeated_whatever_the_design(tmp_path):
    calls = []

    def counted(setting, seed):
        calls.append((setting["a"], setting["b"], seed))
        return run(setting, seed)

    path = tmp_path / "journal"
    first = ablate(["a", "b"], counted, SEEDS, design="drop_one", journal=path)
    assert len(calls) == 12
    again = ablate(["a", "b"], counted, SEEDS, design="drop_one", journal=path)
    assert len(calls) == 12 and again == first
    ablate(["a", "b"], counted, [*SEEDS, 9], journal=path)
    assert len(calls) == 20 and len(set(calls)) == 20
    with pytest.raises(InputError, match="another version"):
        ablate(["a", "b"], counted, SEEDS, journal=path, version="2")
    with pytest.raises(InputError, match="measured"):
        ablate(["a", "b"], lambda s, seed: 1.0, [*SEEDS, 10], journal=path)


PROGRAMME = textwrap.dedent("""
    import os, signal, sys
    from isthmus.training.ablation import ablate
    path, kill = sys.argv[1], int(sys.argv[2])
    calls = [0]
    def run(setting, seed):
        calls[0] += 1
        if calls[0] == kill:
            os.kill(os.getpid(), signal.SIGKILL)
        return setting["a"] + 0.1 * setting["b"] + seed
    found = ablate(["a", "b"], run, range(3), journal=path)
    print(calls[0], found.to_json())
""")


def test_an_ablation_killed_goes_on_where_it_was(tmp_path):
    def start(name, kill):
        return subprocess.run(
            [sys.executable, "-c", PROGRAMME, str(tmp_path / name), str(kill)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    killed = start("cut", 8)
    assert killed.returncode == -signal.SIGKILL
    resumed, whole = start("cut", 0), start("whole", 0)
    assert resumed.stdout.split()[0] == "5" and whole.stdout.split()[0] == "12"
    assert resumed.stdout.split(maxsplit=1)[1] == whole.stdout.split(maxsplit=1)[1]


def test_progress_is_told_of_every_run():
    told = []
    ablate(["a", "b"], run, [0, 1], progress=lambda *step: told.append(step))
    assert told == [("ablate", i, 8) for i in range(1, 9)]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"factors": []}, "no factors"),
        ({"factors": "ab"}, "factors are a list"),
        ({"factors": {"a": [1]}}, r"factor a: expected two or more"),
        ({"factors": {"a": [1, 1]}}, r"factor a: expected two or more"),
        ({"factors": {"a": [1, object()]}}, r"factor a: a level is not a string"),
        ({"seeds": []}, "one or more different seeds"),
        ({"seeds": [1, 1]}, "one or more different seeds"),
        ({"design": "half"}, "no design 'half'"),
        ({"level": 1}, "level lies"),
        ({"run": lambda s, seed: math.nan}, r"setting .*, seed 0: the run's value is nan"),
        ({"run": lambda s, seed: {}}, "measured nothing"),
    ],
)
def test_bad_input_is_refused(change, match):
    arguments = {"factors": ["a", "b"], "run": run, "seeds": [0], **change}
    with pytest.raises(InputError, match=match):
        ablate(**arguments)


def test_cells_and_effects_that_are_not_there_are_named():
    found = ablate(["a", "b"], run, [0])
    with pytest.raises(InputError, match="was not run"):
        found.cell(a=True)
    with pytest.raises(InputError, match=r"no effect of 'c' on 'score'.*a, b and score, cost"):
        found.effect("c", "score")
