// The transformer by hand, to scrub through: each step of the forward and the
// backward pass, what each number was computed from, and any weight to change.
//
// The first half is `handmade.scalar` again, by its names; a test holds it to
// that. `RULES` says each step once more, number by number, and reads what it
// needs through `Reader`, which remembers it: what was read is shown.

const N_HEADS = 2;
const EPS = 1e-5;
export const SIZES = { V: 5, P: 5, D: 16, F: 64 };
export const SHAPES = {
  tok_emb: "VD", pos_emb: "PD", "attn_norm.weight": "D", "attn_norm.bias": "D",
  q_proj: "DD", k_proj: "DD", v_proj: "DD", o_proj: "DD",
  "ffn_norm.weight": "D", "ffn_norm.bias": "D", up_proj: "FD", down_proj: "DF",
  "norm.weight": "D", "norm.bias": "D",
};

export function initial_weights(seed) {
  let state = seed;
  const draw = (letters, start) => {
    if (letters) {
      return Array.from({ length: SIZES[letters[0]] }, () =>
        draw(letters.slice(1), start));
    }
    state = (48271 * state) % (2 ** 31 - 1);
    return (state % 101 - 50 + start) / 100;
  };
  return Object.fromEntries(Object.entries(SHAPES).map(([name, letters]) =>
    [name, draw(letters, name.endsWith("norm.weight") ? 100 : 0)]));
}

const total = (numbers) => numbers.reduce((sum, x) => sum + x, 0);
const dot = (a, b) => total(a.map((x, i) => x * b[i]));
const transpose = (a) => a[0].map((_, i) => a.map((row) => row[i]));
const add = (a, b) => a.map((row, t) => row.map((x, d) => x + b[t][d]));
const lookup = (table, ids) => ids.map((i) => [...table[i]]);

function matmul(a, b) {
  const columns = transpose(b);
  return a.map((row) => columns.map((column) => dot(row, column)));
}

const linear = (x, weight) => matmul(x, transpose(weight));
const linear_backward = (grad, x, weight) =>
  [matmul(grad, weight), matmul(transpose(grad), x)];

function lookup_backward(grad, table, ids) {
  const found = table.map((row) => row.map(() => 0));
  ids.forEach((i, t) => grad[t].forEach((x, d) => { found[i][d] += x; }));
  return found;
}

// (x - mean) r and r, for one token
function standardize(row) {
  const mean = total(row) / row.length;
  const variance = total(row.map((y) => (y - mean) ** 2)) / row.length;
  const scale = 1 / Math.sqrt(variance + EPS);
  return [row.map((y) => (y - mean) * scale), scale];
}

const layer_norm = (x, weight, bias) => x.map((row) =>
  standardize(row)[0].map((n, d) => weight[d] * n + bias[d]));

// the gradient at one token that a layer norm took
function norm_row_backward(grad, row, weight) {
  const [n, scale] = standardize(row);
  const u = grad.map((g, d) => g * weight[d]);
  const mean = total(u) / u.length, along = dot(u, n) / u.length;
  return u.map((a, d) => scale * (a - mean - n[d] * along));
}

function layer_norm_backward(grad, x, weight) {
  const normed = x.map((row) => standardize(row)[0]);
  const [g, n] = [transpose(grad), transpose(normed)];
  return [grad.map((row, t) => norm_row_backward(row, x[t], weight)),
    g.map((column, d) => dot(column, n[d])), g.map(total)];
}

const split_heads = (x, n_heads) => Array.from({ length: n_heads }, (_, h) =>
  x.map((row) => row.slice(h * row.length / n_heads, (h + 1) * row.length / n_heads)));
const merge_heads = (x) => x[0].map((_, t) => x.flatMap((head) => head[t]));

function softmax(scores) {
  return scores.map((row) => {
    const largest = Math.max(...row);
    const powers = row.map((score) => Math.exp(score - largest));
    return powers.map((power) => power / total(powers));
  });
}

const softmax_backward = (grad, shares) => grad.map((g, t) => {
  const mean = dot(g, shares[t]);
  return shares[t].map((p, s) => p * (g[s] - mean));
});

