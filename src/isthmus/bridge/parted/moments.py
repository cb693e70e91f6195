"""Moments of each part, kept in a folder: after new data, a fit is an addition.

Of each part the folder holds the fold moments of its fit rows, and those of its rows that may be
in a sample of all.  A part that is known stays as it is; one that is new, or has changed, is read.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from isthmus import artefact
from isthmus.adapters.chain import Chain, RowNorm
from isthmus.bridge.fit_source import Assigned, ItemPass
from isthmus.bridge.held_out_samples import SHARES, RowSamples, SamplePass, SampleSizes
from isthmus.bridge.weighting import KnownWeights
from isthmus.errors import InputError, OutputError
from isthmus.files import canonical_json
from isthmus.moments import FoldMoments, GroupedFoldMoments
from isthmus.plain_text import shell_words
from isthmus.progress import Progress, silent
from isthmus.scale.joining import IdBucket
from isthmus.scale.pair_parts import PairPart, PairReader
from isthmus.scale.pairs import PartedPairs
from isthmus.scale.part_folder import PartFolder, read_manifest
from isthmus.spaces.sample import Batch, Sampler, sample_hashes
from isthmus.spaces.split import Assignment

__all__ = ["StoredMoments", "write_moments"]

_KIND = "set of moments of a part"
_FOLDS = 5
_KEEP = frozenset({"square", "xx", "xy", "yy"})

Work = tuple[GroupedFoldMoments, RowSamples | None]


def _settings(pairs: PartedPairs, seed: int) -> dict[str, Any]:
    """What the moments depend on beside the rows."""
    sides = {"source": pairs.source.name, "target": pairs.target.name}
    ids = pairs.reader.source.id_column or pairs.reader.target.id_column
    return {**sides, "ids": ids, "metric": pairs.metric, "seed": seed, "folds": _FOLDS}


def write_moments(
    pairs: PartedPairs, folder: str | Path, *, seed: int = 0, progress: Progress = silent
) -> int:
    """Write the moments of every part that the folder does not hold yet.

    Args:
        pairs: of `open_pairs`; both sides in one order.
        folder: new, empty, or of an earlier call with the same sides and seed.
        seed: of the split, the folds and the samples, as in `isthmus.fit`.
        progress: told about parts.

    Returns:
        The number of parts that were read.

    Raises:
        InputError: for pairs that were joined out of two orders, or a row that cannot be used.
        OutputError: for a folder that holds other files, or moments of other data.

    Example:
        >>> import numpy as np
        >>> from isthmus import fit
        >>> from isthmus.scale import open_pairs
        >>> rng = np.random.default_rng(0)
        >>> new = rng.standard_normal((2000, 8))
        >>> np.save("new.npy", new)
        >>> np.save("old.npy", new[:, ::-1])
        >>> pairs = open_pairs("new.npy", "old.npy", engine="threads:1")
        >>> write_moments(pairs, "m"), write_moments(pairs, "m")
        (1, 0)
        >>> pairs.use(StoredMoments.of("m", pairs))
        >>> fit(pairs, recipe="procrustes").target.dim
        8
    """
    folder = Path(folder)
    settings = _settings(pairs, seed)
    keys = _keys(pairs, settings)
    with PartFolder.opened(folder, keys, overwrite=True) as begun:
        _check_settings(folder, settings, begun.earlier.former)
        begun.start({"settings": settings})
        missing = [
            _Missing(part, key)
            for part, key in zip(pairs.parts, keys, strict=True)
            if not (folder / key).is_dir()
        ]
        making = str(begun.making)
        work = _Measure(pairs.reader, _item_pass(pairs, seed), len(pairs), making, settings)
        for done, (index, _) in enumerate(pairs.engine.each(missing, work), 1):
            begun.take(missing[index].key)
            progress("moments of parts", done, len(missing))
        begun.finish({"settings": settings, "rows": len(pairs)}, _remove)
    return len(missing)


def _remove(part: Path) -> None:
    """Remove the moments of a part that is no more."""
    if part.is_dir():
        artefact.check_place(part, _KIND, overwrite=True)
        shutil.rmtree(part)


def _check_settings(
    folder: Path, settings: Mapping[str, Any], former: Sequence[Mapping[str, Any]]
) -> None:
    for known in former:
        stated = known.get("settings")
        before = cast(dict[str, Any], stated) if isinstance(stated, dict) else {}
        differ = [name for name in settings if before.get(name) != settings[name]]
        if differ:
            raise OutputError(
                f"these are moments of other data: the {differ[0]} was {before.get(differ[0])!r}, "
                f"and is {settings[differ[0]]!r}",
                where=str(folder),
                mend="Choose another folder",
            )


def read_settings(folder: Path) -> dict[str, Any]:
    """What the moments of a folder were taken of, and how.

    Raises:
        InputError: if it holds none.
    """
    return _manifest(folder)["settings"]


def _manifest(folder: Path) -> dict[str, Any]:
    found = read_manifest(folder)
    settings = None if found is None else found.get("settings")
    if (
        found is None
        or not isinstance(settings, dict)
        or not isinstance(settings.get("source"), str)
        or not isinstance(settings.get("target"), str)
    ):
        raise InputError(
            "the folder holds no moments, or not all yet",
            where=str(folder),
            mend="Write them: isthmus moments",
        )
    return found


def _keys(pairs: PartedPairs, settings: Mapping[str, Any]) -> list[str]:
    """A name for the content of each part, which another content does not have."""
    with_ids = pairs.reader.source.has_ids or pairs.reader.target.has_ids
    found: list[str] = []
    for part in pairs.parts:
        if isinstance(part, IdBucket):
            raise InputError(
                "the two sides are in different orders, and rows that were joined have no parts "
                "of their own to keep moments of",
                where=pairs.source.name,
                mend="Write one side again in the order of the other",
            )
        # row numbers are the ids of rows without any
        known = replace(part, first=0) if with_ids else part
        text = canonical_json({"part": asdict(known), "settings": settings})
        found.append(hashlib.sha256(text.encode()).hexdigest()[:32])
    return found


def _item_pass(pairs: PartedPairs, seed: int) -> ItemPass:
    frame = Chain([RowNorm("unit")]) if pairs.metric == "cosine" else Chain()
    return ItemPass(
        (frame, frame),
        Assigned(Assignment(SHARES, seed), every_part=False),
        GroupedFoldMoments(pairs.dim_x, pairs.dim_y, _FOLDS, keep=_KEEP, seed=seed),
        {},
        KnownWeights(None, None),
        RowSamples(SampleSizes(), seed, None, by_part=True),
    )


# ---- one part ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Missing:
    part: PairPart
    key: str

    def __str__(self) -> str:
        return str(self.part)


@dataclass(frozen=True, eq=False)
class _Measure:
    """Reads a part, and writes its moments and what a sample may need of it."""

    reader: PairReader
    work: ItemPass
    total: int
    folder: str
    settings: Mapping[str, Any]

    def __call__(self, missing: _Missing) -> None:
        moments, samples = self.work(self.reader.batches(missing.part, 8192))
        assert samples is not None
        content, tensors = moments.pack()
        kept: dict[str, Any] = {}
        for name, sampler, share in _samplers(samples, self.work.assigned.parts.fractions):
            limit = _limit(sampler.size, share * self.total)
            described, own = _rows_below(sampler, limit)
            kept[name] = described
            tensors |= artefact.prefixed(name, own)
        artefact.write(
            Path(self.folder) / missing.key,
            _KIND,
            {"moments": content, "samples": kept, "part": str(missing.part)},
            tensors,
            # of a worker that died when it had written them
            overwrite=True,
        )


def _samplers(
    samples: RowSamples, fractions: Mapping[str, float]
) -> Iterator[tuple[str, Sampler, float]]:
    """Every sampler, its name, and the share of all rows that it samples."""
    yield "gallery", samples.gallery, 1.0
    shares = list(fractions.values())
    for part, sampler in samples.of_part.items():
        yield f"part{part}", sampler, shares[part]


def _limit(size: int, rows: float) -> int:
    """The hash below which, of so many rows, surely more than ``size`` lie."""
    share = (size + 8 * size**0.5 + 64) / max(rows, 1.0)
    return 2**64 - 1 if share >= 1 else int(share * 2**64)


def _rows_below(sampler: Sampler, limit: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    try:
        rows = sampler.sample()
    except InputError:
        return {"limit": str(limit), "ids": []}, {}
    rows = rows.select(sample_hashes(rows.ids, sampler.seed) <= np.uint64(limit))
    described = {"limit": str(limit), "ids": rows.ids.tolist()}
    return described, {"x": rows.x, "y": rows.y} if len(rows) else {}


# ---- all of them ---------------------------------------------------------------------------------


@dataclass
class _Sum:
    """Moments and samples of some parts, and up to which hash their samples are whole."""

    moments: FoldMoments
    samples: RowSamples
    limits: dict[str, int]

    def joined(self, other: _Sum) -> _Sum:
        self.moments += other.moments
        self.samples.merge(other.samples)
        self.limits = {name: min(at, other.limits[name]) for name, at in self.limits.items()}
        return self


@dataclass(frozen=True)
class _Load:
    folder: str
    empty: RowSamples
    fractions: Mapping[str, float]

    def __call__(self, key: str) -> _Sum:
        samples = self.empty.renewed()
        limits: dict[str, int] = {}
        with artefact.read(Path(self.folder) / key, _KIND) as stored:
            moments = FoldMoments.unpack(stored.content["moments"], stored.tensors)
            first = moments.folds[0]
            for name, sampler, _ in _samplers(samples, self.fractions):
                described = stored.content["samples"][name]
                limits[name] = int(described["limit"])
                ids = np.array(described["ids"])
                if len(ids):
                    own = stored.tensors.under(name)
                    x, y = own.take("x", (len(ids), first.dx)), own.take("y", (len(ids), first.dy))
                    sampler.update(Batch(ids, x, y))
        return _Sum(moments, samples, limits)


class StoredMoments:
    """The moments of a folder, for pairs that have not changed since.

    Raises:
        InputError: if the folder is not finished, or of other pairs.

    Example:
        >>> import numpy as np
        >>> from isthmus.bridge import StoredMoments, write_moments
        >>> from isthmus.scale import open_pairs
        >>> np.save("x.npy", np.eye(8, dtype=np.float32))
        >>> np.save("y.npy", np.eye(8, dtype=np.float32))
        >>> pairs = open_pairs("x.npy", "y.npy", engine="threads:1")
        >>> _ = write_moments(pairs, "kept")
        >>> pairs.use(StoredMoments.of("kept", pairs))
    """

    def __init__(self, folder: Path, pairs: PartedPairs, keys: list[str], seed: int) -> None:
        self._folder, self._pairs, self._keys, self._seed = folder, pairs, keys, seed

    @classmethod
    def of(cls, folder: str | Path, pairs: PartedPairs) -> StoredMoments:
        """The moments of ``folder``, after a look at every part of ``pairs``."""
        folder = Path(folder)
        found = _manifest(folder)
        seed = int(found["settings"].get("seed", 0))
        _check_pairs(folder, found["settings"], _settings(pairs, seed))
        keys = _keys(pairs, found["settings"])
        known = set(found["names"])
        changed = [p for p, key in zip(pairs.parts, keys, strict=True) if key not in known]
        gone = len(known - set(keys))
        if changed or gone:
            what = (
                f"is new, or has changed since its moments were written ({len(changed):,} such)"
                if changed
                else f"holds moments of {gone:,} part(s) that are no more, or have changed"
            )
            place = shell_words([str(folder)])
            raise InputError(
                f"this part {what}" if changed else f"the folder {what}",
                where=str(changed[0]) if changed else str(folder),
                mend=f"Bring them up to date: isthmus moments OLD NEW -o {place}",
            )
        return cls(folder, pairs, keys, seed)

    def answer(self, work: Any, progress: Progress) -> Any:
        """What a pass over the pairs would give, where it is known; else None."""
        if not isinstance(work, ItemPass) or not self._same(work):
            return None
        empty = RowSamples(SampleSizes(), self._seed, None, by_part=True)
        load = _Load(str(self._folder), empty, work.assigned.parts.fractions)
        found = self._pairs.engine.fold(self._keys, load, _Sum.joined, progress=progress)
        moments = work.empty
        moments.folds = [fold.keeping(moments.folds[0].keep) for fold in found.moments.folds]
        return moments, self._samples(work, found)

    def _same(self, work: ItemPass) -> bool:
        mine = _item_pass(self._pairs, self._seed)
        return (
            all(_digest(a) == _digest(b) for a, b in zip(work.frame, mine.frame, strict=True))
            and work.assigned == mine.assigned
            and not work.groupers
            and work.weights.of_class is None
            and (len(work.empty.folds), work.empty.seed) == (_FOLDS, self._seed)
            and work.empty.folds[0].keep <= _KEEP
        )

    def _samples(self, work: ItemPass, found: _Sum) -> RowSamples | None:
        wanted = work.samples
        if wanted is None:
            return None
        # those that are kept have no labels
        if wanted.by_part and not self._pairs.has_labels and self._whole(work, wanted, found):
            names = [(s, t) for (_, s, _), (_, t, _) in zip(
                _samplers(wanted, work.assigned.parts.fractions),
                _samplers(found.samples, work.assigned.parts.fractions),
                strict=True,
            )]  # fmt: skip
            for sampler, stored in names:
                sampler.update(stored.sample())
            return wanted
        # rows that answer queries are not kept, nor those of larger samples
        again = SamplePass(wanted, work.assigned.parts)
        return self._pairs.fold(again, again.joined)

    def _whole(self, work: ItemPass, wanted: RowSamples, found: _Sum) -> bool:
        """Whether every sample that is wanted lies below all limits."""
        asked = {n: s.size for n, s, _ in _samplers(wanted, work.assigned.parts.fractions)}
        for name, sampler, _ in _samplers(found.samples, work.assigned.parts.fractions):
            limit = found.limits[name]
            try:
                rows = sampler.sample()
            except InputError:
                return False
            if asked[name] > sampler.size or (limit < 2**64 - 1 and len(rows) < asked[name]):
                return False
            some = sample_hashes(rows.ids[: asked[name]], sampler.seed)
            if int(some.max()) > limit:
                return False
        return True


def _check_pairs(folder: Path, known: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    for name, value in asked.items():
        if known.get(name) != value:
            raise InputError(
                f"these moments are of other pairs: the {name} was {known.get(name)!r}, and is "
                f"{value!r}",
                where=str(folder),
                mend="Write moments of these: isthmus moments OLD NEW -o FOLDER",
            )


def _digest(chain: Chain) -> str:
    described, tensors = chain.pack()
    found = hashlib.sha256(canonical_json(described).encode())
    for name in sorted(tensors):
        found.update(np.ascontiguousarray(tensors[name]).tobytes())
    return found.hexdigest()
