import json
import time

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from torch import nn  # noqa: E402

from isthmus.errors import InputError  # noqa: E402
from isthmus.nn.compact.table import compact_table, replace_module, size_of  # noqa: E402


def test_bytes_of_parameters_and_buffers_count_once():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    assert size_of(net) == 4 * (12 + 4 + 4 + 4 + 4 + 4) + 8
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    assert size_of(tied) == 4 * (9 + 3 + 3)


def test_a_module_is_replaced_in_lists_and_by_name():
    net = nn.ModuleDict({"a": nn.Sequential(nn.Linear(2, 2), nn.ReLU())})
    replace_module(net, "a.1", nn.Tanh())
    replace_module(net, "a.0", nn.Identity())
    assert [type(m) for m in net["a"]] == [nn.Identity, nn.Tanh]


def slow(seconds):
    def call(x):
        time.sleep(seconds)
        return x

    return call


def test_latency_is_relative_to_the_first_and_everything_prints():
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout())
    variants = {"whole": slow(0.02), "half": slow(0.01), "net": net}
    told = []
    table = compact_table(
        variants, lambda v: 0.9 if v is net else 0.95, torch.ones(2, 4),
        sizes={"whole": 2**21, "half": 2**20}, repeats=5, progress=lambda *s: told.append(s),
    )  # fmt: skip
    assert table["whole"].latency == 1
    assert 0.3 < table["half"].latency < 0.9 and table["net"].latency < 0.5
    assert table["net"].size == size_of(net) and net.training
    text = str(table)
    assert "half" in text and "1.00 MiB" in text and "0.50x" in text and "-0.050" in text
    assert json.loads(table.to_json())[2]["accuracy"] == 0.9
    assert told == [("variants", i, 3) for i in (1, 2, 3)]
    with pytest.raises(InputError, match=r"no variant 'third'.*whole, half, net"):
        table["third"]


def test_processor_time_does_not_count_waiting():
    table = compact_table(
        {"waits": slow(0.02)}, lambda v: 1.0, torch.ones(1), sizes={"waits": 1}, repeats=3,
        clock="processor",
    )  # fmt: skip
    assert table["waits"].milliseconds < 10


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="no variants"):
        compact_table({}, lambda v: 1.0, torch.ones(1))
    with pytest.raises(InputError, match=r"variant f: the size is not known"):
        compact_table({"f": slow(0)}, lambda v: 1.0, torch.ones(1))
    with pytest.raises(InputError, match="no clock 'sun'"):
        compact_table({"f": slow(0)}, lambda v: 1.0, torch.ones(1), sizes={"f": 1}, clock="sun")
    with pytest.raises(InputError, match="at least once"):
        compact_table({"f": slow(0)}, lambda v: 1.0, torch.ones(1), sizes={"f": 1}, repeats=0)