function attention(q, k, v) {
  const root = Math.sqrt(q[0].length);
  const scores = matmul(q, transpose(k)).map((row, t) =>
    row.map((y, s) => (s <= t ? y / root : -Infinity)));
  const weights = softmax(scores);
  return [matmul(weights, v), weights, scores];
}

function attention_backward(grad, q, k, v, weights) {
  const root = Math.sqrt(q[0].length);
  const grad_weights = matmul(grad, transpose(v));
  const grad_scores = softmax_backward(grad_weights, weights);
  const scaled = grad_scores.map((row) => row.map((g) => g / root));
  return [matmul(scaled, k), matmul(transpose(scaled), q),
    matmul(transpose(weights), grad), grad_weights, grad_scores];
}

// the error function: below 3 a series whose terms are all positive, above
// its continued fraction
export function erf(x) {
  const z = Math.abs(x), root = Math.sqrt(Math.PI), bell = Math.exp(-z * z);
  if (z > 6) return Math.sign(x);
  if (z < 3) {
    let term = z, sum = z;
    for (let n = 1; term > 1e-18 * sum; n++) {
      term *= 2 * z * z / (2 * n + 1);
      sum += term;
    }
    return Math.sign(x) * 2 / root * bell * sum;
  }
  let tail = z;
  for (let n = 120; n > 0; n--) tail = z + n / 2 / tail;
  return Math.sign(x) * (1 - bell / tail / root);
}

const normal_below = (x) => (1 + erf(x / Math.SQRT2)) / 2;
const slope = (y) => normal_below(y) +
  y * Math.exp(-(y ** 2) / 2) / Math.sqrt(2 * Math.PI);
const gelu = (x) => x.map((row) => row.map((y) => y * normal_below(y)));
const gelu_backward = (grad, x) => grad.map((row, t) =>
  row.map((g, f) => g * slope(x[t][f])));

export function cross_entropy(logits, targets) {
  return total(logits.map((row, t) => {
    const largest = Math.max(...row);
    const sum = total(row.map((y) => Math.exp(y - largest)));
    return largest + Math.log(sum) - row[targets[t]];
  })) / logits.length;
}

const cross_entropy_backward = (logits, targets) =>
  softmax(logits).map((row, t) =>
    row.map((p, v) => (p - (v === targets[t])) / targets.length));

export function forward(w, ids) {
  const a = {};
  a.tok = lookup(w.tok_emb, ids);
  a.pos = lookup(w.pos_emb, ids.map((_, t) => t));
  a.x = add(a.tok, a.pos);
  a.attn_norm = layer_norm(a.x, w["attn_norm.weight"], w["attn_norm.bias"]);
  for (const n of "qkv") {
    a[n] = split_heads(linear(a.attn_norm, w[`${n}_proj`]), N_HEADS);
  }
  const heads = a.q.map((q, h) => attention(q, a.k[h], a.v[h]));
  [a.heads, a.weights, a.scores] = [0, 1, 2].map((i) => heads.map((x) => x[i]));
  a.merged = merge_heads(a.heads);
  a.attn = linear(a.merged, w.o_proj);
  a.x_attn = add(a.x, a.attn);
  a.ffn_norm = layer_norm(a.x_attn, w["ffn_norm.weight"], w["ffn_norm.bias"]);
  a.up = linear(a.ffn_norm, w.up_proj);
  a.bent = gelu(a.up);
  a.ffn = linear(a.bent, w.down_proj);
  a.x_ffn = add(a.x_attn, a.ffn);
  a.norm = layer_norm(a.x_ffn, w["norm.weight"], w["norm.bias"]);
  a.logits = linear(a.norm, w.tok_emb);
  return a;
}

