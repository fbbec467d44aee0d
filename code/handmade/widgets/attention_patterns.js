// Attention patterns: small maps of a layer's heads, one of them large.

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
  let first = 0, previous = 0, self = 0, bits = 0;
  for (let t = 0; t < n; t++) {
    for (let s = 0; s < n; s++) {
      const w = view.at(layer, head, t, s);
      if (w > 0) bits -= w * Math.log2(w);
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
  };
}

function render({ model, el }) {
  const panels = model.get("panels");
  const views = panels.map(unpack);
  const room = [...new Set(panels.flatMap((panel) => panel.tokens.flat()))];
  const most = Math.max(...panels.flatMap((panel) => panel.lengths));
  const hover = { cell: null, head: null }; // what the pointer is on

  const heads = choices({
    choose: (head) => setTraits(model, { head }),
    preview: (head) => { hover.head = head; drawMap(); },
  });
  const map = grid({
    choose: (query, key) => setTraits(model, { query, key }),
    preview: (cell) => { hover.cell = cell; drawMap(); },
  });
  const say = element("p", { class: "hm-say", "aria-live": "polite" });
  const about = element("p", { class: "hm-say hm-more hm-muted" });
  let width;

  function state() {
    const panel = panels[model.get("panel")];
    const view = views[model.get("panel")](model.get("length"));
    const layer = clamp(model.get("layer"), 0, panel.layers - 1);
    const head = clamp(model.get("head"), 0, panel.heads - 1);
    const query = model.get("query");
    const last = view.n - 1;
    // -1: the last query, whatever the length
    const cell = [query < 0 ? last : Math.min(query, last),
      Math.min(model.get("key"), last)];
    return { panel, view, layer, head, cell };
  }

  function drawMap() {
    const now = state();
    const { panel, view, layer, cell } = now;
    // what is pointed at may be gone, where the model or the length changed
    const head = Math.min(hover.head ?? now.head, panel.heads - 1);
    const [t, s] = (hover.cell ?? cell).map((i) => Math.min(i, view.n - 1));
    const tokens = view.tokens.slice(0, view.n);
    map.draw({
      tokens, room, most, width, largest: 18, cell, at: [t, s],
      label: `Attention map of layer ${layer}, head ${head}: ${view.n} by ` +
        `${view.n} tokens. Arrow keys move over its cells.`,
      paint: (i, j) => tint(view.at(layer, head, i, j)),
      marks: [[...cell, "var(--c2)"]],
    });
    const weight = panel.causal && s > t
      ? "hidden, it is the future" : percent(view.at(layer, head, t, s));
    say.textContent = `Layer ${layer}, head ${head}: “${tokens[t]}” ` +
      `(${t}) → “${tokens[s]}” (${s}): ${weight}`;
    const x = summary(view, layer, head);
    about.textContent = `On average ${percent(x.first)} go to the first ` +
      `token, ${percent(x.previous)} one back, ${percent(x.self)} to itself; ` +
      `spread over ${(2 ** x.bits).toFixed(1)} tokens.`;
  }

  function draw(space) {
    width = space;
    const { panel, view, layer, head } = state();
    heads.draw({
      label: `Heads of layer ${layer}`,
      names: Array.from({ length: panel.heads }, (_, h) =>
        [`head ${h}`, `${h}`]),
      picture: (h) => smallMap(view.n, (t, s) => view.at(layer, h, t, s)),
      chosen: head,
    });
    drawMap();
  }

  // models differ in size: the ends of the slider, and where it stands
  function follow() {
    const { panel, layer, head } = state();
    setTraits(model, { last_layer: panel.layers - 1, layer, head });
  }
  model.on("change:panel", follow);
  const stop = frame({
    model, el, name: "attention", title: "Who looks at whom",
    look: "Each row shares out 100 %. Look for a diagonal, a strong first " +
      "column, a far cell that stands out.",
    parts: [heads.node, map.node, say, about,
      element("div", { class: "hm-key" }, scale())],
    draw,
  });
  return () => {
    model.off("change:panel", follow);
    stop();
  };
}

export default { render };
