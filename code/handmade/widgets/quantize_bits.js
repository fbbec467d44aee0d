// Bits of a weight: a histogram with the levels of two groups, and the error
// against the number of bits.
//
// `half`, `even`, `roundWeights` and `measure` are the logic, without a page
// around them: a test runs them in node against the package, bit for bit.

const f32 = Math.fround;

// round half to even, as torch does
export function even(x) {
  const low = Math.floor(x);
  const over = x - low;
  return over > 0.5 || (over === 0.5 && low % 2 !== 0) ? low + 1 : low;
}

// the nearest float16
export function half(x) {
  if (x === 0) return 0;
  const power = Math.max(-14, Math.floor(Math.log2(Math.abs(x))));
  const step = 2 ** (power - 10);
  return even(x / step) * step;
}

// one group: its values after rounding, and the levels it may take
function roundGroup(w, { scheme, bits, levels }) {
  if (scheme === 2) {
    const most = w.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
    const inverse = f32(1 / Math.max(most, f32(1e-38)));
    const between = levels.slice(1).map((x, i) =>
      f32(f32(f32(x) + f32(levels[i])) / 2));
    const places = levels.map((x) => f32(f32(x) * most));
    return { places, values: w.map((x) => {
      const t = clamp(f32(x * inverse), -1, 1);
      return places[between.filter((b) => b < t).length];
    }) };
  }
  let scale, low, first, last;
  if (scheme === 0) {
    const most = w.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
    [low, last] = [0, 2 ** (bits - 1) - 1];
    first = -last;
    scale = half(f32(most / last));
  } else {
    low = half(w.reduce((m, x) => Math.min(m, x), Infinity));
    const high = w.reduce((m, x) => Math.max(m, x), -Infinity);
    [first, last] = [0, 2 ** bits - 1];
    scale = Math.max(0, half(f32(f32(high - low) / last)));
  }
  const value = (code) => f32(f32(scale * code) + low);
  const places = Array.from({ length: last - first + 1 }, (_, i) =>
    value(first + i));
  return { places, values: w.map((x) => value(scale === 0 ? 0
    : clamp(even(f32(f32(x - low) / scale)), first, last))) };
}

// all weights in groups of `group` neighbours: values, levels of each group,
// and the bytes that codes and scales take
export function roundWeights(w, { scheme, bits, group, levels }) {
  const values = new Float32Array(w.length);
  const places = [];
  for (let at = 0; at < w.length; at += group) {
    const found = roundGroup(Array.from(w.subarray(at, at + group)),
      { scheme, bits, levels });
    values.set(found.values, at);
    places.push(found.places);
  }
  const count = scheme === 2 ? 4 : bits;
  const each = [2, 4, 4][scheme]; // a scale; a scale and a low; float32
  return { values, places, bytes: w.length * count / 8 + each * places.length };
}

// the size of the error as a share of the weights' size
export function measure(w, values) {
  let error = 0, size = 0, zeros = 0;
  for (let i = 0; i < w.length; i++) {
    error += (values[i] - w[i]) ** 2;
    size += w[i] ** 2;
    zeros += values[i] === 0;
  }
  return { error: Math.sqrt(error / size), zeros: zeros / w.length };
}

const NAMES = ["absmax", "asymmetric", "NF4"];
const COLOURS = ["--c1", "--c3", "--c4"];
const BINS = 48;

function short(share) {
  const x = 100 * share;
  return `${x >= 10 ? x.toFixed(0) : x >= 1 ? x.toFixed(1) : x.toFixed(2)} %`;
}

