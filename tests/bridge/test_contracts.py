"""A bridge is refused at load where its contracts do not fit what it is to serve."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isthmus.adapters import Affine, Chain
from isthmus.bridge import Bridge
from isthmus.errors import ContractError
from isthmus.spaces.contract import Space


def test_contracts_are_held_against_each_other_at_load(tmp_path: Path) -> None:
    new = Space(name="new", version="2.1.0", dim=4, metric="cosine", model="m2")
    old = Space(name="old", version="1.0.0", dim=3, metric="cosine", model="m1")
    bridge = Bridge("query", new, old, Chain([Affine(np.eye(4)[:, :3])]))
    bridge.save(tmp_path / "b")
    assert Bridge.load(tmp_path / "b", source=new, target=old).source == new
    assert Bridge.load(tmp_path / "b", source=new.revise(version="2.2.0"))
    with pytest.raises(ContractError, match=r"version(.|\n)*model"):
        Bridge.load(tmp_path / "b", source=new.revise(version="3.0.0", model="m3"))
    with pytest.raises(ContractError, match="dim"):
        Bridge.load(tmp_path / "b", target=old.revise(dim=5))
