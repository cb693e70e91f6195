(() => {
  "use strict";
  const root = document.documentElement;
  const specs = JSON.parse(document.getElementById("figures").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const fine = window.matchMedia("(pointer: fine)").matches;
  const button = document.getElementById("theme");
  let chosen = null;

  // colours are named in the figures as var(--name) and read from the style sheet
  function coloured(value, style) {
    if (typeof value === "string") {
      const named = /^var\((--[\w-]+)\)$/.exec(value);
      return named ? style.getPropertyValue(named[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((v) => coloured(v, style));
    if (value !== null && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v, style)]));
    return value;
  }

  // no script can measure paper: sizes that fit A4 and letter, in one column and in two
  const tallestOnPaper = 760;
  function printedWidth(node) { return node.closest(".columns, .pairs") ? 292 : 630; }

  function crowded(node) {
    const boxes = [...node.querySelectorAll(".annotation-text-g")].map((t) => t.getBoundingClientRect());
    return boxes.some((box, i) => i > 0 && Math.abs(box.top - boxes[i - 1].top) < 1
      && box.left < boxes[i - 1].right + 2);
  }

  function draw(printed) {
    if (typeof Plotly === "undefined") return;
    const style = getComputedStyle(root);
    for (const node of document.querySelectorAll(".plot")) {
      const spec = specs[node.dataset.figure];
      const layout = coloured(spec.layout, style);
      layout.dragmode = spec.zoom && fine ? "zoom" : false;
      layout.autosize = !printed;
      node.style.height = `${printed ? Math.min(spec.height, tallestOnPaper) : spec.height}px`;
      if (printed) Object.assign(layout, { width: printedWidth(node), height: node.clientHeight });
      Plotly.react(node, coloured(spec.data, style), layout, {
        displayModeBar: false, responsive: false, scrollZoom: false,
        showTips: false, doubleClick: spec.zoom ? "reset" : false,
      });
      if (spec.loose && crowded(node)) Plotly.relayout(node, { annotations: [] });
    }
  }

  function dress(theme) {
    root.dataset.theme = theme;
    const other = theme === "dark" ? "Light" : "Dark";
    button.textContent = other;
    button.setAttribute("aria-label", `Switch to ${other.toLowerCase()} colours`);
    button.setAttribute("aria-pressed", String(theme === "dark"));
  }

  // a table that is cut says so in words beside the shadow at its edge
  function mark() {
    for (const table of document.querySelectorAll(".table")) {
      const scroll = table.querySelector(".scroll");
      table.classList.toggle("cut", scroll.scrollWidth > scroll.clientWidth + 1);
    }
  }

  // a tooltip stays on the page
  function place(term) {
    const room = document.documentElement.clientWidth;
    const over = term.getBoundingClientRect().left + Math.min(320, 0.8 * room) + 8 - room;
    term.style.setProperty("--shift", `${-Math.max(over, 0)}px`);
  }
  for (const term of document.querySelectorAll(".term"))
    for (const event of ["pointerenter", "focus"]) term.addEventListener(event, () => place(term));

  for (const details of document.querySelectorAll("details")) details.addEventListener("toggle", mark);

  function follow() { dress(chosen ?? (dark.matches ? "dark" : "light")); draw(); }

  button.addEventListener("click", () => {
    chosen = root.dataset.theme === "dark" ? "light" : "dark";
    follow();
  });
  dark.addEventListener("change", () => { if (chosen === null) follow(); });
  let waiting = 0;
  window.addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { draw(); mark(); }, 120);
  });
  window.addEventListener("beforeprint", () => { dress("light"); draw(true); });
  window.addEventListener("afterprint", follow);

  for (const copy of document.querySelectorAll(".copy")) {
    copy.addEventListener("click", async () => {
      const code = copy.parentElement.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
      } catch {
        getSelection().selectAllChildren(code);
        document.execCommand("copy");
      }
      copy.textContent = "Copied";
      setTimeout(() => { copy.textContent = "Copy"; }, 1500);
    });
  }

  follow();
  mark();
  root.dataset.ready = "true";
})();
