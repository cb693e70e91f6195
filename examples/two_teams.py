"""Two teams and one registry: a contract broken and caught, a bridge approved, promoted, broken on
purpose, noticed by the monitor and rolled back.

The platform team runs the index, whose vectors are an old model's; the search team asks it with a
new one, through a bridge.  The two models are made here, from one set of meanings, so that the
walk-through needs no download; every command is the one that a team types.

    pip install 'isthmus[report,review]'
    python examples/two_teams.py FOLDER

prints the commands and what they answer; ``two_teams.txt`` beside this file is such an output, and
the tests run the script and compare.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPCookieProcessor, build_opener

import numpy as np
from numpy.typing import NDArray

ITEMS, DIM, LOOKED_AT = 1500, 24, 10
POLICY = """\
[stages.testbed]
gates = ["bridge.to_old >= -0.1"]

[stages.shadow]
gates = ["recall@10 >= 0.5", "bridge.retention >= 0.7", "price.reembedded <= 0"]

[stages.production]
gates = ["measured.latency.p95_ms <= 20"]
approvals = 2
bounds = ["hit >= 0.9", "refused <= 0.02"]
"""

Rows = NDArray[np.float32]


def main() -> None:
    """Run the walk-through in a new folder."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    os.chdir(folder)
    os.environ |= {"ISTHMUS_REGISTRY": "registry", "NO_COLOR": "1"}
    # where a line is broken would hang on the digits in it
    os.environ.pop("COLUMNS", None)
    world = make_models()

    say("The search team fits a bridge from its new model to the platform team's index.")
    isthmus(
        "fit old.npy new.npy --queries-old q_old.npy --queries-new q_new.npy -o v1.bridge "
        "--recipe procrustes --quiet",
        shown=0,
    )
    say("The platform team pins what its index holds, and both check what they offer against it.")
    pin("v1.bridge", "pinned.json")
    isthmus("check pinned.json v1.bridge --vectors new.npy")
    isthmus("canary record vectors:q_new.npy canary.txt -o canary.json")

    say("Somebody fits against a shortened copy of the index: the contract is broken, CI says so.")
    np.save("short.npy", world["old"][:, :16])
    isthmus("fit short.npy new.npy -o wrong.bridge --recipe procrustes --quiet", shown=0)
    isthmus("check pinned.json wrong.bridge", code=1)

    say("The right one is published and goes through the stages of the policy.")
    Path("policy.toml").write_text(POLICY)
    Path("speed.json").write_text('{"p95_ms": 8.5}')
    publish("v1.bridge")
    say(
        "Two people look at v1, one on the page of its review, and it moves; then v2 does likewise."
    )
    isthmus(
        "promote docs production --policy policy.toml --measured latency=speed.json",
        code=1,
        by="sam",
    )
    approve_and_promote()
    isthmus(
        "fit old.npy new.npy --queries-old q_old.npy --queries-new q_new.npy -o v2.bridge --seed 1 "
        "--recipe procrustes --quiet",
        shown=0,
    )
    publish("v2.bridge")
    approve_and_promote()

    say("A good day: what is asked is what the bridge was made for, and answers hold.")
    watch = (
        "monitor log.jsonl --bridge v2.bridge --state watch --policy policy.toml "
        "--reference q_new.npy --canary canary.json --roll-back docs@production --model "
    )
    serve(world["q_new"][:600], world, "v2.bridge")
    isthmus(watch + "vectors:q_new.npy")

    say("Broken on purpose: the service now cuts its texts short, so vectors keep only the gist.")
    mean = world["q_new"].mean(axis=0)
    axes = np.linalg.svd(world["q_new"] - mean, full_matrices=False)[2][:4]
    worn = (mean + (world["q_new"] - mean) @ axes.T @ axes).astype(np.float32)
    np.save("worn.npy", worn)
    serve(worn[600:1200], world, "v2.bridge")
    isthmus(watch + "vectors:worn.npy --report watch.html", code=1)

    say("The alias stands where it stood before, and its log says why.")
    isthmus("show docs@production", lines="production:")
    isthmus("verify")


