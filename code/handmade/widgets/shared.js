// Shared by all explorables; put in front of each one's script.

// base64 -> Uint8Array
function bytes(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

// base64 -> Float32Array
function floats(text) {
  return new Float32Array(bytes(text).buffer);
}

const SVG = [
  "svg", "g", "rect", "text", "line", "path", "circle", "tspan", "title",
];

// element("div", {class: "x", onclick: f}, child, "text", ...)
function element(tag, attributes = {}, ...children) {
  const node = SVG.includes(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

const button = (words, onclick, more = {}) =>
  element("button", { type: "button", onclick, ...more }, words);

// set traits from the drawing; quiet where there is no kernel to save to
function setTraits(model, values) {
  model.set(values);
  model.save_changes();
}

const clamp = (x, low, high) => Math.max(low, Math.min(high, x));
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const signed = (x, digits) => x.toFixed(digits).replace("-", "−");
const number = (n) => n.toLocaleString("en");

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

// a token with its blanks made visible
function visible(token) {
  return token.replaceAll(" ", "␣").replaceAll("\n", "⏎") || "∅";
}

// The one frame: what to look for and Reset, then the parts. `draw(width)`
// runs at once, when a trait that can be set changes, whoever set it (a
// slider, Python, a word in the text, the drawing), and when the width does.
function frame({ model, el, name, title, look, parts, draw }) {
  const start = model.get("start");
  const reset = button("Reset", () => setTraits(model, model.get("start")));
  const root = element("section",
    { class: `hm hm-${name}`, "aria-label": title },
    element("header", {}, reset,
      element("p", {}, element("strong", {}, `${title}. `), look)),
    ...parts);
  el.append(root);
  const measure = () => clamp(root.clientWidth || 640, 240, 640);
  let width = measure(), waiting = false;
  function redraw() {
    waiting = false;
    draw(width);
    reset.disabled = Object.keys(start).every((trait) =>
      same(model.get(trait), start[trait]));
  }
  // several traits set at once are drawn once
  function soon() {
    if (!waiting) queueMicrotask(redraw);
    waiting = true;
  }
  const traits = Object.keys(start);
  for (const trait of traits) model.on(`change:${trait}`, soon);
  const observer = new ResizeObserver(() => {
    if (measure() === width) return;
    width = measure();
    redraw();
  });
  observer.observe(root);
  redraw();
  return () => {
    observer.disconnect();
    for (const trait of traits) model.off(`change:${trait}`, soon);
  };
}

const STEPS = {
  ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0],
};

// arrow keys (rows, columns), Space and Enter on a node
function onKeys(node, { move, press }) {
  node.addEventListener("keydown", (event) => {
    if (event.key in STEPS) move(...STEPS[event.key]);
    else if (press && [" ", "Enter"].includes(event.key)) press();
    else return;
    event.preventDefault();
    event.stopPropagation(); // Jupyter moves between cells with arrow keys
  });
}

// weight -> opacity: the root, so that small weights stay visible
const shade = (weight) => Math.sqrt(weight);
const tint = (weight) =>
  weight > 0 && { "fill-opacity": shade(weight).toFixed(3) };

// what the colours of weights mean
function scale() {
  const shares = [0.01, 0.1, 0.25, 0.5, 1];
  return element("span", { class: "hm-scale" }, "weight",
    ...shares.map((share) => element("span", {},
      element("i", { style: `opacity: ${shade(share)}` }),
      `${100 * share} %`)));
}

// swatch("--c2", "the key"): a colour and what it means
function swatch(colour, words) {
  return element("span", { class: "hm-swatch" },
    element("i", { style: `background: var(${colour})` }), words);
}

// a token, and how often
function chip(words, count) {
  return element("span", { class: "hm-chip" }, words,
    element("b", {}, count > 1 ? ` × ${count}` : ""));
}

// a map of n x n weights without letters, a path for each of eight levels
function smallMap(n, weight) {
  const levels = Array(9).fill("");
  for (let t = 0; t < n; t++) {
    for (let s = 0; s < n; s++) {
      levels[Math.round(8 * shade(weight(t, s)))] += `M${s} ${t}h1v1h-1z`;
    }
  }
  const paths = levels.map((d, level) =>
    element("path", { d, "fill-opacity": level / 8 }));
  return element("svg", { viewBox: `0 0 ${n} ${n}`, "aria-hidden": "true",
    "shape-rendering": "crispEdges" }, ...paths.slice(1));
}

// One of many, by pointer or arrow keys. `preview(i)` while
// the pointer is on one, `preview(null)` when it leaves.
function choices({ choose, preview = () => {} }) {
  const node = element("div", { class: "hm-choices", role: "radiogroup" });
  let count = 0, chosen = 0;
  const of = (event) => {
    const found = event.target.closest("[role=radio]");
    return found ? [...node.children].indexOf(found) : null;
  };
  node.addEventListener("click", (event) => {
    if (of(event) !== null) choose(of(event));
  });
  node.addEventListener("pointerover", (event) => preview(of(event)));
  node.addEventListener("pointerleave", () => preview(null));
  onKeys(node, { move: (dt, ds) => choose((chosen + dt + ds + count) % count) });

  function draw({ label, names, picture, chosen: now }) {
    const focused = node.contains(document.activeElement);
    [count, chosen] = [names.length, now];
    node.setAttribute("aria-label", label);
    node.replaceChildren(...names.map(([words, short], i) => element("button", {
      type: "button", role: "radio", "aria-checked": i === now,
      "aria-label": words, tabindex: i === now ? 0 : -1,
    }, picture(i), short)));
    if (focused) node.children[now]?.focus();
  }
  return { node, draw };
}

let pen;
// how wide words are in the letters of a node, 12 pixels high
function textWidth(words, node) {
  pen ??= document.createElement("canvas").getContext("2d");
  pen.font = `700 12px ${getComputedStyle(node).fontFamily}`;
  return pen.measureText(words).width;
}

// words that end in … where there is no room
function fit(words, room, node) {
  if (textWidth(words, node) <= room) return words;
  const signs = [...words];
  while (signs.length && textWidth(`${signs.join("")}…`, node) > room) signs.pop();
  return `${signs.join("")}…`;
}

// A table of cells: rows look, columns are looked at. Pointing at a cell
// calls preview([t, s]), leaving preview(null); a click or an arrow key calls
// choose(t, s), and a click or Space press() after it.
function grid({ choose, preview = () => {}, press = () => {} }) {
  const node = element("div", { class: "hm-grid", tabindex: 0, role: "group" });
  let box = null; // geometry of the last drawing, in pixels
  let seen = null; // the cell under the pointer
  function under(event) {
    const at = node.getBoundingClientRect();
    const s = Math.floor((event.clientX - at.left - box.left) / box.wide);
    const t = Math.floor((event.clientY - at.top - box.top) / box.high);
    return Math.min(s, t) < 0 || Math.max(s, t) >= box.n ? null : [t, s];
  }
  function hover(cell) {
    if (same(cell, seen)) return;
    seen = cell;
    preview(cell);
  }
  node.addEventListener("pointermove", (event) => hover(under(event)));
  node.addEventListener("pointerleave", () => hover(null));
  node.addEventListener("click", (event) => {
    const cell = under(event);
    if (!cell) return;
    choose(...cell);
    press();
  });
  onKeys(node, {
    move: (dt, ds) => choose(clamp(box.cell[0] + dt, 0, box.n - 1),
      clamp(box.cell[1] + ds, 0, box.n - 1)),
    press,
  });

  // `room` holds all labels that may come and `most` the most rows, so that
  // the box keeps its size; `paint(t, s)` gives a cell's attributes, `write`
  // what stands in its middle, `marks` cells with a ring: [t, s, colour, inset]
  function draw({ tokens, room, most, width, largest, cell, at, label, paint,
    write, marks = [] }) {
    const n = tokens.length;
    const longest = Math.max(...room.map((words) => textWidth(words, node)));
    const left = clamp(Math.ceil(longest) + 10, 66, 88);
    const whole = width - left - 4;
    const tall = most * clamp(whole / most, 14, largest);
    const wide = Math.min(44, whole / n, 1.25 * tall / n);
    const high = Math.min(tall / n, 1.25 * Math.max(14, wide));
    const below = whole / most < 14 ? left : 0; // where labels have to turn
    box = { left, top: left, wide, high, n, cell };
    const rect = (t, s, more) => element("rect", { x: left + wide * s,
      y: left + high * t, width: wide, height: high, ...more });
    const text = (x, y, words, more) =>
      element("text", { x, y, ...more }, words);
    const svg = element("svg", { width, height: left + tall + below + 4,
      "aria-hidden": "true" });
    const axis = { "text-anchor": "end", class: "hm-muted" };
    svg.append(text(left - 6, left - 22, "keys →", axis),
      text(left - 6, left - 6, "queries ↓", axis));
    tokens.forEach((token, i) => {
      const words = fit(token, left - 10, node);
      const under = wide < 14 && i % 2; // every other label stands below
      const bold = (on) => (on ? "hm-bold" : "");
      svg.append(
        text(left - 6, left + high * (i + 0.5) + 4, words,
          { "text-anchor": "end", class: bold(i === at[0]) }),
        text(0, 0, words, { class: bold(i === at[1]),
          "text-anchor": under ? "end" : "start",
          transform: `translate(${left + wide * (i + 0.5) + 4} ` +
            `${under ? left + high * n + 6 : left - 6}) rotate(-90)` }));
    });
    for (let t = 0; t < n; t++) {
      for (let s = 0; s < n; s++) {
        const look = paint(t, s);
        if (look) svg.append(rect(t, s, look));
        const [x, y] = [left + wide * (s + 0.5), left + high * (t + 0.5)];
        if (write) svg.append(write(t, s, x, y));
      }
    }
    svg.append(element("rect", { x: left, y: left, width: wide * n,
      height: high * n, class: "hm-edge" }));
    for (const [t, s, stroke, inset = 0] of [...marks, [...at, "currentColor"]]) {
      svg.append(element("rect", { class: "hm-ring", stroke,
        x: left + wide * s + inset, y: left + high * t + inset,
        width: wide - 2 * inset, height: high - 2 * inset }));
    }
    node.replaceChildren(svg);
    node.setAttribute("aria-label", label);
  }
  return { node, draw };
}
