"""The contract of a representation: what its vectors are, and what happens to those that are not.

A `Space` is plain data.  It is stored as canonical JSON, so that equal contracts have equal bytes
and one fingerprint, and ``space.schema.json`` beside this file publishes its JSON Schema.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypedDict, Unpack

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from isthmus.errors import ContractError, InputError
from isthmus.files import atomic_file, canonical_json
from isthmus.inputs import read_input
from isthmus.numeric import Array, as_floating, to_numpy
from isthmus.spaces.faults import FAULT_MODES, FaultMode, Faults, Response
from isthmus.spaces.metric import Metric
from isthmus.spaces.ranges import (
    MEAN_FIRST,
    NORM_TOLERANCE,
    QUANTILES,
    MeasuredRanges,
    Ranges,
    require,
)
from isthmus.spaces.row_checks import check_vectors, row_norms
from isthmus.spaces.versions import VERSION_PATTERN, SemanticVersion

if TYPE_CHECKING:
    from isthmus.spaces.profile import Profile

__all__ = [
    "FAULT_MODES",
    "NORM_TOLERANCE",
    "SCHEMA_PATH",
    "FaultMode",
    "Faults",
    "Metadata",
    "Ranges",
    "Response",
    "Space",
    "schema_text",
]

DtypeName = Literal["float16", "float32", "float64"]
SCHEMA_PATH = Path(__file__).with_name("space.schema.json")
"""The published JSON Schema.  ``SCHEMA_PATH.write_text(schema_text())`` writes it anew."""

_BLOCK_ROWS = 8192
_MOST_BYTES = 16 << 20


def _semantic(version: str) -> str:
    try:
        SemanticVersion.parse(version)
    except InputError as error:
        raise ValueError(error.what) from error
    return version


Label = Annotated[str, Field(min_length=1)]


class Metadata(TypedDict, total=False):
    """The fields of a `Space` that cannot be read off its vectors."""

    version: str
    model: str | None
    revision: str | None
    layer: str | None
    modality: str | None
    dtype: DtypeName
    faults: Faults


class Space(BaseModel):
    """The contract of a representation: who makes the vectors and what a consumer may rely on.

    Built directly, an impossible combination raises pydantic's ``ValidationError``; built through
    `describe`, `from_profile`, `from_numbers`, `from_json` or `load`, a `ContractError`.

    Example:
        >>> rows = np.eye(3, dtype=np.float32)
        >>> space = Space.describe(rows, "docs", "cosine", model="acme/encoder", version="1.2.0")
        >>> space.dim, space.normalised, space.faults.zero
        (3, True, 'reject')
        >>> Space.from_json(space.to_json()) == space
        True
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    name: Label
    """What consumers call the space; contracts of different names are never compatible."""
    version: Annotated[
        str, AfterValidator(_semantic), Field(json_schema_extra={"pattern": VERSION_PATTERN})
    ] = "1.0.0"
    """Version of the contract, by Semantic Versioning 2.0.0."""
    model: Label | None = None
    """The model that makes the vectors, for example a repository id."""
    revision: Label | None = None
    """The exact weights: a commit, tag or digest.  None promises and requires nothing."""
    layer: Label | None = None
    """Where in the model the vectors are taken; None is its final output."""
    modality: Label | None = None
    """What is encoded: ``text``, ``image``, ``audio`` or any other word."""
    dim: Annotated[int, Field(strict=True, gt=0)]
    """Number of components of a row."""
    dtype: DtypeName = "float32"
    """Dtype of the components."""
    metric: Metric
    """How two rows are compared."""
    normalised: Annotated[bool, Field(strict=True)] = False
    """Whether every row has norm 1, to `NORM_TOLERANCE`."""
    ranges: Ranges = Ranges()
    """What healthy rows look like."""
    faults: Annotated[Faults, Field(validate_default=True)] = Faults()
    """What happens to rows that are not healthy."""

    @field_validator("ranges")
    @classmethod
    def _possible_ranges(cls, ranges: Ranges, info: ValidationInfo) -> Ranges:
        require(
            not (info.data.get("normalised") and ranges.bounds_norms),
            "every row of a normalised space has norm 1: leave norm_min and norm_max out",
        )
        dim = info.data.get("dim")
        for name in ("component_min", "component_max"):
            bound: tuple[float, ...] | None = getattr(ranges, name)
            if bound is not None and dim is not None:
                require(len(bound) == dim, f"{name} has {len(bound)} numbers, but dim is {dim}")
        return ranges

    @field_validator("faults")
    @classmethod
    def _possible_faults(cls, faults: Faults, info: ValidationInfo) -> Faults:
        if not {"metric", "normalised", "ranges"} <= info.data.keys():
            return faults  # one of them is wrong, and is reported itself
        ranges: Ranges = info.data["ranges"]
        normalised: bool = info.data["normalised"]
        bounded = ranges.bounds_norms or ranges.bounds_components
        require(
            not (faults.out_of_range == "repair" and normalised),
            "out_of_range cannot be repaired in a normalised space: a clipped row has no unit "
            "norm; choose 'reject' or 'flag'",
        )
        occurs: dict[str, tuple[bool, Response, str]] = {
            "zero": (
                info.data["metric"] == "cosine",
                "reject",
                "zero rows are ordinary points unless the metric is cosine",
            ),
            "not_normalised": (normalised, "reject", "the space is not normalised"),
            "out_of_range": (bounded, "flag", "ranges sets no bound"),
        }
        filled: dict[str, Response] = {}
        for mode, (possible, default, reason) in occurs.items():
            response: Response | None = getattr(faults, mode)
            require(possible or response is None, f"{mode} is set to '{response}', but {reason}")
            if possible and response is None:
                filled[mode] = default
        return faults.model_copy(update=filled)

    # ---- from data -----------------------------------------------------------------------------

    @classmethod
    def from_numbers(
        cls,
        name: str,
        dim: int,
        metric: Metric,
        *,
        normalised: bool = False,
        measured: MeasuredRanges | None = None,
        **metadata: Unpack[Metadata],
    ) -> Self:
        """A contract from numbers that were measured elsewhere.

        Args:
            name: what consumers call the space.
            dim: width of a row.
            metric: how two rows are compared.
            normalised: whether every row has norm 1; the norms are then not bounded again.
            measured: norms, mean and bounds of the components.
            **metadata: the fields in `Metadata`.

        Raises:
            ContractError: if the numbers contradict each other.
        """
        measured = measured or MeasuredRanges()
        ranges: dict[str, Any] = {}
        if measured.norm_quantiles:
            pairs = sorted((float(q), float(norm)) for q, norm in measured.norm_quantiles.items())
            ranges["norm_quantiles"] = pairs
            if not normalised:
                ranges["norm_min"] = min(norm for _, norm in pairs) / measured.norm_slack
                ranges["norm_max"] = max(norm for _, norm in pairs) * measured.norm_slack
        if measured.mean is not None:
            vector = np.asarray(measured.mean, dtype=np.float64)
            if vector.shape != (dim,):
                raise ContractError(f"the mean has shape {vector.shape}, expected ({dim},)")
            ranges["mean_norm"] = float(np.linalg.norm(vector))
            ranges["mean_first"] = vector[:MEAN_FIRST].tolist()
        for key in ("component_min", "component_max"):
            bound = getattr(measured, key)
            if bound is not None:
                ranges[key] = np.asarray(bound, dtype=np.float64).tolist()
        fields = {"name": name, "dim": dim, "metric": metric, "normalised": normalised}
        return cls._validated(fields | {"ranges": ranges} | dict(metadata), f"space '{name}'")

    @classmethod
    def from_profile(
        cls,
        profile: Profile,
        name: str,
        metric: Metric,
        *,
        norm_slack: float = 2.0,
        **metadata: Unpack[Metadata],
    ) -> Self:
        """The contract of the rows that a profile was measured on.

        They count as normalised where every length is 1 to `NORM_TOLERANCE`.

        Args:
            profile: of the rows.
            name: what consumers call the space.
            metric: how two rows are compared.
            norm_slack: as in `MeasuredRanges`.
            **metadata: the fields in `Metadata`.
        """
        lengths = dict(zip(QUANTILES, profile.lengths, strict=True))
        return cls.from_numbers(
            name,
            profile.dim,
            metric,
            normalised=all(abs(length - 1) <= NORM_TOLERANCE for length in lengths.values()),
            measured=MeasuredRanges(lengths, norm_slack, profile.mean),
            **metadata,
        )

    @classmethod
    def describe(
        cls,
        vectors: Array,
        name: str,
        metric: Metric,
        *,
        normalised: bool | None = None,
        norm_slack: float = 2.0,
        component_bounds: bool = False,
        **metadata: Unpack[Metadata],
    ) -> Self:
        """A contract that ``vectors (n, d)`` keep, read once in blocks.

        Width and dtype are read off.  Every row of ``vectors`` lies within the bounds.

        Args:
            vectors: the rows, of any array library, or a memory map.
            name: what consumers call the space.
            metric: how two rows are compared.
            normalised: None decides by whether every norm is 1 to `NORM_TOLERANCE`.
            norm_slack: as in `MeasuredRanges`, about the least and greatest norm.
            component_bounds: whether to bound each component too, at half its observed span
                beyond its extremes.
            **metadata: the fields in `Metadata`.

        Raises:
            InputError: no rows, or rows that no method can use (see `check_vectors`).
            ContractError: ``normalised`` is asked for and a row has another norm.
        """
        where = f"space '{name}'"
        blocks: list[Any] = []
        total = np.zeros(vectors.shape[-1])
        low, high = np.full(len(total), np.inf), np.full(len(total), -np.inf)
        for start in range(0, max(vectors.shape[0], 1), _BLOCK_ROWS):
            block = check_vectors(
                vectors[start : start + _BLOCK_ROWS], metric=metric, where=where, first_row=start
            )
            blocks.append(row_norms(block))
            host = to_numpy(as_floating(block, where))
            total += host.sum(axis=0, dtype=np.float64)
            if component_bounds and len(host):
                low = np.minimum(low, host.min(axis=0))
                high = np.maximum(high, host.max(axis=0))
        norms = np.concatenate(blocks)
        if not len(norms):
            raise InputError("there are no rows to describe", where=where)
        off = ~(np.abs(norms - 1) <= NORM_TOLERANCE)
        if normalised and off.any():
            first = int(np.argmax(off))
            raise ContractError(
                f"the row has norm {norms[first]:.6g}, but the space is to be normalised; "
                f"{int(off.sum())} of {len(norms)} rows have another norm than 1",
                where=f"{where}, row {first}",
                mend="Divide each row by its norm, or leave normalised out",
            )
        span = (high - low) / 2
        quantiles = dict(zip(QUANTILES, np.quantile(norms, QUANTILES).tolist(), strict=True))
        described: Metadata = {"dtype": _precision(vectors)}
        return cls.from_numbers(
            name,
            len(total),
            metric,
            normalised=bool(not off.any()) if normalised is None else normalised,
            measured=MeasuredRanges(
                quantiles,
                norm_slack,
                total / len(norms),
                low - span if component_bounds else None,
                high + span if component_bounds else None,
            ),
            **(described | metadata),
        )

    def revise(self, **changes: Any) -> Self:
        """A copy with ``changes``, validated anew.

        A response to a fault that can no longer occur is dropped, unless it is among the changes.

        Raises:
            ContractError: if the changed fields contradict each other.
        """
        kept = self.model_dump(exclude_none=True) | changes
        if "faults" not in changes:
            for mode in ("zero", "not_normalised", "out_of_range"):
                kept["faults"].pop(mode, None)
            filled = self._validated(kept, f"space '{self.name}'").faults
            for mode in ("zero", "not_normalised", "out_of_range"):
                if getattr(filled, mode) is not None and getattr(self.faults, mode) is not None:
                    kept["faults"][mode] = getattr(self.faults, mode)
        return self._validated(kept, f"space '{self.name}'")

    # ---- as text -------------------------------------------------------------------------------

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, no field that is None."""
        return canonical_json(self.model_dump(mode="json", exclude_none=True))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of `to_json`, in hexadecimal: also the digest of the file that `save` writes."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @classmethod
    def from_json(cls, text: str | bytes, *, where: str = "contract") -> Self:
        """The inverse of `to_json`.

        Raises:
            ContractError: naming every field that is missing, unknown or impossible.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise _explained(error, where) from error

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write `to_json` to ``path``, whole or not at all.

        Raises:
            OutputError: if it exists and ``overwrite`` is false, or cannot be written.
        """
        with atomic_file(Path(path), overwrite=overwrite) as temporary:
            temporary.write_bytes(self.to_json().encode())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a contract from a JSON file.

        Raises:
            ContractError: if the file cannot be read, is not JSON, or breaks the schema.
        """
        try:
            text = read_input(Path(path), _MOST_BYTES)
        except (OSError, InputError) as error:
            told = error.what if isinstance(error, InputError) else error.strerror
            raise ContractError(
                f"the contract cannot be read: {told}",
                where=str(path),
                mend="Check the path; a contract is a JSON file written by Space.save",
            ) from error
        return cls.from_json(text, where=str(path))

    @classmethod
    def _validated(cls, fields: Mapping[str, Any], where: str) -> Self:
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise _explained(error, where) from error


