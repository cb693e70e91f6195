"""``isthmus review``: a version on a local page, and a person's decision in the audit log."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.console import ProgressBar, say, show
from isthmus.cli.inputs import RelevanceOptions, open_for
from isthmus.cli.judging_options import Gates
from isthmus.cli.listening import SERVED, Host, Port
from isthmus.cli.option_groups import grouped
from isthmus.cli.registry_options import At, Trusted, VersionAsked
from isthmus.cli.reports import texts_of
from isthmus.errors import InputError, missing_extra

if TYPE_CHECKING:
    from isthmus.review import Dossier

__all__ = ["review_command"]

_SHOWN = "What is shown"


@dataclass(frozen=True)
class NeighbourOptions:
    """Vectors whose neighbours are shown before and after, and what stands beside them."""

    old: Annotated[
        str | None,
        typer.Option(
            help="Items as the old model encoded them: with --new, neighbours are shown before "
            "and after.",
            rich_help_panel=_SHOWN,
        ),
    ] = None
    new: Annotated[
        str | None,
        typer.Option(help="The same items by the new model.", rich_help_panel=_SHOWN),
    ] = None
    texts: Annotated[
        Path | None,
        typer.Option(
            help="Texts of the items: lines of JSON or a table with id and text, or .txt with one "
            "a row.",
            rich_help_panel=_SHOWN,
        ),
    ] = None
    query_texts: Annotated[
        Path | None,
        typer.Option(
            help="Texts of the queries, where they are not items.", rich_help_panel=_SHOWN
        ),
    ] = None
    images: Annotated[
        Path | None,
        typer.Option(
            help="A folder of pictures, ID.png, .jpg, .gif or .webp each, shown as thumbnails.",
            rich_help_panel=_SHOWN,
        ),
    ] = None


@dataclass(frozen=True)
class ServeOptions:
    """Where the page is served, and until when."""

    host: Host = "127.0.0.1"
    port: Port = 0
    once: Annotated[
        bool,
        typer.Option(
            "--once",
            help="Stop after the first decision; exit code 1 unless it approves.",
            rich_help_panel=SERVED,
        ),
    ] = False


@grouped
def review_command(
    asked: VersionAsked,
    registry: At,
    seen: NeighbourOptions,
    relevance: RelevanceOptions,
    served: ServeOptions,
    trust: Trusted = None,
    policy: Annotated[
        Path | None,
        typer.Option(help="A policy (TOML), whose stages are judged.", rich_help_panel=_SHOWN),
    ] = None,
    gate: Gates = None,
) -> None:
    """Review a version on a local page, and approve it, reject it or ask for changes.

    The page shows the evidence, the gates, groups, and with the vectors of both models the
    neighbours of the queries that change most, before and after. The decision, its reason and the
    name go into the registry's audit log, which policies count. It needs no network: open the
    printed address, which carries a token, in a browser on this machine. End it with Ctrl-C.

    Examples:

        isthmus review docs.new-to-old --registry reg

        isthmus review docs.new-to-old@staging --registry reg --policy policy.toml
        --old old.npy --new new.npy --queries-old q_old.npy --queries-new q_new.npy
        --texts items.jsonl
    """
    for package in ("starlette", "uvicorn"):
        if find_spec(package) is None:
            raise missing_extra(package, "review", "the page of a review")
    from isthmus.registry import Registry
    from isthmus.registry.policy import Policy
    from isthmus.review.dossier import dossier_of
    from isthmus.review.serve import serve_review

    old, new = seen.old, seen.new
    if (old is None) != (new is None):
        raise InputError("vectors are needed from both models", mend="Give --old and --new")
    beside = [*relevance.typed().values(), seen.texts, seen.query_texts, seen.images]
    if old is None and any(given is not None for given in beside):
        raise InputError(
            "queries, texts and pictures are shown beside vectors", mend="Give --old and --new"
        )
    dossier = dossier_of(
        Registry.open(registry, trust=trust),
        asked,
        gates=gate or (),
        policy=None if policy is None else Policy.load(policy),
    )
    if old is not None and new is not None:
        dossier = _with_neighbours(dossier, old, new, seen, relevance)

    def ready(address: str) -> None:
        show(address)
        say("open it in a browser; Ctrl-C ends the review")

    decision = serve_review(
        dossier, host=served.host, port=served.port, once=served.once, ready=ready
    )
    if decision is not None:
        say(f"decided: {decision}")
    if served.once and decision != "approve":
        raise typer.Exit(1)


def _with_neighbours(
    dossier: Dossier, old: str, new: str, seen: NeighbourOptions, relevance: RelevanceOptions
) -> Dossier:
    from isthmus.bridge.assess import unseen_map_of, unseen_samples
    from isthmus.review.app import pictures_in
    from isthmus.review.changes import changed_queries
    from isthmus.review.dossier import Shown

    bridge = dossier.bridge
    if bridge is None:
        raise InputError(
            f"a {dossier.release.version.kind} has no neighbours", where="--old, --new"
        )
    progress = ProgressBar()
    inputs = open_for(bridge, old, new, relevance, progress)
    samples = unseen_samples(bridge, inputs.pairs, inputs.queries, progress=progress)
    changes = changed_queries(bridge, samples.judging_part(), chain=unseen_map_of(bridge, samples))
    progress.close()
    worst = () if bridge.evidence is None else bridge.evidence.worst
    items = {n.id for q in changes.shown for n in (*q.before, *q.after)}
    items |= {name for q in worst for name in (q.answer, q.found) if name is not None}
    queries = {q.id for q in changes.shown} | {q.id for q in worst}
    pictures = {} if seen.images is None else pictures_in(seen.images)
    shown = Shown(
        **texts_of(seen.texts, seen.query_texts, items, queries, inputs),
        images={name: path for name, path in pictures.items() if name in items | queries},
    )
    return replace(dossier, changes=changes, shown=shown)
