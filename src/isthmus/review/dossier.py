"""Everything a reviewer sees of one version, gathered before the page is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from isthmus.bridge import Bridge
from isthmus.bridge.packing import KIND
from isthmus.evaluate import DEFAULT_GATES, GateResult, check_gates
from isthmus.registry import Registry, Release, Review
from isthmus.registry.policy import Policy, judge
from isthmus.review.changes import Changes
from isthmus.spaces.scratch import scratch_folder

__all__ = ["Dossier", "Shown", "dossier_of"]


@dataclass(frozen=True)
class Shown:
    """What stands for the ids of queries and items on the page.

    Example:
        >>> from isthmus.review import Shown
        >>> Shown(texts={"a7": "a bank"}, query_texts={"q1": "river"}).query("q1")
        'river'
    """

    texts: Mapping[str, str] = field(default_factory=dict[str, str])
    query_texts: Mapping[str, str] | None = None
    """Looked for among the ``texts`` if None."""
    images: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Pictures of items, and of queries of the same ids."""

    def query(self, name: str) -> str | None:
        """The text of a query."""
        return (self.texts if self.query_texts is None else self.query_texts).get(name)


@dataclass(frozen=True)
class Dossier:
    """What is known of a version.

    Example:
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from isthmus import artefact
        >>> from isthmus.registry import Registry
        >>> from isthmus.review import dossier_of
        >>> registry = Registry.open(Path("shown"), create=True)
        >>> artefact.write(Path("mean"), "table of means", {}, {"mean": np.ones(3)})
        >>> _ = registry.publish(Path("mean"), "means")
        >>> dossier = dossier_of(registry, "means")
        >>> dossier.bridge, dossier.gates, dossier.reviews()
        (None, (), [])
    """

    registry: Registry
    release: Release
    bridge: Bridge | None
    """None where the version is of another kind."""
    card: str
    """Its ``CARD.md``, or nothing."""
    gates: tuple[GateResult, ...]
    """Conditions of its evidence alone."""
    policy: Policy | None = None
    changes: Changes | None = None
    """None where no vectors were given to look at neighbours."""
    shown: Shown = field(default_factory=Shown)

    @property
    def asked(self) -> str:
        """The version, whole."""
        return f"{self.release.name}@sha256:{self.release.digest}"

    def stages(self) -> list[tuple[str, tuple[GateResult, ...]]]:
        """What every stage of the policy says now, by its name, in order."""
        if self.policy is None:
            return []
        judged = [judge(self.registry, self.asked, s, self.policy) for s in self.policy.stages]
        return [
            (j.stage, tuple(GateResult(c.condition, c.passed, c.found) for c in j.conditions))
            for j in judged
        ]

    def reviews(self) -> list[Review]:
        """What people decided so far, the newest first; read anew each time."""
        return self.registry.reviews(self.asked)


def dossier_of(
    registry: Registry,
    asked: str,
    *,
    gates: Sequence[str] = (),
    policy: Policy | None = None,
) -> Dossier:
    """Fetch a version, check it, and hold it against its gates.

    Args:
        registry: where it is.
        asked: the version; an alias is resolved once, and what it points to then is reviewed.
        gates: conditions of its evidence; those of ``isthmus evaluate`` if there are none.
        policy: its stages are judged as well.

    Raises:
        RegistryError, InputError: as `Registry.pull`.

    Example:
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from isthmus import artefact
        >>> from isthmus.registry import Policy, Registry
        >>> from isthmus.review import dossier_of
        >>> registry = Registry.open(Path("staged"), create=True)
        >>> artefact.write(Path("a_mean"), "table of means", {}, {"mean": np.ones(3)})
        >>> _ = registry.publish(Path("a_mean"), "means")
        >>> policy = Policy.of_text("[stages.production]\\napprovals = 1")
        >>> [stage for stage, _ in dossier_of(registry, "means", policy=policy).stages()]
        ['production']
    """
    release = registry.show(asked)
    whole = f"{release.name}@sha256:{release.digest}"
    with scratch_folder() as place:
        folder = place / "version"
        registry.pull(whole, folder)
        bridge = Bridge.load(folder) if release.version.kind == KIND else None
        page = folder / "CARD.md"
        card = page.read_text(encoding="utf-8") if page.exists() else ""
    results: list[GateResult] = []
    if bridge is not None and bridge.evidence is not None and (gates or policy is None):
        results = check_gates(bridge.evidence, gates or DEFAULT_GATES)
    return Dossier(registry, release, bridge, card, tuple(results), policy)
