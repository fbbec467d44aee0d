// The memory of a key/value cache: one product, its sliders, and its curve.
//
// `cacheOf` is the logic, without a page around it: a test runs it in node
// against handmade.models.architecture.

// what texts of `length` tokens leave in a cache, in bytes
export function cacheOf({ layers, heads, width, length, batch, bytes, window, every }) {
  const full = window ? (every ? Math.floor(layers / every) : 0) : layers;
  const sliding = layers - full;
  const one = 2 * heads * width * bytes; // a key and a value, of one layer
  // of the keys that a sliding layer sees, the newest is not yet kept
  const kept = window ? Math.min(length, window - 1) : length;
  const text = one * (full * length + sliding * kept);
  return { one, full, sliding, text, total: batch * text,
    next: one * (full + (kept === length && length < window - 1 ? sliding : 0)) };
}

// three digits and a unit: 1.21 GB
export function short(n) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let power = 0;
  while (n >= 999.5 && power < units.length - 1) [n, power] = [n / 1000, power + 1];
  const digits = power === 0 || n >= 99.95 ? 0 : n >= 9.995 ? 1 : 2;
  return `${n.toFixed(digits)} ${units[power]}`;
}

// a share of the card: in percent, or how many cards
export function shareOf(total, card) {
  const share = total / card;
  if (share < 0.001) return "less than 0.1 %";
  return share < 10 ? `${(100 * share).toFixed(1)} %` : `${share.toFixed(0)} ×`;
}

const counted = (n, word) => `${number(n)} ${word}${n === 1 ? "" : "s"}`;

const [LOW, HIGH] = [6, 14]; // powers of ten that the picture goes from and to

function render({ model, el }) {
  const lists = Object.fromEntries(["widths", "lengths", "batches", "sizes",
    "windows", "presets"].map((name) => [name, model.get(name)]));
  const card = model.get("card");
  const ofCard = `a card of ${short(card).replace(".0 ", " ")}`;
  const { lengths, presets } = lists;

  function settings() {
    const at = (list, trait) => lists[list][model.get(trait)];
    const [window, every] = at("windows", "window");
    return { layers: model.get("layers"), heads: model.get("heads"), window, every,
      width: at("widths", "width"), length: at("lengths", "length"),
      batch: at("batches", "batch"), bytes: at("sizes", "dtype") };
  }

  const OF_A_MODEL = ["layers", "heads", "width", "window"];
  const pick = (preset) => Object.fromEntries(
    OF_A_MODEL.map((trait) => [trait, preset[trait]]));
  const buttons = presets.map((preset) =>
    button(preset.name, () => setTraits(model, pick(preset))));
  const total = element("p", { class: "hm-say cm-total", "aria-live": "polite" });
  const more = element("p", { class: "hm-say hm-more hm-muted cm-more" });
  const product = element("p", { class: "hm-say hm-more cm-product" });
  const chart = element("svg", { role: "img" });

  function drawChart(width, now) {
    const [left, right, top, tall] = [54, 12, 10, 184];
    const low = tall - 28;
    const x = (n) => left + (width - left - right) *
      Math.log2(n / lengths[0]) / Math.log2(lengths.at(-1) / lengths[0]);
    const y = (b) => low - (low - top) *
      clamp((Math.log10(b) - LOW) / (HIGH - LOW), 0, 1);
    const of = (more) => cacheOf({ ...now, ...more }).total;
    const path = (more, name) => element("path", { class: name,
      d: "M" + lengths.map((length) =>
        `${x(length).toFixed(1)} ${y(of({ ...more, length })).toFixed(1)}`).join("L") });
    const text = (px, py, anchor, words) => element("text", { x: px, y: py,
      "text-anchor": anchor, class: "hm-muted" }, words);
    const ticks = [6, 8, 10, 12, 14].flatMap((power) => [
      element("line", { x1: left, x2: width - right, y1: y(10 ** power),
        y2: y(10 ** power), class: "cm-tick" }),
      text(left - 6, y(10 ** power) + 4, "end", short(10 ** power).replace(/\.0+/, ""))]);
    const names = lengths.filter((_, i) => i % 4 === 0).map((n) =>
      text(x(n), tall - 4, "middle", number(n)));
    for (const [name, value] of Object.entries({ width, height: tall,
      "aria-label": `Bytes against tokens, both in powers: ${short(of({}))} ` +
        `at ${number(now.length)} tokens` })) chart.setAttribute(name, value);
    chart.replaceChildren(...ticks, ...names,
      element("line", { x1: left, x2: width - right, y1: y(card), y2: y(card),
        class: "cm-card" }),
      text(left + 4, y(card) - 4, "start", ofCard),
      path({ window: 0 }, now.window ? "cm-line cm-without" : "cm-line"),
      ...(now.window ? [path({}, "cm-line")] : []),
      element("circle", { cx: x(now.length), cy: y(of({})), r: 5, class: "cm-dot" }));
  }

  function draw(width) {
    const now = settings();
    const found = cacheOf(now);
    presets.forEach((preset, i) => buttons[i].setAttribute("aria-pressed",
      OF_A_MODEL.every((trait) => model.get(trait) === preset[trait])));
    const texts = now.batch === 1 ? "a text" : `${number(now.batch)} texts`;
    total.replaceChildren(element("strong", {}, short(found.total)),
      ` for ${texts} of ${number(now.length)} tokens: ` +
      `${shareOf(found.total, card)} of ${ofCard}.`);
    const fit = Math.floor(card / found.text);
    more.textContent = `One more token in each text: ` +
      `${short(now.batch * found.next)}. ` +
      `Texts of this length that fill an empty card: ${number(fit)}.`;
    const kept = found.sliding ? `${found.full} × ${number(now.length)} + ` +
      `${found.sliding} × ${number(Math.min(now.length, now.window - 1))} tokens`
      : `${counted(now.layers, "layer")} × ${number(now.length)} tokens`;
    product.textContent = `2 × ${counted(now.heads, "head")} × ${now.width} wide × ` +
      `${found.sliding ? `(${kept})` : kept} × ${counted(now.batch, "text")} × ` +
      counted(now.bytes, "byte");
    drawChart(width, now);
  }

  return frame({
    model, el, name: "cache", title: "What a cache weighs",
    look: "Pick a model, then move a factor of the product.",
    parts: [element("div", { class: "hm-row cm-presets" }, ...buttons),
      total, product, more, chart,
      element("div", { class: "hm-key" }, swatch("--c1", "this cache"),
        swatch("--c3", "without its window"), swatch("--c2", "one card"))],
    draw,
  });
}

export default { render };
