// The next-token distribution under temperature, top-k, top-p and min-p.
//
// `distribution` and `draw` are the whole logic, without a page around them:
// a test runs them in node against handmade.inference.sampling. The likeliest
// tokens come with exact logits, the long tail as a histogram of its logits:
// `tail.counts[i]` tokens lie at logit tail.high - (i + 0.5) * tail.step,
// `tail.faint` more far below, and `never` have no probability at all. Of the
// tail, `names` are [rank, string] of some, each for those nearest in rank.

export function distribution(data, { temperature, topK, topP, minP }) {
  const best = data.logits[0];
  const weight = (logit) => Math.exp((logit - best) / temperature);
  // groups of equally likely tokens, likeliest first; `n` is what is kept
  let groups = Array.from(data.logits, (logit) => ({ logit, size: 1 }));
  if (data.tail) {
    const { high, step, counts } = data.tail;
    counts.forEach((size, i) => {
      if (size) groups.push({ logit: high - (i + 0.5) * step, size, step });
    });
    // far below: they count as tokens, and hardly as probability
    const { faint = 0, faintAt } = data.tail;
    if (faint) groups.push({ logit: faintAt, size: faint });
  }
  let rank = 0;
  for (const g of groups) {
    g.rank = rank;
    rank += g.size;
    g.weight = weight(g.logit);
    g.own = Math.exp(g.logit - best);
    g.n = g.size;
  }
  const all = total(groups);
  const own = groups.reduceRight((sum, g) => sum + g.size * g.own, 0);

  if (topK > 0) {
    const kth = groups.findLast((g) => g.rank < topK).logit;
    for (const g of groups) if (g.logit < kth) g.n = 0;
  }
  if (topP < 1) {
    // from the unlikely end, as top_p does: small numbers first
    const sum = total(groups);
    let below = 0;
    for (const g of groups.toReversed()) {
      if (!g.n || g.rank === 0) continue;
      const p = g.weight / sum;
      const room = p > 0 ? (1 - topP - below) / p : g.n;
      const cut = Math.max(0, Math.min(g.n, Math.floor(room)));
      below += g.n * p;
      g.n -= cut;
    }
  }
  if (minP > 0) {
    const least = best + temperature * Math.log(minP);
    for (const g of groups) {
      // a bin that straddles the threshold keeps its upper part
      const part = g.step ? (g.logit - least) / g.step + 0.5 : +(g.weight >= minP);
      g.n = Math.min(g.n, Math.round(g.size * Math.max(0, Math.min(1, part))));
    }
  }

  const sum = total(groups);
  let entropy = 0;
  let kept = 0;
  for (const g of groups) {
    g.own /= own; // the model's own probability, at temperature 1
    g.p = g.n ? g.weight / sum : 0;
    kept += g.n;
    if (g.p > 0) entropy -= g.n * g.p * Math.log2(g.p);
  }
  return { groups, kept, entropy, mass: sum / all,
    vocabulary: rank + (data.never ?? 0) };
}

function total(groups) {
  return groups.reduceRight((sum, g) => sum + g.n * g.weight, 0);
}

// the rank of the token that the random number u in [0, 1) falls on
export function drawRank(groups, u) {
  let last = 0;
  for (const g of groups) {
    if (!g.n) continue;
    const share = g.n * g.p;
    if (u < share) return g.rank + Math.floor(u / g.p);
    u -= share;
    last = g.rank;
  }
  return last;
}

// a small seeded generator (mulberry32): the same draws for every reader
export function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// the string of the token at a rank, or of the named one nearest to it
export function nameOf({ tokens, names }, rank) {
  if (rank < tokens.length) return tokens[rank];
  const off = ([at]) => Math.abs(at - rank);
  return names.reduce((best, next) => (off(next) < off(best) ? next : best))[1];
}

const SHOWN = 10;
const DRAWS = 100;

