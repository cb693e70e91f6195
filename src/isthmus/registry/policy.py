"""What must hold of a version before an alias moves to it, per stage of its rollout, as TOML.

::

    [stages.testbed]
    gates = ["verdict in (use the bridge, bridge and rescore)"]

    [stages.production]
    gates = ["retention >= 0.95", "robustness.worst >= -0.1", "measured.latency.p95 <= 20"]
    approvals = 2
    signed = true
    bounds = ["hit >= 0.8", "refused <= 0.02"]

The stages are passed in the order in which they stand.  A stage is also the name of its alias.
"""

from __future__ import annotations

import hashlib
import json
import operator
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from isthmus.bridge import Bridge
from isthmus.bridge.packing import KIND
from isthmus.errors import InputError
from isthmus.evaluate.gates import check_gates, parse_gate
from isthmus.inputs import open_input
from isthmus.registry.aliases import Found, Judged, checked_alias
from isthmus.registry.registry import Registry
from isthmus.registry.release import Release
from isthmus.registry.reviews import person, standing
from isthmus.spaces.scratch import scratch_folder

__all__ = ["Bound", "Policy", "PolicyStage", "judge", "parse_bound"]

_MOST_BYTES = 1 << 18
_PRICED = ("encodings", "encodings_cached", "cached_share", "reembedded", "old_query")
_NUMBER = r"[-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?"
_PLACED = re.compile(
    rf"\s*(?P<root>price|measured)\.(?P<path>[\w@.-]+)\s*(?P<sign>>=|<=|>|<)\s*"
    rf"(?P<bound>{_NUMBER})\s*"
)
_BOUND = re.compile(rf"\s*(?P<name>[\w.@-]+)\s*(?P<sign>>=|<=)\s*(?P<bound>{_NUMBER})\s*")
_MONITORED = "hit", "refused", "overconfidence", "scores.lenient", "scores.strict", "retrieval"
"""What a bound may be of, beside groups: `isthmus.monitor` looks at it."""
_COMPARED: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}


@dataclass(frozen=True)
class Bound:
    """What the mean of a monitored metric in [0, 1] must keep.

    Example:
        >>> from isthmus.registry import Bound
        >>> print(Bound("hit", ">=", 0.8))
        hit >= 0.8
    """

    name: str
    sign: str
    bound: float

    def __str__(self) -> str:
        return f"{self.name} {self.sign} {self.bound:g}"


class PolicyStage(BaseModel):
    """What must hold of a version at one stage.

    Example:
        >>> from isthmus.registry import PolicyStage
        >>> PolicyStage(gates=["retention >= 0.95"], approvals=1).signed
        False
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    gates: Annotated[list[str], Field(max_length=48)] = []
    """Conditions of the recommended way's evidence, as `isthmus.evaluate.parse_gate` reads them;
    ``price.NAME`` of its price; and ``measured.PATH`` of what was measured elsewhere."""
    approvals: Annotated[int, Field(ge=0, le=100)] = 0
    """People who approve, the one who published it not counted; nobody may object."""
    signed: bool = False
    """Somebody who is trusted signed it."""
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """The share of the traffic that the stage serves: told to whoever routes it, and in the log."""
    bounds: Annotated[list[str], Field(max_length=48)] = []
    """What `isthmus.monitor` holds the live traffic of this stage against, as ``hit >= 0.8``."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """The chance of any false alarm of these bounds, ever."""


class Policy(BaseModel):
    """The stages of a rollout.

    Example:
        >>> policy = Policy.of_text('[stages.production]\\ngates = ["retention >= 0.95"]')
        >>> policy.stages["production"].gates
        ['retention >= 0.95']
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    stages: Annotated[dict[str, PolicyStage], Field(min_length=1, max_length=32)]
    digest: str

    @classmethod
    def load(cls, path: str | Path) -> Policy:
        """Read a TOML file.

        Raises:
            InputError: for anything but a policy, naming the first fault.
        """
        try:
            with open_input(Path(path)) as file:
                content = file.read(_MOST_BYTES + 1)
        except FileNotFoundError as error:
            raise InputError("there is no policy here", where=str(path)) from error
        if len(content) > _MOST_BYTES:
            raise InputError(f"it is larger than {_MOST_BYTES:,} bytes", where=str(path))
        try:
            return cls.of_text(content.decode("utf-8-sig"), where=str(path))
        except UnicodeDecodeError as error:
            raise InputError("the file is not UTF-8 text", where=str(path)) from error

    @classmethod
    def of_text(cls, text: str, *, where: str = "policy") -> Policy:
        """The policy that a text of TOML states.

        Raises:
            InputError: for anything else.
        """
        try:
            told = tomllib.loads(text)
            digest = hashlib.sha256(text.encode()).hexdigest()
            policy = cls.model_validate({**told, "digest": digest})
        except ValidationError as error:
            fault: Any = error.errors()[0]
            place = ".".join(map(str, fault["loc"]))
            raise InputError(f"this is no policy ({place}: {fault['msg']})", where=where) from error
        # a ValueError that is none of TOML's: a number of too many digits
        except (ValueError, RecursionError) as error:
            raise InputError(f"this is no TOML ({error})", where=where) from error
        for name, stage in policy.stages.items():
            checked_alias(name)
            for gate in stage.gates:
                _check_gate(gate)
            for bound in stage.bounds:
                parse_bound(bound)
        return policy

    def stage(self, name: str) -> PolicyStage:
        """The stage of this name.

        Raises:
            InputError: if there is none.
        """
        if name not in self.stages:
            raise InputError(
                f"the policy has no stage '{name}'",
                where="policy",
                mend=f"Its stages are: {', '.join(self.stages)}",
            )
        return self.stages[name]

    def before(self, name: str) -> str | None:
        """The stage that comes before this one."""
        names = [*self.stages]
        at = names.index(name)
        return names[at - 1] if at else None


