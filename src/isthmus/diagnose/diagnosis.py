"""The result: a verdict, ranked findings, a recipe, and every number they stand on."""

from __future__ import annotations

from isthmus.diagnose.finding import Finding
from isthmus.diagnose.pair_probes import PairProbes
from isthmus.diagnose.projection import Projection
from isthmus.diagnose.relation import Relation
from isthmus.diagnose.side_probes import SideProbes
from isthmus.evaluate.probes import ProbeResult
from isthmus.files import canonical_json
from isthmus.notebook import ShownInNotebook
from isthmus.similarity import MEASURES, Comparison, Similarity

__all__ = ["Diagnosis"]


class Diagnosis(ShownInNotebook, ProbeResult):
    """How alike two spaces are, what separates them, and what to do.

    ``x`` is the side that is mapped from, ``y`` the side that is mapped to; ``recipe`` is what
    `isthmus.fit` takes for pairs given in this order.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> new = rng.standard_normal((2000, 16))
        >>> old = new @ np.linalg.qr(rng.standard_normal((16, 16)))[0]
        >>> from isthmus.diagnose import diagnose
        >>> found = diagnose(new, old)
        >>> found.recipe
        'procrustes(scale=true) | unit_norm'
    """

    relation: Relation
    verdict: str
    """The relation in one sentence with its numbers."""
    findings: tuple[Finding, ...]
    """The gravest first."""
    recipe: str | None
    """None where no map would help."""
    recipe_reason: str
    not_established: tuple[str, ...]
    """What these data cannot show, and what would."""
    metric: str
    n: int
    """Pairs used."""
    sampled: int
    """Rows of the seeded sample."""
    seed: int
    x: SideProbes
    y: SideProbes
    measured: PairProbes
    similarities: dict[str, Similarity]
    projection: Projection | None

    @property
    def comparison(self) -> Comparison:
        """The similarity measures as the table that `isthmus.similarity.compare` gives."""
        ordered = {n: self.similarities[n] for n in MEASURES if n in self.similarities}
        return Comparison(ordered, self.n, self.seed)

    @property
    def wrongly_paired(self) -> bool:
        """Whether rows must be paired anew before anything can be fitted."""
        grave = ("wrong_pairing", "unrelated", "partly_wrong_pairing")
        return any(self.finding(name) is not None for name in grave)

    @property
    def can_be_fitted(self) -> bool:
        """Whether `isthmus.fit` takes these pairs and has something to map."""
        unusable = sum(s.infinite + s.missing + s.zero for s in (self.x, self.y))
        mixed = any(self.finding(name) for name in ("two_models", "unchanged_rows"))
        return not (self.recipe is None or unusable or mixed or self.wrongly_paired)

    def finding(self, name: str) -> Finding | None:
        """The gravest finding of this name, or None."""
        return next((f for f in self.findings if f.name == name), None)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        return canonical_json(self.model_dump(mode="json"))

    @classmethod
    def from_json(cls, text: str) -> Diagnosis:
        """Read what `to_json` wrote; raises pydantic's ``ValidationError`` for anything else."""
        return cls.model_validate_json(text)

    def __str__(self) -> str:
        lines = [
            f"{self.x.name} ({self.x.dim} wide, {self.x.dtype}) and {self.y.name} ({self.y.dim} "
            f"wide, {self.y.dtype}), {self.n:,} pairs, {self.metric}",
            "",
            f"verdict: {self.relation} ({self.verdict})",
            "",
        ]
        if self.findings:
            lines += [str(finding) for finding in self.findings]
        else:
            lines.append("no findings: both spaces are healthy")
        lines += ["", *self._table(), ""]
        lines += self._similarities()
        lines += ["", "not established:", *(f"- {text}" for text in self.not_established), ""]
        lines.append(f"recipe: {self.advice}")
        return "\n".join(lines)

    @property
    def advice(self) -> str:
        """The recipe with its reason, and what stands above it."""
        if self.recipe is None:
            return f"none ({self.recipe_reason})"
        return (
            f"{self.recipe}, to begin with ({self.recipe_reason}); isthmus fit without --recipe "
            "compares maps of several kinds on held-out queries, and takes the best"
        )

    def _table(self) -> list[str]:
        """The probes of both sides beside each other."""
        rows: list[list[str]] = [["", self.x.name, self.y.name]]

        def add(name: str, x: str, y: str) -> None:
            rows.append([name, x, y])

        sides = (self.x, self.y)
        add("median norm", *(f"{s.norms.median:.4g}" for s in sides))
        add(
            "mean cosine",
            *("-" if s.isotropy is None else f"{s.isotropy.mean_cosine:.3f}" for s in sides),
        )
        add("effective rank", *(f"{s.spectrum.effective_rank:.1f}" for s in sides))
        add("participation ratio", *(f"{s.spectrum.participation_ratio:.1f}" for s in sides))
        add("IsoScore", *(f"{s.spectrum.iso_score:.3f}" for s in sides))
        add("dimensions for 95 %", *(str(s.spectrum.components["95%"]) for s in sides))
        add("dead, duplicated", *(_faults(s) for s in sides))
        add("excess kurtosis", *(f"{s.dimensions.kurtosis_median:.2f}" for s in sides))
        add(
            "hubness skewness",
            *("-" if s.hubness is None else f"{s.hubness.skewness:.2f}" for s in sides),
        )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return [
            "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
        ]

    def _similarities(self) -> list[str]:
        lines: list[str] = []
        measured = self.measured
        maps, found = measured.maps, measured.found
        if maps is not None:
            lines.append(
                f"variance of {self.y.name} explained on held-out rows ({maps.frame}): rotation "
                f"{maps.rigid}, linear {maps.linear}; backward {maps.backward}"
            )
        if found is not None:
            lines.append(
                f"held-out partners found first: rotation {found.rigid.first}, "
                f"linear {found.linear.first}, chance {found.better.chance:.3f}"
            )
        if measured.overlap is not None:
            lines.append(
                f"of {measured.overlap.k} nearest neighbours kept: {measured.overlap.mean:.3f}, "
                f"chance {measured.overlap.chance:.3f}"
            )
        if measured.clusters is not None:
            lines.append(
                f"agreement of {measured.clusters.clusters} clusters (adjusted Rand): "
                f"{measured.clusters.adjusted_rand:.3f}, at most {measured.clusters.ceiling:.3f}"
            )
        if measured.concepts is not None:
            lines.append(
                f"class directions ({measured.concepts.source}), AUC: "
                f"{measured.concepts.native:.3f} in {self.y.name}, "
                f"{measured.concepts.transferred:.3f} on mapped rows"
            )
        shown = [
            f"{name} {found.value:.3f}"
            for name in ("debiased_cka", "svcca", "procrustes", "rsa", "mutual_knn")
            if (found := self.similarities.get(name)) is not None and found.value is not None
        ]
        return [*lines, f"similarity: {', '.join(shown) or 'not defined on these data'}"]


def _faults(side: SideProbes) -> str:
    return f"{len(side.dimensions.dead)}, {side.dimensions.redundant}"