export function backward(w, ids, a, grad) {
  const g = { logits: grad };
  let head, branch, part;
  [g.norm, head] = linear_backward(grad, a.norm, w.tok_emb);
  [g.x_ffn, g["norm.weight"], g["norm.bias"]] =
    layer_norm_backward(g.norm, a.x_ffn, w["norm.weight"]);
  g.ffn = g.x_ffn;
  [g.bent, g.down_proj] = linear_backward(g.ffn, a.bent, w.down_proj);
  g.up = gelu_backward(g.bent, a.up);
  [g.ffn_norm, g.up_proj] = linear_backward(g.up, a.ffn_norm, w.up_proj);
  [branch, g["ffn_norm.weight"], g["ffn_norm.bias"]] =
    layer_norm_backward(g.ffn_norm, a.x_attn, w["ffn_norm.weight"]);
  g.x_attn = add(g.x_ffn, branch);
  g.attn = g.x_attn;
  [g.merged, g.o_proj] = linear_backward(g.attn, a.merged, w.o_proj);
  g.heads = split_heads(g.merged, N_HEADS);
  const heads = g.heads.map((grad_head, h) =>
    attention_backward(grad_head, a.q[h], a.k[h], a.v[h], a.weights[h]));
  ["q", "k", "v", "weights", "scores"].forEach((name, i) => {
    g[name] = heads.map((x) => x[i]);
  });
  g.attn_norm = a.attn_norm.map((row) => row.map(() => 0));
  for (const n of "qkv") {
    [part, g[`${n}_proj`]] =
      linear_backward(merge_heads(g[n]), a.attn_norm, w[`${n}_proj`]);
    g.attn_norm = add(g.attn_norm, part);
  }
  [branch, g["attn_norm.weight"], g["attn_norm.bias"]] =
    layer_norm_backward(g.attn_norm, a.x, w["attn_norm.weight"]);
  g.x = add(g.x_attn, branch);
  g.tok = g.pos = g.x;
  g.pos_emb = lookup_backward(g.pos, w.pos_emb, ids.map((_, t) => t));
  g.tok_emb = add(head, lookup_backward(g.tok, w.tok_emb, ids));
  return g;
}

// -- the same once more, number by number; ∂q is the gradient at q

const D = SIZES.D, F = SIZES.F, K = D / N_HEADS;
const place = (d) => [Math.floor(d / K), d % K]; // its head, and where there

export class Reader {
  constructor(values, ids, targets) {
    Object.assign(this, { values, ids, targets, read: [], terms: [] });
  }
  take(name, ...index) {
    this.read.push([name, index]);
    return index.reduce((x, i) => x[i], this.values[name]);
  }
  // the numbers name[...index][0], [1], … up to n
  row(name, n, ...index) {
    return Array.from({ length: n }, (_, i) => this.take(name, ...index, i));
  }
  // the sum of n products
  sum(n, pair) {
    const terms = Array.from({ length: n }, (_, i) => pair(i));
    this.terms.push(...terms);
    return total(terms.map(([a, b]) => a * b));
  }
}

const copied = (from) => ["a copy", (r, i) => r.take(...from(i, r))];
const added = (a, b) => ["the sum of both", (r, i) => r.take(a, ...i) + r.take(b, ...i)];
const normed = (x, n) => ["(x − mean) · r · gain + bias, mean and r of its token",
  (r, [t, d]) => standardize(r.row(x, D, t))[0][d] * r.take(`${n}.weight`, d) +
    r.take(`${n}.bias`, d)];
const lined = (x, w, n) => ["", (r, [t, f]) =>
  r.sum(n, (i) => [r.take(x, t, i), r.take(w, f, i)])];
const projected = (w) => ["", (r, [h, t, k]) =>
  r.sum(D, (i) => [r.take("attn_norm", t, i), r.take(w, h * K + k, i)])];
const lined_back = (g, w, n) => ["", (r, [t, i]) =>
  r.sum(n, (f) => [r.take(g, t, f), r.take(w, f, i)])];
const at_weight = (g, x) => ["", (r, [f, i]) =>
  r.sum(r.ids.length, (t) => [r.take(g, t, f), r.take(x, t, i)])];
const at_projection = (g) => ["", (r, [f, i]) => {
  const [h, k] = place(f);
  return r.sum(r.ids.length, (t) => [r.take(g, h, t, k), r.take("attn_norm", t, i)]);
}];
const norm_back = (r, g, x, n, [t, d]) => norm_row_backward(
  r.row(g, D, t), r.row(x, D, t), r.row(`${n}.weight`, D))[d];
const past_sum = (g, x, n) => [
  "the gradient past the layer, and r (u − mean(u) − n mean(u n)) through its norm",
  (r, i) => r.take(`∂${g}`, ...i) + norm_back(r, `∂${n}`, x, n, i)];