def parse_bound(text: str) -> Bound:
    """Read a bound of a monitored metric, such as ``hit >= 0.8`` or ``hit.de >= 0.7``.

    Raises:
        InputError: for anything else, for a bound outside (0, 1), or of what nothing monitors: it
            would never be broken.

    Example:
        >>> parse_bound("refused <= 0.02").bound
        0.02
    """
    match = _BOUND.fullmatch(text)
    if match is None or not 0 < float(match["bound"]) < 1:
        raise InputError(
            "the bound cannot be read",
            where=f"bound {text!r}",
            mend="Write for example 'hit >= 0.8' or 'refused <= 0.02', between 0 and 1",
        )
    name = match["name"]
    if name not in _MONITORED and not re.match(r"(hit|gap)\..", name):
        raise InputError(
            f"nothing called '{name}' is monitored",
            where=f"bound {text!r}",
            mend=f"There are {', '.join(_MONITORED)}, hit.GROUP and gap.GROUP",
        )
    return Bound(name, match["sign"], float(match["bound"]))


def judge(
    registry: Registry,
    asked: str,
    stage: str,
    policy: Policy,
    *,
    measured: Mapping[str, Any] | None = None,
) -> Judged:
    """Hold a version against what a stage asks of it.

    Args:
        registry: where it is; opened with the trusted keys, if the stage asks for signatures.
        asked: the version.
        stage: of the policy.
        policy: what must hold.
        measured: results of ``--json``, by any name: a condition ``measured.NAME.FIELD`` reads a
            number of them, or an interval's careful end.

    Raises:
        RegistryError, InputError: as `Registry.show`; and if the policy has no such stage.

    Example:
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from isthmus import artefact
        >>> from isthmus.registry import Policy, Registry, judge
        >>> registry = Registry.open(Path("judged"), create=True)
        >>> artefact.write(Path("mean"), "table of means", {}, {"mean": np.ones(3)})
        >>> _ = registry.publish(Path("mean"), "means")
        >>> policy = Policy.of_text("[stages.production]\\napprovals = 1")
        >>> judge(registry, "means", "production", policy).conditions[0].condition
        'approved by 1 person'
    """
    wanted, release = policy.stage(stage), registry.show(asked)
    whole = f"{release.name}@sha256:{release.digest}"
    found: list[Found] = []
    former = policy.before(stage)
    if former is not None:
        passed = former in _passed(registry, release)
        found.append(
            Found.of(f"passed {former}", passed, "it did" if passed else "it never stood there")
        )
    if release.deprecated is not None:
        found.append(Found.of("not deprecated", False, release.deprecated.reason))
    if wanted.gates:
        found += _gates(registry, whole, release, wanted.gates, measured or {})
    if wanted.signed:
        signers = ", ".join(release.signers)
        found.append(Found.of("signed", bool(signers), signers or "by nobody who is trusted"))
    if wanted.approvals:
        found.append(_approvals(registry, whole, release, wanted.approvals))
    return Judged(
        policy=policy.digest,
        stage=stage,
        version=release.digest,
        share=wanted.share,
        conditions=tuple(found),
    )


