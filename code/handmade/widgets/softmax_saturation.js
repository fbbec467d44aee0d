// Softmax saturation, in three questions: one query's weights, their slopes,
// and all queries' gradients.
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
  return x >= 0.001 ? x.toPrecision(2) : x.toExponential(1).replace("-", "−");
}

const QUESTIONS = [
  "Who gets the weight?", "What can still move?", "Which queries learn?",
];

function render({ model, el }) {
  const S = model.get("n_keys");
  const dots = floats(model.get("dots"));
  const keys = floats(model.get("turned_keys"));
  const upstream = floats(model.get("upstream"));
  const N = upstream.length / S;
  let order = [], places = []; // queries by gradient; where each one's dot is
  let seen = null; // the summary of the gradients at the query

  const tabs = choices({
    choose: (question) => setTraits(model, { question }) });
  const box = element("div", { class: "ss-box", role: "group", tabindex: 0,
    onclick: pick });
  onKeys(box, { move: (dt, ds) => {
    const now = order.indexOf(model.get("query"));
    go(order[clamp(now + dt + ds, 0, N - 1)]);
  } });
  const say = element("p", { class: "hm-say", "aria-live": "polite" });
  const key = element("div", { class: "hm-key" });
  const go = (query) => setTraits(model, { query });

  const line = (x1, y1, x2, y2, more) =>
    element("line", { x1, y1, x2, y2, stroke: "var(--line)", ...more });
  const text = (x, y, words, anchor = "middle") =>
    element("text", { x, y, "text-anchor": anchor }, words);

  // one bar a key
  function bars(svg, width, height, w) {
    const [left, top, bottom] = [34, 18, height - 36];
    const step = (width - left) / S;
    const y = (weight) => bottom - weight * (bottom - top);
    for (const tick of [0, 0.5, 1]) {
      svg.append(line(left, y(tick), width, y(tick)),
        text(left - 6, y(tick) + 4, String(tick), "end"));
    }
    const best = w.indexOf(Math.max(...w));
    const every = Math.ceil(18 / step); // as many labels as fit
    w.forEach((weight, s) => svg.append(
      element("rect", { x: left + (s + 0.1) * step, y: y(weight),
        width: 0.8 * step, height: bottom - y(weight), fill: "var(--c1)" }),
      text(left + (s + 0.5) * step, bottom + 15, s % every ? "" : String(s))));
    svg.append(
      text(clamp(left + (best + 0.5) * step, left + 16, width - 16),
        y(w[best]) - 5, w[best].toFixed(2)),
      text((left + width) / 2, height - 4, "key"));
  }

  // S x S: how weight i moves with score j
  function map(svg, width, height, w) {
    const size = Math.min(width - 30, height - 24);
    const [left, step] = [(width - size + 24) / 2, size / S];
    // 1/4 is the steepest a softmax can be; the root lets small slopes show
    slopes(w).forEach((row, i) => row.forEach((x, j) => svg.append(
      element("rect", { x: left + j * step, y: 1 + i * step, width: step,
        height: step, fill: x > 0 ? "var(--c1)" : "var(--c2)",
        "fill-opacity": Math.sqrt(Math.abs(x) / 0.25).toFixed(3) }))));
    svg.append(
      element("rect", { x: left, y: 1, width: size, height: size, fill: "none",
        stroke: "var(--line)" }),
      text(left + size / 2, size + 18, "score j →"),
      element("text", { transform: `translate(${left - 8} ${size / 2}) rotate(-90)`,
        "text-anchor": "middle" }, "← weight i"));
  }

  // both gradients of every query, on one axis of powers of ten
  function strips(svg, width, height, query, norms) {
    const [low, high, left, right] = [-10, 2, 26, 20];
    const x = (norm) => left + (clamp(norm > 0 ? Math.log10(norm) : low, low,
      high) - low) / (high - low) * (width - left - right);
    for (let power = low; power <= high; power += 2) {
      const at = x(10 ** power);
      svg.append(line(at, 24, at, height - 40),
        element("text", { x: at, y: height - 24, "text-anchor": "middle" },
          `${power === low ? "≤ " : ""}10`, element("tspan", { dy: -5,
            class: "ss-power" }, signed(power))));
    }
    svg.append(text(width / 2, height - 4, "size of the gradient"));
    const half = (height - 64) / 2;
    places = [];
    norms.forEach(([name, list, all], row) => {
      const top = 24 + half * row;
      const y = (n) => top + 30 + ((n * 7) % 13) * (half - 44) / 12;
      svg.append(text(left + 6, top + 14, name, "start"));
      list.forEach((norm, n) => {
        places.push([n, x(norm), y(n)]);
        svg.append(element("circle", { cx: x(norm), cy: y(n), r: 3,
          fill: "var(--c1)", "fill-opacity": 0.6 }));
      });
      for (const [value, dashes] of
        [[list[all.typical], "none"], [all.mean, "2 3"]]) {
        svg.append(line(x(value), top + 22, x(value), top + half - 6,
          { stroke: "currentColor", "stroke-width": 2, "stroke-dasharray": dashes }));
      }
      svg.append(element("circle", { cx: x(list[query]), cy: y(query), r: 6,
        fill: "var(--c2)", stroke: "var(--paper)", "stroke-width": 1.5 }));
    });
  }

  // the query whose dot is nearest
  function pick(event) {
    if (model.get("question") !== 2) return;
    const at = box.getBoundingClientRect();
    const off = ([, x, y]) =>
      Math.hypot(event.clientX - at.left - x, event.clientY - at.top - y);
    const near = places.reduce((a, b) => (off(b) < off(a) ? b : a));
    if (off(near) < 24) go(near[0]);
  }

  function draw(width) {
    const question = clamp(model.get("question"), 0, 2);
    const [at, query] = [model.get("width"), model.get("query")];
    const K = model.get("widths")[at], power = model.get("power");
    const { weights, atScores, atQuery } = measure({
      dots: dots.subarray(at * N * S, (at + 1) * N * S),
      keys: keys.subarray(at * S * S, (at + 1) * S * S), upstream, S,
    }, K ** power);
    seen = summary(atQuery);
    order = seen.order;
    const w = weights[query];
    const best = Math.max(...w);
    const steepest = Math.max(...slopes(w).flat().map(Math.abs));
    const [picture, told, legend] = [
      () => [(svg, height) => bars(svg, width, height, w),
        `Query ${query} gives its best of ${S} keys ${percent(best)}: it ` +
          (best > 0.99 ? "has chosen."
            : best < 1.5 / S ? "is close to a plain average." : "still weighs them."),
        [element("span", {}, "the weights of one query; they sum to 1")]],
      () => [(svg, height) => map(svg, width, height, w),
        `Query ${query}: its steepest slope is ${short(steepest)}, of the 0.25 ` +
          "that a softmax can have at most.",
        [swatch("--c1", "rises with that score"), swatch("--c2", "falls"),
          element("span", {}, "blank: does not move")]],
      () => [(svg, height) => strips(svg, width, height, query, [
        ["at the scores", atScores, summary(atScores)],
        ["at the query", atQuery, seen]]),
      `At query ${query} the gradient is ${short(atQuery[query])}, the median ` +
        `${short(atQuery[seen.typical])}. The luckiest tenth gets ` +
        `${(100 * seen.share).toFixed(0)} % of all.`,
      [swatch("--c1", `${N} queries`), swatch("--c2", "this one"),
        element("span", { class: "ss-mark" }, "median"),
        element("span", { class: "ss-mark ss-mean" }, "mean")]],
    ][question]();
    const height = 250;
    const svg = element("svg", { width, height, "aria-hidden": "true" });
    picture(svg, height);
    box.replaceChildren(svg);
    box.setAttribute("aria-label",
      `${QUESTIONS[question]} ${told} Arrow keys go to the query with the next ` +
        "smaller or larger gradient.");
    say.textContent = told + ` K = ${K}, divided by ${short(K ** power)}.`;
    key.replaceChildren(...legend);
    tabs.draw({ label: "Questions", chosen: question, picture: () => "",
      names: QUESTIONS.map((words) => [words, words]) });
    median.disabled = query === seen.typical;
    luckiest.disabled = query === seen.luckiest;
  }

  const median = button("Median query", () => go(seen.typical));
  const luckiest = button("Luckiest query", () => go(seen.luckiest));
  return frame({
    model, el, name: "saturation",
    title: "A softmax that has chosen stops learning",
    look: "Set p to 0, so that nothing is divided, and ask:",
    parts: [tabs.node, box, key, say,
      element("div", { class: "hm-row" }, median, luckiest)],
    draw,
  });
}

export default { render };
