// Search by meaning: the best lines of a query, and the rank of the right one.
//
// `ranking` and `firsts` are the logic, without a page around them: a test
// runs them in node against handmade.models.sentences.search.

// [{line, rank, cosine}] best first: `top` lines, and one more, which is the
// right line where that is further down
export function ranking(found, { state, pooling, top }) {
  const ranks = found.ranks[state][pooling];
  const rows = ranks.map((rank, line) =>
    ({ line, rank, cosine: found.cosines[state][pooling][line] }))
    .sort((a, b) => a.rank - b.rank);
  const right = rows.find(({ line }) => line === found.right);
  const shown = rows.slice(0, top + 1);
  return right.rank > top + 1 ? [...shown.slice(0, top), right] : shown;
}

// of how many queries the right line is first, and among the first `top`
export function firsts(all, { state, pooling, top }) {
  const ranks = all.map((found) => found.ranks[state][pooling][found.right]);
  return {
    first: ranks.filter((rank) => rank === 1).length,
    among: ranks.filter((rank) => rank <= top).length,
  };
}

// the ranking that a row is compared with: the same one with a mask, or
// another pooling
export function rival({ state, pooling, poolings }) {
  if (state) return { state: 0, pooling, name: "with a mask" };
  if (poolings.length < 2) return null;
  const other = pooling ? 0 : 1;
  return { state, pooling: other, name: `by ${poolings[other]}` };
}

const KINDS = ["", "bs-frequent", "bs-shared"];

function render({ model, el }) {
  const queries = model.get("queries");
  const poolings = model.get("poolings");
  const all = model.get("found");
  const count = model.get("count");
  const top = model.get("top");
  const asked = element("p", { class: "bs-query" });
  const ways = choices({
    choose: (pooling) => setTraits(model, { pooling }),
  });
  const list = element("ol", { class: "bs-lines",
    "aria-label": "lines, best first" });
  const say = element("p", { class: "hm-say", "aria-live": "polite" });
  const facts = element("p", { class: "hm-say hm-more hm-muted" });

  function row({ line, rank, cosine }, found, other) {
    const right = line === found.right;
    const words = found.lines[line].map(([text, kind]) =>
      kind ? element("mark", { class: KINDS[kind] }, text) : text);
    const there = other && found.ranks[other.state][other.pooling][line];
    return element("li", { class: right ? "bs-right" : "",
      "data-gap": rank > top + 1 },
    element("span", { class: "bs-rank" }, right ? element("b", {}, "✓ ") : "",
      number(rank)),
    element("span", { class: "bs-text" }, ...words),
    element("span", { class: "bs-bar", "aria-hidden": "true" },
      element("i", { style: `width: ${(100 * Math.max(0, cosine)).toFixed(1)}%` })),
    element("span", { class: "bs-cosine" }, signed(cosine, 2)),
    element("span", { class: "bs-note" },
      other ? `${other.name}: ${number(there)}` : ""));
  }

  function draw() {
    const query = clamp(model.get("query"), 0, queries.length - 1);
    const pooling = clamp(model.get("pooling"), 0, poolings.length - 1);
    const found = all[query];
    const state = model.get("unmasked") && found.ranks.length > 1 ? 1 : 0;
    const rankOf = (way) => found.ranks[state][way][found.right];
    const now = { state, pooling, top };
    asked.textContent = `“${queries[query]}”`;
    ways.draw({
      label: "how the vectors of a line's tokens become one",
      names: poolings.map((name, i) => [
        `${name}: the right line has rank ${number(rankOf(i))}`,
        `right line: rank ${number(rankOf(i))}`,
      ]),
      picture: (i) => element("b", {}, poolings[i]),
      chosen: pooling,
    });
    const other = rival({ state, pooling, poolings });
    list.replaceChildren(...ranking(found, now).map((each) =>
      row(each, found, other)));
    const shared = found.lines[found.right].filter(([, kind]) => kind === 2);
    say.textContent = `By ${poolings[pooling]}${state ? ", padding not hidden" : ""}` +
      `, the right line has rank ${number(rankOf(pooling))} of ${number(count)}. ` +
      (shared.length
        ? `It shares “${shared.map(([word]) => word).join("”, “")}” with the query.`
        : "It shares no telling word with the query.");
    const { first, among } = firsts(all, now);
    facts.textContent = `Over all ${all.length} queries the right line comes ` +
      `first for ${first}, among the first ${top} for ${among}.`;
  }

  return frame({
    model, el, name: "search", title: "Found by meaning",
    look: "Look for lines that are found though they share no word with the " +
      "query, and for where the right one stands.",
    parts: [asked, ways.node, list, say, facts,
      element("div", { class: "hm-key" },
        swatch("--c1", "cosine, 0 to 1"),
        swatch("--c3", "✓ marked as right by a human"),
        element("span", {}, element("mark", { class: "bs-shared" }, "shared word")),
        element("span", {}, element("mark", { class: "bs-frequent" }, "shared, frequent")))],
    draw,
  });
}

export default { render };
