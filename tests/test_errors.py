"""A sentence ends in a full stop, and a command that is to be copied in nothing of the kind."""

import pytest

from isthmus.errors import InputError, missing_extra


@pytest.mark.parametrize(
    ("mend", "stop"),
    [
        ("Save it as UTF-8", "."),
        ("Fetch the file itself: git lfs pull", ""),
        ("Bring them up to date: isthmus moments OLD NEW -o a.b", ""),
        ("Save it: as isthmus has it", "."),
        ("Leave: isthmus leave. Or stay", "."),
    ],
)
def test_commands_are_copied_whole(mend: str, stop: str) -> None:
    assert str(InputError("no", mend=mend)) == f"no. {mend}{stop}"


def test_the_command_that_installs_an_extra_has_no_full_stop() -> None:
    assert str(missing_extra("faiss", "faiss", "reading")).endswith("pip install 'isthmus[faiss]'")
