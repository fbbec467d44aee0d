// Loss curves of many recipes: mean and band of the seeds, switched on and
// off, and what they are at one step.
//
// `curvesOf` and `readAt` are the logic, without a page around them: a test
// runs them in node. A loss below 0 is none: that run had stopped.

// numbers (R, N, M) in a row -> of each recipe mean, low and high a point;
// null where any seed has stopped
export function curvesOf(values, recipes, seeds) {
  const points = values.length / recipes / seeds;
  return Array.from({ length: recipes }, (_, r) =>
    Array.from({ length: points }, (_, i) => {
      const all = Array.from({ length: seeds }, (_, n) =>
        values[(r * seeds + n) * points + i]);
      if (all.some((x) => x < 0)) return null;
      return { mean: all.reduce((a, b) => a + b, 0) / seeds,
        low: Math.min(...all), high: Math.max(...all) };
    }));
}

// the place of the recorded step nearest to this one, the earlier of two
export function nearest(steps, step) {
  return steps.reduce((best, at, i) =>
    (Math.abs(at - step) < Math.abs(steps[best] - step) ? i : best), 0);
}

export const isShown = (shown, i) => Math.floor(shown / 2 ** i) % 2 === 1;
export const toggled = (shown, i) =>
  shown + (isShown(shown, i) ? -1 : 1) * 2 ** i;

// where a step lies between 0 and 1
export function along(step, last, logarithmic) {
  return logarithmic ? Math.log1p(step) / Math.log1p(last) : step / last;
}

const COLOURS = ["--c1", "--c2", "--c3", "--c4"];
const DASHES = ["none", "7 3", "2 3", "9 3 2 3"];
const colourOf = (i) => `var(${COLOURS[i % 4]})`;
const dashOf = (i) => DASHES[Math.floor(i / 4) % 4];

