// Byte-level BPE, one merge at a time.
//
// `unpackMerges`, `words` and `trace` are the whole logic, without a page
// around them: a test runs them in node against handmade.text.bpe. A symbol
// is a number: a byte, or 256 + the rank of the merge that made it.

// base64 -> {ranks: "a,b" -> rank, pairs: [[a, b], ...]}
export function unpackMerges(text) {
  const raw = bytes(text);
  const ranks = new Map();
  const pairs = [];
  for (let i = 0; i + 3 < raw.length; i += 4) {
    const pair = [raw[i] + 256 * raw[i + 1], raw[i + 2] + 256 * raw[i + 3]];
    ranks.set(pair[0] * 65536 + pair[1], pairs.length);
    pairs.push(pair);
  }
  return { ranks, pairs };
}

// GPT-2's pattern; \s is Unicode's White_Space, which is not JavaScript's
const SPACE = "\\t-\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const PATTERNS = [false, true].map((digits) => new RegExp(
  " ?\\p{L}+|'(?:[stmd]|re|ve|ll)|" + (digits ? "\\p{N}" : " ?\\p{N}+") +
  `| ?[^${SPACE}\\p{L}\\p{N}]+|` +
  `[${SPACE}]+(?![^${SPACE}${digits ? "\\p{N}" : ""}])|[${SPACE}]+`, "gu"));

export function words(text, splitDigits) {
  return text.match(PATTERNS[+splitDigits]) ?? [];
}

// the bytes of each word, and the merges in the order they happen:
// of all words, the merge learned first; in a word, the leftmost
export function trace(text, { ranks, byteIds, splitDigits }) {
  const encoder = new TextEncoder();
  const spelled = words(text, splitDigits).map((word) =>
    Array.from(encoder.encode(word)).filter((b) => byteIds[b] >= 0));
  const state = spelled.map((word) => [...word]);
  const next = state.map((word) => lowest(word, ranks));
  const merges = [];
  for (;;) {
    let best = -1;
    next.forEach((found, i) => {
      if (found && (best < 0 || found.rank < next[best].rank)) best = i;
    });
    if (best < 0) return { spelled, merges };
    const { rank, at } = next[best];
    state[best].splice(at, 2, 256 + rank);
    merges.push({ word: best, at, rank });
    next[best] = lowest(state[best], ranks);
  }
}

function lowest(word, ranks) {
  let found = null;
  for (let at = 0; at + 1 < word.length; at++) {
    const rank = ranks.get(word[at] * 65536 + word[at + 1]);
    if (rank !== undefined && (!found || rank < found.rank)) found = { rank, at };
  }
  return found;
}

// the words after the first n merges
export function after({ spelled, merges }, n) {
  const state = spelled.map((word) => [...word]);
  for (const { word, at, rank } of merges.slice(0, n)) {
    state[word].splice(at, 2, 256 + rank);
  }
  return state;
}

// all neighbours that are a pair of the list, the next to be merged first
export function rivals(state, ranks) {
  return state.flatMap((word, w) => word.slice(1).map((right, at) => (
    { word: w, at, rank: ranks.get(word[at] * 65536 + right) })))
    .filter(({ rank }) => rank !== undefined)
    .sort((a, b) => a.rank - b.rank);
}

// symbol -> its bytes
export function spell(symbol, pairs) {
  if (symbol < 256) return [symbol];
  const [a, b] = pairs[symbol - 256];
  return [...spell(a, pairs), ...spell(b, pairs)];
}

// bytes -> characters if they are whole ones, else hexadecimal
export function show(symbol, pairs) {
  const raw = Uint8Array.from(spell(symbol, pairs));
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(raw);
    if (!/[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{M}]/u.test(text.replaceAll("\n", ""))) {
      return text.replaceAll(" ", "␣").replaceAll("\n", "⏎");
    }
  } catch { /* half a character */ }
  return Array.from(raw, (b) => b.toString(16).toUpperCase().padStart(2, "0")).join(" ");
}

const LONGEST = 300; // characters read
const RIVALS = 5; // pairs listed

