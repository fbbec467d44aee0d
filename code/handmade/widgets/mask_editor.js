// Mask editor: a table of cells to open and close, and the weights left.
//
// `presetMask`, `maskedSoftmax` and `findings` are the whole logic, without a
// page around them: a test runs them in node against handmade.blocks.

const NAMES = ["causal", "padding", "prefix", "sliding window", "no mask"];

// n x n of 1 (may attend) and 0, row-major; `size` as the preset reads it
export function presetMask(name, n, size) {
  const mask = new Uint8Array(n * n);
  for (let t = 0; t < n; t++) {
    for (let s = 0; s < n; s++) {
      const past = s <= t;
      const allowed = {
        causal: past,
        padding: past && s >= size,
        prefix: past || s < size,
        "sliding window": past && t - s < size,
        "no mask": true,
      }[name];
      mask[t * n + s] = allowed ? 1 : 0;
    }
  }
  return mask;
}

// weights of the allowed scores; a row with nothing allowed gives zeros
export function maskedSoftmax(scores, mask, n) {
  const weights = new Float64Array(n * n);
  for (let t = 0; t < n; t++) {
    const row = Array.from({ length: n }, (_, s) => t * n + s);
    const open = row.filter((i) => mask[i]);
    const most = Math.max(...open.map((i) => scores[i]));
    let sum = 0;
    for (const i of open) sum += weights[i] = Math.exp(scores[i] - most);
    for (const i of open) weights[i] /= sum;
  }
  return weights;
}

// what a reader should notice about a mask
export function findings(mask, n) {
  let future = 0, empty = 0, open = 0;
  for (let t = 0; t < n; t++) {
    let seen = 0;
    for (let s = 0; s < n; s++) {
      seen += mask[t * n + s];
      if (s > t) future += mask[t * n + s];
    }
    open += seen;
    empty += seen === 0;
  }
  return { open, future, empty };
}

const ABOUT = {
  causal: () => "Each token sees itself and those before it.",
  padding: (k) => `The first ${k} tokens count as padding: nobody may read ` +
    "them, and causally they could see nothing but each other.",
  prefix: (k) => `The first ${k} tokens see each other in both directions; ` +
    "the rest see the past.",
  "sliding window": (k) => `Each token sees the last ${k}, itself among them.`,
  "no mask": () => "Every token sees every other, as in an encoder.",
};

