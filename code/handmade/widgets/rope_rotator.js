// RoPE rotator: a query and a key, each pair of axes turned by its position.

// radians per token of each pair: theta^(-2i / K)
function speeds(width, theta) {
  return Array.from({ length: width / 2 }, (_, i) => theta ** ((-2 * i) / width));
}

// (a, b) turned by an angle
function turn([a, b], angle) {
  const cos = Math.cos(angle);
  const sin = Math.sin(angle);
  return [a * cos - b * sin, b * cos + a * sin];
}

// pair i of a vector: axes i and i + K/2, as Hugging Face stores them
function pairOf(vector, i) {
  return [vector[i], vector[i + vector.length / 2]];
}

// each pair's share of the score of a query at s and a key at t
function shares(query, key, s, t, theta) {
  return speeds(query.length, theta).map((speed, i) => {
    const [a, b] = turn(pairOf(query, i), s * speed);
    const [c, d] = turn(pairOf(key, i), t * speed);
    return a * c + b * d;
  });
}

function scoreAt(query, key, s, t, theta) {
  return shares(query, key, s, t, theta).reduce((sum, x) => sum + x, 0);
}

function render({ model, el }) {
  const query = model.get("query");
  const key = model.get("key");
  const far = model.get("farthest");
  const pairs = query.length / 2;
  const lengths = [query, key].map((vector) =>
    Array.from({ length: pairs }, (_, i) => Math.hypot(...pairOf(vector, i))));
  const longest = Math.max(...lengths.flat(), 1e-9);
  // no score can be larger: one scale for every place, pair and theta
  const most = lengths[0].reduce((sum, q, i) => sum + q * lengths[1][i], 0) || 1;
  const colours = { query: "var(--c1)", key: "var(--c2)" };

  const dials = choices({ choose: (pair) => setTraits(model, { pair }) });
  const layer = element("g");
  const hands = { query: hand("query"), key: hand("key") };
  const clock = element("svg", { class: "rr-clock", role: "group" },
    layer, hands.key, hands.query);
  const chart = element("svg", { role: "img" });
  const say = element("p", { class: "hm-say", "aria-live": "polite" });
  let radius;

  const line = (x1, y1, x2, y2, more) =>
    element("line", { x1, y1, x2, y2, stroke: "var(--line)", ...more });
  const text = (x, y, words, anchor = "middle") =>
    element("text", { x, y, "text-anchor": anchor }, words);

  function state() {
    const shift = model.get("shift");
    const theta = model.get("theta");
    const pair = clamp(model.get("pair"), 0, pairs - 1);
    return { theta, pair, speed: speeds(query.length, theta)[pair],
      s: model.get("query_at") + shift, t: model.get("key_at") + shift };
  }

  // what is dragged, or moved by arrow keys: one token a step
  function hand(name) {
    const place = `${name}_at`;
    const go = (at) =>
      setTraits(model, { [place]: clamp(Math.round(at), 0, far) });
    const node = element("g", { class: "rr-hand", tabindex: 0, role: "slider",
      "aria-label": `place of the ${name}`, "aria-valuemin": 0,
      "aria-valuemax": far },
    element("circle", { r: 13, fill: colours[name] }),
    element("text", { y: 4, "text-anchor": "middle" }, name[0]));
    let last = null, at;
    const angle = (event) => {
      const box = clock.getBoundingClientRect();
      return Math.atan2(box.top + box.height / 2 - event.clientY,
        event.clientX - box.left - box.width / 2);
    };
    node.addEventListener("pointerdown", (event) => {
      node.setPointerCapture(event.pointerId);
      [last, at] = [angle(event), model.get(place)];
    });
    node.addEventListener("pointermove", (event) => {
      if (last === null) return;
      const turned = angle(event) - last;
      last += turned;
      // the short way round
      at += Math.atan2(Math.sin(turned), Math.cos(turned)) / state().speed;
      go(at);
    });
    const drop = () => { last = null; };
    node.addEventListener("pointerup", drop);
    node.addEventListener("pointercancel", drop);
    onKeys(node, { move: (dt, ds) => go(model.get(place) + ds - dt) });
    return node;
  }

  function dial(i, { theta, s, t }) {
    const speed = speeds(query.length, theta)[i];
    const svg = element("svg", { viewBox: "-24 -24 48 48", "aria-hidden": "true" });
    svg.append(element("circle", { r: 22, fill: "none", stroke: "var(--line)" }));
    for (const [at, length, stroke] of
      [[s, 21, colours.query], [t, 14, colours.key]]) {
      const [x, y] = turn([length, 0], at * speed);
      svg.append(line(0, 0, x, -y, { stroke, "stroke-width": 2.5 }));
    }
    return svg;
  }

  function drawClock(size, { pair, speed, s, t }) {
    radius = size / 2 - 17;
    clock.setAttribute("width", size);
    clock.setAttribute("height", size);
    clock.setAttribute("viewBox", [-size / 2, -size / 2, size, size].join(" "));
    clock.setAttribute("aria-label", `Pair ${pair}: query and key before ` +
      "(dashed) and after they are turned");
    // each hand ends on a ring of its own, so that they never meet
    const rings = { query: radius, key: radius - 30 };
    const scale = (radius - 54) / longest;
    layer.replaceChildren(
      line(-radius, 0, radius, 0), line(0, -radius, 0, radius),
      ...Object.values(rings).map((r) =>
        element("circle", { r, fill: "none", stroke: "var(--line)" })));
    for (const [name, vector, at] of [["query", query, s], ["key", key, t]]) {
      const [a, b] = pairOf(vector, pair);
      const [x, y] = turn([a, b], at * speed);
      const size = Math.hypot(a, b) || 1;
      const [u, v] = [(x / size) * rings[name], (-y / size) * rings[name]];
      const more = { stroke: colours[name], "stroke-width": 3 };
      layer.append(
        line(0, 0, a * scale, -b * scale, { ...more, "stroke-dasharray": "3 4" }),
        line(0, 0, u, v, { ...more, "stroke-width": 1 }),
        line(0, 0, x * scale, -y * scale, more),
        element("circle", { cx: x * scale, cy: -y * scale, r: 4,
          fill: colours[name] }));
      hands[name].setAttribute("transform", `translate(${u} ${v})`);
      hands[name].setAttribute("aria-valuenow", model.get(`${name}_at`));
    }
  }

  function drawChart(width, height, { theta, pair, s, t }) {
    const [left, right, top, bottom] = [38, 10, 12, 38];
    const x = (d) => left + ((d + far) / (2 * far)) * (width - left - right);
    const y = (score) => top + ((most - score) / (2 * most)) *
      (height - top - bottom);
    const path = (score, more) => {
      const points = [];
      for (let d = -far; d <= far; d++) {
        points.push(`${x(d).toFixed(1)} ${y(score(d)).toFixed(1)}`);
      }
      return element("path", { d: `M${points.join("L")}`, fill: "none", ...more });
    };
    const now = scoreAt(query, key, s, t, theta);
    const share = shares(query, key, s, t, theta)[pair];
    chart.setAttribute("width", width);
    chart.setAttribute("height", height);
    chart.setAttribute("aria-label", "The score over the distance; at " +
      `distance ${s - t} it is ${now.toFixed(2)}`);
    chart.replaceChildren(
      ...[most, 0, -most].flatMap((tick) => [
        line(left, y(tick), width - right, y(tick)),
        text(left - 5, y(tick) + 4, signed(tick, 1), "end")]),
      path((d) => shares(query, key, d, 0, theta)[pair],
        { stroke: "var(--c4)", "stroke-dasharray": "5 3" }),
      path((d) => scoreAt(query, key, d, 0, theta),
        { stroke: "var(--c3)", "stroke-width": 2 }),
      line(x(s - t), top, x(s - t), height - bottom, { stroke: "currentColor",
        "stroke-dasharray": "2 3" }),
      element("circle", { cx: x(s - t), cy: y(share), r: 4, fill: "var(--c4)" }),
      element("circle", { cx: x(s - t), cy: y(now), r: 5, fill: "var(--c3)" }),
      text(left, height - 20, signed(-far), "start"),
      text(x(0), height - 20, "0"),
      text(width - right, height - 20, String(far), "end"),
      text((left + width - right) / 2, height - 4,
        "distance: query's place − key's"));
  }

  function draw(width) {
    const now = state();
    const { theta, pair, speed, s, t } = now;
    dials.draw({
      label: "Pairs of axes",
      names: Array.from({ length: pairs }, (_, i) => [
        `pair ${i}, ${speeds(query.length, theta)[i].toPrecision(2)} ` +
          "radians a token", `pair ${i}`]),
      picture: (i) => dial(i, now),
      chosen: pair,
    });
    const beside = width > 500;
    drawClock(beside ? 260 : 220, now);
    drawChart(beside ? width - 276 : width, beside ? 260 : 190, now);
    const around = (2 * Math.PI) / speed;
    say.textContent =
      `Query at ${s}, key at ${t}: distance ${signed(s - t)}. Pair ${pair} comes round ` +
      `in ${around < 1000 ? around.toFixed(1) : number(Math.round(around))} ` +
      `tokens and adds ${signed(shares(query, key, s, t, theta)[pair], 2)} to ` +
      `the score of ${signed(scoreAt(query, key, s, t, theta), 3)}.`;
  }

  return frame({
    model, el, name: "rope", title: "Turned by their places",
    look: "Drag a hand, or focus it and press arrow keys: the score depends " +
      "on the distance alone.",
    parts: [dials.node,
      element("div", { class: "rr-views" }, clock, chart),
      element("div", { class: "hm-key" },
        swatch("--c1", "query"), swatch("--c2", "key"),
        swatch("--c3", "score"), swatch("--c4", "this pair's share"),
        element("span", {}, "dashed arrows: before the turn")),
      say],
    draw,
  });
}

export default { render };
