// Softmax saturation: one query's weights and slopes, all queries' gradients.
//
// `weigh`, `slopes`, `backward`, `measure` and `summary` are the logic, without
// a page around them: a test runs them in node against PyTorch's autograd.

// softmax of one query's dot products, each divided: S numbers
export function weigh(dots, divisor) {
  const most = Math.max(...dots);
  const parts = Array.from(dots, (dot) => Math.exp((dot - most) / divisor));
  const sum = parts.reduce((a, b) => a + b, 0);
  return parts.map((part) => part / sum);
}

// diag(w) - w w^T: row i holds the slopes of weight i over all scores
export function slopes(w) {
  return w.map((wi, i) => w.map((wj, j) => wi * ((i === j ? 1 : 0) - wj)));
}

// gradient at the scores: w_j (g_j - sum_i w_i g_i), as a sum of differences,
// because where one weight is all but 1 the bracket would be rounding
export function backward(w, g) {
  return w.map((wj, j) =>
    wj * w.reduce((sum, wi, i) => sum + wi * (g[j] - g[i]), 0));
}

// weights of all queries, and their gradients' norms at scores and at query
export function measure({ dots, keys, upstream, S }, divisor) {
  const N = upstream.length / S;
  const weights = [], atScores = [], atQuery = [];
  for (let n = 0; n < N; n++) {
    const w = weigh(dots.subarray(n * S, (n + 1) * S), divisor);
    const grad = backward(w, upstream.subarray(n * S, (n + 1) * S));
    // the gradient at the query is the keys' sum, weighted by grad
    const sum = Array.from({ length: S }, (_, axis) =>
      grad.reduce((total, x, s) => total + x * keys[s * S + axis], 0));
    weights.push(w);
    atScores.push(Math.hypot(...grad));
    atQuery.push(Math.hypot(...sum) / divisor);
  }
  return { weights, atScores, atQuery };
}

// what is said of all queries; the median is a query's own, as torch.median's
export function summary(norms) {
  const order = norms.map((_, n) => n).sort((a, b) => norms[a] - norms[b]);
  const total = norms.reduce((a, b) => a + b, 0);
  const tenth = order.slice(-Math.max(1, Math.floor(norms.length / 10)));
  return {
    order,
    typical: order[(norms.length - 1) >> 1],
    luckiest: order.at(-1),
    mean: total / norms.length,
    share: tenth.reduce((sum, n) => sum + norms[n], 0) / total,
  };
}

function short(x) {
  if (x >= 100) return x.toFixed(0);
  return x >= 0.001 ? x.toPrecision(2) : x.toExponential(1);
}

