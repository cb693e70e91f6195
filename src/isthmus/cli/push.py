"""``isthmus push``: a bridge as a model repository of the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.console import show, show_json
from isthmus.cli.inputs import Json

__all__ = ["push_command"]


def push_command(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="What isthmus saved.", show_default=False)
    ],
    repository: Annotated[
        str,
        typer.Argument(
            metavar="ORG/NAME",
            help="A model repository; made if there is none.",
            show_default=False,
        ),
    ],
    private: Annotated[bool, typer.Option("--private", help="Make a new one private.")] = False,
    license: Annotated[
        str | None,
        typer.Option(help="For the model card, as the Hub spells it: apache-2.0, mit."),
    ] = None,
    message: Annotated[
        str, typer.Option("--message", "-m", help="Of the commit.")
    ] = "A new version",
    as_json: Json = False,
) -> None:
    """Push what isthmus saved to the Hugging Face Hub, with its card as the model card.

    The token is read from HF_TOKEN, or where `hf auth login` put it (extra hub). What is there is
    fetched by `hf download ORG/NAME --local-dir my.bridge` and used as any bridge.

    Example:

        isthmus push my.bridge my-team/docs-new-to-old --private
    """
    from isthmus.registry.hub import push

    address = push(folder, repository, private=private, message=message, license=license)
    if as_json:
        show_json({"repository": repository, "commit": address})
    else:
        show(address)
