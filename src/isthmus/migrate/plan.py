"""What a live index will go through, as a value: saved, printed, and carried out exactly so."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from isthmus.errors import InputError
from isthmus.evaluate.scores import Metric
from isthmus.files import atomic_file, canonical_json
from isthmus.inputs import open_input, read_input
from isthmus.json_text import read_json
from isthmus.spaces.scratch import scratch_folder
from isthmus.ways.way import Join, Recall, Rescore

if TYPE_CHECKING:
    from isthmus.bridge import Bridge

__all__ = [
    "Artefact",
    "AskedQueries",
    "Canaries",
    "CurvePoint",
    "Estimated",
    "Model",
    "OrderCurve",
    "Plan",
    "Serving",
    "Target",
]

_MOST_BYTES = 64 << 20


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Target(_Value):
    """The index that is moved, and the names that things get."""

    store: str
    """Its URL without a password."""
    collection: str
    count: int
    """Items when the plan was made."""
    text_field: str | None
    old_column: str
    old_dim: int
    metric: Metric
    new_column: str
    new_dim: int
    alias: str
    """The name that an application reads; it is moved in one step."""
    alias_old: str
    alias_new: str
    namespace: str = ""
    """The schema that it is in; empty for the usual one, or where there are none."""
    index: str | None = None
    """The approximate index of the old vectors, which the new ones get once they are there; None
    where there is none, or the database indexes by itself."""

    @property
    def place(self) -> str:
        """The name of the collection, with its schema."""
        return f"{self.namespace}.{self.collection}" if self.namespace else self.collection


class Model(_Value):
    """An encoder: how it is opened, and what it must be."""

    spelling: str
    name: str
    revision: str
    dim: int


class Artefact(_Value):
    """A bridge on the disk, and the digest of its files."""

    path: str
    digest: str
    kind: str

    @staticmethod
    def digest_of(folder: Path) -> str:
        """Of every file of a bridge's folder, by name."""
        found = hashlib.sha256()
        for file in sorted(f for f in folder.rglob("*") if f.is_file()):
            found.update(f"{file.relative_to(folder)}\0".encode())
            with open_input(file) as opened:
                found.update(hashlib.sha256(opened.read()).digest())
        return found.hexdigest()

    @classmethod
    def at(cls, folder: Path, kind: str) -> Self:
        """The bridge in ``folder``."""
        return cls(path=str(folder.resolve()), digest=cls.digest_of(folder), kind=kind)

    @classmethod
    def of(cls, bridge: Bridge, folder: Path) -> Self:
        """A bridge that will be saved in ``folder``."""
        with scratch_folder() as scratch:
            draft = scratch / "bridge"
            bridge.save(draft)
            return cls(path=str(folder.resolve()), digest=cls.digest_of(draft), kind=bridge.kind)

    def check(self) -> None:
        """Refuse another bridge than the one that was planned with.

        Raises:
            InputError: if it is gone, or its files have changed.
        """
        folder = Path(self.path)
        if not folder.is_dir():
            raise InputError(
                "the bridge of this plan is gone", where=self.path, mend="Put it back there"
            )
        if self.digest_of(folder) != self.digest:
            raise InputError(
                "the bridge is not the one that was planned with",
                where=self.path,
                mend="Put that one back, or plan anew",
            )


class Serving(_Value):
    """How queries are answered while the index is moved."""

    recall: Recall
    """Who searches the old vectors."""
    rescore: Rescore | None = None
    joins: tuple[tuple[float, Join], ...] = ((1.0, Join()),)
    """From which filled share on which join is used, rising; below the first none is."""

    def join_at(self, share: float) -> Join | None:
        """The join for a filled share; None where the old column alone is searched."""
        found = None
        for least, join in self.joins:
            if share >= least:
                found = join
        return found


class CurvePoint(_Value):
    """What is expected once a share is filled."""

    share: float
    value: float
    gain: float
    """Over keeping the old model."""
    low: float | None = None
    high: float | None = None


class OrderCurve(_Value):
    """What filling in one order reached on the queries that chose the order."""

    order: str
    shares: tuple[float, ...]
    values: tuple[float, ...]


class AskedQueries(_Value):
    """Queries with known answers, judged before, at the cut-over, and after."""

    texts: tuple[str, ...] = ()
    clicked: tuple[tuple[int | str, ...], ...] = ()
    metric: str = "recall@10"
    before: tuple[float, ...] = ()
    """What the old model reached for each, on the live index."""


