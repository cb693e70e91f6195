from __future__ import annotations

import email.utils
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.encoders import Retry
from isthmus.encoders.retry import Transient, retry_after
from isthmus.errors import InputError


@given(failures=st.integers(1, 30), seed=st.integers(0, 1000))
def test_delays_grow_and_are_bounded(failures: int, seed: int) -> None:
    retry = Retry(attempts=31, first=0.5, most=20, seed=seed)
    delay = retry.delay(failures, Transient("x"), retry.rng())
    assert delay is not None
    assert 0 <= delay <= min(20, 0.5 * 2 ** (failures - 1))


def test_the_same_seed_gives_the_same_delays() -> None:
    def delays(seed: int) -> list[float | None]:
        retry = Retry(seed=seed)
        rng = retry.rng()
        return [retry.delay(n, Transient("x"), rng) for n in range(1, 6)]

    assert delays(3) == delays(3) != delays(4)


def test_a_server_s_wait_is_kept_and_attempts_end() -> None:
    retry = Retry(attempts=3, first=0.1, most=60)
    rng = np.random.default_rng(0)
    assert retry.delay(1, Transient("x", wait=7), rng) == 7
    assert retry.delay(1, Transient("x", wait=61), rng) is None
    assert retry.delay(2, Transient("x"), rng) is not None
    assert retry.delay(3, Transient("x"), rng) is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("3", 3.0), ("0.5", 0.5), ("-1", 0.0), ("soon", None), ("nan", None)],
)
def test_retry_after_in_seconds(header: str | None, seconds: float | None) -> None:
    assert retry_after(header) == seconds


def test_retry_after_as_a_date() -> None:
    found = retry_after(email.utils.formatdate(time.time() + 30, usegmt=True))
    assert found is not None and 28 <= found <= 31
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0


@pytest.mark.parametrize("options", [{"attempts": 0}, {"first": -1}, {"most": -1}])
def test_what_cannot_be_followed_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(InputError, match="cannot be followed"):
        Retry(**options)
