// The architecture map: models at one width, their costs at one length, and
// the block and the layers of the one that is picked.
//
// `costsOf` is the logic, without a page around it: a test runs it in node
// against handmade.models.architecture.

// what a model costs with `length` tokens read, from what its layers cost
export function costsOf(model, length, bytes) {
  let [parameters, active, flops, looking] = [model.ends, model.ends, model.head, 0];
  const layers = []; // bytes that each keeps
  for (const run of model.runs) {
    const window = run.window ?? length + 1;
    parameters += run.count * run.parameters;
    active += run.count * run.active;
    flops += run.count * run.flops;
    looking += run.count * run.flops_a_key * Math.min(length, window);
    // of the keys that it looks at, the newest is not yet kept
    const kept = run.kept + run.kept_a_key * Math.min(length, window - 1);
    for (let i = 0; i < run.count; i++) layers.push(bytes * kept);
  }
  const cache = layers.reduce((sum, kept) => sum + kept, 0);
  return { parameters, active, cache, flops: flops + looking, looking, layers };
}

// three digits and a unit: 1.21 G, 48.0 MiB
export function short(n, base, units) {
  let power = 0;
  while (n >= base && power < units.length - 1) [n, power] = [n / base, power + 1];
  const digits = power === 0 || n >= 100 ? 0 : n >= 10 ? 1 : 2;
  return `${n.toFixed(digits)} ${units[power]}`.trim();
}

const count = (n) => short(n, 1000, ["", "k", "M", "G", "T"]);
const size = (n) => short(n, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]);

// a whole block: boxes on their way from the stream and back to it
function drawBlock(block, width) {
  const [stream, left, high, gap, joint] = [12, 36, 24, 5, 22];
  const parts = [];
  let y = 8, first = true;
  const tall = block.reduce((sum, row) =>
    sum + (row.kind === "add" ? joint : high + gap), 16);
  const line = (d) => parts.push(element("path", { d, class: "am-flow" }));
  line(`M${stream} 0V${tall}`);
  for (const row of block) {
    if (row.kind === "add") {
      const middle = y + joint / 2 - gap;
      line(`M${left + 14} ${y - gap}V${middle}H${stream + 8}`);
      parts.push(element("circle", { cx: stream, cy: middle, r: 8, class: "am-plus" }),
        element("text", { x: stream, y: middle + 4, "text-anchor": "middle" }, "+"));
      [y, first] = [y + joint, true];
      continue;
    }
    if (first) line(`M${stream} ${y + high / 2}H${left}`);
    else line(`M${left + 14} ${y - gap}v${gap}`);
    first = false;
    parts.push(
      element("rect", { x: left, y, width: width - left - 1, height: high, rx: 4,
        class: row.differs ? "am-box am-other" : "am-box" }),
      element("text", { x: left + 8, y: y + 16 }, row.text));
    if (row.kept) {
      parts.push(element("text", { x: width - 8, y: y + 16, "text-anchor": "end",
        class: "am-kept" }, `keeps ${number(row.kept)} ${row.once ? "in all" : "a token"}`));
    }
    y += high + gap;
  }
  return [tall, parts];
}

// a bar a layer, from the first to the last
function drawLayers(layers, most, width, tall) {
  const [top, low] = [20, tall - 18];
  const wide = (width - 2) / layers.length;
  const label = (x, y, words, anchor) =>
    element("text", { x, y, "text-anchor": anchor, class: "hm-muted" }, words);
  return [
    element("line", { x1: 0, y1: top, x2: width, y2: top, class: "am-most" }),
    label(0, top - 6, `layer 1 keeps ${size(layers[0])}`, "start"),
    label(width, top - 6, `line: ${size(most)}`, "end"),
    ...layers.map((kept, i) => {
      const high = Math.max(1, (low - top) * kept / most);
      return element("rect", { x: 1 + wide * i, y: low - high,
        width: Math.max(1, wide - 1), height: high, class: "am-layer" });
    }),
    label(0, tall - 4, "layer 1", "start"),
    label(width, tall - 4, `${layers.length}`, "end"),
  ];
}

