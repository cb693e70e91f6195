"""``isthmus publish``, ``pull``, ``list`` and the other commands of a registry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.console import say, show, show_json, warn
from isthmus.cli.inputs import Json, Overwrite
from isthmus.cli.option_groups import grouped
from isthmus.cli.outputs import WRITTEN
from isthmus.cli.registry_lines import (
    entry_line,
    release_line,
    review_line,
    short_value,
    verified_line,
)
from isthmus.cli.registry_options import (
    AliasName,
    At,
    KeyOption,
    Name,
    Note,
    OptionalKey,
    Trusted,
    VersionAsked,
)
from isthmus.errors import InputError
from isthmus.inputs import open_input
from isthmus.json_text import read_json

if TYPE_CHECKING:
    from isthmus.registry import Entry, Registry

__all__ = ["add_registry_commands"]

PANEL = "Registry"
_MOST_RESULT = 16 * 2**20


def publish_command(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="What isthmus saved.", show_default=False),
    ],
    name: Name,
    registry: At,
    note: Note = "",
    metadata: Annotated[
        list[str] | None,
        typer.Option("--metadata", metavar="KEY=TEXT", help="Kept as a part of the version."),
    ] = None,
    key: OptionalKey = None,
    create: Annotated[
        bool, typer.Option("--create", help="Make the registry, if there is none.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Take what isthmus saved into a registry; the alias latest then points to it."""
    from isthmus.registry import Registry

    stated = dict[str, str]()
    for pair in metadata or []:
        field, equals, text = pair.partition("=")
        if not equals or not field:
            raise InputError("expected KEY=TEXT", where=f"--metadata {pair}")
        stated[field] = text
    entry = Registry.open(registry, create=create).publish(
        folder, name, note=note, metadata=stated, key=key
    )
    _show_entry(entry, as_json)


def pull_command(
    asked: VersionAsked,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where to.", show_default=False), WRITTEN
    ],
    registry: At,
    trust: Trusted = None,
    signature: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Also write a signature, for another verifier.", show_default=False
        ),
        WRITTEN,
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a version to a folder, checked against its digests."""
    from isthmus.files import atomic_file, together

    opened = _opened(registry, trust)
    bundles = opened.signatures(asked) if signature is not None else []
    if signature is not None and not bundles:
        raise InputError("this version has no signature", where=asked)
    with together():
        version = opened.pull(asked, folder, overwrite=overwrite)
        if signature is not None:
            with atomic_file(signature, overwrite=overwrite) as draft:
                draft.write_bytes(bundles[0])
    reason = opened.show(asked).deprecated
    if reason is not None:
        warn(f"this version is deprecated: {reason.reason}")
    if as_json:
        show_json({"folder": str(folder), "kind": version.kind, "digest": version.digest})
    say(f"{folder}: {version.kind} {version.digest}")


def list_command(
    registry: At,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Show the versions of this name.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the names in a registry, or the versions of one name."""
    opened = _opened(registry)
    if name is None:
        names = opened.names()
        if as_json:
            show_json(names)
        elif names:
            show(*names)
        return
    releases = opened.list(name)
    if as_json:
        show_json([release.as_dict() for release in releases])
    else:
        show(*map(release_line, releases))


def show_command(
    asked: VersionAsked, registry: At, trust: Trusted = None, as_json: Json = False
) -> None:
    """Show a version: its files, when and by whom it was published, its aliases and their logs."""
    opened = _opened(registry, trust)
    release = opened.show(asked)
    logs = {alias: opened.log(release.name, alias) for alias in release.aliases}
    reviews = opened.reviews(f"{release.name}@sha256:{release.digest}")
    if as_json:
        told = {name: [entry.model_dump() for entry in log] for name, log in logs.items()}
        decided = [review.model_dump() for review in reviews]
        show_json({**release.as_dict(), "logs": told, "reviews": decided})
        return
    version = release.version
    lines = [f"{release.name}@sha256:{release.digest}"]
    lines.append(f"{version.kind}, {version.bytes:,} bytes")
    lines += [f"  {name}  {file.bytes:,}  {file.sha256}" for name, file in version.files.items()]
    lines += [f"  {key} = {text}" for key, text in version.metadata.items()]
    lines.append(f"published {release.published.at} by {release.published.by}")
    lines += [f"signed by {signer}" for signer in release.signers]
    if release.deprecated is not None:
        lines.append(f"deprecated: {release.deprecated.reason}")
    lines += [review_line(review) for review in reviews]
    for alias, log in logs.items():
        lines.append(f"{alias}:")
        lines += [f"  {entry_line(entry)}" for entry in log]
    show(*lines)


def diff_command(
    before: VersionAsked, after: VersionAsked, registry: At, as_json: Json = False
) -> None:
    """Show what differs between two versions."""
    found = _opened(registry).diff(before, after)
    if as_json:
        show_json(found.as_dict())
        return
    lines = [f"file {name}" for name in found.files]
    lines += [f"tensor {name}" for name in found.tensors]
    lines += [f"{c.path}: {short_value(c.before)} → {short_value(c.after)}" for c in found.content]
    show(*lines or ["nothing differs"])


def verify_command(
    registry: At,
    asked: Annotated[
        str | None,
        typer.Argument(metavar="[VERSION]", help="By default everything.", show_default=False),
    ] = None,
    trust: Trusted = None,
    as_json: Json = False,
) -> None:
    """Read every byte of a version, or of all, and compare it with its digest."""
    found = _opened(registry, trust).verify(asked)
    if as_json:
        show_json([release.as_dict() for release in found])
    else:
        show(*map(verified_line, found) if found else ["it is empty"])