function render({ model, el }) {
  const S = model.get("n_keys");
  const dots = floats(model.get("dots"));
  const keys = floats(model.get("turned_keys"));
  const upstream = floats(model.get("upstream"));
  const N = upstream.length / S;
  let seen = null; // the summary of the gradients at the query

  const views = element("div", { class: "ss-views" });
  const strip = element("div");
  const rows = element("tbody");
  const say = element("p", { class: "ss-say", "aria-live": "polite" });
  const go = (where) => setTraits(model, { query: seen[where] });
  const head = ["gradient", "this query", "median", "mean", "luckiest tenth"];
  const root = element("div", { class: "hm hm-saturation" },
    say, views,
    element("button", { type: "button", onclick: () => go("typical") },
      "Median query"), " ",
    element("button", { type: "button", onclick: () => go("luckiest") },
      "Luckiest query"),
    element("p", { class: "ss-legend" },
      `Gradients of all ${N} queries: `,
      element("span", { class: "ss-dot" }), "this one",
      element("span", { class: "ss-mark" }), "median",
      element("span", { class: "ss-mark ss-mean" }), "mean"),
    strip,
    element("table", {},
      element("thead", {}, element("tr", {},
        ...head.map((name) => element("th", { scope: "col" }, name)))),
      rows),
  );
  el.append(root);
  const line = (x1, y1, x2, y2, more = {}) => element("line", {
    x1, y1, x2, y2, stroke: "var(--hm-line)", ...more });
  const text = (x, y, words, anchor = "middle") =>
    element("text", { x, y, "text-anchor": anchor }, words);

  function bars(w, query) {
    const [width, height, left, top] = [290, 176, 34, 18];
    const bottom = height - 22;
    const step = (width - left) / S;
    const y = (weight) => bottom - weight * (bottom - top);
    const best = w.indexOf(Math.max(...w));
    const svg = element("svg", { width, height, role: "img", "aria-label":
      `Weights of query ${query} over ${S} keys, the largest ` +
        `${w[best].toFixed(3)} at key ${best}` });
    for (const tick of [0, 0.5, 1]) {
      svg.append(line(left, y(tick), width, y(tick)),
        text(left - 5, y(tick) + 4, String(tick), "end"));
    }
    w.forEach((weight, s) => svg.append(element("rect", {
      x: left + s * step + 1.5, y: y(weight), width: step - 3,
      height: bottom - y(weight), fill: "var(--hm-a)" })));
    const middle = left + (best + 0.5) * step;
    svg.append(
      text(Math.max(left + 16, Math.min(width - 18, middle)), y(w[best]) - 4,
        w[best].toFixed(2)),
      text((left + width) / 2, height - 6, "key"),
      text(left + step / 2, height - 6, "0"),
      text(width - step / 2, height - 6, String(S - 1)));
    return element("div", {}, svg, element("p", {},
      `The ${S} weights of query ${query}; they sum to one.`));
  }

  function map(w, query) {
    const size = 154;
    const step = size / S;
    const table = slopes(w);
    const largest = Math.max(...table.flat().map(Math.abs));
    const svg = element("svg", { width: size + 22, height: 176, role: "img",
      "aria-label": `Slopes of the weights of query ${query} over its ` +
        `scores, ${S} by ${S}; the largest is ${short(largest)}` });
    // 1/4 is the steepest a softmax can be; the root lets small slopes show
    table.forEach((row, i) => row.forEach((x, j) => svg.append(
      element("rect", { x: 21 + j * step, y: i * step, width: step,
        height: step, fill: x > 0 ? "var(--hm-a)" : "var(--hm-b)",
        "fill-opacity": Math.sqrt(Math.abs(x) / 0.25).toFixed(3) }))));
    svg.append(
      element("rect", { x: 21, y: 0.5, width: size, height: size - 0.5,
        fill: "none", stroke: "var(--hm-line)" }),
      text(21 + size / 2, 170, "score j"),
      element("text", { transform: `translate(14 ${size / 2}) rotate(-90)`,
        "text-anchor": "middle" }, "weight i"));
    return element("div", { class: "ss-map" }, svg, element("p", {},
      "Slopes ∂wᵢ/∂sⱼ. Blue: rises with that score; orange: falls; " +
        "blank: does not move."));
  }

  // both gradients of every query, on one axis of powers of ten
  function dotStrip(norms, query) {
    const width = Math.max(250, Math.min(root.clientWidth || 640, 640) - 4);
    const [low, high, left, right] = [-10, 2, 26, 20];
    const x = (norm) => {
      const power = norm > 0 ? Math.log10(norm) : low;
      const share = (Math.max(low, Math.min(high, power)) - low) / (high - low);
      return left + share * (width - left - right);
    };
    const svg = element("svg", { width, height: 148, role: "img",
      "aria-label": "Gradients of all queries on a logarithmic axis: " +
        norms.map(([name, list, all]) => `${name}, this query ` +
          `${short(list[query])}, median ${short(list[all.typical])}, mean ` +
          `${short(all.mean)}`).join("; ") });
    for (let power = low; power <= high; power += 2) {
      const at = x(10 ** power);
      svg.append(line(at, 18, at, 128));
      if (power === low) svg.append(text(2, 144, `≤ 1e${low}`, "start"));
      else svg.append(text(at, 144, power ? `1e${power}` : "1"));
    }
    norms.forEach(([name, list, all], row) => {
      const top = 20 + 56 * row;
      const y = (n) => top + 6 + ((n * 7) % 13) * 2.1;
      list.forEach((norm, n) => svg.append(element("circle", {
        cx: x(norm), cy: y(n), r: 2.5, fill: "var(--hm-a)",
        "fill-opacity": 0.6 })));
      for (const [value, dashes] of [
        [list[all.typical], "none"], [all.mean, "2 3"],
      ]) {
        svg.append(line(x(value), top, x(value), top + 38, {
          stroke: "currentColor", "stroke-width": 2,
          "stroke-dasharray": dashes }));
      }
      svg.append(element("circle", { cx: x(list[query]), cy: y(query), r: 6,
        fill: "var(--hm-b)", stroke: "currentColor" }));
      svg.append(text(left, top - 6, name, "start"));
    });
    return svg;
  }

  function redraw() {
    const [at, query] = [model.get("width"), model.get("query")];
    const K = model.get("widths")[at], power = model.get("power");
    const divisor = K ** power;
    const { weights, atScores, atQuery } = measure({
      dots: dots.subarray(at * N * S, (at + 1) * N * S),
      keys: keys.subarray(at * S * S, (at + 1) * S * S), upstream, S }, divisor);
    seen = summary(atQuery);
    const w = weights[query];
    const norms = [
      ["at the scores", atScores, summary(atScores)],
      ["at the query", atQuery, seen],
    ];
    views.replaceChildren(bars(w, query), map(w, query));
    strip.replaceChildren(dotStrip(norms, query));
    rows.replaceChildren(...norms.map(([name, list, all]) => element("tr", {},
      element("th", { scope: "row" }, name),
      ...[short(list[query]), short(list[all.typical]), short(all.mean),
        `${(100 * all.share).toFixed(0)} % of all`,
      ].map((cell) => element("td", {}, cell)))));
    const best = Math.max(...w);
    const verdict = best > 0.99 ? "has chosen; hardly any slope is left"
      : best < 1.5 / S ? "is close to a plain average" : "still weighs keys";
    const below = seen.order.indexOf(query);
    say.textContent =
      `K = ${K}, scores divided by ${K}^${power.toFixed(2)} = ` +
      `${divisor.toFixed(1)}. Query ${query} gives its best key ` +
      `${percent(best)} of its weight: it ${verdict}. At the query, its ` +
      `gradient is ${short(atQuery[query])}, larger than that of ${below} of ` +
      `${N - 1} others; the luckiest tenth gets ` +
      `${(100 * seen.share).toFixed(0)} % of all.`;
  }

  onTraits(model, ["width", "power", "query"], redraw);
  redraw();
  const observer = new ResizeObserver(redraw);
  observer.observe(root);
  return () => observer.disconnect();
}

export default { render };