const at_gain = (n, x) => ["each token’s gradient times its normalized number",
  (r, [d]) => r.sum(r.ids.length, (t) =>
    [r.take(`∂${n}`, t, d), standardize(r.row(x, D, t))[0][d]])];
const at_bias = (n) => ["the sum over the tokens",
  (r, [d]) => total(r.ids.map((_, t) => r.take(`∂${n}`, t, d)))];

// name -> [the call in scalar.py, words for one number, its rule]
export const RULES = {
  tok: ["lookup(tok_emb, ids)", ...copied(([t, d], r) => ["tok_emb", r.ids[t], d])],
  pos: ["lookup(pos_emb, places)", ...copied(([t, d]) => ["pos_emb", t, d])],
  x: ["add(tok, pos)", ...added("tok", "pos")],
  attn_norm: ["layer_norm(x, attn_norm.weight, attn_norm.bias)", ...normed("x", "attn_norm")],
  q: ["split_heads(linear(attn_norm, q_proj))", ...projected("q_proj")],
  k: ["split_heads(linear(attn_norm, k_proj))", ...projected("k_proj")],
  v: ["split_heads(linear(attn_norm, v_proj))", ...projected("v_proj")],
  scores: ["attention: matmul(q, transpose(k)) / √K", "divided by √8",
    (r, [h, t, s]) => (s > t ? -Infinity : r.sum(K, (k) =>
      [r.take("q", h, t, k), r.take("k", h, s, k)]) / Math.sqrt(K))],
  weights: ["attention: softmax(scores)", "e^score, divided by the sum over its row",
    (r, [h, t, s]) => softmax([r.row("scores", t + 1, h, t)])[0][s] ?? 0],
  heads: ["attention: matmul(weights, v)", "",
    (r, [h, t, k]) => r.sum(t + 1, (s) => [r.take("weights", h, t, s), r.take("v", h, s, k)])],
  merged: ["merge_heads(heads)", ...copied(([t, d]) => {
    const [h, k] = place(d);
    return ["heads", h, t, k];
  })],
  attn: ["linear(merged, o_proj)", ...lined("merged", "o_proj", D)],
  x_attn: ["add(x, attn)", ...added("x", "attn")],
  ffn_norm: ["layer_norm(x_attn, ffn_norm.weight, ffn_norm.bias)",
    ...normed("x_attn", "ffn_norm")],
  up: ["linear(ffn_norm, up_proj)", ...lined("ffn_norm", "up_proj", D)],
  bent: ["gelu(up)", "x Φ(x)", (r, i) => gelu([[r.take("up", ...i)]])[0][0]],
  ffn: ["linear(bent, down_proj)", ...lined("bent", "down_proj", F)],
  x_ffn: ["add(x_attn, ffn)", ...added("x_attn", "ffn")],
  norm: ["layer_norm(x_ffn, norm.weight, norm.bias)", ...normed("x_ffn", "norm")],
  logits: ["linear(norm, tok_emb)", ...lined("norm", "tok_emb", D)],
  loss: ["cross_entropy(logits, targets)", "the mean of −ln softmax(logits)[target]",
    (r) => cross_entropy(r.ids.map((_, t) => r.row("logits", SIZES.V, t)), r.targets)],

  "∂logits": ["cross_entropy_backward(logits, targets)", "(softmax − 1 at the target) / T",
    (r, [t, v]) => (softmax([r.row("logits", SIZES.V, t)])[0][v] -
      (v === r.targets[t])) / r.targets.length],
  "∂norm": ["linear_backward(∂logits, norm, tok_emb)",
    ...lined_back("∂logits", "tok_emb", SIZES.V)],
  "∂x_ffn": ["layer_norm_backward(∂norm, x_ffn, norm.weight)",
    "r (u − mean(u) − n mean(u n)), u = ∂norm · gain",
    (r, i) => norm_back(r, "∂norm", "x_ffn", "norm", i)],
  "∂norm.weight": ["layer_norm_backward(∂norm, x_ffn, norm.weight)", ...at_gain("norm", "x_ffn")],
  "∂norm.bias": ["layer_norm_backward(∂norm, x_ffn, norm.weight)", ...at_bias("norm")],
  "∂ffn": ["a sum hands its gradient on", ...copied((i) => ["∂x_ffn", ...i])],
  "∂bent": ["linear_backward(∂ffn, bent, down_proj)", ...lined_back("∂ffn", "down_proj", D)],
  "∂down_proj": ["linear_backward(∂ffn, bent, down_proj)", ...at_weight("∂ffn", "bent")],
  "∂up": ["gelu_backward(∂bent, up)", "times Φ(x) + x φ(x)",
    (r, i) => r.take("∂bent", ...i) * slope(r.take("up", ...i))],
  "∂ffn_norm": ["linear_backward(∂up, ffn_norm, up_proj)", ...lined_back("∂up", "up_proj", F)],
  "∂up_proj": ["linear_backward(∂up, ffn_norm, up_proj)", ...at_weight("∂up", "ffn_norm")],
  "∂x_attn": ["add(∂x_ffn, layer_norm_backward(∂ffn_norm, …))",
    ...past_sum("x_ffn", "x_attn", "ffn_norm")],
  "∂ffn_norm.weight": ["layer_norm_backward(∂ffn_norm, x_attn, …)",
    ...at_gain("ffn_norm", "x_attn")],
  "∂ffn_norm.bias": ["layer_norm_backward(∂ffn_norm, x_attn, …)", ...at_bias("ffn_norm")],
  "∂attn": ["a sum hands its gradient on", ...copied((i) => ["∂x_attn", ...i])],
  "∂merged": ["linear_backward(∂attn, merged, o_proj)", ...lined_back("∂attn", "o_proj", D)],
  "∂o_proj": ["linear_backward(∂attn, merged, o_proj)", ...at_weight("∂attn", "merged")],
  "∂heads": ["split_heads(∂merged)", ...copied(([h, t, k]) => ["∂merged", t, h * K + k])],
  "∂weights": ["attention_backward: matmul(∂heads, transpose(v))", "",
    (r, [h, t, s]) => r.sum(K, (k) => [r.take("∂heads", h, t, k), r.take("v", h, s, k)])],
  "∂scores": ["attention_backward: softmax_backward(∂weights, weights)", "p (g − sum(g p))",
    (r, [h, t, s]) => softmax_backward([r.row("∂weights", r.ids.length, h, t)],
      [r.row("weights", r.ids.length, h, t)])[0][s]],
  "∂v": ["attention_backward: matmul(transpose(weights), ∂heads)", "",
    (r, [h, s, k]) => r.sum(r.ids.length, (t) =>
      [r.take("weights", h, t, s), r.take("∂heads", h, t, k)])],
  "∂q": ["attention_backward: matmul(∂scores, k) / √K", "divided by √8",
    (r, [h, t, k]) => r.sum(r.ids.length, (s) =>
      [r.take("∂scores", h, t, s), r.take("k", h, s, k)]) / Math.sqrt(K)],
  "∂k": ["attention_backward: matmul(transpose(∂scores), q) / √K", "divided by √8",
    (r, [h, s, k]) => r.sum(r.ids.length, (t) =>
      [r.take("∂scores", h, t, s), r.take("q", h, t, k)]) / Math.sqrt(K)],
  "∂attn_norm": ["linear_backward of q, k and v, added", "",
    (r, [t, d]) => r.sum(3 * D, (i) => {
      const n = "qkv"[Math.floor(i / D)], [h, k] = place(i % D);
      return [r.take(`∂${n}`, h, t, k), r.take(`${n}_proj`, i % D, d)];
    })],
  "∂q_proj": ["linear_backward(merge_heads(∂q), attn_norm, q_proj)", ...at_projection("∂q")],
  "∂k_proj": ["linear_backward(merge_heads(∂k), attn_norm, k_proj)", ...at_projection("∂k")],
  "∂v_proj": ["linear_backward(merge_heads(∂v), attn_norm, v_proj)", ...at_projection("∂v")],
  "∂x": ["add(∂x_attn, layer_norm_backward(∂attn_norm, …))",
    ...past_sum("x_attn", "x", "attn_norm")],
  "∂attn_norm.weight": ["layer_norm_backward(∂attn_norm, x, …)", ...at_gain("attn_norm", "x")],
  "∂attn_norm.bias": ["layer_norm_backward(∂attn_norm, x, …)", ...at_bias("attn_norm")],
  "∂tok": ["a sum hands its gradient on", ...copied((i) => ["∂x", ...i])],
  "∂pos": ["a sum hands its gradient on", ...copied((i) => ["∂x", ...i])],
  "∂pos_emb": ["lookup_backward(∂pos, pos_emb, places)",
    "a copy", (r, [p, d]) => (p < r.ids.length ? r.take("∂pos", p, d) : 0)],
  "∂tok_emb": ["add(head, lookup_backward(∂tok, tok_emb, ids))",
    "the head’s part, and a term for each place where the word stands",
    (r, [v, d]) => r.sum(r.ids.length, (t) => [r.take("∂logits", t, v), r.take("norm", t, d)]) +
      total(r.ids.map((id, t) => (id === v ? r.take("∂tok", t, d) : 0)))],
};

