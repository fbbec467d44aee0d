// An encoder-decoder, step by step: what is looked at, written, computed.
//
// `weightsAt`, `work` and `wrap` are the logic, without a page around them: a
// test runs the first two in node against handmade.models.t5.

// the weights of a step on the tokens read; layer or head 0: the mean of all
export function weightsAt({ data, layers, heads, T, S }, { layer, head, step }) {
  const of = (chosen, count) => (chosen ? [chosen - 1]
    : Array.from({ length: count }, (_, i) => i));
  const maps = of(layer, layers).flatMap((l) =>
    of(head, heads).map((h) => ((l * heads + h) * T + step - 1) * S));
  return Array.from({ length: S }, (_, s) =>
    maps.reduce((sum, start) => sum + data[start + s], 0) / maps.length / 255);
}

// tokens, in each layer, at step t of a text read of S tokens; `all` are
// those that ran through a layer so far
export function work(S, t) {
  const first = t === 1;
  return {
    encoder: { now: first ? S : 0, without: S },
    read: { now: first ? S : 0, kept: first ? 0 : S, without: S },
    decoder: { now: 1, without: t },
    own: { now: 1, kept: t - 1, without: t },
    all: { now: S + t, without: t * S + (t * (t + 1)) / 2 },
  };
}

// where boxes of these widths stand, from left to right, in rows
export function wrap(widths, room, gap) {
  let x = 0, row = 0;
  return widths.map((width) => {
    if (x > 0 && x + width > room) [x, row] = [0, row + 1];
    const at = { x, row, width };
    x += width + gap;
    return at;
  });
}

const GAP = 4;
const HIGH = 36; // a token read: its text, its weight
const LOW = 24; // a token written
const LINES = 58; // between the texts
const WIDEST = 96;

