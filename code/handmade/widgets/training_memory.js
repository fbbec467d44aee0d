// What training holds on each GPU: the sums of handmade.training.memory.
//
// `trainingOf` is the logic, without a page around it: a test runs it in node
// against the package.

// bytes left for the backward pass: [kept, held while a block is computed]
export function activationsOf({ vocab, width, layers, heads, kvHeads, headWidth,
  inner }, { batch, length, bytes, tiles, again }) {
  const n = batch * length;
  const norm = (4 + 2 * bytes) * n * width + 4 * n;
  const angles = length * headWidth;
  const [queries, keys] = [n * heads * headWidth, n * kvHeads * headWidth];
  const attention = tiles
    ? bytes * (3 * queries + 2 * keys) + 4 * n * heads
    : 12 * queries + bytes * queries + 8 * batch * heads * length * length +
      length * length + length;
  let block = 2 * norm + 4 * bytes * n * inner + attention;
  let ends = norm + n * (bytes * vocab + 8) + 2 * bytes;
  if (bytes === 4) ends += 8 * angles;
  else block += 4 * bytes * angles;
  if (!again) return [layers * block + ends, 0];
  const kept = layers * bytes * n * width + ends + (bytes === 2 ? 8 * angles : 0);
  return [kept + length * length, block];
}

// bytes of each kind on one GPU, and what it sends in a step
export function trainingOf(model, { numbers, moments, tiles, again, batch, length,
  stage, gpus }) {
  const [bytes, master, moment] = numbers;
  const share = (size, from) => stage >= from ? Math.ceil(size / gpus) : size;
  const [kept, atWork] = activationsOf(model, { batch, length, bytes, tiles, again });
  const grads = bytes * model.parameters;
  return { weights: share(grads, 3), gradients: share(grads, 2),
    optimizer: share((master + moment * moments) * model.parameters, 1),
    activations: kept + atWork,
    sent: Math.floor((stage === 3 ? 3 : 2) * grads * (gpus - 1) / gpus) };
}

// three digits and a unit: 1.21 GB
export function brief(n) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let power = 0;
  while (n >= 999.5 && power < units.length - 1) [n, power] = [n / 1000, power + 1];
  const digits = power === 0 || n >= 99.95 ? 0 : n >= 9.995 ? 1 : 2;
  return `${n.toFixed(digits)} ${units[power]}`;
}

const KINDS = [["weights", "--c1"], ["gradients", "--c2"], ["optimizer", "--c3"],
  ["activations", "--c4"]];
const STAGES = ["none", "ZeRO-1", "ZeRO-2", "ZeRO-3"];

function render({ model, el }) {
  const presets = model.get("presets");
  const card = model.get("card");
  const at = (list, trait) => model.get(list)[model.get(trait)];

  function settings() {
    const kept = model.get("kept");
    return { numbers: at("dtypes", "numbers"), moments: at("moments", "optimizer"),
      tiles: kept > 0, again: kept > 1, batch: at("batches", "batch"),
      length: at("lengths", "length"), stage: model.get("sharding"),
      gpus: at("counts", "gpus") };
  }

  const buttons = presets.map((preset, i) =>
    button(preset.name, () => setTraits(model, { model: i })));
  const total = element("p", { class: "hm-say tm-total", "aria-live": "polite" });
  const parts = element("p", { class: "hm-say hm-more tm-parts" });
  const sent = element("p", { class: "hm-say hm-more hm-muted tm-sent" });
  const chart = element("svg", { role: "img" });
  const sum = (found) => KINDS.reduce((all, [kind]) => all + found[kind], 0);

  // one bar for each way to shard; the chosen one is marked
  function drawChart(width, now, sizes) {
    const [left, right, top, high, step] = [62, 10, 20, 22, 34];
    const ways = STAGES.map((_, stage) => trainingOf(sizes, { ...now, stage }));
    const most = Math.max(card * 1.15, ...ways.map(sum));
    const x = (n) => left + (width - left - right) * n / most;
    const tall = top + step * ways.length + 4;
    const nodes = ways.flatMap((way, stage) => {
      const y = top + step * stage;
      let begin = 0;
      const bars = KINDS.map(([kind, colour]) => {
        const bar = element("rect", { x: x(begin), y, height: high,
          width: Math.max(0, x(begin + way[kind]) - x(begin)),
          style: `fill: var(${colour})`,
          "fill-opacity": stage === now.stage ? 1 : 0.4 });
        begin += way[kind];
        return bar;
      });
      const name = element("text", { x: left - 8, y: y + 16, "text-anchor": "end",
        class: stage === now.stage ? "tm-now" : "hm-muted" }, STAGES[stage]);
      return [name, ...bars];
    });
    for (const [name, value] of Object.entries({ width, height: tall,
      "aria-label": "Bytes on a GPU, for each way to shard: " + ways.map(
        (way, i) => `${STAGES[i]} ${brief(sum(way))}`).join(", ") }))
      chart.setAttribute(name, value);
    const inside = x(card) < width - 90;
    chart.replaceChildren(...nodes,
      element("line", { x1: x(card), x2: x(card), y1: 4, y2: tall - 6,
        class: "tm-card" }),
      element("text", { x: x(card) + (inside ? 5 : -5), y: 13,
        "text-anchor": inside ? "start" : "end", class: "hm-muted" },
      `${brief(card).replace(".0", "")} card`));
  }

  function draw(width) {
    const now = settings();
    const sizes = presets[model.get("model")];
    const found = trainingOf(sizes, now);
    buttons.forEach((each, i) =>
      each.setAttribute("aria-pressed", i === model.get("model")));
    const all = sum(found);
    const share = all / card;
    const fits = share <= 1 ? `${(100 * share).toFixed(0)} % of a card`
      : `${share < 10 ? share.toFixed(1) : share.toFixed(0)} cards' worth`;
    total.replaceChildren(element("strong", {}, brief(all)),
      ` on each of ${number(now.gpus)} GPU${now.gpus === 1 ? "" : "s"}: ${fits}.`);
    parts.textContent = KINDS.map(([kind]) =>
      `${kind} ${brief(found[kind])}`).join(" · ");
    sent.textContent = `A step reads ${number(now.gpus * now.batch * now.length)} ` +
      `tokens, and each GPU sends ${brief(found.sent)}.`;
    drawChart(width, now, sizes);
  }

  return frame({
    model, el, name: "training", title: "What training weighs",
    look: "Pick a model, then make it fit.",
    parts: [element("div", { class: "hm-row tm-presets" }, ...buttons),
      total, parts, sent, chart,
      element("div", { class: "hm-key" },
        ...KINDS.map(([kind, colour]) => swatch(colour, kind)))],
    draw,
  });
}

export default { render };