// all numbers by name: weights, values, the loss, and ∂ of each
export function compute(w, ids, targets) {
  const a = forward(w, ids);
  const g = backward(w, ids, a, cross_entropy_backward(a.logits, targets));
  const named = Object.entries(g).map(([name, x]) => [`∂${name}`, x]);
  return { ...w, ...a, loss: cross_entropy(a.logits, targets),
    ...Object.fromEntries(named) };
}

export const ORDER = Object.keys(RULES);

// a list of numbers as it is drawn: its size, and which number a cell shows.
// Heads stand side by side; a matrix that is taller than wide lies down.
export function layout(x) {
  if (!Array.isArray(x)) return { rows: 1, columns: 1, index: () => [] };
  const [n, m, l] = [x.length, x[0].length, x[0][0]?.length];
  if (l) {
    return { rows: m, columns: n * l, index: (t, c) => [Math.floor(c / l), t, c % l],
      cell: ([h, t, c]) => [t, h * l + c], gap: l };
  }
  if (!m) return { rows: 1, columns: n, index: (_, c) => [c], cell: ([c]) => [0, c] };
  if (n > m) {
    return { rows: m, columns: n, index: (t, c) => [c, t], cell: ([c, t]) => [t, c],
      turned: true };
  }
  return { rows: n, columns: m, index: (t, c) => [t, c], cell: (i) => i };
}