function render({ model, el }) {
  const labels = model.get("labels");
  const seeds = model.get("seeds");
  const sides = model.get("steps").map((steps, side) => ({ steps,
    curves: curvesOf(floats(model.get("data")[side]), labels.length, seeds) }));
  const last = Math.max(...sides.map(({ steps }) => steps.at(-1)));
  const [level, named] = [model.get("level"), model.get("named")];
  // one scale for all that can be seen, so that curves never jump
  const all = sides.flatMap(({ curves }) => curves.flat()).filter(Boolean);
  const bottom = Math.floor(5 * Math.min(...all.map((p) => p.low))) / 5;
  const top = Math.ceil(5 * Math.min(6, Math.max(...all.map((p) => p.high)))) / 5;

  const chart = element("svg", { role: "img" });
  const box = element("div", { class: "lc-chart" }, chart);
  const say = element("p", { class: "hm-say", "aria-live": "polite" });
  const every = 2 ** labels.length - 1;
  const switches = labels.map((label, i) => {
    const line = element("svg", { width: 26, height: 10, "aria-hidden": "true" },
      element("line", { x1: 0, x2: 26, y1: 5, y2: 5, stroke: colourOf(i),
        "stroke-width": 2.5, "stroke-dasharray": dashOf(i) }));
    const value = element("span", { class: "lc-value" });
    const node = element("button", { type: "button", onclick: () =>
      setTraits(model, { shown: toggled(model.get("shown"), i) }) },
    line, element("span", { class: "lc-words" },
      element("span", {}, label), value));
    return { node, value };
  });

  let place = null; // geometry of the last drawing
  box.addEventListener("click", (event) => {
    const x = event.clientX - chart.getBoundingClientRect().left;
    const share = clamp((x - place.left) / (place.right - place.left), 0, 1);
    const step = place.logarithmic ? Math.expm1(share * Math.log1p(last))
      : share * last;
    setTraits(model, { step: Math.round(step) });
  });

  function draw(width) {
    const { steps, curves } = sides[clamp(model.get("side"), 0, 1)];
    const logarithmic = model.get("scale") === 1;
    const shown = model.get("shown");
    const at = nearest(steps, model.get("step"));
    const [left, right, high, low] = [38, width - 8, 28, 222];
    place = { left, right, logarithmic };
    const x = (step) => left + (right - left) * along(step, last, logarithmic);
    const y = (loss) => low - (low - high) *
      (clamp(loss, bottom, top) - bottom) / (top - bottom);
    const text = (px, py, words, anchor) => element("text",
      { x: px, y: py, "text-anchor": anchor, class: "hm-muted" }, words);
    const parts = [];
    for (let loss = Math.ceil(2 * bottom) / 2; loss <= top; loss += 0.5) {
      parts.push(element("line", { x1: left, x2: right, y1: y(loss), y2: y(loss),
        class: "lc-tick" }), text(left - 6, y(loss) + 4, loss.toFixed(1), "end"));
    }
    const ticks = (logarithmic ? [0, 1, 3, 10, 30, 100, 300, 1000, 3000]
      : Array.from({ length: 7 }, (_, i) => Math.round(i * last / 6)))
      .filter((step) => step <= last);
    for (const step of ticks) {
      parts.push(text(x(step), low + 18, number(step),
        step === last ? "end" : "middle"));
    }
    parts.push(text((left + right) / 2, low + 34, "step", "middle"),
      text(0, 10, "loss (nats a character)", "start"));
    if (level) {
      parts.push(element("line", { x1: left, x2: right, y1: y(level),
        y2: y(level), class: "lc-level" }),
      text(right, y(level) - 4, named, "end"));
    }
    parts.push(element("line", { x1: x(steps[at]), x2: x(steps[at]), y1: high,
      y2: low, class: "lc-read" }));
    labels.forEach((_, i) => {
      if (!isShown(shown, i)) return;
      const points = curves[i].map((p, j) => p && { ...p, x: x(steps[j]) })
        .filter(Boolean);
      if (!points.length) return;
      const go = (list, key) => list.map((p) =>
        `${p.x.toFixed(1)} ${y(p[key]).toFixed(1)}`).join("L");
      parts.push(
        element("path", { d: `M${go(points, "low")}L` +
          `${go(points.toReversed(), "high")}z`, fill: colourOf(i),
        "fill-opacity": 0.16 }),
        element("path", { d: `M${go(points, "mean")}`, fill: "none",
          stroke: colourOf(i), "stroke-width": 2, "stroke-dasharray": dashOf(i) }));
      const now = curves[i][at];
      if (now) {
        parts.push(element("circle", { cx: x(steps[at]), cy: y(now.mean), r: 3.5,
          fill: colourOf(i) }));
      }
    });
    chart.setAttribute("width", width);
    chart.setAttribute("height", 260);
    chart.replaceChildren(...parts);

    const best = { i: -1, mean: Infinity };
    switches.forEach(({ node, value }, i) => {
      const on = isShown(shown, i);
      const now = curves[i][at];
      node.setAttribute("aria-pressed", on);
      value.textContent = now ? `${now.mean.toFixed(2)} ` +
        `(${now.low.toFixed(2)} to ${now.high.toFixed(2)})` : "stopped";
      if (on && now && now.mean < best.mean) Object.assign(best, { i, mean: now.mean });
    });
    const drawn = labels.filter((_, i) => isShown(shown, i)).length;
    const side = ["training", "validation"][clamp(model.get("side"), 0, 1)];
    say.textContent = `Loss in ${side} at step ${number(Math.round(steps[at]))}, ` +
      `mean and range of ${seeds} seeds. ` + (best.i < 0 ? "Nothing is drawn."
      : `Lowest of the ${drawn} drawn: ${labels[best.i]}, ${best.mean.toFixed(3)}.`);
    chart.setAttribute("aria-label", say.textContent);
  }

  return frame({
    model, el, name: "curves", title: "All recipes",
    look: "Switch a recipe on or off, and read what it lost at a step.",
    parts: [box, say,
      element("div", { class: "lc-switches" }, ...switches.map((s) => s.node)),
      element("div", { class: "hm-row" },
        button("All", () => setTraits(model, { shown: every })),
        button("None", () => setTraits(model, { shown: 0 })))],
    draw,
  });
}

export default { render };
