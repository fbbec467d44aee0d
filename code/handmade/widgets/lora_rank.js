// LoRA's rank: what learns, what the file holds, and three ways to train.
//
// `costOf` is the logic, without a page around it: a test runs it in node
// against handmade.training.adapter_cost.

const BLOCK = 64; // weights of NF4 that share a scale, of four bytes

// numbers that learn, and bytes of training all, LoRA and QLoRA
export function costOf({ layers, parameters, sizes, chosen, rank, number, state }) {
  const sum = (list, f) => list.reduce((total, each) => total + f(each), 0);
  const beside = sizes.filter((_, i) => chosen[i]);
  const trainable = layers * sum(beside, ([D, F]) => rank * (D + F));
  const blocks = layers * sum(sizes, ([D, F]) => D * F);
  const packed = Math.floor(blocks / 2) + Math.floor(4 * blocks / BLOCK);
  const adapters = number * trainable;
  const held = (weights, learns) => ({ weights, gradients: number * learns,
    optimizer: state * learns, total: weights + (number + state) * learns });
  return {
    parameters, trainable, file_bytes: adapters,
    matrices: layers * sum(beside, ([D, F]) => D * F),
    full: held(number * parameters, parameters),
    lora: held(number * parameters + adapters, trainable),
    qlora: held(number * (parameters - blocks) + packed + adapters, trainable),
  };
}

// three digits and a unit: 1.21 GB
export function short(n, units = ["B", "kB", "MB", "GB", "TB"]) {
  let power = 0;
  while (n >= 999.5 && power < units.length - 1) [n, power] = [n / 1000, power + 1];
  const digits = power === 0 || n >= 99.95 ? 0 : n >= 9.995 ? 1 : 2;
  return `${n.toFixed(digits)} ${units[power]}`.trim();
}

// a share in percent, two digits of it
export function shareOf(part, whole) {
  return `${Number((100 * part / whole).toPrecision(2))} %`;
}

const COUNTS = ["", "thousand", "million", "billion", "trillion"];
const WAYS = [["all of it", "full"], ["LoRA", "lora"], ["QLoRA", "qlora"]];
const PARTS = [["weights", "--c1"], ["gradients", "--c2"], ["optimizer", "--c3"]];

function render({ model, el }) {
  const [presets, names, ranks, states, widths] =
    ["presets", "names", "ranks", "states", "widths"].map((n) => model.get(n));
  const picked = () => model.get("matrices").split(" ");

  function settings(more = {}) {
    const { layers, parameters, sizes } = presets[model.get("preset")];
    const on = picked();
    return { layers, parameters, sizes, chosen: names.map((n) => on.includes(n)),
      rank: ranks[model.get("rank")], state: states[model.get("state")],
      number: widths[model.get("numbers")], ...more };
  }

  function toggle(name) {
    const on = picked();
    const now = names.filter((n) => on.includes(n) !== (n === name));
    if (now.length) setTraits(model, { matrices: now.join(" ") });
  }

  const models = presets.map((preset, i) =>
    button(preset.name, () => setTraits(model, { preset: i })));
  const which = names.map((name) => button(name, () => toggle(name)));
  const learns = element("p", { class: "hm-say lr-learns", "aria-live": "polite" });
  const file = element("p", { class: "hm-say hm-more hm-muted lr-file" });
  const chart = element("svg", { role: "img" });
  const bars = element("svg", { role: "img" });
  const label = (x, y, anchor, words, more = "hm-muted") =>
    element("text", { x, y, "text-anchor": anchor, class: more }, words);
  const sized = (svg, width, height, words) => Object.entries({ width, height,
    "aria-label": words }).forEach(([key, value]) => svg.setAttribute(key, value));

  // parameters against rank, both in powers
  function drawChart(width, now) {
    const [left, right, top, tall, room] = [84, 12, 14, 150, 22];
    const low = tall - room;
    const counts = ranks.map((rank) => costOf({ ...settings(), rank }).trainable);
    const [least, most] = [counts[0], Math.max(now.matrices, counts.at(-1))];
    const x = (i) => left + (width - left - right) * i / (ranks.length - 1);
    const y = (n) => low - (low - top) * Math.log(n / least) / Math.log(most / least);
    const at = model.get("rank");
    sized(chart, width, tall, `${short(now.trainable, COUNTS)} numbers learn at ` +
      `rank ${ranks[at]}; the matrices have ${short(now.matrices, COUNTS)}`);
    chart.replaceChildren(
      element("line", { x1: left, x2: width - right, y1: y(now.matrices),
        y2: y(now.matrices), class: "lr-whole" }),
      label(left - 6, y(now.matrices) + 4, "end", short(now.matrices, COUNTS)),
      label(left + 4, y(now.matrices) + 15, "start", "these matrices, whole"),
      label(left - 6, y(least) + 4, "end", short(least, COUNTS)),
      ...ranks.map((rank, i) => label(x(i), tall - 4, "middle", `${rank}`)),
      element("path", { class: "lr-line", d: "M" + counts.map((n, i) =>
        `${x(i).toFixed(1)} ${y(n).toFixed(1)}`).join("L") }),
      element("circle", { cx: x(at), cy: y(now.trainable), r: 5, class: "lr-dot" }));
  }

  // bytes of the three ways, stacked
  function drawBars(width, now) {
    const [left, right, tall, gap] = [64, 66, 22, 8];
    const room = width - left - right;
    const most = now.full.total;
    sized(bars, width, 3 * (tall + gap), WAYS.map(([words, way]) =>
      `${words}: ${short(now[way].total)}`).join(", "));
    bars.replaceChildren(...WAYS.flatMap(([words, way], row) => {
      const top = row * (tall + gap);
      let from = left;
      const parts = PARTS.map(([part, colour]) => {
        const wide = room * now[way][part] / most;
        from += wide;
        return element("rect", { x: from - wide, y: top, width: wide,
          height: tall, style: `fill: var(${colour})` });
      });
      return [...parts, label(left - 6, top + 15, "end", words),
        label(from + 5, top + 15, "start", short(now[way].total), "")];
    }));
  }

  function draw(width) {
    const now = costOf(settings());
    const on = picked();
    models.forEach((each, i) =>
      each.setAttribute("aria-pressed", i === model.get("preset")));
    which.forEach((each, i) =>
      each.setAttribute("aria-pressed", on.includes(names[i])));
    learns.replaceChildren(
      element("strong", {}, `${number(now.trainable)} numbers learn`),
      `, ${shareOf(now.trainable, now.parameters)} of ` +
      `${short(now.parameters, COUNTS)}.`);
    file.textContent = `The adapter's file: ${short(now.file_bytes)}. Memory ` +
      `before any activation: LoRA ` +
      `${shareOf(now.lora.total, now.full.total)} of training all, QLoRA ` +
      `${shareOf(now.qlora.total, now.full.total)}.`;
    drawChart(width, now);
    drawBars(width, now);
  }

  return frame({
    model, el, name: "lora", title: "What a rank costs",
    look: "Pick a model and its matrices, then move the rank.",
    parts: [element("div", { class: "hm-row lr-row" }, ...models),
      element("div", { class: "hm-row lr-row" }, ...which),
      learns, chart, file, bars,
      element("div", { class: "hm-key" },
        ...PARTS.map(([part, colour]) => swatch(colour, part)))],
    draw,
  });
}

export default { render };
