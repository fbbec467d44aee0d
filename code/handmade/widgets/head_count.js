// Number of heads: all maps of one cut, one of them large, and what it costs.
//
// `cutNumbers` and `favourites` are the logic, without a page around them: a
// test runs them in node against the package.

// what a cut of the width D into H heads costs, for T tokens
export function cutNumbers(D, H, T) {
  const K = D / H;
  return {
    K,
    q: [1, H, T, K],
    scores: [1, H, T, T],
    parameters: 4 * D * D + 4 * D,
    products: 2 * H * T * T * K, // multiplications: scores, weighted means
    weights: H * T * T,
  };
}

// the key each head of a query looks at most: H indices
export function favourites(data, { layer, H, T, query }) {
  return Array.from({ length: H }, (_, head) => {
    const row = ((layer * H + head) * T + query) * T;
    let best = 0;
    for (let s = 1; s < T; s++) if (data[row + s] > data[row + best]) best = s;
    return best;
  });
}

function render({ model, el }) {
  const tokens = model.get("tokens");
  const T = tokens.length;
  const D = model.get("d_model");
  const maps = model.get("maps").map(bytes);
  const shape = (list) => `[${list.join(", ")}]`;
  const hover = { cell: null, head: null };
  let width;

  const heads = choices({
    choose: (head) => setTraits(model, { head }),
    preview: (head) => { hover.head = head; drawMap(); },
  });
  const map = grid({
    choose: (query, key) => setTraits(model, { query, key }),
    preview: (cell) => { hover.cell = cell; drawMap(); },
  });
  const say = element("p", { class: "hm-say", "aria-live": "polite" });
  const votes = element("div", { class: "hm-chips hc-votes" });
  const facts = element("p", { class: "hm-say hm-more hm-muted" });

  function state() {
    const H = model.get("counts")[model.get("cut")];
    const data = maps[model.get("cut")];
    const layer = model.get("layer");
    const at = (head, t, s) => data[((layer * H + head) * T + t) * T + s] / 255;
    return { H, data, layer, at, head: Math.min(model.get("head"), H - 1),
      cell: [model.get("query"), model.get("key")] };
  }

  function drawMap() {
    const now = state();
    const { H, data, layer, at, cell } = now;
    const head = Math.min(hover.head ?? now.head, H - 1);
    const [query, key] = hover.cell ?? cell;
    map.draw({
      tokens, room: tokens, most: T, width, cell, at: [query, key],
      largest: width < 500 ? 18 : 22,
      label: `Attention map of head ${head} of ${H}, layer ${layer}: ${T} by ` +
        `${T} tokens. Arrow keys move over its cells.`,
      paint: (t, s) => tint(at(head, t, s)),
      marks: [[...cell, "var(--c2)"]],
    });
    const best = favourites(data, { layer, H, T, query });
    const counts = tokens.map((_, s) => best.filter((b) => b === s).length);
    const found = tokens.map((_, s) => s).filter((s) => counts[s])
      .sort((a, b) => counts[b] - counts[a]);
    const places = found.length === 1 ? "one token" : `${found.length} tokens`;
    say.textContent = `Head ${head}: “${tokens[query]}” → “${tokens[key]}” ` +
      `${percent(at(head, query, key))}. The largest weights of ` +
      `${H === 1 ? "the one head" : `all ${H} heads`} are on ${places}:`;
    votes.replaceChildren(...found.map((s) => chip(tokens[s], counts[s])));
  }

  function draw(space) {
    width = space;
    const { H, layer, at, head } = state();
    heads.draw({
      label: `The ${H} heads of layer ${layer}`,
      names: Array.from({ length: H }, (_, h) => [`head ${h}`, `${h}`]),
      picture: (h) => smallMap(T, (t, s) => at(h, t, s)),
      chosen: head,
    });
    drawMap();
    const c = cutNumbers(D, H, T);
    facts.textContent = `q, k, v ${shape(c.q)}: ${H} × ${c.K} = ${D} wide. Scores ` +
      `${shape(c.scores)}: ${number(c.weights)} numbers. For every H: ` +
      `${number(c.parameters)} parameters, ${number(c.products)} multiplications.`;
  }

  return frame({
    model, el, name: "heads", title: "One width, more heads",
    look: "Look on how many tokens the heads of one query have their largest " +
      "weight.",
    parts: [heads.node, map.node, say, votes,
      element("div", { class: "hm-key" }, scale()), facts],
    draw,
  });
}

export default { render };
