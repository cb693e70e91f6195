"""The artefact: a folded map with its contracts, evidence and provenance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import numpy as np
from numpy.typing import NDArray

from isthmus import artefact
from isthmus.adapters.chain import Chain
from isthmus.adapters.cross_fitted import CrossFitted, FittedMap
from isthmus.adapters.recipe import Recipe
from isthmus.bridge.canary import Canary
from isthmus.bridge.card import card
from isthmus.bridge.kind import SIDES, BridgeKind
from isthmus.bridge.named_way import named_way, recommended_way
from isthmus.bridge.packing import KIND, pack_bridge, unpack_bridge
from isthmus.bridge.provenance import Provenance
from isthmus.bridge.recognition import Recognition
from isthmus.bridge.row_map import RowMap
from isthmus.bridge.tried import Tried
from isthmus.errors import ContractError, InputError
from isthmus.evaluate.evaluation import Evaluation
from isthmus.notebook import ShownInNotebook
from isthmus.numeric import Array, as_array, to_numpy
from isthmus.pickling import PickledByFields
from isthmus.spaces.compatibility import check_compatible
from isthmus.spaces.contract import Space
from isthmus.spaces.naming import told_apart
from isthmus.spaces.profile import Profile
from isthmus.spaces.row_checks import check_vectors
from isthmus.tensors import Tensors
from isthmus.ways.fill_order import FillOrder
from isthmus.ways.thresholds import Keep, Thresholds, TranslatedThreshold
from isthmus.ways.trust import Trust
from isthmus.ways.way import Way

if TYPE_CHECKING:
    from isthmus.encoders import Encoder
    from isthmus.stores import Store
    from isthmus.ways import Columns, Search

__all__ = ["Bridge"]


@dataclass(frozen=True, eq=False)
class Bridge(PickledByFields, ShownInNotebook):
    """A fitted, folded map from a source space to a target space.

    Made by `isthmus.fit`, `load`, `compose` or `inverse`; immutable.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> new = rng.standard_normal((2000, 16))
        >>> old = new @ np.linalg.qr(rng.standard_normal((16, 16)))[0]
        >>> from isthmus.bridge import fit
        >>> from isthmus.spaces.pairs import Pairs
        >>> bridge = fit(Pairs(new, old, metric="cosine"), recipe="procrustes")
        >>> bridge.transform(new[0]).shape, str(bridge.recipe)
        ((16,), 'procrustes')
    """

    kind: BridgeKind
    source: Space
    target: Space
    chain: Chain
    recipe: Recipe | None = None
    """None for a composed or inverted bridge."""
    evidence: Evaluation | None = None
    """What held-out data showed; None where this very map was not evaluated."""
    tried: tuple[Tried, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)
    source_profile: Profile | None = None
    """The profile of vectors like those that are mapped; trust reads the same one."""
    target_profile: Profile | None = None
    canary: Canary | None = None
    trust: Trust | None = None
    """How likely a mapped vector finds what the old model finds; None where it was not fitted."""
    out_of_fold: CrossFitted | None = None
    """The maps that the evidence is of, where every pair was fitted on: none has seen the queries
    that it maps."""
    ways: Mapping[str, Way] = field(default_factory=dict[str, Way])
    """Every way that the evidence speaks of, by the name of its arm, ready to be run."""
    nested_ways: Mapping[str, Way] = field(default_factory=dict[str, Way])
    """The ways in which the queries that chose `ways` are judged, which other queries chose, by the
    names of the arms for which they are others."""
    thresholds: Thresholds | None = None
    """What thresholds on the old model's scores become in each of its ways; None where they were
    not fitted."""
    fill_order: FillOrder | None = None
    """Which items of the live index that it was fitted on to re-embed first; None where no queries
    were counted on one."""
    last_canary: Canary | None = None
    """The canary of the last part of a bridge that was composed in memory; not saved."""
    _recognised: list[bool] = field(default_factory=list[bool], repr=False)

    @property
    def search_only(self) -> bool:
        """Whether mapped vectors rank the target's, but do not lie among them.

        They are to be searched with, not stored beside the target's vectors, and their scores are
        not those of the target model (`threshold` and `calibrate_scores` translate them).
        """
        return self.recipe is not None and self.recipe.search_only

    def unseen_map(self) -> FittedMap:
        """What maps the pairs of the fit that judge, without having seen them.

        Raises:
            InputError: if every pair was fitted on, and no maps of folds were kept.
        """
        if self.out_of_fold is not None:
            return self.out_of_fold
        if any(fit.cross_fitted for fit in self.provenance.fits):
            raise InputError(
                "every one of these pairs was fitted on",
                mend="Judge the bridge on pairs that no fit has seen, with all_rows=True (--all)",
            )
        return self.chain

    @property
    def taken(self) -> int | None:
        """The place among `tried`, best first, of the map that was taken; None if not among them.

        It need not be the first: a simpler map that is as good is preferred.
        """
        recipe = str(self.recipe)
        return next((i for i, t in enumerate(self.tried) if t.recipe == recipe), None)

    @property
    def recommended(self) -> tuple[str, Way] | None:
        """The arm that the evidence recommends, and its way; None where it recommends none."""
        return recommended_way(self.ways, self.evidence)

    # ---- use -----------------------------------------------------------------------------------

    @overload
    def transform(
        self, x: Array, *, check: bool = True, return_trust: Literal[False] = False
    ) -> Array: ...

    @overload
    def transform(
        self, x: Array, *, check: bool = True, return_trust: Literal[True]
    ) -> tuple[Array, Array]: ...

    def transform(
        self, x: Array, *, check: bool = True, return_trust: bool = False
    ) -> Array | tuple[Array, Array]:
        """Map source vectors into the target space.

        Args:
            x: rows ``(n, dx)``, or one vector ``(dx,)``, of any array library; the result is of
                the same library and dtype (float16 widens to float32).
            check: refuse vectors of another model.  The first rows a bridge sees are compared with
                its fingerprint; later ones only for width, dtype and finiteness.
            return_trust: return ``(mapped, trust)``, where trust ``(n,)`` in [0, 1] is the
                probability that a mapped vector has the old model's first result (see `Trust`).

        Raises:
            InputError: wrong width or dtype, NaN, infinity, or a zero row in a cosine space; or
                if trust is asked of a bridge that has none.
            WrongSpaceError: if the vectors do not look like the source space.
        """
        if type(x) is np.ndarray and (self._recognised or not check) and x.dtype.char == "f":
            one, width = self._one
            if x.shape != width:
                found = None if return_trust else self.row_map.fast(x)
            else:
                found = None if one is None else one(x)
            if found is not None and not return_trust:
                return found
            if found is not None and self.trust is not None:
                trusted = self.trust.one(x)
                if trusted is not None:
                    return found, trusted
        if return_trust:
            if self.trust is None:
                raise InputError(
                    "this bridge has no model of trust",
                    mend="Fit it anew; a composed or inverted bridge has none",
                )
            x = as_array(x, "vectors to transform")
            return self.transform(x, check=check), self.trust(x)
        x = as_array(x, "vectors to transform")
        rows = x[None, ...] if x.ndim == 1 else x
        rows = self.require_source(rows)
        if check and not self._recognised and rows.shape[0]:
            few = rows if isinstance(rows, np.ndarray) else rows[: min(256, rows.shape[0]), ...]
            self.recognise(to_numpy(few))
        mapped = self.chain(rows)
        return mapped[0, ...] if x.ndim == 1 else mapped

    def threshold(
        self, old: float, way: str = "recommended", keep: Keep = "share"
    ) -> TranslatedThreshold:
        """What a threshold on the old model's scores becomes when another way serves.

        Args:
            old: the threshold that was tuned on the old model.
            way: the name of an arm, or what the evidence recommends (the bridge where it recommends
                none).
            keep: the ``share`` of the first results that pass it, or their ``precision``.

        Raises:
            InputError: for a way that thresholds are not known for, or if the bridge has none.
        """
        return self._thresholds.translate(old, self._way_or_bridge(way), keep)

    def calibrate_scores(
        self, scores: Array, way: str = "recommended", keep: Keep = "share"
    ) -> Array:
        """Scores of a way on the old model's scale, so that its thresholds hold; see `threshold`.

        Args:
            scores: of any shape and library; the result is alike.
            way: as in `threshold`: where the scores come from.
            keep: what the old thresholds are to keep.

        Raises:
            InputError: for scores that are not finite, and as `threshold`.
        """
        return self._thresholds.to_old_scale(scores, self._way_or_bridge(way), keep)

    def _way_or_bridge(self, way: str) -> str:
        if way != "recommended":
            return way
        found = self.recommended
        return "bridge" if found is None else found[0]

    @property
    def _thresholds(self) -> Thresholds:
        if self.thresholds is None:
            raise InputError(
                "this bridge knows no thresholds",
                mend="Fit it anew, with 20 held-out queries or more; a composed or inverted bridge "
                "knows none",
            )
        return self.thresholds

    def search(
        self,
        store: Store,
        way: Way | str = "recommended",
        *,
        old: Encoder | None = None,
        new: Encoder | None = None,
        columns: Columns | None = None,
    ) -> Search:
        """Run a way to go on, on a live index: ``bridge.search(store)(queries, k)``.

        Args:
            store: where the items are.
            way: what the evidence recommends, the name of another of `ways`, or a way.
            old: encodes query texts with the old model, where the way asks it.
            new: encodes query texts, and the items that are rescored, with the new model.
            columns: which vector column holds what; by default those named ``old``, ``new`` and
                ``bridged``, and for the old vectors, where none is named so, the store's own.

        Raises:
            InputError: for a way that is not known, that needs what is not there, or where nothing
                is recommended.
            WrongSpaceError: for an encoder of another model than the bridge's.

        Example:
            >>> import numpy as np, isthmus
            >>> from isthmus.stores import MemoryStore
            >>> rows = np.random.default_rng(0).standard_normal((400, 8)).astype("float32")
            >>> bridge = isthmus.fit(isthmus.Pairs(rows[:, ::-1].copy(), rows))
            >>> store = MemoryStore(vectors={"old": rows})
            >>> bridge.search(store, "bridge")(rows[:2, ::-1].copy(), 1).ids.tolist()
            [[0], [1]]
        """
        from isthmus.bridge.check_encoder import check_encoder
        from isthmus.ways import Needs, Search, columns_of

        if isinstance(way, str):
            way = self.way(way)
        if old is not None and Needs.OLD_QUERIES in way.needs:
            check_encoder(self, old, "old")
        if new is not None and Needs.NEW_QUERIES in way.needs:
            check_encoder(self, new, "new")
        new_space = self.source if self.kind == "query" else self.target
        return Search(
            way,
            store,
            columns=columns or columns_of(store),
            bridge=self,
            old=old,
            new=new,
            new_metric=new_space.metric,
        )

    def way(self, name: str) -> Way:
        """The way called ``name``, or what the evidence recommends for ``"recommended"``.

        Raises:
            InputError: if there is none, with the reason where it is known.
        """
        return named_way(name, self.ways, self.evidence)

    @cached_property
    def row_map(self) -> RowMap:
        """The map alone, for rows of a longer stream, whose model was recognised before."""
        return RowMap(self.chain, self.source.dim, self.target.dim, self.source.metric)

    @cached_property
    def _one(self) -> tuple[Callable[[NDArray[Any]], NDArray[Any] | None] | None, tuple[int]]:
        fast = self.chain.one_matrix
        return None if fast is None else fast.one, (self.source.dim,)

    @property
    def names(self) -> tuple[str, str]:
        """What the source and the target are called, told apart by their revisions if need be."""
        return told_apart(self.source, self.target)

    @property
    def _recognition(self) -> Recognition:
        return Recognition(self.source, self.target, self.source_profile, self.target_profile)

    @property
    def recognises(self) -> bool:
        """Whether `recognise` can tell vectors of another model from those of the source.

        Not where the source's vectors leave no direction empty, or too few were seen.
        """
        return self.source_profile is not None and self.source_profile.conclusive

    def recognise(self, rows: NDArray[Any], *, where: str = "vectors to transform") -> None:
        """Compare source rows ``(n, dx)`` with the fingerprint of the source.

        Raises:
            WrongSpaceError: if they come from another model, or from the target side.
        """
        self._recognition.check_source(rows, where)
        self._recognised.append(True)

    def recognise_target(self, rows: NDArray[Any], *, where: str) -> None:
        """Compare target rows ``(n, dy)`` with the fingerprint of the target.

        Raises:
            WrongSpaceError: if they come from another model.
        """
        self._recognition.check_target(rows, where)

    def vouches_for(self, encoder: Encoder, model: Literal["old", "new"]) -> bool:
        """Whether the canary texts show that ``encoder`` is the bridge's ``model``.

        False where the bridge holds no such texts.

        Raises:
            WrongSpaceError: if they show that it is another.
        """
        from isthmus.bridge.check_encoder import ask_canary

        return ask_canary(self, encoder, model)

    def may_be(self, model: Literal["old", "new"], rows: NDArray[Any]) -> bool:
        """Whether rows ``(n, d)`` may be of ``model``, odd as they look: see `Profile.may_be`."""
        is_source = model == SIDES[self.kind][0]
        profile = self.source_profile if is_source else self.target_profile
        return profile is None or profile.may_be(rows)

    def require_source(
        self, rows: Array, *, where: str = "vectors to transform", first_row: int = 0
    ) -> Array:
        """Rows ``(n, dx)`` checked for width, dtype, finiteness and zero rows.

        Raises:
            InputError: naming the first offending row.
        """
        return check_vectors(
            rows,
            dim=self.source.dim,
            metric=self.source.metric,
            where=where,
            first_row=first_row,
        )

    def inverse(self) -> Bridge:
        """The bridge back, where the map loses nothing.

        Raises:
            InputError: where it does.
        """
        return Bridge(
            kind="corpus" if self.kind == "query" else "query",
            source=self.target,
            target=self.source,
            chain=self.chain.inverse(
                unit_input=self.source.normalised or self.source.metric == "cosine"
            ).rounded(),
            provenance=Provenance(inverse_of=self.provenance),
            source_profile=self.target_profile,
            target_profile=self.source_profile,
            canary=None
            if self.canary is None
            else replace(self.canary, source=self.canary.target, target=self.canary.source),
        )

    def compose(self, after: Bridge) -> Bridge:
        """This bridge and then another, folded into one: old → mid → new.

        Raises:
            ContractError: if the target here is not the source there.
        """
        if self.target.dim != after.source.dim or self.target.metric != after.source.metric:
            raise ContractError(
                f"the first bridge ends in {self.target.dim} dimensions under "
                f"{self.target.metric}, the second starts from {after.source.dim} under "
                f"{after.source.metric}",
                where="compose",
            )
        mine = self.canary or self.last_canary
        if mine is not None:
            after._recognition.check_follows(mine.target, self.names[1])
        return Bridge(
            kind=self.kind,
            source=self.source,
            target=after.target,
            chain=self.chain.then(after.chain).rounded(),
            provenance=Provenance(composed_of=(self.provenance, after.provenance)),
            source_profile=self.source_profile,
            target_profile=after.target_profile,
            last_canary=after.canary or after.last_canary,
        )

    def unproven(self) -> Self:
        """The same bridge, having seen no vectors yet: its next rows are recognised anew."""
        return replace(self, _recognised=[])

    def with_evidence(self, evidence: Evaluation) -> Self:
        """The same map with other evidence."""
        return replace(self, evidence=evidence)

    # ---- disk ----------------------------------------------------------------------------------

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write a folder: the manifest, the tensors and ``CARD.md``; see `isthmus.artefact`.

        Equal bridges give equal bytes.

        Raises:
            OutputError: if the folder exists and ``overwrite`` is false, if it holds anything but a
                bridge, or if it cannot be written; an interrupted save leaves nothing.
        """
        texts = {"CARD.md": card(self)}
        artefact.write(Path(path), KIND, *self.pack(), texts=texts, overwrite=overwrite)

    @classmethod
    def load(
        cls, path: str | Path, *, source: Space | None = None, target: Space | None = None
    ) -> Bridge:
        """Read what `save` wrote; runs no code from the folder.

        Args:
            path: the folder.
            source: the contract of the vectors that will be mapped; the bridge must accept it.
            target: the contract that mapped vectors must keep, such as the old index's.

        Raises:
            InputError: if something is missing, damaged, or of an unknown format.
            ContractError: if a contract does not fit, naming every violated clause.
        """
        with artefact.read(Path(path), KIND) as stored:
            bridge = cls.unpack(stored.content, stored.tensors)
        if source is not None:
            check_compatible(bridge.source, source).require()
        if target is not None:
            check_compatible(target, bridge.target).require()
        return bridge

    def pack(self) -> artefact.Packed:
        """JSON and tensors from which `unpack` makes the same bridge."""
        return pack_bridge(self)

    @classmethod
    def unpack(cls, content: Mapping[str, Any], tensors: Tensors) -> Bridge:
        """What `pack` gave.

        Raises:
            KeyError, TypeError, ValueError: for anything else.
        """
        return cls(**unpack_bridge(content, tensors))

    def __repr__(self) -> str:
        verdict = f", {self.evidence.verdict}" if self.evidence else ", not evaluated"
        source, target = self.names
        return (
            f"Bridge({self.kind}: {source} ({self.source.dim}) → {target} "
            f"({self.target.dim}){verdict})"
        )
