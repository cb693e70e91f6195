"""What is done about an alarm: who is told, and which alias is rolled back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.console import warn
from isthmus.cli.registry_options import registry_option
from isthmus.cli.webhook import Webhook, check_hook
from isthmus.errors import InputError, IsthmusError, RegistryError

if TYPE_CHECKING:
    from isthmus.registry import Registry

__all__ = ["AlarmOptions"]

_DONE = "What is done about an alarm"


@dataclass(frozen=True)
class AlarmOptions:
    """What is done about an alarm."""

    roll_back: Annotated[
        str | None,
        typer.Option(
            metavar="NAME@ALIAS",
            help="Roll this alias of --registry back where that is what is recommended.",
            rich_help_panel=_DONE,
        ),
    ] = None
    registry: Annotated[str | None, registry_option(_DONE)] = None
    webhook: Webhook = None

    def check(self, bridge: Path) -> None:
        """Refuse what could not be done at an alarm, and say what would not be.

        Args:
            bridge: that is watched.

        Raises:
            InputError: naming the option.
        """
        check_hook(self.webhook)
        if self.roll_back is None:
            return
        if self.registry is None or "@" not in self.roll_back:
            raise InputError(
                "an alias of a registry is rolled back",
                where="--roll-back",
                mend="Write NAME@ALIAS, and name the registry with -r",
            )
        try:
            self._require_served(bridge)
        except IsthmusError as error:
            warn(f"notice: at an alarm nothing would be rolled back: {error}")

    def rolled_back(self, bridge: Path, alarms: Sequence[str]) -> str:
        """Roll the alias back, and what came of it.

        Only from the bridge that is watched: what was rolled back already, or moved by others, is
        not what the alarm is about, and each further look would go back further.
        """
        assert self.registry is not None and self.roll_back is not None, "it was checked"
        name, _, alias = self.roll_back.partition("@")
        try:
            registry = self._require_served(bridge)
            entry = registry.rollback(name, alias, note=f"monitor: {'; '.join(alarms)}"[:4000])
        except IsthmusError as error:
            return f"not rolled back: {error}"
        return f"{name}@{alias} was rolled back to {entry.version[:12]}"

    def _require_served(self, bridge: Path) -> Registry:
        """The registry, whose alias must point to the bridge that is watched."""
        from isthmus.registry import Registry
        from isthmus.registry.version import Version

        assert self.registry is not None and self.roll_back is not None, "it was checked"
        registry = Registry.open(self.registry)
        served = registry.show(self.roll_back).version
        if served.files != Version.of(bridge, {}).files:
            raise RegistryError(
                f"it points to another version than {bridge}, which is watched",
                where=self.roll_back,
                mend="Watch what it serves: isthmus pull, with a --state of its own",
            )
        return registry