def schema_text() -> str:
    """The JSON Schema of `Space`, as ``space.schema.json`` holds it.

    Needs the source: each field is described by the text under it.
    """
    schema: dict[str, Any] = Space.model_json_schema()
    for model in (Space, Faults, Ranges):
        part = schema if model is Space else schema["$defs"][model.__name__]
        body = ast.parse(inspect.getsource(model)).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in itertools.pairwise(body.body):
            match field, text:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(description))),
                ):
                    part["properties"][name]["description"] = inspect.cleandoc(description)
                case _:
                    pass
    published = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:isthmus:space",
    }
    return json.dumps(published | schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _precision(vectors: Array) -> DtypeName:
    kind = str(vectors.dtype)
    if kind.endswith("float64"):
        return "float64"
    return "float16" if kind.rpartition(".")[2] == "float16" else "float32"


def _explained(error: ValidationError, where: str) -> ContractError:
    """Every fault that pydantic found, as one error in the words of this package."""
    faults: list[str] = []
    for entry in error.errors(include_url=False):
        field = ".".join(str(part) for part in entry["loc"])
        cause = entry.get("ctx", {}).get("error")
        message = str(cause) if cause is not None else entry["msg"]
        faults.append(f"{field}: {message}" if field else message)
    return ContractError(
        "; ".join(faults),
        where=where,
        mend=f"Correct it; the fields of a contract are described in {SCHEMA_PATH.name}",
    )
