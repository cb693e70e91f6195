"""Values between two processes arrive as they were sent."""

import multiprocessing
import os
import threading

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.moments import FoldMoments
from isthmus.scale import channel


@pytest.fixture
def ends():
    here, there = multiprocessing.Pipe()
    yield here, there
    for end in (here, there):
        if not end.closed:
            end.close()


def sent(ends, value):
    """What arrives, sent by another thread, as a pipe holds less than an array."""
    here, there = ends
    sender = threading.Thread(target=channel.send, args=(there, value))
    sender.start()
    try:
        return channel.receive(here)
    finally:
        sender.join()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(300_000, dtype=np.float64).reshape(500, 600),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(12).reshape(3, 4)[:, ::2],
        np.array(3.5, dtype=np.float32),
        np.empty((0, 4), dtype=np.int8),
        np.array(["a", "ü"]),
        np.array([("x", 1)], dtype=[("id", "U1"), ("n", "<i4")]),
        np.array([None, "of objects", 3], dtype=object),
    ],
    ids=["large", "columns", "strided", "number", "empty", "text", "records", "objects"],
)
def test_arrays_arrive_equal_and_can_be_written(ends, array):
    arrived = sent(ends, {"it": array, "beside": [array, b"bytes", None]})
    assert np.array_equal(arrived["it"], array)
    assert arrived["it"].dtype == array.dtype
    assert arrived["it"].flags.writeable
    assert np.array_equal(arrived["beside"][0], array)
    assert arrived["beside"][1:] == [b"bytes", None]


def test_several_values_follow_one_another(ends):
    assert [sent(ends, n * np.ones(40_000))[0] for n in range(5)] == [0, 1, 2, 3, 4]


def test_moments_can_be_joined_after_the_way(ends, rng):
    x, y = rng.standard_normal((2, 400, 24))
    whole, one, other = FoldMoments(24, 24), FoldMoments(24, 24), FoldMoments(24, 24)
    whole.update(np.arange(400), x, y)
    one.update(np.arange(150), x[:150], y[:150])
    other.update(np.arange(150, 400), x[150:], y[150:])
    arrived = sent(ends, one)
    arrived += sent(ends, other)
    np.testing.assert_allclose(arrived.total.xy, whole.total.xy, rtol=1e-9, atol=1e-9)


def test_nothing_is_sent_of_what_cannot_be(ends):
    here, there = ends
    with pytest.raises(Exception, match="pickle"):
        channel.send(there, [np.ones(9), lambda: None])
    assert not here.poll()
    assert sent(ends, "next") == "next"


@pytest.mark.parametrize("written", [0, 100_000])
def test_an_end_that_closes_is_noticed(ends, written):
    here, there = ends
    there.send((b"", [200_000]))

    sender = threading.Thread(target=os.write, args=(there.fileno(), bytes(written)))
    sender.start()
    with pytest.raises((EOFError, OSError)):
        closed = threading.Thread(target=lambda: (sender.join(), there.close()))
        closed.start()
        channel.receive(here)
    closed.join()


def test_an_error_arrives_as_itself(ends):
    arrived = sent(ends, InputError("no rows", where="a.npy"))
    assert isinstance(arrived, InputError)
    assert str(arrived) == str(InputError("no rows", where="a.npy"))