function render({ model, el }) {
  const pieces = model.get("weights").map(floats);
  const levels = model.get("levels");
  const groups = model.get("groups");
  const box = element("div", { class: "qb-box" });
  const say = element("p", { class: "hm-say", "aria-live": "polite" });
  const curves = new Map(); // error by bits, for a piece and a group

  const line = (x1, y1, x2, y2, more) =>
    element("line", { x1, y1, x2, y2, stroke: "var(--line)", ...more });
  const text = (x, y, words, anchor = "middle", more = {}) =>
    element("text", { x, y, "text-anchor": anchor, ...more }, words);

  function errors(piece, group) {
    const key = `${piece} ${group}`;
    if (!curves.has(key)) {
      const w = pieces[piece];
      const of = (scheme, bits) => measure(w,
        roundWeights(w, { scheme, bits, group, levels }).values).error;
      curves.set(key, [0, 1, 2].map((scheme) => (scheme === 2 ? [4]
        : [2, 3, 4, 5, 6, 7, 8]).map((bits) => [bits, of(scheme, bits)])));
    }
    return curves.get(key);
  }

  // the weights, and the levels of the widest and of a typical group
  function histogram(svg, width, w, places) {
    const [top, bottom] = [8, 112];
    const most = w.reduce((m, x) => Math.max(m, Math.abs(x)), 0) || 1;
    const x = (value) => width / 2 + value / most * (width / 2 - 6);
    const counts = Array(BINS).fill(0);
    for (const value of w) {
      counts[clamp(Math.floor((value / most + 1) / 2 * BINS), 0, BINS - 1)]++;
    }
    const high = Math.sqrt(Math.max(...counts));
    counts.forEach((count, i) => {
      const tall = Math.sqrt(count) / high * (bottom - top);
      svg.append(element("rect", { x: x((2 * i / BINS - 1) * most) + 0.5,
        y: bottom - tall, width: (width - 12) / BINS - 1, height: tall,
        fill: "var(--c1)", "fill-opacity": 0.7 }));
    });
    svg.append(line(0, bottom, width, bottom));
    const reach = places.map((list) => list.at(-1) - list[0]);
    const order = places.map((_, i) => i).sort((a, b) => reach[a] - reach[b]);
    const rows = [["widest group", order.at(-1), "--c2"],
      ["median group", order[(order.length - 1) >> 1], "--c3"]];
    rows.slice(0, places.length > 1 ? 2 : 1).forEach(([, at, colour], row) => {
      for (const level of places[at]) {
        svg.append(line(x(level), bottom + 4 + 17 * row, x(level),
          bottom + 18 + 17 * row,
          { stroke: `var(${colour})`, "stroke-width": 1.5 }));
      }
    });
    svg.append(
      text(6, bottom + 54, signed(-most, 2), "start"),
      text(width / 2, bottom + 54, "weight"),
      text(width - 6, bottom + 54, signed(most, 2), "end"));
    return rows;
  }

  // error against bits, on an axis of powers of ten
  function curve(svg, width, piece, group, now) {
    const [left, right, top, bottom] = [44, 14, 196, 310];
    const x = (bits) => left + 14 + (bits - 2) / 6 * (width - left - right - 20);
    const y = (error) => top + (0 - Math.log10(clamp(error, 1e-3, 1))) / 3 *
      (bottom - top);
    for (const [share, words] of
      [[1, "100 %"], [0.1, "10 %"], [0.01, "1 %"], [0.001, "0.1 %"]]) {
      svg.append(line(left, y(share), width, y(share)),
        text(left - 6, y(share) + 4, words, "end"));
    }
    for (let bits = 2; bits <= 8; bits++) {
      svg.append(text(x(bits), bottom + 17, String(bits)));
    }
    svg.append(text((left + width) / 2, bottom + 34, "bits of a code"),
      text(0, top - 10, "error, of the weights’ size", "start"));
    errors(piece, group).forEach((points, scheme) => {
      const d = points.map(([bits, e], i) =>
        `${i ? "L" : "M"}${x(bits)} ${y(e)}`).join("");
      svg.append(element("path", { d, fill: "none", "stroke-width": 1.8,
        stroke: `var(${COLOURS[scheme]})` }));
      for (const [bits, e] of points) {
        svg.append(element("circle", { cx: x(bits), cy: y(e),
          r: scheme === 2 ? 4 : 2.5, fill: `var(${COLOURS[scheme]})` }));
      }
    });
    svg.append(element("circle", { cx: x(now.bits), cy: y(now.error), r: 7,
      fill: "none", stroke: "currentColor", "stroke-width": 2 }));
  }

  function draw(width) {
    const piece = clamp(model.get("piece"), 0, pieces.length - 1);
    const scheme = clamp(model.get("scheme"), 0, 2);
    const bits = scheme === 2 ? 4 : model.get("bits");
    const group = groups[clamp(model.get("group"), 0, groups.length - 1)];
    const w = pieces[piece];
    const { values, places, bytes } =
      roundWeights(w, { scheme, bits, group, levels });
    const { error, zeros } = measure(w, values);
    const svg = element("svg", { width, height: 350, role: "img" });
    histogram(svg, width, w, places);
    curve(svg, width, piece, group, { bits, error });
    const each = (8 * bytes / w.length).toFixed(2);
    const told = `${NAMES[scheme]}, ${bits} bits: ${each} bits a weight with ` +
      `its share of a scale, ${number(Math.round(bytes))} bytes for ` +
      `${number(w.length)} weights. Error ${short(error)}; ` +
      `${number(Math.round(zeros * w.length))} weights became 0.`;
    svg.setAttribute("aria-label", told);
    box.replaceChildren(svg);
    say.textContent = told;
  }

  return frame({
    model, el, name: "quantize", title: "Where the levels lie",
    look: "Watch the levels of a typical group as one scale serves fewer " +
      "weights, and what that costs in bytes.",
    parts: [box,
      element("div", { class: "hm-key" },
        swatch("--c2", "levels of the widest group"),
        swatch("--c3", "of the median group; asymmetric below"),
        swatch("--c1", "weights; absmax below"), swatch("--c4", "NF4")),
      say],
    draw,
  });
}

export default { render };