def make_models() -> dict[str, Rows]:
    """Items and a query about each, by two models."""
    rng = np.random.default_rng(0)
    spectrum = np.arange(1, DIM + 1) ** -0.75
    items = rng.standard_normal((ITEMS, DIM))
    meant = {"": items, "q_": items + 0.3 * rng.standard_normal(items.shape)}
    made: dict[str, Rows] = {}
    for model, noise in (("old", 0.15), ("new", 0.0)):
        turn = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0]
        mean = rng.standard_normal(DIM) * 0.6 / DIM**0.5
        for side, latent in meant.items():
            blurred = latent + noise * rng.standard_normal(latent.shape)
            made[side + model] = ((blurred * spectrum) @ turn + mean).astype(np.float32)
    for name, rows in made.items():
        np.save(f"{name}.npy", rows)
    Path("canary.txt").write_text("".join(f"{row}\n" for row in range(3, 8)))
    return made


def pin(bridge: str, contract: str) -> None:
    """Write the contract of a bridge's output to a file."""
    from isthmus import Bridge

    print(f'>>> Bridge.load("{bridge}").target.save("{contract}")')
    Bridge.load(bridge).target.save(contract)


def publish(bridge: str) -> None:
    """Publish, and pass the stages that no person must look at."""
    isthmus(f"publish {bridge} docs --create -m {bridge}", by="sam", shown=0)
    for stage in ("testbed", "shadow"):
        isthmus(f"promote docs {stage} --policy policy.toml", by="sam")


def approve_and_promote() -> None:
    """Two people look at what is latest, and it goes to production."""
    isthmus("approve docs -m looked", by="lena")
    approve_on_the_page("omar")
    isthmus("promote docs production --policy policy.toml --measured latency=speed.json", by="sam")


def approve_on_the_page(person: str) -> None:
    """Open the page of a review as a browser does, and send its form."""
    print("$ isthmus review docs --once", flush=True)
    code = "from isthmus.cli.app import main; main()"
    review = subprocess.Popen(
        [sys.executable, "-c", code, "review", "docs", "--once"], stdout=subprocess.PIPE, text=True
    )
    assert review.stdout is not None
    address = review.stdout.readline().strip()
    browser = build_opener(HTTPCookieProcessor())
    page = browser.open(address).read().decode()
    (proof,) = re.findall(r'name="csrf" value="([^"]+)"', page)
    form = {"decision": "approve", "by": person, "reason": "looked at the page", "csrf": proof}
    place = urlsplit(address)
    # the review ends with the decision, so that nothing may answer any more
    with suppress(OSError):
        browser.open(f"{place.scheme}://{place.netloc}/decide", urlencode(form).encode())
    review.stdout.close()
    if review.wait() != 0:
        sys.exit("the review did not end in an approval")
    print(f"(approved on its page by {person})")


def serve(queries: Rows, world: dict[str, Rows], bridge: str) -> None:
    """Answer queries by the recommended way, and log whether the right item was found."""
    from isthmus import Bridge
    from isthmus.stores import MemoryStore

    loaded = Bridge.load(bridge)
    search = loaded.search(MemoryStore(vectors={"old": world["old"]}), "bridge")
    start = 0 if not Path("log.jsonl").exists() else 600
    found = search(queries, LOOKED_AT).ids
    with Path("log.jsonl").open("a") as log:
        for row, (vector, ids) in enumerate(zip(queries, found, strict=True)):
            hit = int(start + row in ids)
            log.write(json.dumps({"vector": vector.tolist(), "hit": hit}) + "\n")


def say(text: str) -> None:
    """A sentence between the commands."""
    print(f"\n# {text}", flush=True)


def isthmus(
    arguments: str,
    *,
    code: int = 0,
    by: str = "sam",
    shown: int | None = None,
    lines: str | None = None,
) -> None:
    """Type a command, show its answer, and stop where it ends with another code."""
    print(f"$ isthmus {arguments}", flush=True)
    from isthmus.cli.app import main as typed

    os.environ["ISTHMUS_USER"] = by
    sys.argv = ["isthmus", *arguments.split()]
    said, ended = io.StringIO(), 0
    try:
        with redirect_stdout(said), redirect_stderr(said):
            typed()
    except SystemExit as left:
        ended = int(left.code or 0)
    answer = said.getvalue()
    if shown is None:
        print(answer if lines is None else answer[answer.index(lines) :], end="")
    if ended:
        print(f"(exit code {ended})", flush=True)
    if ended != code:
        sys.exit(f"expected exit code {code}: {answer}")


if __name__ == "__main__":
    main()