function render({ model, el }) {
  const tokens = model.get("tokens");
  const n = tokens.length;
  const all = floats(model.get("scores"));
  const cell = { t: model.get("query"), s: model.get("key") };
  let mask = null;
  let start = null; // the preset as it was before any click
  let grid = null; // geometry, in pixels

  const table = element("div", { class: "me-map", tabindex: "0", role: "group" });
  const say = element("p", { class: "me-say", "aria-live": "polite" });
  const about = element("p", { class: "me-say", "aria-live": "polite" });
  const reset = element("button", { type: "button", onclick: () => choose() },
    "Undo my clicks");
  const key = element("p", { class: "hm-note" },
    "Rows look (queries), columns are looked at (keys). A cell shows its " +
      "weight in per cent, a cross is hidden. Click a cell to open or close " +
      "it; or move with the arrow keys and press Space.");
  const root = element("div", { class: "hm" }, about, table, say, reset, key);
  el.append(root);

  const name = () => NAMES[model.get("preset")];

  function choose() {
    start = presetMask(name(), n, model.get("size"));
    mask = start.slice();
    draw();
  }

  function draw() {
    const head = model.get("head");
    const scores = all.subarray(head * n * n, (head + 1) * n * n);
    const weights = maskedSoftmax(scores, mask, n);
    const width = Math.max(250, Math.min(root.clientWidth || 560, 560) - 4);
    const longest = Math.max(...tokens.map((x) => x.length));
    const left = Math.min(84, 10 + 7.4 * longest);
    const size = Math.min(40, (width - left - 2) / n);
    grid = { left, size };
    const svg = element("svg", {
      width: left + size * n + 2, height: left + size * n + 2,
      "aria-hidden": "true",
    });
    const line = (x1, y1, x2, y2) => element("line", {
      x1, y1, x2, y2, stroke: "currentColor", "stroke-opacity": 0.45,
    });
    for (let i = 0; i < n; i++) {
      const at = left + size * (i + 0.5);
      svg.append(
        element("text", { x: left - 6, y: at + 4, "text-anchor": "end",
          "font-weight": i === cell.t ? 700 : 400 }, tokens[i]),
        element("text", { "font-weight": i === cell.s ? 700 : 400,
          transform: `translate(${at + 4} ${left - 6}) rotate(-90)` }, tokens[i]),
      );
    }
    for (let t = 0; t < n; t++) {
      for (let s = 0; s < n; s++) {
        const x = left + size * s, y = left + size * t, i = t * n + s;
        const changed = mask[i] !== start[i];
        svg.append(element("rect", {
          x: x + 1, y: y + 1, width: size - 2, height: size - 2, rx: 2,
          fill: "var(--hm-a)",
          "fill-opacity": (0.55 * Math.sqrt(weights[i])).toFixed(3),
          stroke: changed ? "var(--hm-b)" : "var(--hm-line)",
          "stroke-width": changed ? 2 : 1,
        }));
        if (!mask[i]) {
          const a = size * 0.38, b = size * 0.62;
          svg.append(line(x + a, y + a, x + b, y + b),
            line(x + a, y + b, x + b, y + a));
        } else {
          svg.append(element("text", { x: x + size / 2, y: y + size / 2 + 4,
            "text-anchor": "middle" }, (100 * weights[i]).toFixed(0)));
        }
      }
    }
    svg.append(element("rect", {
      x: left + size * cell.s, y: left + size * cell.t, width: size,
      height: size, fill: "none", stroke: "currentColor", "stroke-width": 2,
    }));
    table.replaceChildren(svg);
    table.setAttribute("aria-label",
      `Mask of ${n} by ${n} tokens, head ${head}. Arrow keys move over its ` +
        "cells, Space opens or closes one.");

    const { open, future, empty } = findings(mask, n);
    const leak = future
      ? ` ${future} open ${future === 1 ? "cell shows" : "cells show"} the ` +
        "future: for generating text, a leak" +
        (name() === "prefix" ? " unless inside the prompt." : ".")
      : " No cell shows the future.";
    const nothing = empty
      ? ` ${empty} ${empty === 1 ? "query has" : "queries have"} nothing to ` +
        "see and get zeros."
      : "";
    about.textContent = `${ABOUT[name()](model.get("size"))} ` +
      `${open} of ${n * n} cells are open.${leak}${nothing}`;

    const i = cell.t * n + cell.s;
    const hidden = mask[i] ? "" : ", hidden";
    say.textContent =
      `“${tokens[cell.t]}” (query ${cell.t}) → “${tokens[cell.s]}” ` +
      `(key ${cell.s}): score ${scores[i].toFixed(2)}${hidden}, weight ` +
      percent(weights[i]);
    reset.disabled = mask.every((x, j) => x === start[j]);
  }

  function toggle() {
    const i = cell.t * n + cell.s;
    mask[i] = 1 - mask[i];
    draw();
  }

  table.addEventListener("click", (event) => {
    const box = table.getBoundingClientRect();
    const s = Math.floor((event.clientX - box.left - grid.left) / grid.size);
    const t = Math.floor((event.clientY - box.top - grid.left) / grid.size);
    if (s < 0 || t < 0 || s >= n || t >= n) return;
    Object.assign(cell, { s, t });
    toggle();
  });
  const steps = {
    ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0],
  };
  table.addEventListener("keydown", (event) => {
    const press = event.key === " " || event.key === "Enter";
    if (!press && !(event.key in steps)) return;
    event.preventDefault();
    event.stopPropagation(); // Jupyter moves between cells with arrow keys
    if (press) return toggle();
    const [dt, ds] = steps[event.key];
    const clamp = (i) => Math.max(0, Math.min(n - 1, i));
    Object.assign(cell, { t: clamp(cell.t + dt), s: clamp(cell.s + ds) });
    draw();
  });

  onTraits(model, ["preset", "size"], choose);
  onTraits(model, ["head"], draw);
  choose();
  const observer = new ResizeObserver(draw);
  observer.observe(root);
  return () => observer.disconnect();
}

export default { render };