def _passed(registry: Registry, release: Release) -> set[str]:
    """The aliases that once pointed to a version, unless they were rolled back from it since."""
    stages = set[str]()
    for alias in registry.aliases(release.name):
        newer = None
        for entry in registry.log(release.name, alias):
            if entry.version == release.digest:
                if newer is None or newer.action != "rollback":
                    stages.add(alias)
                break
            newer = entry
    return stages


def _gates(
    registry: Registry,
    whole: str,
    release: Release,
    gates: Sequence[str],
    measured: Mapping[str, Any],
) -> list[Found]:
    if release.version.kind != KIND:
        told = f"nothing: a {release.version.kind} has no evidence"
        return [Found.of(gate, False, told) for gate in gates]
    with scratch_folder() as place:
        registry.pull(whole, place / "bridge")
        bridge = Bridge.load(place / "bridge")
    return [_gate(bridge, gate, measured) for gate in gates]


def _gate(bridge: Bridge, gate: str, measured: Mapping[str, Any]) -> Found:
    match = _PLACED.fullmatch(gate)
    if match is None:
        if bridge.evidence is None:
            return Found.of(gate, False, "nothing: it was not evaluated")
        result = check_gates(bridge.evidence, [gate])[0]
        return Found.of(gate, result.passed, result.found)
    if match["root"] == "price":
        price = None if bridge.evidence is None else _price(bridge)
        value = None if price is None else price.get(match["path"])
    else:
        value = _at(measured, match["path"])
    end = _end(value, match["sign"])
    if end is None:
        return Found.of(gate, False, "nothing: it was not measured")
    held = _COMPARED[match["sign"]](end, float(match["bound"]))
    return Found.of(gate, held, json.dumps(value))


def _price(bridge: Bridge) -> dict[str, Any] | None:
    evidence = bridge.evidence
    assert evidence is not None
    price = evidence.arms[evidence.judged].price
    return None if price is None else price.model_dump()


def _at(tree: Any, path: str) -> Any:
    """What stands in nested mappings under names joined by dots, which may hold dots themselves."""
    if not isinstance(tree, Mapping):
        return None
    if path in tree:
        return tree[path]
    for at in (i for i, letter in enumerate(path) if letter == "."):
        if path[:at] in tree:
            found = _at(tree[path[:at]], path[at + 1 :])
            if found is not None:
                return found
    return None


def _end(value: Any, sign: str) -> float | None:
    """A number, or the careful end of an interval; None for anything else."""
    if isinstance(value, Mapping):
        value = value.get("low" if sign in (">=", ">") else "high")
    if isinstance(value, (bool, int, float)) and value == value:
        return float(value)
    return None


def _approvals(registry: Registry, whole: str, release: Release, wanted: int) -> Found:
    latest = standing(registry.reviews(whole), release.digest)
    publisher = person(release.published.by)
    yes = [r.by for who, r in latest.items() if r.decision == "approve" and who != publisher]
    no = [f"{r.by} ({r.decision})" for r in latest.values() if r.decision != "approve"]
    told = ", ".join(sorted(yes)) or "nobody"
    told += f"; against: {', '.join(sorted(no))}" if no else ""
    people = "person" if wanted == 1 else "people"
    return Found.of(f"approved by {wanted} {people}", len(yes) >= wanted and not no, told)


def _check_gate(gate: str) -> None:
    match = _PLACED.fullmatch(gate)
    if match is None:
        parse_gate(gate)
    elif match["root"] == "price" and match["path"] not in _PRICED:
        raise InputError(
            f"a price has no '{match['path']}'",
            where=f"gate {gate!r}",
            mend=f"It has: {', '.join(_PRICED)}",
        )
