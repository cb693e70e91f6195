"""``isthmus serve``: a bridge behind HTTP, for applications that no Python runs in."""

from __future__ import annotations

import os
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Annotated

import typer

from isthmus.cli.completions import way_names
from isthmus.cli.console import ProgressBar, say, show
from isthmus.cli.inputs import BridgeOption
from isthmus.cli.listening import Host, Port
from isthmus.cli.option_groups import grouped
from isthmus.cli.search import ServedModels, check_models, name_of, open_encoders, search_of
from isthmus.errors import InputError, missing_extra

__all__ = ["serve_command"]

_TOKEN = "ISTHMUS_SERVE_TOKEN"


@grouped
def serve_command(
    bridge: BridgeOption,
    models: ServedModels,
    store: Annotated[
        str | None,
        typer.Argument(
            metavar="STORE",
            help="The URL of an index that /search answers from; without it there are embeddings "
            "alone.",
            show_default=False,
        ),
    ] = None,
    way: Annotated[
        str,
        typer.Option(
            help="How /search goes on: what the evidence recommends, or another way.",
            autocompletion=way_names,
        ),
    ] = "recommended",
    host: Host = "127.0.0.1",
    port: Port = 8765,
) -> None:
    """Serve a bridge over HTTP: mapped queries as OpenAI's embeddings, and searches of an index.

    POST /v1/embeddings takes texts and answers with vectors that search the old index: an
    application that asks an endpoint for the vectors of its queries changes the address and nothing
    else. POST /search takes {"queries": [...], "k": 10} or {"vectors": {"new": [[...]]}}, and
    answers as isthmus search --json does, in the way that is recommended. Vectors that break the
    contract of their model are refused. GET /health says what is served. With a token in
    ISTHMUS_SERVE_TOKEN, every request has to carry it: Authorization: Bearer TOKEN; other machines
    are not listened to without one. What is not known of a request is refused, not ignored. End it
    with Ctrl-C or SIGTERM: requests that are whole are answered, and clients that send or read
    nothing on are cut off after five seconds.

    Examples:

        isthmus serve --bridge my.bridge --new st:NEW

        isthmus serve lancedb://db#docs.vector --bridge my.bridge --old st:OLD --new st:NEW

        curl localhost:8765/v1/embeddings -H 'content-type: application/json'
        -d '{"input": ["a bridge over a river"], "model": "any"}'
    """
    for package in ("starlette", "uvicorn"):
        if find_spec(package) is None:
            raise missing_extra(package, "serve", "a bridge behind HTTP")
    from isthmus.bridge import Bridge
    from isthmus.bridge.check_encoder import check_encoder
    from isthmus.encoders import Spending, open_encoder
    from isthmus.serve import Served, listening_at, sidecar_app
    from isthmus.serve.listening import is_loopback
    from isthmus.stores import open_store
    from isthmus.ways import Recall, Way
    from isthmus.ways.queries import QueryReader

    token = os.environ.get(_TOKEN) or None
    if token is None and not is_loopback(host):
        raise InputError(
            "other machines would reach this without a token",
            where="--host",
            mend=f"Set {_TOKEN}, or listen on 127.0.0.1",
        )
    loaded = Bridge.load(bridge)
    if loaded.kind == "corpus":
        raise InputError(
            "a corpus bridge maps no queries, so that there is nothing to serve",
            where=str(bridge),
            mend="Map the stored vectors with isthmus apply, and ask the new model alone",
        )
    if models.new is None:
        raise InputError(
            "queries are encoded by the new model, and it is not given",
            where="--new",
            mend="Name it, as in --new st:all-MiniLM-L6-v2",
        )
    progress = ProgressBar()
    texts = ["text"]
    with ExitStack() as held:
        new = open_encoder(models.new, spending=Spending(key_env=models.key_env), progress=progress)
        check_encoder(loaded, new, "new")
        search = None
        if store is not None:
            check_models(loaded, way, texts, models)
            opened = held.enter_context(open_store(store))
            encoders = open_encoders(loaded.way(way), texts, models, progress)
            search = search_of(loaded, opened, way, models.new_column, encoders)
        progress.close()
        mapped = Way(recall=Recall(kind="bridge"))
        served = Served(
            QueryReader(mapped, loaded, old=None, new=new, maps_queries=True),
            loaded.target.model or "old",
            loaded.target.dim,
            search,
            name_of(loaded, way),
        )
        listening = held.enter_context(listening_at(host, port))
        app = sidecar_app(served, token=token, hosts=listening.hosts)
        show(listening.url)
        say("POST /v1/embeddings" + (" and /search" if search is not None else ""))
        listening.run(listening.server(app))
