// Mask editor: a table of cells to open and close, and the weights left.
//
// `presetMask`, `withPads`, `maskedSoftmax` and `findings` are the whole logic,
// without a page around them: a test runs them in node against handmade.blocks.

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

// scores of n words behind so many pads: a pad's query and key are zeros
export function withPads(scores, n, pads) {
  const m = n + pads;
  return Array.from({ length: m * m }, (_, i) => {
    const [t, s] = [Math.floor(i / m) - pads, (i % m) - pads];
    return t < 0 || s < 0 ? 0 : scores[t * n + s];
  });
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

const SIZED = ["padding", "prefix", "sliding window"];
const MOST_PADS = 3;

const ABOUT = {
  causal: () => "Each token sees itself and those before it.",
  padding: (k) => `${k} [pad] in front of the text: nobody may read them, and ` +
    "causally they could see nothing but each other.",
  prefix: (k) => `The first ${k} tokens see each other in both directions, ` +
    "the rest see the past.",
  "sliding window": (k) => `Each token sees the last ${k}, itself among them.`,
  "no mask": () => "Every token sees every other, as in an encoder.",
};

function render({ model, el }) {
  const words = model.get("tokens");
  const all = floats(model.get("scores"));
  const name = () => NAMES[model.get("preset")];
  const pads = () => (name() === "padding" ? size() : 0);
  const most = () => (name() === "padding" ? MOST_PADS : words.length);
  const size = () => clamp(model.get("size"), 1, most());
  let hovered = null, width, clicked, made;

  const map = grid({
    choose: (t, s) => setTraits(model, { query: t - pads(), key: s - pads() }),
    preview: (cell) => { hovered = cell; drawMap(); },
    press: toggle,
  });
  const say = element("p", { class: "hm-say", "aria-live": "polite" });
  const about = element("p", { class: "hm-say hm-more", "aria-live": "polite" });

  // the preset's mask with the reader's clicks; rows and columns count pads
  function state() {
    const n = words.length + pads();
    const start = presetMask(name(), n, size());
    const mask = start.slice();
    for (const [t, s] of model.get("clicks")) {
      const i = (t + pads()) * n + s + pads();
      if (Math.min(t, s) >= -pads()) mask[i] = 1 - mask[i];
    }
    const area = words.length ** 2;
    const head = model.get("head");
    const scores = withPads(
      all.subarray(head * area, (head + 1) * area), words.length, pads());
    const at = [model.get("query"), model.get("key")]
      .map((place) => clamp(place + pads(), 0, n - 1));
    return { n, start, mask, scores, at, head };
  }

  function toggle() {
    const cell = [model.get("query"), model.get("key")];
    const others = model.get("clicks").filter((click) => !same(click, cell));
    const added = others.length === model.get("clicks").length;
    setTraits(model, { clicks: added ? [...others, cell] : others });
  }

  function drawMap() {
    const { n, start, mask, scores, at: cell, head } = state();
    const weights = maskedSoftmax(scores, mask, n);
    const tokens = [...Array(pads()).fill("[pad]"), ...words];
    const at = hovered && Math.max(...hovered) < n ? hovered : cell;
    const marks = [];
    mask.forEach((open, i) => {
      if (open === start[i]) return;
      marks.push([Math.floor(i / n), i % n, "var(--c2)", 2]);
    });
    map.draw({
      tokens, room: ["[pad]", ...words], most: words.length + MOST_PADS,
      width, largest: 30, cell, at, marks,
      label: `Mask of ${n} by ${n} tokens, head ${head}. Arrow keys move over ` +
        "its cells, Space opens or closes one.",
      paint: (t, s) => ({ class: "me-cell",
        "fill-opacity": (0.5 * shade(weights[t * n + s])).toFixed(3) }),
      write: (t, s, x, y) => (mask[t * n + s]
        ? element("text", { x, y: y + 4, "text-anchor": "middle" },
          (100 * weights[t * n + s]).toFixed(0))
        : element("path", { class: "me-cross",
          d: `M${x - 4} ${y - 4}l8 8m0 -8l-8 8` })),
    });

    const { open, future, empty } = findings(mask, n);
    const outside = name() === "prefix" ? ", outside the prompt" : "";
    const leak = !future ? "No cell shows the future."
      : `${future} of them ${future === 1 ? "shows" : "show"} the future: ` +
        `when generating, a leak${outside}.`;
    const nothing = !empty ? ""
      : empty === 1 ? "One query sees nothing and gets zeros."
      : `${empty} queries see nothing and get zeros.`;
    about.textContent = `${ABOUT[name()](size())} ${open} of ${n * n} cells ` +
      `are open. ${leak} ${nothing}`;
    const [t, s] = at, i = t * n + s;
    say.textContent = `“${tokens[t]}” (${t}) → “${tokens[s]}” (${s}): score ` +
      `${signed(scores[i], 2)}${mask[i] ? "" : ", hidden"}, weight ` +
      percent(weights[i]);
  }

  function draw(space) {
    width = space;
    // another mask is drawn without the clicks on the last one
    const now = [name(), size()];
    const stale = made && !same(now, made) && same(clicked, model.get("clicks"));
    if (stale) setTraits(model, { clicks: [] });
    [made, clicked] = [now, model.get("clicks")];
    setTraits(model, { size: size(), last_size: most(),
      sizeless: !SIZED.includes(name()) });
    drawMap();
  }

  return frame({
    model, el, name: "masks", title: "Open and close cells",
    look: "Click one, or press Space on it: the others in its row share " +
      "what it loses.",
    parts: [map.node, say, about, element("div", { class: "hm-key" },
      element("span", {}, "12  weight in per cent"),
      element("span", {}, "×  hidden"),
      element("span", { class: "hm-swatch" },
        element("i", { class: "me-yours" }), "changed by you"))],
    draw,
  });
}

export default { render };
