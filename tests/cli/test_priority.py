from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAMME = """
import os, threading
from isthmus.cli.priority import giving_way

def now():
    return os.getpriority(os.PRIO_PROCESS, 0)

found = []
def in_a_thread():
    thread = threading.Thread(target=lambda: found.append(now()))
    thread.start()
    thread.join()

if {user}:
    os.setuid({user})
with giving_way():
    found.append(now())
    in_a_thread()
in_a_thread()
with giving_way():
    found.append(now())
os.setpriority(os.PRIO_PROCESS, 0, 15)
with giving_way():
    found.append(now())
print(*found)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other priorities")
@pytest.mark.parametrize("user", [0, 65534], ids=["whoever runs this", "nobody"])
def test_others_go_first_as_long_as_it_lasts(user: int) -> None:
    import os

    if user and os.getuid():
        pytest.skip("takes root")
    found = subprocess.run(
        [sys.executable, "-c", PROGRAMME.format(user=user)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    inside, thread, after, again, lower = map(int, found.stdout.split())
    before = os.getpriority(os.PRIO_PROCESS, 0)
    assert inside == thread == again == max(10, before)
    assert after == (inside if user or os.getuid() else before)
    assert lower == 15