@dataclass(frozen=True)
class PolicyOptions:
    """What must hold, and the results that it reads."""

    policy: Annotated[
        Path | None,
        typer.Option(
            metavar="TOML",
            envvar="ISTHMUS_POLICY",
            help="What must hold of it at this stage; exit code 1 if it does not.",
            show_default=False,
        ),
    ] = None
    measured: Annotated[
        list[str] | None,
        typer.Option(
            "--measured",
            metavar="NAME=FILE",
            help="A result of --json that conditions measured.NAME.FIELD read. Repeatable.",
        ),
    ] = None


@grouped
def promote_command(
    asked: VersionAsked,
    alias: AliasName,
    registry: At,
    held: PolicyOptions,
    expect: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            help="Refuse unless the alias still points to this version.",
        ),
    ] = None,
    note: Note = "",
    trust: Trusted = None,
    as_json: Json = False,
) -> None:
    """Let an alias, such as production, point to a version.

    With a policy the alias is one of its stages: every stage before must have been passed, and
    what the evidence, the signatures and the people say is kept in the log of the alias.
    """
    from isthmus.registry import Policy, judge

    opened, judged = _opened(registry, trust), None
    policy, measured = held.policy, held.measured
    if measured and policy is None:
        raise InputError(
            "conditions of a policy read this", where="--measured", mend="Add --policy"
        )
    if policy is not None:
        results = dict(_measured(text) for text in measured or [])
        judged = judge(opened, asked, alias, Policy.load(policy), measured=results)
        if not as_json:
            for found in judged.conditions:
                told = say if found.passed else warn
                told(f"{'pass' if found.passed else 'FAIL'}  {found.condition}  ({found.found})")
        if not judged.passed:
            if as_json:
                show_json({"promoted": False, "judged": judged.model_dump(mode="json")})
            raise typer.Exit(1)
    _show_entry(opened.promote(asked, alias, expect=expect, note=note, judged=judged), as_json)


def rollback_command(
    name: Name,
    alias: AliasName,
    registry: At,
    note: Note = "",
    trust: Trusted = None,
    as_json: Json = False,
) -> None:
    """Let an alias point to the version that it had before; again goes back further."""
    _show_entry(_opened(registry, trust).rollback(name, alias, note=note), as_json)


def sign_command(asked: VersionAsked, registry: At, key: KeyOption, as_json: Json = False) -> None:
    """Add a signature to a version, in the bundle format of OpenSSF Model Signing."""
    release = _opened(registry).sign(asked, key)
    if as_json:
        show_json(release.as_dict())
    else:
        show(release_line(release))


def deprecate_command(
    asked: VersionAsked,
    reason: Annotated[
        str, typer.Argument(metavar="REASON", help="Why, in a sentence.", show_default=False)
    ],
    registry: At,
    as_json: Json = False,
) -> None:
    """Say that a version is not to be used any more: no alias moves to it from now on."""
    release = _opened(registry).deprecate(asked, reason)
    if as_json:
        show_json(release.as_dict())
    else:
        show(release_line(release))


def approve_command(
    asked: VersionAsked,
    registry: At,
    decision: Annotated[
        str,
        typer.Option(help="approve, reject or 'request changes'; the last of each person counts."),
    ] = "approve",
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why.")] = "",
    by: Annotated[
        str | None,
        typer.Option(help="Who; by default ISTHMUS_USER or the system's user."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Approve a version, or refuse it, in the registry's audit log."""
    from isthmus.registry.reviews import checked_decision, person

    opened, decided = _opened(registry), checked_decision(decision)
    release = opened.show(asked)
    review = opened.approve(release.name, release.digest, by=by, decision=decided, reason=reason)
    if as_json:
        show_json(review.model_dump())
    else:
        show(review_line(review))
    if decided == "approve" and person(review.by) == person(release.published.by):
        warn(f"{review.by} published this version: policies count the approvals of others alone")


def gc_command(
    registry: At,
    older_than: Annotated[
        float,
        typer.Option(
            metavar="HOURS", min=0, help="What is younger may belong to a publish under way."
        ),
    ] = 24.0,
    as_json: Json = False,
) -> None:
    """Remove what killed publishes left: whatever no alias, past or present, leads to."""
    found = _opened(registry).gc(older_than=older_than * 3600)
    if as_json:
        show_json(
            {
                "objects": found.objects,
                "bytes": found.bytes,
                "half_written": found.half_written,
            }
        )
    else:
        show(
            f"removed {found.objects:,} objects of {found.bytes:,} bytes "
            f"and {found.half_written:,} half-written ones"
        )


def add_registry_commands(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    for name, command in {
        "publish": publish_command,
        "pull": pull_command,
        "list": list_command,
        "show": show_command,
        "diff": diff_command,
        "verify": verify_command,
        "promote": promote_command,
        "rollback": rollback_command,
        "sign": sign_command,
        "deprecate": deprecate_command,
        "approve": approve_command,
        "gc": gc_command,
    }.items():
        app.command(name, rich_help_panel=PANEL)(command)


def _measured(text: str) -> tuple[str, Any]:
    name, equals, path = text.partition("=")
    if not equals or not name:
        raise InputError("expected NAME=FILE", where=f"--measured {text}")
    try:
        with open_input(Path(path)) as file:
            return name, read_json(file.read(_MOST_RESULT))
    except FileNotFoundError as error:
        raise InputError("there is no such file", where=path) from error
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"this is no JSON ({error})", where=path) from error


def _opened(url: str, trust: Path | None = None) -> Registry:
    from isthmus.registry import Registry

    return Registry.open(url, trust=trust)


def _show_entry(entry: Entry, as_json: bool) -> None:
    if as_json:
        show_json(entry.model_dump())
    else:
        show(f"{entry.name}@{entry.alias} {entry_line(entry)}")
