"""Files of Debian packages, fetched by the ordinary apt client; nothing is installed.

The client works in a folder of its own, so that the machine's lists are left as they are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from isthmus.errors import InputError

__all__ = ["Apt", "apt_client"]

_CONF = """Dir::State::lists "{root}/lists";
Dir::Cache "{root}/cache";
#clear Acquire::Languages;
Acquire::Languages {{ "{language}"; }};
"""


@dataclass(frozen=True)
class Apt:
    """A client that knows today's lists.

    Attributes:
        root: its own folder, which ends with it.
        where: what asks, as errors name it.
    """

    root: Path
    where: str

    @property
    def lists(self) -> Path:
        """The folder of the lists."""
        return self.root / "lists"

    def unpacked(self, package: str) -> Path:
        """A folder with the files of a package, at the paths they would be installed at."""
        folder = self.root / package
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=self.root) as work:
                self.run("apt-get", "download", package, cwd=Path(work))
                archive = next(Path(work).glob("*.deb"))
                self.run("dpkg-deb", "-x", str(archive), str(folder))
        return folder

    def run(self, tool: str, *arguments: str, cwd: Path | None = None) -> bytes:
        """What the tool prints.

        Raises:
            InputError: where it fails, with the last line it said.
        """
        own = ("-c", str(self.root / "apt.conf"), "-qq") if tool == "apt-get" else ()
        done = subprocess.run([tool, *own, *arguments], cwd=cwd, capture_output=True)
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"]
            raise InputError(
                f"{tool} {' '.join(arguments)} failed: {said[-1]}",
                where=self.where,
                mend="Look at the network and at /etc/apt/sources.list, and start again: what is "
                "fetched is kept",
            )
        return done.stdout


@contextmanager
def apt_client(where: str, mend: str, *, language: str = "none") -> Iterator[Apt]:
    """A client with lists of its own, as long as the context lasts.

    Args:
        where: what asks, for errors.
        mend: where else the data can come from, for a machine without apt.
        language: of the descriptions that the lists hold.

    Raises:
        InputError: where apt or dpkg is missing or finds no server.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise InputError(
                f"the data comes from Debian packages, and there is no {tool} here",
                where=where,
                mend=f"Run it on Debian or Ubuntu, or {mend}",
            )
    with tempfile.TemporaryDirectory(prefix="isthmus-apt-") as name:
        apt = Apt(Path(name), where)
        (apt.lists / "partial").mkdir(parents=True)
        (apt.root / "cache" / "archives" / "partial").mkdir(parents=True)
        conf = _CONF.format(root=apt.root, language=language)
        if os.geteuid() == 0:
            # another user could not write into a private folder
            conf += 'APT::Sandbox::User "root";\n'
        (apt.root / "apt.conf").write_text(conf)
        apt.run("apt-get", "update")
        yield apt
