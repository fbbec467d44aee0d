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

const LONGEST = 300;

function render({ model, el }) {
  const { ranks, pairs } = unpackMerges(model.get("merges"));
  const byteIds = model.get("byte_ids");
  const splitDigits = model.get("split_digits");
  const id = (symbol) =>
    symbol < 256 ? byteIds[symbol] : model.get("first_id") + symbol - 256;
  const number = (n) => n.toLocaleString("en");

  const status = element("p", { class: "hm-status", "aria-live": "polite" });
  const list = element("ol", { class: "hm-words", "aria-label": "tokens, word by word" });
  const range = element("input", {
    type: "range", min: "0", step: "1", "aria-label": "merges done",
    oninput: () => go(Number(range.value)),
  });
  const button = (label, to) =>
    element("button", { type: "button", onclick: () => go(to()) }, label);
  const buttons = element("div", { class: "hm-buttons" },
    button("Bytes", () => 0),
    button("Back", () => model.get("step") - 1),
    button("Merge", () => model.get("step") + 1),
    button("All", () => run.merges.length),
    range);
  const note = element("p", { class: "hm-note" });
  el.append(element("div", { class: "hm hm-merge-steps" }, buttons, status, list, note));
  let run;

  function go(step) {
    const bounded = Math.max(0, Math.min(run.merges.length, step));
    setTraits(model, { step: bounded });
    draw();
  }

  function retrace() {
    const text = Array.from(model.get("text"));
    note.textContent = text.length > LONGEST
      ? `Only the first ${LONGEST} characters are shown.` : "";
    run = trace(text.slice(0, LONGEST).join(""), { ranks, byteIds, splitDigits });
    draw();
  }

  function draw() {
    const step = Math.max(0, Math.min(run.merges.length, model.get("step")));
    const state = after(run, step);
    const last = step > 0 ? run.merges[step - 1] : null;
    range.max = String(run.merges.length);
    range.value = String(step);
    const tokens = state.reduce((sum, word) => sum + word.length, 0);
    const where = `Step ${step} of ${run.merges.length}, ${number(tokens)} tokens. `;
    if (last) {
      const [a, b] = pairs[last.rank].map((s) => show(s, pairs));
      status.textContent = where + `Merge ${number(last.rank + 1)} of ` +
        `${number(pairs.length)}: “${a}” + “${b}” becomes ` +
        `“${show(256 + last.rank, pairs)}”, id ${number(id(256 + last.rank))}.`;
    } else {
      status.textContent = where + "Every byte is a token.";
    }
    list.replaceChildren(...state.map((word, w) => element("li", {},
      ...word.map((symbol, at) => {
        const fresh = last && last.word === w && last.at === at;
        return element("span", { class: fresh ? "hm-token hm-new" : "hm-token" },
          element("b", {}, show(symbol, pairs)),
          element("small", {}, String(id(symbol))));
      }))));
  }

  onTraits(model, ["text"], () => {
    setTraits(model, { step: 0 });
    retrace();
  });
  onTraits(model, ["step"], draw);
  retrace();
}

export default { render };
