// The next-token distribution under temperature, top-k, top-p and min-p.
//
// `distribution` and `draw` are the whole logic, without a page around them:
// a test runs them in node against handmade.inference.sampling. The likeliest
// tokens come with exact logits, the long tail as a histogram of its logits:
// `tail.counts[i]` tokens lie at logit tail.high - (i + 0.5) * tail.step,
// `tail.faint` more far below, and `never` have no probability at all.

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
    g.n = g.size;
  }
  const all = total(groups);

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
    g.before = g.weight / all;
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
export function draw(groups, u) {
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

const SHOWN = 12;
const DRAWS = 12;

// a token with its blanks made visible
function visible(token) {
  return token.replaceAll(" ", "␣").replaceAll("\n", "⏎") || "∅";
}

function whole(n) {
  // counts that reach into the histogram are good to three digits
  if (n <= 256) return String(n);
  const digits = 10 ** Math.max(0, Math.floor(Math.log10(n)) - 2);
  return `about ${(Math.round(n / digits) * digits).toLocaleString("en")}`;
}

function render({ model, el }) {
  const unpacked = model.get("data").map((d) => ({
    logits: Float64Array.from(floats(d.top)),
    tail: { high: d.high, step: d.step, counts: Array.from(bytes(d.tail)),
      faint: d.faint, faintAt: d.faint_at },
    never: d.never,
    tokens: d.tokens,
  }));
  const random = generator(1);
  const prompt = element("p", { class: "hm-prompt" });
  const status = element("p", { class: "hm-status", "aria-live": "polite" });
  const body = element("tbody");
  const drawn = element("p", { class: "hm-drawn", "aria-live": "polite" });
  const button = element("button", { type: "button" }, `Draw ${DRAWS} tokens`);
  const head = element("thead", {}, element("tr", {},
    element("th", { scope: "col" }, "token"),
    element("th", { scope: "col" }, "probability"),
    element("th", { scope: "col", class: "hm-number" }, "drawn with"),
  ));
  el.append(element("div", { class: "hm hm-next-token" }, prompt, status,
    element("table", {}, head, body), button, drawn));
  let current;

  function row(name, before, p, kept) {
    const scale = (x) => `${(100 * Math.min(x, 1)).toFixed(2)}%`;
    return element("tr", { class: kept ? "" : "hm-cut" },
      element("th", { scope: "row" }, name),
      element("td", { class: "hm-bars", "aria-label": `${percent(before)} before the cut` },
        element("span", { class: "hm-after", style: `width:${scale(p)}` }),
        element("span", { class: "hm-before", style: `width:${scale(before)}` })),
      element("td", { class: "hm-number" }, kept ? percent(p) : "cut"),
    );
  }

  function update() {
    const data = unpacked[model.get("index")];
    current = distribution(data, {
      temperature: model.get("temperature"),
      topK: model.get("top_k"),
      topP: model.get("top_p"),
      minP: model.get("min_p"),
    });
    const { groups, kept, entropy, mass, vocabulary } = current;
    prompt.textContent = `${model.get("prompts")[model.get("index")]} …`;
    status.textContent =
      `${kept === vocabulary ? "all" : `${whole(kept)} of`} ` +
      `${vocabulary.toLocaleString("en")} tokens kept, ` +
      `with ${percent(mass)} of the probability; ` +
      `entropy ${entropy.toFixed(2)} bits`;
    const rows = groups.slice(0, SHOWN).map((g, i) =>
      row(visible(data.tokens[i]), g.before, g.p, g.n > 0));
    const rest = groups.slice(SHOWN);
    const sum = (f) => rest.reduceRight((s, g) => s + f(g), 0);
    const others = sum((g) => g.n);
    rows.push(row("all others", sum((g) => g.size * g.before),
      sum((g) => g.n * g.p), others > 0));
    body.replaceChildren(...rows);
    drawn.textContent = "";
  }

  button.addEventListener("click", () => {
    const { tokens } = unpacked[model.get("index")];
    const names = Array.from({ length: DRAWS }, () => {
      const rank = draw(current.groups, random());
      return rank < tokens.length
        ? visible(tokens[rank])
        : `(rank ${(rank + 1).toLocaleString("en")})`;
    });
    drawn.replaceChildren(...names.map((n) => element("span", {}, n)));
  });
  onTraits(model, ["index", "temperature", "top_k", "top_p", "min_p", "data"], update);
  update();
}

export default { render };