function whole(n) {
  // counts that reach into the histogram are good to three digits
  if (n <= 256) return String(n);
  const digits = 10 ** Math.max(0, Math.floor(Math.log10(n)) - 2);
  return `about ${number(Math.round(n / digits) * digits)}`;
}

function render({ model, el }) {
  const unpacked = model.get("data").map((d) => ({
    logits: Float64Array.from(floats(d.top)),
    tail: { high: d.high, step: d.step, counts: Array.from(bytes(d.tail)),
      faint: d.faint, faintAt: d.faint_at },
    never: d.never,
    tokens: d.tokens,
    names: d.names,
  }));
  const prompt = element("p", { class: "nt-prompt" });
  const status = element("p", { class: "hm-say", "aria-live": "polite" });
  const body = element("tbody");
  const tail = element("div", { class: "hm-chips nt-tail" });
  const again = () => setTraits(model, { draws: model.get("draws") + 1 });
  const head = ["token", "probability", "T = 1", "now", "drawn"];

  function row(name, own, p, kept, drawn) {
    const bar = (colour, x) => element("span", { style:
      `width: ${(100 * Math.min(x, 1)).toFixed(2)}%; background: var(${colour})` });
    return element("tr", { class: kept ? "" : "nt-cut" },
      element("th", { scope: "row" }, name),
      element("td", { "aria-hidden": "true" }, bar("--muted", own), bar("--c1", p)),
      element("td", {}, percent(own)),
      element("td", {}, kept ? percent(p) : "cut"),
      element("td", {}, drawn ? String(drawn) : ""));
  }

  function draw() {
    const data = unpacked[model.get("index")];
    const { groups, kept, entropy, mass, vocabulary } = distribution(data, {
      temperature: model.get("temperature"),
      topK: model.get("top_k"),
      topP: model.get("top_p"),
      minP: model.get("min_p"),
    });
    // the same random numbers for every setting: draws move, not jump
    const random = generator(model.get("draws"));
    const ranks = Array.from({ length: DRAWS }, () => drawRank(groups, random()));
    const rest = groups.slice(SHOWN);
    const sum = (f) => rest.reduceRight((total, g) => total + f(g), 0);
    body.replaceChildren(
      ...groups.slice(0, SHOWN).map((g, i) => row(visible(nameOf(data, i)),
        g.own, g.p, g.n > 0, ranks.filter((rank) => rank === i).length)),
      row("all others", sum((g) => g.size * g.own), sum((g) => g.n * g.p),
        sum((g) => g.n) > 0, ranks.filter((rank) => rank >= SHOWN).length));

    const far = ranks.filter((rank) => rank >= SHOWN).sort((a, b) => b - a);
    const counts = new Map();
    for (const rank of far) {
      const name = visible(nameOf(data, rank));
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    tail.replaceChildren(element("p", {}, far.length
      ? "Drawn from all others, unlikeliest first:"
      : "Nothing drawn from all others."),
    ...[...counts].map(([name, count]) => chip(name, count)));
    prompt.replaceChildren(model.get("prompts")[model.get("index")],
      element("span", { class: "nt-next" }));
    status.textContent =
      `Kept: ${kept === vocabulary ? "all" : `${whole(kept)} of`} ` +
      `${number(vocabulary)} tokens, with ${percent(mass)} of the ` +
      `probability at this temperature; entropy ${entropy.toFixed(2)} bits.`;
  }

  return frame({
    model, el, name: "next-token", title: "What comes next",
    look: "Watch where the hundred draws go as the tail rises, and what a " +
      "filter leaves of it.",
    parts: [prompt,
      element("table", {},
        element("thead", {}, element("tr", {}, ...head.map((words) =>
          element("th", { scope: "col" }, words)))), body),
      element("div", { class: "hm-key" },
        swatch("--muted", "the model's own, T = 1"), swatch("--c1", "now")),
      status,
      element("div", { class: "hm-row" },
        button(`Draw another ${DRAWS}`, again)),
      tail],
    draw,
  });
}

export default { render };