function render({ model, el }) {
  const models = model.get("models");
  const lengths = model.get("lengths");
  const bytes = model.get("bytes_a_number");
  const deepest = Math.max(...models.map(({ block }) => drawBlock(block, 300)[0]));
  let hover = null, width = 640;

  const rows = choices({
    choose: (chosen) => setTraits(model, { model: chosen }),
    preview: (at) => { hover = at; drawModel(); },
  });
  const head = element("div", { class: "am-head hm-muted", "aria-hidden": "true" },
    ...["one width", "parameters", "cache", "FLOPs a token"].map((words) =>
      element("span", {}, words)));
  const title = element("p", { class: "hm-say am-title", "aria-live": "polite" });
  const say = element("p", { class: "hm-say hm-more hm-muted am-costs" });
  const block = element("svg", { role: "img" });
  const layers = element("svg", { role: "img" });

  const length = () => lengths[model.get("context")];
  const all = () => models.map((each) => costsOf(each, length(), bytes));

  function drawModel() {
    const at = hover ?? model.get("model");
    const [{ name, block: parts }, costs] = [models[at], all()];
    const own = costs[at];
    const most = Math.max(...costs.flatMap((cost) => cost.layers));
    const beside = width >= 560;
    const wide = beside ? width - 216 : width;
    const tall = beside ? deepest : 76;
    const [, drawn] = drawBlock(parts, wide);
    const set = (svg, size, label, children) => {
      for (const [key, value] of Object.entries({ width: size[0], height: size[1],
        "aria-label": label })) svg.setAttribute(key, value);
      svg.replaceChildren(...children);
    };
    set(block, [wide, deepest], `A block of ${name}: ` +
      parts.map((row) => row.text).join(", "), drawn);
    set(layers, [beside ? 200 : width, tall],
      `What each of ${own.layers.length} layers keeps`,
      drawLayers(own.layers, most, beside ? 200 : width, tall));
    title.replaceChildren(element("strong", {}, name), ` after ${number(length())} tokens: ` +
      `${size(own.cache)} kept, ${(own.cache / costs[0].cache).toPrecision(2)} × ` +
      `${models[0].name}’s.`);
    const met = own.active === own.parameters ? "all" : `${count(own.active)} of`;
    say.textContent = `A token meets ${met} ${count(own.parameters)} ` +
      `parameters and costs ${count(own.flops)}FLOPs, ` +
      `${percent(own.looking / own.flops)} of them for looking at keys.`;
  }

  function draw(space) {
    width = space;
    const costs = all();
    const most = (name) => Math.max(...costs.map((cost) => cost[name]));
    const cell = (words, ...shares) => element("span", {},
      ...shares.map((share) => element("i", { style: `width: ${(100 * share).toFixed(2)}%` })),
      element("b", {}, words));
    rows.draw({
      label: `${models.length} models after ${number(length())} tokens`,
      names: models.map(({ name }, i) => [`${name}: ${count(costs[i].parameters)} ` +
        `parameters, ${size(costs[i].cache)} of cache, ${count(costs[i].flops)}FLOPs`, name]),
      picture: (i) => {
        const { parameters, active, cache, flops } = costs[i];
        const largest = most("parameters");
        return element("span", { class: "am-cells" },
          cell(count(parameters), parameters / largest, active / largest),
          cell(size(cache), cache / most("cache")),
          cell(count(flops), flops / most("flops")));
      },
      chosen: model.get("model"),
    });
    drawModel();
  }

  return frame({
    model, el, name: "architectures", title: "One width, other architectures",
    look: "Pick a model and set how much it has read: its block, and what it keeps.",
    parts: [head, rows.node, title,
      element("div", { class: "am-both" }, block, layers),
      element("div", { class: "hm-key" },
        swatch("--c2", `not as in ${models[0].name}`),
        swatch("--c1", "what is kept"),
        element("span", { class: "hm-muted" }, "darker: parameters that a token meets")),
      say],
    draw,
  });
}

export default { render };
