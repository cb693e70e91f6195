"""``isthmus canary``: is a model still the one it was?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.console import ProgressBar, say, show, show_fitted, show_json
from isthmus.cli.inputs import Json, Overwrite
from isthmus.cli.model_options import SPELLINGS, KeyEnv
from isthmus.cli.outputs import WRITTEN
from isthmus.errors import ModelChangedError

__all__ = ["canary_app"]

canary_app = typer.Typer(
    no_args_is_help=True,
    help="Remember the vectors that a model gives a few texts, and find out when it was changed.",
)

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="ENC",
        help=f"The model: {SPELLINGS}.",
        show_default=False,
    ),
]


@canary_app.command("record")
def record_command(
    model: ModelArgument,
    texts: Annotated[
        Path,
        typer.Argument(metavar="TEXTS", help="3 to 10 texts, one on a line.", show_default=False),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The JSON file to write.", show_default=False),
        WRITTEN,
    ],
    rounding: Annotated[
        float | None,
        typer.Option(
            help="The largest distance, relative to its length, that a vector of the same model "
            "moves; by default 0.001, or three times what this model was seen to move."
        ),
    ] = None,
    key_env: KeyEnv = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Remember the vectors that a model gives a few texts.

    The texts are encoded as documents and as queries, one by one and all at once. Only the first
    ten lines are used. Nothing but this file is needed to check the model later.
    """
    from isthmus.encoders import ModelCanary, Spending, open_encoder
    from isthmus.encoders.model_canary import MOST_TEXTS
    from isthmus.files import check_output
    from isthmus.spaces.texts import read_lines

    check_output(output, overwrite=overwrite)
    lines = list(dict.fromkeys(read_lines(texts)))
    if len(lines) > MOST_TEXTS:
        say(f"the first {MOST_TEXTS} of {len(lines):,} texts are used")
    encoder = open_encoder(model, spending=Spending(key_env=key_env), progress=ProgressBar())
    canary = ModelCanary.record(encoder, lines[:MOST_TEXTS], rounding=rounding)
    canary.save(output, overwrite=overwrite)
    told = {
        "model": canary.model,
        "revision": canary.revision,
        "texts": len(canary.texts),
        "rounding": canary.rounding,
    }
    if as_json:
        show_json(told)
    else:
        show(
            f"{output}: {len(canary.texts)} texts of {canary.model}, the same model to "
            f"{canary.rounding:.2g} of a vector's length"
        )


@canary_app.command("check")
def check_command(
    canary: Annotated[
        Path,
        typer.Argument(
            metavar="CANARY", help="What isthmus canary record wrote.", show_default=False
        ),
    ],
    model: ModelArgument,
    key_env: KeyEnv = None,
    as_json: Json = False,
) -> None:
    """Encode the texts again: exit code 0 if it is the same model, 1 if it is another.

    The vectors decide, not the names. Nothing is read from the cache of vectors.
    """
    from isthmus.encoders import ModelCanary, Spending, open_encoder

    known = ModelCanary.load(canary)
    try:
        encoder = open_encoder(model, spending=Spending(key_env=key_env), progress=ProgressBar())
        found = known.check(encoder)
    except ModelChangedError as error:
        if as_json:
            show_json({"same": False, "recorded": known.model, "reason": error.what})
        else:
            show(f"another model: {error.what}")
        raise typer.Exit(1) from None
    if as_json:
        show_json(found.as_dict())
    else:
        show_fitted(str(found))
    if not found.same:
        raise typer.Exit(1)
