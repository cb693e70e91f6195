"""Bridges on the Hugging Face Hub: a folder of isthmus as a model repository with its model card.

The repository holds the files of the artefact byte for byte, and a ``README.md``: the front matter
that the Hub reads, then the card.  ``huggingface_hub`` does the work; the token and the endpoint
come from its own settings (``HF_TOKEN``, ``HF_ENDPOINT``).
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from isthmus import artefact
from isthmus.errors import InputError, RegistryError, missing_extra
from isthmus.files import canonical_json
from isthmus.registry.version import Version

__all__ = ["front_matter", "model_card", "push"]

_CARD = "CARD.md"
_README = "README.md"


def push(
    folder: str | Path,
    repository: str,
    *,
    private: bool = False,
    message: str = "A new version",
    license: str | None = None,
) -> str:
    """Write an artefact to a model repository of the Hub, in one commit.

    Args:
        folder: what isthmus saved.
        repository: as in ``organisation/name``; made if there is none.
        private: whether a new one is seen by nobody else.
        message: of the commit.
        license: as the Hub spells it, such as ``apache-2.0``.

    Returns:
        The address of the commit.

    Raises:
        InputError: for a folder that holds anything but a whole artefact.
        RegistryError: if the Hub refuses.
        MissingExtraError: without the package huggingface_hub.
    """
    place = Path(folder)
    version = Version.of(place, {})
    readme = model_card(place, version.kind, license=license).encode()
    try:
        from huggingface_hub import CommitOperationAdd, HfApi
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import (  # pyright: ignore[reportAttributeAccessIssue]
            HfHubHTTPError,
        )
    except ImportError as error:
        raise missing_extra("huggingface_hub", "hub", "pushing to the Hub") from error
    files = {name: str(place / name) for name in version.files}
    operations = [CommitOperationAdd(name, path) for name, path in files.items()]
    operations.append(CommitOperationAdd(_README, readme))
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        done = api.create_commit(repository, operations, commit_message=message)
    except HFValidationError as error:
        told = " ".join(str(error).split())[:200]
        raise InputError(f"this is no name of a repository ({told})", where=repository) from error
    except (HfHubHTTPError, OSError) as error:
        told = " ".join(str(error).split())[:300]
        raise RegistryError(
            f"the Hub refuses ({told})",
            where=repository,
            mend="Check the name and HF_TOKEN",
        ) from error
    return str(done.commit_url)


def model_card(folder: Path, kind: str, *, license: str | None = None) -> str:
    """The ``README.md`` of an artefact: front matter, then its card, or a sentence."""
    card = folder / _CARD
    body = card.read_text(encoding="utf-8") if card.exists() else f"# {folder.name}\n\nA {kind}.\n"
    return f"{front_matter(folder, kind, license=license)}\n{body}"


def front_matter(folder: Path, kind: str, *, license: str | None = None) -> str:
    """The metadata that the Hub reads, between two lines of dashes.

    JSON is YAML: every value is written as JSON, which quotes what YAML might read otherwise.
    """
    told: dict[str, object] = {
        "library_name": "isthmus",
        "tags": ["isthmus", kind.replace(" ", "-"), "embeddings", "representation-alignment"],
    }
    if license is not None:
        told["license"] = license
    models = _models(folder, kind)
    if models:
        told["base_model"] = models
    lines = [f"{name}: {canonical_json(value)}" for name, value in told.items()]
    return "\n".join(["---", *lines, "---"])


def _models(folder: Path, kind: str) -> list[str]:
    """The models of a bridge's two spaces that are named as the Hub names its own."""
    with artefact.read(folder, kind) as stored:
        replace(stored.tensors, finite=False).verify()
        spaces = [stored.content.get(side) for side in ("source", "target")]
    named = [space.get("model") for space in spaces if isinstance(space, dict)]
    found = [
        name.partition(":")[2] if name.startswith("st:") else name
        for name in named
        if isinstance(name, str)
    ]
    return sorted({name for name in found if name.count("/") == 1 and " " not in name})
