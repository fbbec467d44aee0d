// Number of heads: all maps of one cut, its shapes and its parameters.
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
  const grid = element("div", { class: "hc-heads", role: "img" });
  const table = element("tbody");
  const say = element("p", { class: "hc-say", "aria-live": "polite" });
  const text = element("p", { class: "hc-text" });
  const key = element("p", { class: "hm-note" },
    "One square a head: rows look, columns are looked at; the marked row is " +
      "the chosen token's. Below, how many heads look at each token most.");
  const root = element("div", { class: "hm hm-head-count" },
    element("table", {}, table), grid, say, text, key);
  el.append(root);

  const shape = (list) => `[${list.join(", ")}]`;

  function row(name, value) {
    return element("tr", {},
      element("th", { scope: "row" }, name), element("td", {}, value));
  }

  function draw() {
    const H = model.get("counts")[model.get("cut")];
    const data = maps[model.get("cut")];
    const layer = model.get("layer"), query = model.get("query");
    const c = cutNumbers(D, H, T);
    table.replaceChildren(
      row("q, k, v", `${shape(c.q)}: ${H} × ${c.K} = ${D} wide`),
      row("scores", `${shape(c.scores)}: ${c.weights.toLocaleString("en")} numbers`),
      row("parameters", `${c.parameters.toLocaleString("en")}, whatever H`),
      row("multiplications", `${c.products.toLocaleString("en")}, whatever H`),
    );

    const style = getComputedStyle(root);
    const [blue, mark] = ["--hm-a", "--hm-b"].map(
      (name) => style.getPropertyValue(name).trim());
    const pixel = 6;
    grid.replaceChildren();
    for (let h = 0; h < H; h++) {
      const canvas = element("canvas", { width: T * pixel, height: T * pixel });
      const pen = canvas.getContext("2d");
      for (let t = 0; t < T; t++) {
        for (let s = 0; s < T; s++) {
          pen.globalAlpha = Math.sqrt(data[((layer * H + h) * T + t) * T + s] / 255);
          pen.fillStyle = blue;
          pen.fillRect(s * pixel, t * pixel, pixel, pixel);
        }
      }
      pen.globalAlpha = 1;
      pen.strokeStyle = mark;
      pen.lineWidth = 1.5;
      pen.strokeRect(0.75, query * pixel, T * pixel - 1.5, pixel);
      grid.append(canvas);
    }

    const best = favourites(data, { layer, H, T, query });
    const votes = tokens.map((_, s) => best.filter((b) => b === s).length);
    const places = votes.filter((v) => v > 0).length;
    const heads = H === 1 ? "one head looks" : `${H} heads look`;
    say.textContent = `In layer ${layer}, the ${heads} from “${tokens[query]}” ` +
      `mostly at ${places} ${places === 1 ? "place" : "different places"}.`;
    grid.setAttribute("aria-label",
      `Attention maps of ${H} ${H === 1 ? "head" : "heads"}, ${c.K} numbers ` +
        `wide each, over ${T} tokens, layer ${layer}.`);
    text.replaceChildren();
    tokens.forEach((token, s) => {
      const tint = 55 * Math.sqrt(votes[s] / H);
      text.append(element("span", {
        class: s === query ? "hc-query" : "",
        style: "background: color-mix(in srgb, var(--hm-a) " +
          `${tint.toFixed(0)}%, transparent)`,
      }, votes[s] ? `${token} ×${votes[s]}` : token), " ");
    });
  }

  onTraits(model, ["cut", "layer", "query"], draw);
  draw();
}

export default { render };
