"""Rows that do not go with their partners are found and named, and healthy pairs are left alone."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from isthmus.diagnose.diagnose import diagnose
from isthmus.diagnose.pairing import described, judge_pairing
from isthmus.diagnose.second_model import TwoGroups

Two = tuple[np.ndarray, np.ndarray]


def _turn(d: int, rng: np.random.Generator) -> np.ndarray:
    return np.linalg.qr(rng.standard_normal((d, d)))[0]


def _items(n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -0.3


def _model(items: np.ndarray, seed: int, noise: float = 0.3) -> np.ndarray:
    """The same items in one model: a frame and a mean of its own, and what it hears amiss."""
    rng = np.random.default_rng(seed)
    d = items.shape[1]
    mean = 0.4 * rng.standard_normal(d)
    return items @ _turn(d, rng) + mean + noise * rng.standard_normal(items.shape)


def _pair(n: int, seed: int, d: int = 48, noise: float = 0.3) -> tuple[np.ndarray, Two]:
    items = _items(n, d, np.random.default_rng(seed))
    return items, (_model(items, 1, noise), _model(items, 2, noise))


@pytest.mark.parametrize("n", [40, 100, 300])
@pytest.mark.parametrize("noise", [0.1, 0.5, 1.5])
def test_healthy_pairs_are_left_alone(n: int, noise: float) -> None:
    for seed in range(6):
        _, (x, y) = _pair(n, seed, noise=noise)
        found = judge_pairing(np.arange(n), x, y, seed=seed)
        assert found is not None and (found.kind, found.lost) == ("none", ())
        assert described(found, ("x", "y")) == ""


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_rows_paired_wrongly_are_found_and_named(share: float) -> None:
    _, (x, y) = _pair(1000, 0)
    wrong = np.random.default_rng(1).permutation(1000)[: int(share * 1000)]
    y[wrong] = y[np.roll(wrong, 1)]
    names = np.array([f"d{i}" for i in range(1000)])
    found = judge_pairing(names, x, y)
    assert found is not None and (found.kind, found.side) == ("mispaired", None)
    assert found.share.low is not None and found.share.high is not None
    assert found.share.low <= share <= found.share.high
    assert found.visible is not None and found.visible < 0.05
    named = set(found.lost)
    truly = set(names[wrong].tolist())
    assert len(named & truly) >= 0.9 * len(truly) and len(named - truly) <= 0.1 * len(truly)
    assert "paired wrongly" in described(found, ("new", "old"))


def test_rows_paired_wrongly_across_two_subjects_are_no_second_model() -> None:
    """Rows that lost a partner of the other subject are two groups on both sides, exchanged."""
    rng = np.random.default_rng(0)
    items = _items(1000, 96, rng)
    items[:400] += 1.5 * rng.standard_normal(96)
    x, y = _model(items, 1), _model(items, 2)
    wrong = rng.permutation(1000)[:500]
    y[wrong] = y[np.roll(wrong, 1)]
    found = judge_pairing(np.arange(1000), x, y)
    assert found is not None and found.kind == "mispaired" and set(found.lost) <= set(wrong)


@pytest.mark.skipif(find_spec("wordllama") is None, reason="wordllama has the words")
def test_half_of_real_rows_paired_wrongly_are_no_second_model() -> None:
    """Subjects of real texts stand apart on one side alone once partners are exchanged."""
    from isthmus.demo.corpus import load_corpus
    from isthmus.encoders import wordllama_256

    encoded = wordllama_256().encode(list(load_corpus(1000).documents)).astype(float)
    x, y = encoded[:, :160], encoded[:, 96:].copy()
    wrong = np.random.default_rng(0).permutation(1000)[:500]
    y[wrong] = y[np.roll(wrong, 1)]
    found = judge_pairing(np.arange(1000), x, y)
    assert found is not None and found.kind == "mispaired"
    assert len(set(found.lost) & set(wrong.tolist())) >= 400


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("side", ["x", "y"])
def test_a_second_model_is_named_as_such(share: float, side: str) -> None:
    items, (x, y) = _pair(1000, 0)
    rows = np.sort(np.random.default_rng(1).permutation(1000)[: int(share * 1000)])
    (x if side == "x" else y)[rows] = _model(items, 3, 0.3)[rows]
    found = judge_pairing(np.arange(1000), x, y)
    assert found is not None and (found.kind, found.side) == ("second model", side)
    # of two halves either may be called the second
    lost, others = set(found.lost), set(range(1000)) - set(rows.tolist())
    right = max(len(lost & set(rows.tolist())), len(lost & others) if share == 0.5 else 0)
    assert right >= 0.9 * len(rows) and len(lost) <= 1.1 * len(rows)
    assert f"of {'new' if side == 'x' else 'old'} seem to come" in described(found, ("new", "old"))


def test_two_subjects_are_not_two_models() -> None:
    rng = np.random.default_rng(0)
    items = _items(800, 48, rng)
    items[:300] += 3 * rng.standard_normal(48)
    found = judge_pairing(np.arange(800), _model(items, 1), _model(items, 2))
    assert found is not None and found.kind == "none"


def test_a_subject_that_one_model_hardly_tells_is_no_second_model() -> None:
    """As measured: Perl modules and libraries among Debian's packages, wordllama beside the mean of
    GloVe vectors; and a twentieth of WordNet's glosses by another model."""
    for few, apart, shared, left in ((34, 4.71, 0.74, 4.69), (36, 4.82, 0.89, 4.39),
                                     (23, 2.96, 0.57, 2.91), (386, 3.0, 0.79, 2.15)):  # fmt: skip
        assert not TwoGroups(np.arange(1000) < few, apart, shared, left).are_models
    assert TwoGroups(np.arange(1000) < 32, 3.66, 0.23, 3.38).are_models


