"""The options that name encoders, and the key of those behind an endpoint."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from isthmus.encoders import Encoder, Spending
    from isthmus.progress import Progress

__all__ = [
    "MODELS",
    "SPELLINGS",
    "EncodingEngine",
    "KeyEnv",
    "NewModel",
    "OldModel",
    "opened_model",
]

MODELS = "Models"
SPELLINGS = (
    "st:FOLDER-OR-NAME, openai:MODEL@URL, onnx:FILE, static:FILE, vectors:FILE or package:NAME"
)

OldModel = Annotated[
    str | None,
    typer.Option(
        "--old",
        metavar="ENC",
        help=f"The model that filled the index: {SPELLINGS}. Leave it out if it is gone.",
        rich_help_panel=MODELS,
    ),
]
NewModel = Annotated[
    str | None,
    typer.Option(
        "--new", metavar="ENC", help="The model that is to come, likewise.", rich_help_panel=MODELS
    ),
]
KeyEnv = Annotated[
    str | None,
    typer.Option(
        help="The environment variable with the key of endpoints; by default OPENAI_API_KEY.",
        rich_help_panel=MODELS,
    ),
]
EncodingEngine = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="ENGINE",
        help="Workers that share the encoding of texts by the new model, each with the model "
        "loaded: processes:4 of this machine, workers of dask or ray started here, or a running "
        "cluster as dask://HOST:8786. The store is read and written by this process alone.",
        rich_help_panel=MODELS,
    ),
]


@contextmanager
def opened_model(
    spelling: str, engine: str | None, *, spending: Spending, progress: Progress
) -> Generator[Encoder]:
    """The model of a spelling; its texts are shared by the workers of an engine, if one is named.

    The engine ends with the block.
    """
    from isthmus.encoders import open_encoder

    if engine is None:
        yield open_encoder(spelling, spending=spending, progress=progress)
        return
    from isthmus.scale import open_divided, open_engine

    with open_engine(engine) as workers:
        yield open_divided(spelling, workers, progress=progress)