function render({ model, el }) {
  const { ranks, pairs } = unpackMerges(model.get("merges"));
  const byteIds = model.get("byte_ids");
  const splitDigits = model.get("split_digits");
  const id = (symbol) =>
    symbol < 256 ? byteIds[symbol] : model.get("first_id") + symbol - 256;
  // `run` is the trace of `text`, `spoken` its words; `shown` the step drawn
  let run, text, spoken, shown;

  const go = (step) => () => setTraits(model,
    { step: clamp(step(model.get("step")), 0, run.merges.length) });
  const back = [button("Bytes", go(() => 0)), button("Back", go((n) => n - 1))];
  const on = [button("Merge", go((n) => n + 1)),
    button("All", go(() => Infinity))];
  const range = element("input", { type: "range", min: 0, "aria-label":
    "merges done", oninput: () => go(() => Number(range.value))() });
  const value = element("output");
  const list = element("ol", { class: "ms-words", tabindex: 0,
    "aria-label": "tokens, word by word" });
  const body = element("tbody");
  const say = element("p", { class: "hm-say", "aria-live": "polite" });
  const piece = (symbol, more = "") =>
    element("b", { class: `hm-chip ${more}` }, show(symbol, pairs));

  // a word's chips, and before each but the first the rank of the pair
  function drawWord(word, w, last, next) {
    return element("li", {}, ...word.map((symbol, at) => {
      const fresh = last?.word === w && last.at === at;
      const chosen = next?.word === w && [next.at, next.at + 1].includes(at);
      const one = piece(symbol, chosen ? "ms-next" : fresh ? "ms-new" : "");
      if (!next) one.append(element("small", {}, String(id(symbol))));
      if (!at) return one;
      const rank = ranks.get(word[at - 1] * 65536 + symbol);
      const wins = next?.word === w && next.at + 1 === at;
      return element("span", {}, element("i", { class: wins ? "ms-wins" : "" },
        rank === undefined ? "·" : String(rank + 1)), one);
    }));
  }

  function draw() {
    const found = Array.from(model.get("text"));
    const now = found.slice(0, LONGEST).join("");
    if (now !== text) {
      run = trace(now, { ranks, byteIds, splitDigits });
      spoken = words(now, splitDigits);
      // another text begins at its bytes, unless a step came with it
      if (text !== undefined && model.get("step") === shown) {
        setTraits(model, { step: 0 });
      }
      text = now;
    }
    const count = run.merges.length;
    const step = clamp(model.get("step"), 0, count);
    shown = model.get("step");
    const state = after(run, step);
    const last = step > 0 ? run.merges[step - 1] : null;
    const all = rivals(state, ranks);
    const next = all[0];
    list.replaceChildren(...state.map((word, w) =>
      drawWord(word, w, last, next)));
    // what was merged stays in sight, or what will be
    const at = list.querySelector(last ? ".ms-new, .ms-next" : ".ms-next");
    list.scrollTop += at
      ? at.getBoundingClientRect().top - list.getBoundingClientRect().top -
        list.clientHeight / 2 : 0;

    const rows = all.slice(0, RIVALS).map(({ word, at, rank }, i) =>
      element("tr", { class: i ? "" : "ms-wins" },
        element("td", {}, number(rank + 1)),
        element("td", {}, piece(state[word][at]), "+ ",
          piece(state[word][at + 1])),
        element("td", {}, piece(256 + rank)),
        element("td", {}, visible(spoken[word]))));
    while (rows.length < RIVALS) {
      rows.push(element("tr", {}, element("td", { colspan: 4 },
        rows.length ? "" : "No pair is left: these are the tokens.")));
    }
    body.replaceChildren(...rows);

    range.max = String(count);
    range.value = String(step);
    value.textContent = `${step} / ${count}`;
    for (const each of back) each.disabled = step === 0;
    for (const each of on) each.disabled = step === count;
    const tokens = state.reduce((sum, word) => sum + word.length, 0);
    const parts = last ? [...pairs[last.rank], 256 + last.rank] : [];
    const [a, b, made] = parts.map((symbol) => show(symbol, pairs));
    say.textContent = `${number(tokens)} tokens. ` + (last
      ? `“${a}” + “${b}” became “${made}”, id ${number(id(parts[2]))}. `
      : "Every byte is one. ") + (all.length
      ? `${all.length} ${all.length === 1 ? "pair waits" : "pairs compete"}: ` +
        "the lowest rank wins."
      : "") + (found.length > LONGEST
      ? ` Only the first ${LONGEST} characters are read.` : "");
  }

  return frame({
    model, el, name: "merges", title: "The lowest rank wins",
    look: "Between two neighbours stands the rank of their pair; each step " +
      "merges the pair that was learned first.",
    parts: [list,
      element("table", {},
        element("thead", {}, element("tr", {},
          ...["rank", "pair", "becomes", "in the word"].map((name) =>
            element("th", { scope: "col" }, name)))), body),
      say, element("div", { class: "hm-row" }, ...back, ...on, range, value)],
    draw,
  });
}

export default { render };
