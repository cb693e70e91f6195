"""The options that name encoders, and the key of those behind an endpoint."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["MODELS", "SPELLINGS", "KeyEnv", "NewModel", "OldModel"]

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
