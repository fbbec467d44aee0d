// Attention patterns: small maps of the heads shown, one of them large.

const STYLE = `
.ap-heads { display: grid; gap: 6px; margin: 8px 0 12px;
  grid-template-columns: repeat(auto-fill, minmax(62px, 1fr)); }
.hm .ap-heads button { padding: 4px; line-height: 1.2; font-size: 12px; }
.ap-heads canvas { display: block; width: 100%; aspect-ratio: 1;
  image-rendering: pixelated; }
.ap-map { max-width: 600px; touch-action: pan-y; cursor: crosshair; }
.ap-map .ap-axis { font-style: italic; }
.ap-say { min-height: 2.8em; margin: 6px 0; }
.ap-text { margin: 0 0 6px; line-height: 1.9; }
.ap-text span { padding: 2px 4px; border-radius: 3px; margin-right: 1px; }
.ap-text .ap-query { outline: 2px solid var(--hm-b); }
`;

// weight -> opacity: the root, so that small weights stay visible
const shade = (weight) => Math.sqrt(weight);

// {n, tokens, at(layer, head, t, s)} for the panel at (about) this length
function unpack(panel) {
  const data = bytes(panel.data);
  const views = [];
  let start = 0;
  for (const [i, n] of panel.lengths.entries()) {
    const size = panel.causal ? (n * (n + 1)) / 2 : n * n;
    const offset = start;
    start += size * panel.layers * panel.heads;
    const at = (layer, head, t, s) => {
      if (panel.causal && s > t) return 0;
      const map = offset + (layer * panel.heads + head) * size;
      return data[map + (panel.causal ? (t * (t + 1)) / 2 + s : t * n + s)] / 255;
    };
    views.push({ n, tokens: panel.tokens[i], at });
  }
  return (length) => {
    if (panel.causal) {
      const n = Math.min(length, panel.lengths[0]);
      return { ...views[0], n };
    }
    const fits = views.filter((view) => view.n <= length);
    return fits.length ? fits[fits.length - 1] : views[0];
  };
}

// what a map says in words: means over its queries
function summary(view, layer, head) {
  const n = view.n;
  let first = 0, previous = 0, self = 0, bits = 0, distance = 0;
  for (let t = 0; t < n; t++) {
    for (let s = 0; s < n; s++) {
      const w = view.at(layer, head, t, s);
      if (w > 0) bits -= w * Math.log2(w);
      distance += w * Math.abs(t - s);
    }
    self += view.at(layer, head, t, t);
    if (t === 0) continue; // the first query may have no choice
    first += view.at(layer, head, t, 0);
    previous += view.at(layer, head, t, t - 1);
  }
  return {
    first: first / (n - 1),
    previous: previous / (n - 1),
    self: self / n,
    bits: bits / n,
    distance: distance / n,
  };
}

