"""The whole story of an upgrade, told on two real models and ten thousand real texts."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np

from isthmus.adapters.select import RULE
from isthmus.bridge import Bridge, Fitting, fit
from isthmus.demo.corpus import Corpus, load_corpus
from isthmus.demo.live import AskedLive, Encoded, LiveModels, run_recommended
from isthmus.demo.own_folder import claim
from isthmus.encoders import (
    CachedEncoder,
    Encoder,
    all_minilm_l6_int8,
    cache_folder,
    paraphrase_minilm_l3,
)
from isthmus.errors import InputError, WrongSpaceError
from isthmus.evaluate import Evaluation, top_k
from isthmus.files import atomic_file
from isthmus.plain_text import plain_line, shell_words
from isthmus.progress import Progress, silent
from isthmus.spaces.pairs import Pairs

__all__ = ["tell"]

Say = Callable[[str], None]

TEXTS = 10_000
SEED = 0
_SHOWN_MAPS = 4
BRIDGE = "new-to-old.bridge"


def tell(
    folder: Path,
    *,
    say: Say,
    command: str = "isthmus",
    texts: int = TEXTS,
    width: int = 100,
    progress: Progress = silent,
) -> Evaluation:
    """Encode, fail naively, fit, judge, write, load, and run what is recommended on a live index.

    Args:
        folder: where the vectors, the bridge and the index are written, so that the reader can go
            on.
        say: prints a line.
        command: how the reader calls isthmus.
        texts: how many.
        width: of a line of the reader's terminal.
        progress: told about texts and rows.

    Returns:
        The evidence in the bridge.

    Raises:
        MissingExtraError: if the extra ``demo`` is not installed.
    """
    corpus = load_corpus(texts)
    old_model, new_model = paraphrase_minilm_l3(), all_minilm_l6_int8()
    _introduce(say, corpus, old_model, new_model)
    claim(folder)
    old = _encode(say, old_model, corpus, progress)
    new = _encode(say, new_model, corpus, progress)
    _write(folder, corpus, old, new)

    say("\n2. The naive swap\n")
    say(f"   The index holds vectors of {old_model.name}. The new model has the same width, so")
    say("   nothing stops anyone from searching it with the new model's queries:\n")
    _naive(say, corpus, old, new)

    say("\n3. The fit\n")
    ids = np.array(corpus.ids)
    bridge = fit(
        Pairs(new.documents, old.documents, ids=ids),
        queries=Pairs(new.queries, old.queries, ids=ids),
        fitting=Fitting(
            seed=SEED,
            source=new_model.name,
            target=old_model.name,
            canary_items=dict(zip(corpus.ids, corpus.documents, strict=True)),
        ),
        progress=progress,
    )
    _about_fit(say, bridge, width)
    evidence = bridge.evidence
    assert evidence is not None

    say("\n4. Held-out evidence\n")
    for line in evidence.as_text(width=width - 3).splitlines():
        say(f"   {line}".rstrip())

    path = folder / BRIDGE
    bridge.save(path, overwrite=True)
    loaded = Bridge.load(path)
    say(f"\n5. The bridge, written to {plain_line(str(path))} and loaded again\n")
    _prove(say, bridge, loaded, old, new, new_model)

    asked = run_recommended(folder, corpus, loaded, LiveModels(old_model, new_model, old, new), say)
    _go_on(say, command, folder, asked)
    return evidence


def _go_on(say: Say, command: str, folder: Path, asked: AskedLive) -> None:
    """Commands on the files that are there now; they say what was said here."""
    path = folder / BRIDGE
    models = "--old package:paraphrase-minilm-l3 --new package:all-minilm-l6-int8"
    documents = shell_words([str(folder / f"documents_{model}.npy") for model in ("old", "new")])
    queries = " ".join(
        shell_words([f"--queries-{model}", str(folder / f"queries_{model}.npy")])
        for model in ("old", "new")
    )
    way = [] if asked.recommended else ["--way", asked.way]
    search = shell_words([asked.url, asked.text, "--bridge", str(path), *way])
    mapped = shell_words([str(path), str(folder / "queries_new.npy"), "mapped_queries.npy"])
    say("\nGo on with:\n")
    for arguments in (
        f"search {search} \\\n     {models} --explain",
        f"inspect {shell_words([str(path)])}",
        f"evaluate {shell_words([str(path)])} {documents} \\\n     {queries}",
        f"fit {documents} -o my.bridge \\\n     {queries}",
        f"apply {mapped}",
    ):
        say(f"   {command} {arguments}")


def _introduce(say: Say, corpus: Corpus, old: Encoder, new: Encoder) -> None:
    say("1. Two models, one corpus\n")
    say(f"   texts: {len(corpus):,} definitions of WordNet 3.0; queries: the words they define,")
    say(f'   as in "{corpus.queries[0]}" for "{corpus.documents[0]}"')
    say(f"   old model: {old.name}, {old.dim} dimensions (fills the index)")
    say(f"   new model: {new.name}, {new.dim} dimensions (is to replace it)")
    say(f"   vectors are kept in {plain_line(str(cache_folder()))}\n")


def _encode(say: Say, model: Encoder, corpus: Corpus, progress: Progress) -> Encoded:
    cached = CachedEncoder(model)
    documents = cached.encode(corpus.documents, kind="document", progress=progress)
    queries = cached.encode(corpus.queries, kind="query", progress=progress)
    say(f"   {model.name}: {len(documents):,} documents and {len(queries):,} queries encoded")
    return Encoded(documents, queries)


def _write(folder: Path, corpus: Corpus, old: Encoded, new: Encoded) -> None:
    for name, model in (("old", old), ("new", new)):
        for kind, rows in (("documents", model.documents), ("queries", model.queries)):
            with (
                atomic_file(folder / f"{kind}_{name}.npy", overwrite=True) as file,
                file.open("wb") as opened,
            ):
                np.save(opened, rows)
            with atomic_file(folder / f"{kind}_{name}.ids.txt", overwrite=True) as file:
                file.write_text("\n".join(corpus.ids) + "\n", encoding="utf-8")


def _naive(say: Say, corpus: Corpus, old: Encoded, new: Encoded) -> None:
    sample = np.random.default_rng(SEED).choice(len(corpus), 1000, replace=False)
    for text, queries in (
        ("old queries, old index", old.queries),
        ("new queries, old index", new.queries),
    ):
        found = top_k(queries[sample], old.documents, 10).indices
        share = (found == sample[:, None]).any(axis=1).mean()
        say(f"   {text}: the right document is among the first ten for {share:.1%} of 1,000")


def _about_fit(say: Say, bridge: Bridge, width: int) -> None:
    (fitted,) = bridge.provenance.fits
    say(f"   {fitted.fit_rows:,} pairs to fit on, documents and queries whose documents are")
    say("   not held out; the map is chosen on validation queries (recall@10):\n")
    for at, tried in enumerate(bridge.tried):
        if at < _SHOWN_MAPS or at == bridge.taken:
            chosen = "   <- taken" if at == bridge.taken else ""
            say(f"   {tried.score:.3f}  {tried.recipe}{chosen}")
    told = f"taken of {len(bridge.tried)}: {RULE}"
    for line in textwrap.wrap(told, width, initial_indent="   ", subsequent_indent="   "):
        say(line)


def _prove(
    say: Say, bridge: Bridge, loaded: Bridge, old: Encoded, new: Encoded, model: Encoder
) -> None:
    same = np.array_equal(bridge.transform(new.queries), loaded.transform(new.queries))
    if not same:
        raise InputError("the loaded bridge maps differently from the one that was saved")
    say("   it maps bit for bit like the one in memory")
    assert loaded.canary is not None
    cosine = loaded.canary.verify(lambda texts: model.encode(list(texts)))
    say(f"   its canary texts, encoded again, agree with the fit to a cosine of {cosine:.4f}")
    try:
        loaded.unproven().transform(old.queries)
    except WrongSpaceError as error:
        say(f"   vectors of the old model are refused: {error}")