// -- the drawing

const GAP = 14, TITLE = 18; // between maps, and above one

// the largest cell with which all maps fit into a box, and where each lies
export function pack(maps, width, height) {
  for (let size = 15; size > 2; size -= 0.5) {
    const places = [];
    let x = 0, y = 0, shelf = 0;
    for (const map of maps) {
      const wide = Math.max(map.columns * size + 2, map.title);
      const high = map.rows * size + TITLE + 8;
      if (x && x + wide > width) [x, y, shelf] = [0, y + shelf, 0];
      places.push([x, y + TITLE]);
      x += wide + GAP;
      shelf = Math.max(shelf, high);
      if (wide > width) x = Infinity;
    }
    if (y + shelf <= height && places.every(([at], i) =>
      at + maps[i].columns * size <= width)) return { size, places };
  }
  return { size: 2.5, places: maps.map((_, i) => [0, TITLE + i * 40]) };
}

const short = (x) => (Number.isFinite(x) ? signed(x, Math.abs(x) < 10 ? 3 : 1) : "−∞");
const called = (name, index) => name + index.map((i) => `[${i}]`).join("");

// where a number came from, in words
export function explain(name, index, value, { read, terms }) {
  const words = RULES[name][1];
  let told = "";
  if (terms.length) {
    const most = terms.map(([a, b]) => a * b)
      .map((x, i) => [Math.abs(x), i]).sort((a, b) => b[0] - a[0])
      .slice(0, 3).map(([, i]) => i).sort((a, b) => a - b);
    const some = most.map((i) => `${short(terms[i][0])} · ${short(terms[i][1])}`);
    told = some.join(" + ") + (terms.length > 3
      ? ` + … (${terms.length} products, the largest three shown)` : "");
    if (words) told += `; ${words}`;
  } else if (words.startsWith("a copy") && read.length) {
    told = `a copy of ${called(...read[0])}`;
  } else if (words === "the sum of both") {
    told = "the sum of the two numbers at its place";
  } else if (!read.length) {
    told = name === "scores" ? "hidden, a later token" : "no token stands there";
  } else {
    told = words;
  }
  return `${called(name, index)} = ${short(value)}: ${told}.`;
}