def test_what_cannot_be_seen_is_said() -> None:
    _, (x, y) = _pair(1000, 0)
    shares = [judge_pairing(np.arange(n), x[:n], y[:n]) for n in (60, 300, 1000)]
    seen = [1.0 if found is None else found.visible or 1.0 for found in shares]
    assert seen[0] > seen[1] > seen[2]
    assert judge_pairing(np.arange(39), x[:39], y[:39]) is None
    assert judge_pairing(np.arange(1000), x[:, :4], y) is None
    found = judge_pairing(np.arange(1000), x, y)
    assert found is not None and found.visible_second == 0.06


@pytest.mark.skipif(find_spec("wordllama") is None, reason="wordllama has the words")
@pytest.mark.parametrize("d", [8, 16, 32])
def test_real_pairs_cut_to_few_dimensions_are_healthy(d: int) -> None:
    """Rows that a map carries over badly look like strangers in few dimensions: nothing is said."""
    from isthmus.demo.corpus import load_corpus
    from isthmus.encoders import wordllama_256

    corpus, encoder = load_corpus(500), wordllama_256()
    sides = []
    encoded = encoder.encode(list(corpus.documents)).astype(float)
    for rows in (encoded[:, :192], encoded[:, 64:]):
        centred = rows - rows.mean(axis=0)
        sides.append(centred @ np.linalg.eigh(centred.T @ centred)[1][:, -d:])
    noise_free = sides[0] @ _turn(d, np.random.default_rng(0))
    for x, y in (sides, (sides[0], noise_free)):
        said = diagnose(x, y)
        assert not {"weak_relation", "partly_wrong_pairing", "two_models"} & {
            finding.name for finding in said.findings
        }
    exact = judge_pairing(np.arange(500), sides[0], noise_free)
    assert exact is not None and exact.kind == "none"
    noise_free[:60] = np.roll(noise_free[:60], 1, axis=0)
    wrong = judge_pairing(np.arange(500), sides[0], noise_free)
    assert wrong is not None and wrong.kind == "mispaired"


def test_what_one_side_alone_shows_in_all_rows_is_no_second_model() -> None:
    """A flag that the other model does not encode moves rows, but their map stays the same."""
    _, (x, y) = _pair(1000, 0)
    flagged = np.random.default_rng(1).random(1000) < 0.3
    y[flagged] += 8 * np.random.default_rng(2).standard_normal(48) / 48**0.5
    found = judge_pairing(np.arange(1000), x, y)
    assert found is not None and found.kind == "none"


def test_unrelated_rows_are_no_mixture() -> None:
    rng = np.random.default_rng(0)
    found = judge_pairing(np.arange(500), _items(500, 20, rng), _items(500, 20, rng))
    assert found is not None and found.kind == "none" and found.visible is None


def test_wide_rows_are_narrowed() -> None:
    items = _items(400, 40, np.random.default_rng(0))
    wide = [_model(np.pad(items, ((0, 0), (0, 760))), seed, 0.05) for seed in (1, 2)]
    wide[1][:60] = np.roll(wide[1][:60], 1, axis=0)
    found = judge_pairing(np.arange(400), *wide)
    assert found is not None and found.kind == "mispaired"
    assert len(set(found.lost) & set(range(60))) >= 50


@pytest.mark.parametrize("n", [20, 1000])
@pytest.mark.parametrize("share", [0.2, 0.5])
def test_rows_that_were_not_encoded_anew_are_named(n: int, share: float) -> None:
    _, (x, y) = _pair(n, 0)
    rows = np.sort(np.random.default_rng(1).permutation(n)[: int(share * n)])
    x[rows] = 2 * y[rows].astype(np.float16)  # lengths do not count, and halves are rounded
    found = judge_pairing(np.arange(n), x, y)
    assert found is not None and (found.kind, found.side) == ("unchanged", None)
    assert found.lost == tuple(rows.tolist()) and found.share.value == share
    assert "hold the same vector on both sides" in described(found, ("new", "old"))


def test_a_side_that_is_the_other_has_no_rows_of_the_wrong_model() -> None:
    _, (x, _) = _pair(300, 0)
    found = judge_pairing(np.arange(300), x, x)
    assert found is not None and found.kind == "none"


def test_rows_that_were_not_encoded_anew_are_a_finding() -> None:
    _, (x, y) = _pair(600, 0)
    x[:90] = y[:90]
    found = diagnose(x, y)
    named = found.finding("unchanged_rows")
    assert named is not None and named.severity == "critical" and named.value == 0.15
    assert not found.can_be_fitted