function render({ model, el }) {
  const views = model.get("panels").map(unpack);
  const heads = element("div", { class: "ap-heads", role: "radiogroup" });
  const map = element("div", { class: "ap-map", tabindex: "0", role: "group" });
  const say = element("p", { class: "ap-say", "aria-live": "polite" });
  const text = element("p", { class: "ap-text" });
  const about = element("p", { class: "hm-note", "aria-live": "polite" });
  const key = element(
    "p",
    { class: "hm-note" },
    "Rows: the token that looks (query). Columns: the token looked at (key). " +
      "The stronger a cell's colour, the larger its weight; each row sums to " +
      "one. Point at a cell, or use the arrow keys.",
  );
  const root = element(
    "div",
    { class: "hm" },
    element("style", {}, STYLE),
    heads, map, say, text, about, key,
  );
  el.append(root);
  const start = model.get("query");
  // t null: the last query, whatever the length
  const cell = { t: start < 0 ? null : start, s: model.get("key") };
  let grid = null; // geometry of the large map, in pixels

  const state = () => {
    const panel = model.get("panels")[model.get("panel")];
    const view = views[model.get("panel")](model.get("length"));
    const layer = Math.min(model.get("layer"), panel.layers - 1);
    const head = Math.min(model.get("head"), panel.heads - 1);
    return { panel, view, layer, head };
  };

  function drawHeads() {
    const { panel, view, layer, head } = state();
    const [from, to] = model.get("shown");
    const focused = heads.contains(document.activeElement);
    heads.setAttribute("aria-label", `Heads of layer ${layer}`);
    heads.replaceChildren();
    const accent = getComputedStyle(root).getPropertyValue("--hm-a").trim();
    for (let h = from; h <= Math.min(to, panel.heads - 1); h++) {
      const canvas = element("canvas", { width: view.n, height: view.n });
      const pen = canvas.getContext("2d");
      pen.fillStyle = accent;
      for (let t = 0; t < view.n; t++) {
        for (let s = 0; s < view.n; s++) {
          pen.globalAlpha = shade(view.at(layer, h, t, s));
          pen.fillRect(s, t, 1, 1);
        }
      }
      const on = h === head;
      const button = element(
        "button",
        {
          type: "button", role: "radio", "aria-checked": on,
          "data-head": h, tabindex: on ? 0 : -1,
          "aria-label": `head ${h}`,
          onclick: () => setTraits(model, { head: h }),
        },
        canvas,
        `head ${h}`,
      );
      if (on) button.style.borderColor = "var(--hm-b)";
      heads.append(button);
      if (on && focused) button.focus();
    }
    // the chosen head may not be among those shown: keep the group reachable
    if (!heads.querySelector('[tabindex="0"]') && heads.firstChild) {
      heads.firstChild.setAttribute("tabindex", "0");
    }
  }

  function drawMap() {
    const { panel, view, layer, head } = state();
    const n = view.n;
    const tokens = view.tokens;
    const t = Math.min(cell.t ?? n - 1, n - 1);
    const s = Math.min(cell.s, n - 1);
    const width = Math.max(240, Math.min(root.clientWidth || 600, 600) - 2);
    const longest = Math.max(...tokens.slice(0, n).map((x) => x.length));
    const left = Math.min(92, 10 + 7.4 * longest);
    const size = Math.min(34, (width - left - 2) / n);
    const tall = Math.max(13, size);
    const every = Math.ceil(13 / size); // column labels that fit
    grid = { left, top: left, size, tall, n };
    const svg = element("svg", {
      width: left + size * n + 2, height: left + tall * n + 2,
      "aria-hidden": "true",
    });
    const rect = (x, y, w, h, more) =>
      element("rect", { x, y, width: w, height: h, ...more });
    for (let i = 0; i < n; i++) {
      const y = left + tall * i;
      const x = left + size * i;
      svg.append(element("text", {
        x: left - 6, y: y + tall / 2 + 4, "text-anchor": "end",
        "font-weight": i === t ? 700 : 400,
      }, tokens[i]));
      if (i % every === 0 || i === s) {
        const hide = i !== s && Math.abs(i - s) < every;
        if (!hide) svg.append(element("text", {
          transform: `translate(${x + size / 2 + 4} ${left - 6}) rotate(-90)`,
          "font-weight": i === s ? 700 : 400,
        }, tokens[i]));
      }
      for (let j = 0; j < n; j++) {
        const w = view.at(layer, head, i, j);
        if (w > 0) svg.append(rect(left + size * j, y, size, tall, {
          fill: "var(--hm-a)", "fill-opacity": shade(w).toFixed(3),
        }));
      }
    }
    const frame = { fill: "none", stroke: "var(--hm-line)" };
    const mark = { fill: "none", stroke: "var(--hm-b)", "stroke-width": 2 };
    svg.append(rect(left, left, size * n, tall * n, frame));
    svg.append(rect(left + size * s, left + tall * t, size, tall, mark));
    map.replaceChildren(svg);
    map.setAttribute(
      "aria-label",
      `Attention map of layer ${layer}, head ${head}: ${n} by ${n} tokens. ` +
        "Arrow keys move over its cells.",
    );

    const w = view.at(layer, head, t, s);
    const hidden = panel.causal && s > t ? " (the future: hidden)" : "";
    say.textContent =
      `“${tokens[t]}” (query ${t}) → “${tokens[s]}” (key ${s}): ` +
      percent(w) + hidden;
    text.replaceChildren();
    for (let j = 0; j < n; j++) {
      const tint = 55 * shade(view.at(layer, head, t, j));
      text.append(element("span", {
        class: j === t ? "ap-query" : "",
        style: "background: color-mix(in srgb, var(--hm-a) " +
          `${tint.toFixed(0)}%, transparent)`,
      }, tokens[j]), " ");
    }
  }

  function drawAbout() {
    const { view, layer, head } = state();
    const x = summary(view, layer, head);
    about.textContent =
      `Layer ${layer}, head ${head}, ${view.n} tokens. On average a query ` +
      `gives ${percent(x.first)} to the first token, ${percent(x.previous)} ` +
      `to the one before it, ${percent(x.self)} to itself; it looks ` +
      `${x.distance.toFixed(1)} tokens away and spreads over ` +
      `${(2 ** x.bits).toFixed(1)} tokens (entropy ${x.bits.toFixed(2)} bits).`;
  }

  function draw() {
    const { panel, layer, head } = state();
    const last_head = panel.heads - 1;
    const moved = { layer, head, last_layer: panel.layers - 1, last_head };
    // another model: all its heads, as the ends of the slider move too
    if (model.get("last_head") !== last_head) moved.shown = [0, last_head];
    if (Object.entries(moved).some(([k, v]) => model.get(k) !== v)) {
      setTraits(model, moved);
    }
    drawHeads();
    drawMap();
    drawAbout();
  }

  function point(event) {
    const box = map.getBoundingClientRect();
    const s = Math.floor((event.clientX - box.left - grid.left) / grid.size);
    const t = Math.floor((event.clientY - box.top - grid.top) / grid.tall);
    if (s < 0 || t < 0 || s >= grid.n || t >= grid.n) return;
    if (s === cell.s && t === cell.t) return;
    Object.assign(cell, { s, t });
    drawMap();
  }
  map.addEventListener("pointermove", point);
  map.addEventListener("pointerdown", point);

  const steps = {
    ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0],
  };
  map.addEventListener("keydown", (event) => {
    if (!(event.key in steps)) return;
    event.preventDefault();
    event.stopPropagation(); // Jupyter moves between cells with arrow keys
    const [dt, ds] = steps[event.key];
    const clamp = (i) => Math.max(0, Math.min(grid.n - 1, i));
    const t = clamp(Math.min(cell.t ?? grid.n - 1, grid.n - 1) + dt);
    Object.assign(cell, { t, s: clamp(Math.min(cell.s, grid.n - 1) + ds) });
    drawMap();
  });
  heads.addEventListener("keydown", (event) => {
    if (!(event.key in steps)) return;
    event.preventDefault();
    event.stopPropagation();
    const [dt, ds] = steps[event.key];
    const [from, to] = model.get("shown");
    const count = Math.min(to, model.get("last_head")) - from + 1;
    const now = model.get("head") - from;
    const next = (((now + dt + ds) % count) + count) % count;
    setTraits(model, { head: from + next });
  });

  onTraits(model, ["panel", "layer", "head", "shown", "length"], draw);
  draw();
  const observer = new ResizeObserver(drawMap);
  observer.observe(root);
  return () => observer.disconnect();
}

export default { render };
