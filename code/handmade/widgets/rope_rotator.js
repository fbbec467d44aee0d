// RoPE rotator: a query and a key, each pair of axes turned by its position.

const STYLE = `
.rr-dials { display: grid; gap: 6px; margin: 8px 0;
  grid-template-columns: repeat(auto-fill, minmax(74px, 1fr)); }
.hm .rr-dials button { padding: 4px; line-height: 1.2; font-size: 12px; }
.rr-dials svg { margin: 0 auto; }
.rr-views { display: flex; flex-wrap: wrap; gap: 8px 24px; align-items: end; }
.rr-views p { font-size: 13px; max-width: 340px; margin: 0; }
.rr-swatch { display: inline-block; width: 1.6em; height: 0; margin: 0 4px 4px 0;
  border-top: 3px solid; }
.rr-say { min-height: 4.2em; margin: 6px 0; }
`;

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

function draw({ model, el }) {
  const dials = element("div", {
    class: "rr-dials", role: "group", "aria-label": "Pairs of axes",
  });
  const views = element("div", { class: "rr-views" });
  const say = element("p", { class: "rr-say", "aria-live": "polite" });
  const swatch = (colour) => element("span", {
    class: "rr-swatch", style: `color: var(${colour})`,
  });
  const legend = element(
    "p", { class: "hm-note" },
    swatch("--hm-a"), "query (the long hand of a dial), ",
    swatch("--hm-b"), "key (the short hand). Choose a pair by its dial.",
  );
  const root = element(
    "div", { class: "hm" }, element("style", {}, STYLE),
    legend, dials, views, say,
  );
  el.append(root);
  const line = (x1, y1, x2, y2, more) =>
    element("line", { x1, y1, x2, y2, ...more });
  const text = (x, y, words, more = {}) =>
    element("text", { x, y, ...more }, words);

  function state() {
    const query = model.get("query");
    const key = model.get("key");
    const shift = model.get("shift");
    return {
      query, key, shift,
      s: model.get("query_at") + shift,
      t: model.get("key_at") + shift,
      theta: model.get("theta"),
      pair: Math.min(model.get("pair"), query.length / 2 - 1),
    };
  }

  // a hand from the middle to a point, and a dot where it ends
  function hand(svg, x, y, [a, b], scale, colour, more = {}) {
    const [u, v] = [x + a * scale, y - b * scale];
    svg.append(line(x, y, u, v, {
      stroke: colour, "stroke-width": 2.5, ...more,
    }));
    if (!more["stroke-dasharray"]) {
      svg.append(element("circle", { cx: u, cy: v, r: 3.5, fill: colour }));
    }
  }

  function dial(i, { query, s, t, theta, pair }) {
    const speed = speeds(query.length, theta)[i];
    const svg = element("svg", { width: 56, height: 56, "aria-hidden": "true" });
    svg.append(element("circle", {
      cx: 28, cy: 28, r: 25, fill: "none", stroke: "var(--hm-line)",
    }));
    hand(svg, 28, 28, turn([1, 0], s * speed), 24, "var(--hm-a)");
    hand(svg, 28, 28, turn([1, 0], t * speed), 16, "var(--hm-b)");
    return element("button", {
      type: "button", "aria-pressed": i === pair, "data-pair": i,
      "aria-label": `pair ${i}, ${speed.toPrecision(2)} radians a token`,
      onclick: () => setTraits(model, { pair: i }),
    }, svg, `pair ${i}`);
  }

  function circle({ query, key, s, t, theta, pair }) {
    const size = 220;
    const c = size / 2;
    const speed = speeds(query.length, theta)[pair];
    const q = pairOf(query, pair);
    const k = pairOf(key, pair);
    const longest = Math.max(Math.hypot(...q), Math.hypot(...k), 1e-9);
    const scale = (c - 22) / longest;
    const svg = element("svg", { width: size, height: size, role: "img",
      "aria-label": `Pair ${pair}: the query and the key as arrows, before ` +
        "(dashed) and after they are turned" });
    svg.append(
      line(4, c, size - 4, c, { stroke: "var(--hm-line)" }),
      line(c, 4, c, size - 4, { stroke: "var(--hm-line)" }),
    );
    for (const [vector, at, colour] of [
      [q, s, "var(--hm-a)"], [k, t, "var(--hm-b)"],
    ]) {
      const r = Math.hypot(...vector) * scale;
      svg.append(element("circle", {
        cx: c, cy: c, r, fill: "none", stroke: colour, "stroke-opacity": 0.35,
      }));
      hand(svg, c, c, vector, scale, colour, {
        "stroke-dasharray": "3 4", "stroke-opacity": 0.7,
      });
      hand(svg, c, c, turn(vector, at * speed), scale, colour);
    }
    return element("div", {}, svg, element("p", {},
      `Pair ${pair}: before (dashed) and after the turn.`));
  }

  function curve({ query, key, s, t, theta }) {
    const width = Math.max(240, Math.min(340, root.clientWidth - 4));
    const height = 190;
    const [left, right, top, bottom] = [38, 8, 14, 34];
    const far = model.get("farthest");
    const scores = [];
    for (let d = -far; d <= far; d++) {
      scores.push(scoreAt(query, key, d, 0, theta));
    }
    const high = Math.max(...scores);
    const low = Math.min(...scores);
    const x = (d) => left + ((d + far) / (2 * far)) * (width - left - right);
    const y = (score) => top + ((high - score) / (high - low || 1)) *
      (height - top - bottom);
    const path = scores.map((score, i) =>
      `${i ? "L" : "M"}${x(i - far).toFixed(1)} ${y(score).toFixed(1)}`);
    const now = scoreAt(query, key, s, t, theta);
    const svg = element("svg", { width, height, role: "img",
      "aria-label": "The score over the distance, with the present one " +
        `marked: distance ${s - t}, score ${now.toFixed(2)}` });
    svg.append(
      line(left, y(low), width - right, y(low), { stroke: "var(--hm-line)" }),
      line(x(0), top, x(0), y(low), { stroke: "var(--hm-line)" }),
      element("path", { d: path.join(""), fill: "none", stroke: "var(--hm-c)",
        "stroke-width": 1.8 }),
      line(x(s - t), top, x(s - t), y(low), { stroke: "currentColor",
        "stroke-dasharray": "2 3" }),
      element("circle", { cx: x(s - t), cy: y(now), r: 5,
        fill: "var(--hm-c)" }),
    );
    for (const [value, at] of [[high, y(high)], [low, y(low)]]) {
      svg.append(text(left - 5, at + 4, value.toFixed(1), {
        "text-anchor": "end" }));
    }
    for (const d of [-far, 0, far]) {
      svg.append(text(x(d), height - 18, String(d), {
        "text-anchor": d < 0 ? "start" : d ? "end" : "middle" }));
    }
    svg.append(text(x(0), height - 3, "query's place minus key's (tokens)", {
      "text-anchor": "middle" }));
    return element("div", {}, svg, element("p", {},
      "The score, all pairs added up, at every distance."));
  }

  function redraw() {
    const now = state();
    const { query, key, s, t, theta, pair } = now;
    const focused = dials.contains(document.activeElement);
    dials.replaceChildren(
      ...query.slice(0, query.length / 2).map((_, i) => dial(i, now)));
    if (focused) dials.children[pair].focus();
    views.replaceChildren(circle(now), curve(now));
    const speed = speeds(query.length, theta)[pair];
    const around = (2 * Math.PI) / speed;
    const share = shares(query, key, s, t, theta)[pair];
    say.textContent =
      `Query at ${s}, key at ${t}: distance ${s - t}. Pair ${pair} turns ` +
      `${speed.toPrecision(3)} rad a token, once round in ` +
      `${around < 1e4 ? around.toFixed(1) : around.toExponential(1)} tokens. ` +
      `Turned: query ${(s * speed).toFixed(2)} rad, key ` +
      `${(t * speed).toFixed(2)} rad, difference ` +
      `${((s - t) * speed).toFixed(2)} rad. This pair adds ` +
      `${share.toFixed(2)} to the score of ` +
      `${scoreAt(query, key, s, t, theta).toFixed(3)}.`;
  }

  onTraits(model, ["query_at", "key_at", "shift", "pair", "theta"], redraw);
  redraw();
  const observer = new ResizeObserver(redraw);
  observer.observe(root);
  return () => observer.disconnect();
}

export default { render: draw };