function render({ model, el }) {
  const runs = model.get("runs").map((run) => ({ ...run, data: bytes(run.cross),
    S: run.read.length, T: run.written.length }));
  const most = Math.max(...runs.flatMap((run) =>
    run.candidates.map((step) => step.length)));
  const box = element("div", { class: "ts-box", role: "img" });
  const say = element("p", { class: "hm-say", "aria-live": "polite" });
  const likely = element("tbody");
  const counts = element("tbody");
  const sum = element("p", { class: "hm-say hm-more hm-muted" });

  function state() {
    const run = runs[clamp(model.get("run"), 0, runs.length - 1)];
    return { run, step: clamp(model.get("step"), 1, run.T),
      layer: clamp(model.get("layer"), 0, run.layers),
      head: clamp(model.get("head"), 0, run.heads) };
  }

  const go = (to) => () => {
    const { run, step } = state();
    setTraits(model, { step: clamp(to(step, run.T), 1, run.T) });
  };
  const back = button("Back", go((n) => n - 1));
  const on = button("Step", go((n) => n + 1));
  const range = element("input", { type: "range", min: 1, "aria-label": "step",
    oninput: () => go(() => Number(range.value))() });
  const value = element("output");
  box.addEventListener("click", (event) => {
    const chip = event.target.closest("[data-step]");
    if (chip) setTraits(model, { step: Number(chip.dataset.step) });
  });

  // where all tokens of a run stand, and how high that is
  function place(run, width) {
    const sized = (words) => words.map((word) => {
      const short = fit(visible(word), WIDEST - 12, box);
      return { short, wide: Math.max(38, Math.ceil(textWidth(short, box)) + 12) };
    });
    const [read, written] = [run.read, [run.start, ...run.written]].map(sized);
    const rows = (chips) => wrap(chips.map(({ wide }) => wide), width - 2, GAP)
      .map((at, i) => ({ ...at, ...chips[i] }));
    return [rows(read), rows(written)];
  }

  const text = (x, y, words, more = {}) => element("text", { x, y, ...more }, words);

  function drawTexts(width, { run, step }, weights) {
    const placed = runs.map((each) => place(each, width));
    const tall = (side) => 1 + Math.max(...placed.map((both) => both[side].at(-1).row));
    const [read, written] = placed[runs.indexOf(run)];
    const upper = 20;
    const lower = upper + tall(0) * (HIGH + GAP) + LINES;
    const svg = element("svg", { width, height: lower + tall(1) * (LOW + GAP) + 2,
      "aria-hidden": "true" });
    const top = (chip) => upper + chip.row * (HIGH + GAP);
    const under = (chip) => lower + chip.row * (LOW + GAP);
    const from = written[step - 1];
    const x0 = 1 + from.x + from.width / 2;
    const y0 = under(from);
    // lines first: the chips lie on them
    read.forEach((chip, s) => {
      if (weights[s] < 0.005) return;
      const x = 1 + chip.x + chip.width / 2;
      const y = top(chip) + HIGH;
      svg.append(element("path", { class: "ts-line",
        d: `M${x0} ${y0}C${x0} ${y0 - LINES / 2} ${x} ${y + LINES / 2} ${x} ${y}`,
        "stroke-width": (1 + 7 * weights[s]).toFixed(2),
        "stroke-opacity": shade(weights[s]).toFixed(3) }));
    });
    svg.append(
      text(1, 12, step === 1 ? "encoder: reads all of this, now"
        : "encoder: has read this, and rests", { class: "hm-muted" }),
      // on the side where no lines meet
      text(x0 > width / 2 ? 1 : width - 1, lower - 8,
        `decoder: step ${step} of ${run.T}`,
        { class: "hm-muted", "text-anchor": x0 > width / 2 ? "start" : "end" }));
    read.forEach((chip, s) => {
      const [x, y] = [1 + chip.x, top(chip)];
      const rect = (more) => element("rect", { x, y, width: chip.width,
        height: HIGH, rx: 4, ...more });
      svg.append(rect({ class: "ts-paper" }),
        rect({ class: "ts-weight", "fill-opacity": (shade(weights[s]) / 2).toFixed(3) }),
        rect({ class: step === 1 ? "ts-now" : "ts-edge" }),
        text(x + chip.width / 2, y + 15, chip.short, { "text-anchor": "middle" }),
        text(x + chip.width / 2, y + 30, `${Math.round(100 * weights[s])} %`,
          { "text-anchor": "middle", class: weights[s] < 0.005 ? "ts-none" : "" }));
    });
    written.slice(0, step + 1).forEach((chip, i) => {
      const [x, y] = [1 + chip.x, under(chip)];
      const look = i === step ? "ts-new" : i === step - 1 ? "ts-now" : "ts-kept";
      const rect = (more) => element("rect", { x, y, width: chip.width,
        height: LOW, rx: 4, ...more });
      svg.append(element("g", i < run.T ? { "data-step": i + 1 } : {},
        rect({ class: "ts-paper" }), rect({ class: look }),
        text(x + chip.width / 2, y + 16, chip.short,
          { "text-anchor": "middle", class: i === step ? "hm-bold" : "" })));
    });
    box.replaceChildren(svg);
    const first = [...weights.keys()].sort((a, b) => weights[b] - weights[a])
      .slice(0, 3).map((s) => `${run.read[s]} ${percent(weights[s])}`);
    box.setAttribute("aria-label", `${run.S} tokens read, ${step - 1} written ` +
      `before this step. Most weight: ${first.join(", ")}.`);
  }

  function drawLists({ run, step }) {
    const chosen = run.written[step - 1];
    const found = run.candidates[step - 1];
    const rows = found.map(([token, p]) => element("tr",
      { class: token === chosen ? "ts-chosen" : "" },
      element("th", { scope: "row" }, visible(token)),
      element("td", { "aria-hidden": "true" },
        element("span", { style: `width: ${(100 * p).toFixed(1)}%` })),
      element("td", {}, percent(p))));
    while (rows.length < most) {
      rows.push(element("tr", {}, element("td", { colspan: 3 })));
    }
    likely.replaceChildren(...rows);
    const c = work(run.S, step);
    const line = (words, { now, kept, without }) => element("tr", {},
      element("th", { scope: "row" }, words),
      ...[now, kept, without].map((n) =>
        element("td", {}, n === undefined ? "" : number(n))));
    counts.replaceChildren(
      line("tokens encoded", c.encoder), line("· keys, values", c.read),
      line("tokens decoded", c.decoder), line("· keys, values", c.own));
    sum.textContent = `Tokens so far: ${number(c.all.now)}; without a cache, ` +
      `${number(c.all.without)}.`;
  }

  function draw(width) {
    const now = state();
    const { run, step, layer, head } = now;
    const weights = weightsAt(run, now);
    drawTexts(width, now, weights);
    drawLists(now);
    back.disabled = step === 1;
    on.disabled = step === run.T;
    range.max = String(run.T);
    range.value = String(step);
    value.textContent = `${step} / ${run.T}`;
    const best = weights.indexOf(Math.max(...weights));
    const last = visible(step > 1 ? run.written[step - 2] : run.start);
    const whose = layer
      ? `Layer ${layer}, ${head ? `head ${head}` : "mean of its heads"}`
      : head ? `Head ${head}, mean of the layers` : "Mean of all heads";
    say.textContent = `Step ${step}: after “${last}” it writes ` +
      `“${visible(run.written[step - 1])}”. ${whose}: most weight is on ` +
      `“${visible(run.read[best])}”, ${percent(weights[best])}.`;
  }

  const names = ["in each layer", "now", "cached", "no cache"];
  return frame({
    model, el, name: "t5", title: "Read once, written step by step",
    look: "Look at where each new token finds what it needs, and at what is " +
      "not computed again.",
    parts: [box,
      element("div", { class: "hm-row" }, back, range, on, value), say,
      element("div", { class: "ts-two" },
        element("table", { class: "ts-likely" },
          element("thead", {}, element("tr", {},
            element("th", { scope: "col" }, "candidate"), element("td"),
            element("th", { scope: "col" }, "probability"))),
          likely),
        element("table", { class: "ts-counts" },
          element("thead", {}, element("tr", {},
            ...names.map((name) => element("th", { scope: "col" }, name)))),
          counts)),
      sum,
      element("div", { class: "hm-key" },
        swatch("--c1", "weight"),
        swatch("--c2", "computed now"), swatch("--c3", "written now"))],
    draw,
  });
}

export default { render };