class Canaries(_Value):
    """Texts that the new encoder must still encode alike."""

    texts: tuple[str, ...] = ()
    rows: str = ""
    dim: int = 0
    kind: Literal["document", "query"] = "document"
    """What they are encoded as."""

    @classmethod
    def of(
        cls,
        texts: tuple[str, ...],
        rows: NDArray[np.float32],
        kind: Literal["document", "query"] = "document",
    ) -> Self:
        """``texts`` and their vectors ``(n, d)``."""
        data = np.ascontiguousarray(rows, dtype="<f4").tobytes()
        return cls(texts=texts, rows=base64.b64encode(data).decode(), dim=rows.shape[1], kind=kind)

    @property
    def vectors(self) -> NDArray[np.float32]:
        """``(n, d)``."""
        found = np.frombuffer(base64.b64decode(self.rows), dtype="<f4")
        return found.reshape(len(self.texts), self.dim).astype(np.float32)


class Estimated(_Value):
    """What was measured, and what follows for the whole index."""

    scan_rate: float
    """Rows a second that are read."""
    write_rate: float | None = None
    """Rows a second that are put; None where nothing could be tried without changing the store."""
    encode_rate: float
    """Texts a second."""
    search_ms: float
    rows: int
    hours: float
    money: float | None = None
    price: float | None = None
    """The price of a million tokens, which are reckoned as four characters each."""
    disk: int
    """Bytes that the new vectors take."""
    assumed: bool = False
    """Whether another number of rows than the store's was assumed."""


class Plan(_Value):
    """A migration that can be carried out; nothing is changed by making one.

    Raises:
        InputError: from `load`, for a file that is no plan, or one that was edited.

    Example:
        >>> from pathlib import Path
        >>> from isthmus.migrate import Plan
        >>> plan = Plan.load(Path("plan.json"))  # what isthmus plan wrote
        >>> plan.target.collection, plan.target.new_dim, plan.estimated.rows
        ('docs', 10, 60)
    """

    format: int = 1
    target: Target
    new: Model
    old: Model | None = None
    bridge: Artefact | None = None
    """From new queries to old vectors."""
    back: Artefact | None = None
    """From old queries to new vectors, for those who still ask them after the cut-over."""
    mapped_by: Artefact | None = None
    """The corpus bridge that makes the new vectors from the saved old ones, where the texts are
    gone; None where they are encoded from the texts."""
    serving: Serving
    order: tuple[str, ...] = ("scan",)
    popular: tuple[int | str, ...] = ()
    """Items that come first, in the order of that name."""
    order_why: str = ""
    orders: tuple[OrderCurve, ...] = ()
    """The curve of each order that was tried on the queries that chose; empty where none could."""
    queries: AskedQueries = AskedQueries()
    canaries: Canaries = Canaries()
    curve: tuple[CurvePoint, ...] = ()
    kept: float | None = None
    """What keeping the old model reaches on the sample."""
    estimated: Estimated
    steps: tuple[tuple[str, str], ...] = ()
    """What will happen, and what is sent for it."""
    by_hand: tuple[str, ...] = ()
    """What needs a person."""
    verdict: str = ""
    digest: str = Field(default="", repr=False)

    def signed(self) -> Self:
        """The same with its digest."""
        return self.model_copy(update={"digest": self._own_digest()})

    def _own_digest(self) -> str:
        body = self.model_dump(mode="json", exclude={"digest"})
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write it, whole or not at all.

        Raises:
            OutputError: if the file exists and ``overwrite`` is false, or cannot be written.
        """
        text = canonical_json(self.model_dump(mode="json"))
        with atomic_file(Path(path), overwrite=overwrite) as file:
            file.write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            InputError: if it is no plan, or was edited.
        """
        try:
            content: Any = read_json(read_input(Path(path), _MOST_BYTES))
            plan = cls.model_validate(content)
        except InputError:
            raise
        except FileNotFoundError as error:
            raise InputError(
                "there is no such plan", where=str(path), mend="Make one with isthmus plan"
            ) from error
        except (OSError, ValueError, ValidationError) as error:
            raise InputError(
                "this is no plan of a migration", where=str(path), mend="Make one with isthmus plan"
            ) from error
        if plan.digest != plan._own_digest():
            raise InputError(
                "the plan was edited: its digest is not that of its content",
                where=str(path),
                mend="Plan anew with the options that you want",
            )
        return plan
