"""Results with hostile names, their pages, and one browser that looks at all of them."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.adapters.budget.learning_curve import CurveDesign, learning_curve
from isthmus.bridge import Bridge, Fitting, fit
from isthmus.diagnose import Diagnosis, diagnose
from isthmus.evaluate.gates import check_gates
from isthmus.similarity import Grid, GridMoments, similarity_grid
from isthmus.spaces.pairs import Pairs

N, D = 600, 20
HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    '<a href="javascript:window.hacked = 1">click</a>',
    "{{ 7 * 7 }} {% raw %} <b>bold</b> & &lt;",
    "\u2028 line \u202e and 'quotes\" \\u003c",
)
"""What may stand in an id, a text, a file name or the name of a layer."""


def named(i: int) -> str:
    return f"{HOSTILE[i % len(HOSTILE)]} {i}"


def make(seed: int = 0) -> dict[str, np.ndarray]:
    """Items and a query about each, by two models that agree in part."""
    models, rng = np.random.default_rng(7), np.random.default_rng(seed)
    spectrum = np.arange(1, D + 1) ** -0.6
    bases = [np.linalg.qr(models.standard_normal((D, D)))[0] for _ in range(2)]
    items = rng.standard_normal((N, D))
    made = {}
    for kind, latent in (("", items), ("q_", items + 0.6 * rng.standard_normal((N, D)))):
        for model, basis, noise in (("old", bases[0], 0.5), ("new", bases[1], 0.1)):
            seen = (latent + noise * rng.standard_normal((N, D))) * spectrum
            made[f"{kind}{model}"] = (seen @ basis + 0.1).astype(np.float32)
    return made


@pytest.fixture(scope="session")
def data() -> dict[str, np.ndarray]:
    return make()


@pytest.fixture(scope="session")
def diagnosis(data: dict[str, np.ndarray]) -> Diagnosis:
    ids = np.array([named(i) for i in range(N)])
    names = (HOSTILE[1], "old <i>model</i>")
    new = 2.0 * data["new"]
    new[:, 3] = 0.25  # a dead dimension is a finding
    return diagnose(Pairs(new, data["old"], ids=ids, metric="dot"), names=names)


@pytest.fixture(scope="session")
def bridge(data: dict[str, np.ndarray]) -> Bridge:
    ids = np.array([named(i) for i in range(N)])
    return fit(
        Pairs(data["new"], data["old"], ids=ids),
        queries=Pairs(data["q_new"], data["q_old"], ids=ids),
        fitting=Fitting(source=HOSTILE[0], target="old"),
    )


@pytest.fixture(scope="session")
def grid() -> Grid:
    rng = np.random.default_rng(3)
    inputs = rng.standard_normal((200, 8))
    sides = [
        {f"block.{i}.{HOSTILE[i % 2]}": np.tanh(inputs @ rng.standard_normal((8, 6 + i)))
         for i in range(layers)}
        for layers in (5, 4)
    ]  # fmt: skip
    moments = GridMoments()
    moments.update(*sides)
    return similarity_grid(moments)


@pytest.fixture(scope="session")
def texts() -> dict[str, str]:
    return {named(i): f"text {i} {HOSTILE[(i + 1) % len(HOSTILE)]}" for i in range(N)}


@pytest.fixture(scope="session")
def pages(
    tmp_path_factory: pytest.TempPathFactory,
    data: dict[str, np.ndarray],
    diagnosis: Diagnosis,
    bridge: Bridge,
    grid: Grid,
    texts: dict[str, str],
) -> dict[str, Path]:
    """A page of each kind."""
    from isthmus import report

    folder = tmp_path_factory.mktemp("pages")
    paths = {name: folder / f"{name}.html" for name in ("diagnosis", "fit", "evaluation", "layers")}
    evidence = bridge.evidence
    assert evidence is not None
    gates = check_gates(evidence, ["retention>=0.5", "recall@10>=2", "mixed.retention>0.1"])
    commands = ("isthmus fit 'a b.npy' <new> --recipe 'unit_norm | procrustes'",)
    report.write_diagnosis_report(diagnosis, paths["diagnosis"], commands=commands)
    curve = learning_curve(data["new"], data["old"], design=CurveDesign(orders=1))
    report.write_fit_report(bridge, paths["fit"], curve=curve, gates=gates, texts=texts)
    report.write_evaluation_report(evidence, paths["evaluation"], gates=gates, commands=commands)
    report.write_layers_report(grid, paths["layers"], names=(HOSTILE[0], "second"))
    return paths


@dataclass
class Element:
    """One element of a page, with the text directly and indirectly inside it."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    inside: list[Element] = field(default_factory=list)


class Tree(HTMLParser):
    """Elements in order; an element that is not closed properly is an error."""

    EMPTY = frozenset({"meta", "link", "br", "img", "input"})

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self.open: list[Element] = []
        self.feed(html)
        self.close()
        assert not self.open, f"not closed: {[e.tag for e in self.open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.elements.append(element)
        for outer in self.open:
            outer.inside.append(element)
        if tag not in self.EMPTY:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for outer in self.open:
            outer.text += data

    def all(self, tag: str) -> list[Element]:
        return [element for element in self.elements if element.tag == tag]


@pytest.fixture(scope="session")
def read() -> Any:
    """A page as its elements."""
    return lambda path: Tree(path.read_text(encoding="utf-8"))


class Browser:
    """A headless Chromium, and what it logs and fetches."""

    FLAGS = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
        "--disable-background-networking --disable-component-update --disable-sync"
    )

    def __init__(self, profile: Path, chromium: str, driver: str) -> None:
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (*self.FLAGS.split(), f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(
            options=options, service=webdriver.ChromeService(executable_path=driver)
        )
        # some builds leave a window without a screen unfocused, and nothing in it matches :focus
        self.cdp("Emulation.setFocusEmulationEnabled", enabled=True)

    def cdp(self, command: str, **arguments: Any) -> dict[str, Any]:
        return self.driver.execute_cdp_cmd(command, arguments)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def look(self, width: int = 1200, height: int = 900, scheme: str = "light") -> None:
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        self.cdp(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )

    def open(self, path: Path) -> None:
        self.forget()
        self.driver.get(path.as_uri())

    def forget(self) -> None:
        self.driver.get_log("browser")
        self.driver.get_log("performance")

    def console(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def fetched(self) -> list[str]:
        messages = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        return [
            m["params"]["request"]["url"]
            for m in messages
            if m["method"] == "Network.requestWillBeSent"
        ]

    def until(self, script: str, *arguments: Any, seconds: float = 15.0) -> None:
        """Wait until a script returns something true; animation frames come when they come."""
        end = time.monotonic() + seconds
        while not self.run(script, *arguments):
            assert time.monotonic() < end, f"still not true after {seconds} s: {script}"
            time.sleep(0.05)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    pytest.importorskip("selenium", reason="looking at pages needs selenium")
    found = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if found[0] is None or found[1] is None:
        pytest.skip("looking at pages needs chromium and chromedriver")
    made = Browser(tmp_path_factory.mktemp("profile"), found[0], found[1])
    yield made
    made.driver.quit()