function render({ model, el }) {
  const ids = model.get("ids"), targets = model.get("targets");
  const drawn = initial_weights(model.get("seed"));
  const names = Object.keys(SHAPES);
  const before = compute(drawn, ids, targets);
  let width;
  let shown = { maps: [], size: 1, places: [] };

  const box = element("div", { class: "bh-box", tabindex: 0, role: "group" });
  const head = element("span", { class: "bh-head" });
  const say = element("p", { class: "hm-say bh-say", "aria-live": "polite" });
  const effect = element("p", { class: "hm-say hm-more bh-effect", "aria-live": "polite" });
  const go = (by) => setTraits(model,
    { step: clamp(model.get("step") + by, 0, ORDER.length - 1) });
  const back = button("‹", () => go(-1), { "aria-label": "step back" });
  const on = button("›", () => go(1), { "aria-label": "step on" });

  // the one weight that is changed: its name, its index, and the list it is in
  function weight() {
    const name = names[clamp(model.get("weight"), 0, names.length - 1)];
    const letters = SHAPES[name];
    const columns = SIZES[letters.at(-1)];
    const at = clamp(model.get("at"), 0,
      columns * (letters.length > 1 ? SIZES[letters[0]] : 1) - 1);
    return { name, index: letters.length > 1
      ? [Math.floor(at / columns), at % columns] : [at] };
  }

  const find = (x, index) => index.reduce((y, i) => y[i], x);

  function changed() {
    const { name, index } = weight();
    const w = structuredClone(drawn);
    const list = index.length > 1 ? w[name][index[0]] : w[name];
    list[index.at(-1)] = model.get("value");
    return w;
  }

  function choose(map, t, c) {
    const index = map.index(t, c);
    if (map.name in SHAPES) {
      const columns = SIZES[SHAPES[map.name].at(-1)];
      setTraits(model, { weight: names.indexOf(map.name),
        at: index.length > 1 ? index[0] * columns + index[1] : index[0],
        value: find(drawn[map.name], index) });
    } else if (map.target) {
      setTraits(model, { row: t, column: c });
    } else {
      setTraits(model, { step: ORDER.indexOf(map.name), row: t, column: c });
    }
  }

  box.addEventListener("click", (event) => {
    const at = box.getBoundingClientRect();
    const { maps, size, places } = shown;
    maps.forEach((map, i) => {
      const t = Math.floor((event.clientY - at.top - places[i][1]) / size);
      const c = Math.floor((event.clientX - at.left - places[i][0]) / size);
      if (t >= 0 && t < map.rows && c >= 0 && c < map.columns) choose(map, t, c);
    });
  });
  onKeys(box, {
    move: (dt, dc) => {
      const map = shown.maps[0];
      setTraits(model, { row: clamp(shown.cell[0] + dt, 0, map.rows - 1),
        column: clamp(shown.cell[1] + dc, 0, map.columns - 1) });
    },
  });

  // one list of numbers: blue above 0, orange below, rings where it was read
  function drawMap(svg, map, values, [x, y], size, rings) {
    const flat = [];
    for (let t = 0; t < map.rows; t++) {
      for (let c = 0; c < map.columns; c++) flat.push(find(values, map.index(t, c)));
    }
    const most = Math.max(...flat.filter(Number.isFinite).map(Math.abs)) || 1;
    svg.append(element("text", { x, y: y - 5, class: map.target ? "hm-bold" : "" },
      map.words));
    flat.forEach((value, i) => {
      const t = Math.floor(i / map.columns), c = i % map.columns;
      if (!value || !Number.isFinite(value)) return;
      svg.append(element("rect", { x: x + c * size, y: y + t * size, width: size,
        height: size, fill: value > 0 ? "var(--c1)" : "var(--c2)",
        "fill-opacity": shade(Math.abs(value) / most).toFixed(2) }));
    });
    for (let c = map.gap ?? 0; c && c < map.columns; c += map.gap) {
      svg.append(element("line", { x1: x + c * size, x2: x + c * size, y1: y,
        y2: y + map.rows * size, stroke: "currentColor" }));
    }
    svg.append(element("rect", { x, y, width: map.columns * size,
      height: map.rows * size, class: "hm-edge" }));
    for (const [t, c, colour, thick = 1.2] of rings) {
      svg.append(element("rect", { class: "bh-ring", stroke: colour,
        "stroke-width": thick, x: x + c * size + 0.5, y: y + t * size + 0.5,
        width: Math.max(1, size - 1), height: Math.max(1, size - 1) }));
    }
  }

  function draw(space) {
    width = space;
    const step = clamp(model.get("step"), 0, ORDER.length - 1);
    const name = ORDER[step];
    const values = compute(changed(), ids, targets);
    const target = { name, target: true, ...layout(values[name]) };
    const cell = [clamp(model.get("row"), 0, target.rows - 1),
      clamp(model.get("column"), 0, target.columns - 1)];
    const index = target.index(...cell);
    const reader = new Reader(values, ids, targets);
    RULES[name][2](reader, index);
    const value = find(values[name], index);

    // what any number of this step is computed from, so that maps stay put
    const all = new Reader(values, ids, targets);
    const { rows, columns } = target;
    for (let t = 0; t < rows; t++) {
      for (let c = 0; c < columns; c++) RULES[name][2](all, target.index(t, c));
    }
    const sources = [...new Set(all.read.map(([source]) => source))];
    const maps = [target, ...sources.map((source) =>
      ({ name: source, ...layout(values[source]) }))];
    for (const map of maps) {
      map.words = map.name + (map.turned ? ", turned" : "");
      map.title = textWidth(map.words, box);
    }
    const height = width < 500 ? 330 : 300;
    const { size, places } = pack(maps, width, height);
    shown = { maps, size, places, cell };
    const svg = element("svg", { width, height, "aria-hidden": "true" });
    const edited = weight();
    maps.forEach((map, i) => {
      const rings = map.target ? [[...cell, "currentColor", 2]] : reader.read
        .filter(([source]) => source === map.name)
        .map(([, at]) => [...map.cell(at), "currentColor"]);
      if (map.name === edited.name) {
        rings.push([...map.cell(edited.index), "var(--c3)", 2.5]);
      }
      drawMap(svg, map, values[map.name], places[i], size, rings);
    });
    box.replaceChildren(svg);
    const told = explain(name, index, value, reader);
    box.setAttribute("aria-label", `Step ${step + 1}, ${name}: ${target.rows} by ` +
      `${target.columns} numbers. Arrow keys move over them.`);
    head.textContent = `${step + 1} of ${ORDER.length} ` +
      `${step > ORDER.indexOf("loss") ? "backward" : "forward"}: ${RULES[name][0]}`;
    [back.disabled, on.disabled] = [step === 0, step === ORDER.length - 1];
    say.textContent = told;

    const was = find(drawn[edited.name], edited.index);
    const now = model.get("value");
    const slopeThere = find(before[`∂${edited.name}`], edited.index);
    const title = called(edited.name, edited.index);
    effect.textContent = Math.abs(now - was) < 5e-4
      ? `Loss ${before.loss.toFixed(4)}. ${title} is ${short(was)}, the gradient at it ` +
        `${signed(slopeThere, 4)}. Move its slider.`
      : `Loss ${before.loss.toFixed(4)} → ${values.loss.toFixed(4)}: ${title} from ` +
        `${short(was)} to ${short(now)}. Foretold by the gradient ` +
        `${signed(slopeThere * (now - was), 4)}, found ` +
        `${signed(values.loss - before.loss, 4)}.`;
  }

  return frame({
    model, el, name: "by-hand", title: "The whole computation",
    look: "Step through it, forward and back. Touch a number to see what it " +
      "was computed from, and a weight to change it.",
    parts: [element("div", { class: "hm-row bh-steps" }, back, on, head), box,
      element("div", { class: "hm-key" },
        swatch("--c1", "above 0"), swatch("--c2", "below 0"),
        swatch("--c3", "the weight you change"),
        element("span", {}, "∂q: the gradient at q")),
      say, effect],
    draw,
  });
}

export default { render };
