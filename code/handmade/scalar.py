"""A transformer in lists and floats: forward, backward, and learning.

T tokens · S keys · D model width · H heads · K head width
F feed-forward width · V vocabulary · P places

Each function has the name of its twin in PyTorch. `f_backward` takes the
gradient at what `f` gave out and returns those at what `f` took: how fast
the loss grows with each of its numbers. A gradient has the shape of what it
belongs to, so a gradient at x (T, D) is (T, D). Python's `math` is all that
is needed; `takes` refuses wrong arguments, its letters are the axes.

Left out: batches, padding, dropout, biases of the projections, and speed.
"""

import math
from collections.abc import Callable
from typing import Any

from handmade.scalar_checks import takes

Vector = list[float]
Matrix = list[Vector]
Named = dict[str, Any]  # lists of numbers by name

WORDS = ["the", "cat", "saw", "dog", "."]
IDS = [0, 1, 2, 0, 3]  # the cat saw the dog
TARGETS = [1, 2, 0, 3, 4]  # cat saw the dog .
N_HEADS = 2
EPS = 1e-5
SHAPES = {
    "tok_emb": "VD", "pos_emb": "PD",
    "attn_norm.weight": "D", "attn_norm.bias": "D",
    "q_proj": "DD", "k_proj": "DD", "v_proj": "DD", "o_proj": "DD",
    "ffn_norm.weight": "D", "ffn_norm.bias": "D",
    "up_proj": "FD", "down_proj": "DF",
    "norm.weight": "D", "norm.bias": "D",
}  # fmt: skip
SIZES = {"V": 5, "P": 5, "D": 16, "F": 64}
# what forward computes, in this order
VALUES = {
    "tok": "TD", "pos": "TD", "x": "TD",
    "attn_norm": "TD", "q": "HTK", "k": "HTK", "v": "HTK",
    "scores": "HTT", "weights": "HTT", "heads": "HTK",
    "merged": "TD", "attn": "TD", "x_attn": "TD",
    "ffn_norm": "TD", "up": "TF", "bent": "TF", "ffn": "TD", "x_ffn": "TD",
    "norm": "TD", "logits": "TV",
}  # fmt: skip

# -- numbers that are the same everywhere


@takes(seed="count")
def initial_weights(seed: int = 1) -> Named:
    """Draw every weight from {-0.50, -0.49, …, 0.50}; add 1 to the gains.

    state = 48271 state mod (2^31 - 1), from the seed on; each number is
    (state mod 101 - 50) / 100.
    """
    state = seed

    def draw(letters: str, start: int) -> Any:
        nonlocal state
        if letters:
            return [draw(letters[1:], start) for _ in range(SIZES[letters[0]])]
        state = 48271 * state % (2**31 - 1)
        return (state % 101 - 50 + start) / 100

    return {
        name: draw(letters, 100 * name.endswith("norm.weight"))
        for name, letters in SHAPES.items()
    }


# -- products and sums


def dot(a: Vector, b: Vector) -> float:
    """Multiply in pairs and add up."""
    return sum(x * y for x, y in zip(a, b, strict=True))


@takes(a="TD")
def transpose(a: Matrix) -> Matrix:
    """Make rows of the columns, (T, D) -> (D, T)."""
    return [list(column) for column in zip(*a, strict=True)]


@takes(a="TS", b="SD")
def matmul(a: Matrix, b: Matrix) -> Matrix:
    """Multiply each row of a with each column of b, -> (T, D)."""
    columns = transpose(b)
    return [[dot(row, column) for column in columns] for row in a]


@takes(a="TD", b="TD")
def add(a: Matrix, b: Matrix) -> Matrix:
    """Add number by number; the gradient goes to both, as it is."""
    return [
        [x + y for x, y in zip(*rows, strict=True)]
        for rows in zip(a, b, strict=True)
    ]


@takes(x="TD", weight="FD")
def linear(x: Matrix, weight: Matrix) -> Matrix:
    """Match each token with each row of the weight: x W^T, -> (T, F)."""
    return matmul(x, transpose(weight))


@takes(grad="TF", x="TD", weight="FD")
def linear_backward(
    grad: Matrix, x: Matrix, weight: Matrix
) -> tuple[Matrix, Matrix]:
    """Return the gradients grad W at x and grad^T x at the weight."""
    return matmul(grad, weight), matmul(transpose(grad), x)


# -- a table, and the positions


@takes(table="VD", ids="T<V")
def lookup(table: Matrix, ids: list[int]) -> Matrix:
    """Take the row of each token, -> (T, D)."""
    return [table[i][:] for i in ids]


@takes(table="VD", grad="TD", ids="T<V")
def lookup_backward(grad: Matrix, table: Matrix, ids: list[int]) -> Matrix:
    """Add each token's gradient to the row it came from, -> (V, D)."""
    grad_table = [[0.0] * len(row) for row in table]
    for i, row in zip(ids, grad, strict=True):
        grad_table[i] = [
            x + y for x, y in zip(grad_table[i], row, strict=True)
        ]
    return grad_table


# -- layer norm


@takes(x="TD", eps="positive")
def standardize(x: Matrix, eps: float = EPS) -> tuple[Matrix, Vector]:
    """Return (x - mean) r for each token, and r = 1 / sqrt(var + eps)."""
    normed, scales = [], []
    for row in x:
        mean = sum(row) / len(row)
        variance = sum((y - mean) ** 2 for y in row) / len(row)
        scale = 1 / math.sqrt(variance + eps)
        normed.append([(y - mean) * scale for y in row])
        scales.append(scale)
    return normed, scales


@takes(x="TD", weight="D", bias="D", eps="positive")
def layer_norm(
    x: Matrix, weight: Vector, bias: Vector, eps: float = EPS
) -> Matrix:
    """Give each token mean 0 and variance 1, then a gain and a bias."""
    normed, _ = standardize(x, eps)
    return [
        [w * n + b for w, n, b in zip(weight, row, bias, strict=True)]
        for row in normed
    ]


@takes(grad="TD", x="TD", weight="D", eps="positive")
def layer_norm_backward(
    grad: Matrix, x: Matrix, weight: Vector, eps: float = EPS
) -> tuple[Matrix, Vector, Vector]:
    """Return the gradients at x, at the gain and at the bias.

    With u = grad * weight: r (u - mean(u) - n mean(u n)) for each token.
    """
    normed, scales = standardize(x, eps)
    grad_x = []
    for row, n, scale in zip(grad, normed, scales, strict=True):
        u = [g * w for g, w in zip(row, weight, strict=True)]
        mean, along = sum(u) / len(u), dot(u, n) / len(u)
        grad_x.append(
            [scale * (a - mean - b * along) for a, b in zip(u, n, strict=True)]
        )
    by_axis = zip(transpose(grad), transpose(normed), strict=True)
    grad_weight = [dot(g, n) for g, n in by_axis]
    return grad_x, grad_weight, [sum(column) for column in transpose(grad)]


# -- attention


@takes(x="TD", n_heads="H|D")
def split_heads(x: Matrix, n_heads: int) -> list[Matrix]:
    """Cut each token's vector into heads, (T, H K) -> (H, T, K)."""
    width = len(x[0]) // n_heads
    return [
        [row[h * width : (h + 1) * width] for row in x] for h in range(n_heads)
    ]


@takes(x="HTK")
def merge_heads(x: list[Matrix]) -> Matrix:
    """Put the heads of each token side by side, (H, T, K) -> (T, H K)."""
    return [
        [y for head in heads for y in head] for heads in zip(*x, strict=True)
    ]


@takes(n_tokens="count")
def causal_mask(n_tokens: int) -> list[list[bool]]:
    """Let each token see itself and what came before, -> (T, T)."""
    return [[s <= t for s in range(n_tokens)] for t in range(n_tokens)]


@takes(scores="TS")
def softmax(scores: Matrix) -> Matrix:
    """Make shares of each row's scores: exp(s) / sum(exp(s))."""
    shares = []
    for row in scores:
        largest = max(row)  # exp of a large number overflows
        powers = [math.exp(score - largest) for score in row]
        shares.append([power / sum(powers) for power in powers])
    return shares


@takes(grad="TS", shares="TS")
def softmax_backward(grad: Matrix, shares: Matrix) -> Matrix:
    """Return p (g - sum(g p)) for each row: the gradient at the scores."""
    grad_scores = []
    for g, p in zip(grad, shares, strict=True):
        mean = dot(g, p)
        grad_scores.append([b * (a - mean) for a, b in zip(g, p, strict=True)])
    return grad_scores


@takes(q="TK", k="SK", v="SK", mask="TS bool")
def attention(
    q: Matrix, k: Matrix, v: Matrix, mask: list[list[bool]]
) -> tuple[Matrix, Matrix, Matrix]:
    """Mix the values by how well each query matches each key.

    Returns what one head gives out (T, K), its weights and its scores (T, S).
    """
    root = math.sqrt(len(q[0]))
    scores = [
        [y / root if may else -math.inf for y, may in zip(*row, strict=True)]
        for row in zip(matmul(q, transpose(k)), mask, strict=True)
    ]
    weights = softmax(scores)
    return matmul(weights, v), weights, scores


@takes(grad="TK", q="TK", k="SK", v="SK", weights="TS")
def attention_backward(
    grad: Matrix, q: Matrix, k: Matrix, v: Matrix, weights: Matrix
) -> tuple[Matrix, Matrix, Matrix, Matrix, Matrix]:
    """Return the gradients at q, k, v, at the weights and at the scores.

    A hidden score has weight 0, and so a gradient of 0.
    """
    root = math.sqrt(len(q[0]))
    grad_weights = matmul(grad, transpose(v))
    grad_scores = softmax_backward(grad_weights, weights)
    scaled = [[g / root for g in row] for row in grad_scores]
    grad_q = matmul(scaled, k)
    grad_k = matmul(transpose(scaled), q)
    grad_v = matmul(transpose(weights), grad)
    return grad_q, grad_k, grad_v, grad_weights, grad_scores


# -- the feed-forward layer's bend


def _normal_below(x: float) -> float:
    """Return Phi(x), the share of a normal distribution below x."""
    return (1 + math.erf(x / math.sqrt(2))) / 2


@takes(x="TF")
def gelu(x: Matrix) -> Matrix:
    """Weigh each number by the share of a normal below it: x Phi(x)."""
    return [[y * _normal_below(y) for y in row] for row in x]


@takes(grad="TF", x="TF")
def gelu_backward(grad: Matrix, x: Matrix) -> Matrix:
    """Return grad (Phi(x) + x phi(x)); phi is the normal's density."""

    def slope(y: float) -> float:
        density = math.exp(-(y**2) / 2) / math.sqrt(2 * math.pi)
        return _normal_below(y) + y * density

    return [
        [g * slope(y) for g, y in zip(*rows, strict=True)]
        for rows in zip(grad, x, strict=True)
    ]


# -- the loss


@takes(logits="TV", targets="T<V")
def cross_entropy(logits: Matrix, targets: list[int]) -> float:
    """Average -log softmax(logits)[target] over the tokens, in nats."""
    losses = []
    for row, target in zip(logits, targets, strict=True):
        largest = max(row)
        log_sum = math.log(sum(math.exp(y - largest) for y in row))
        losses.append(largest + log_sum - row[target])
    return sum(losses) / len(losses)


@takes(logits="TV", targets="T<V")
def cross_entropy_backward(logits: Matrix, targets: list[int]) -> Matrix:
    """Return (softmax(logits) - onehot(target)) / T, the gradient there."""
    grad = softmax(logits)
    for row, target in zip(grad, targets, strict=True):
        row[target] -= 1
    return [[g / len(targets) for g in row] for row in grad]


# -- the whole model: each line of forward has its own in backward


@takes(weights=SHAPES, ids="T<V")
def forward(weights: Named, ids: list[int]) -> Named:
    """Return all that is computed on the way to the logits, by name."""
    w, a = weights, Named()
    a["tok"] = lookup(w["tok_emb"], ids)
    a["pos"] = lookup(w["pos_emb"], list(range(len(ids))))
    a["x"] = add(a["tok"], a["pos"])

    a["attn_norm"] = layer_norm(
        a["x"], w["attn_norm.weight"], w["attn_norm.bias"]
    )
    for n in "qkv":
        projected = linear(a["attn_norm"], w[f"{n}_proj"])
        a[n] = split_heads(projected, N_HEADS)
    mask = causal_mask(len(ids))
    parts = zip(a["q"], a["k"], a["v"], strict=True)
    heads = [attention(q, k, v, mask) for q, k, v in parts]
    a["heads"], a["weights"], a["scores"] = map(list, zip(*heads, strict=True))
    a["merged"] = merge_heads(a["heads"])
    a["attn"] = linear(a["merged"], w["o_proj"])
    a["x_attn"] = add(a["x"], a["attn"])

    a["ffn_norm"] = layer_norm(
        a["x_attn"], w["ffn_norm.weight"], w["ffn_norm.bias"]
    )
    a["up"] = linear(a["ffn_norm"], w["up_proj"])
    a["bent"] = gelu(a["up"])
    a["ffn"] = linear(a["bent"], w["down_proj"])
    a["x_ffn"] = add(a["x_attn"], a["ffn"])

    a["norm"] = layer_norm(a["x_ffn"], w["norm.weight"], w["norm.bias"])
    a["logits"] = linear(a["norm"], w["tok_emb"])
    return a


@takes(weights=SHAPES, ids="T<V", seen=VALUES, grad="TV")
def backward(
    weights: Named,
    ids: list[int],
    seen: Named,
    grad: Matrix,
) -> Named:
    """Return the gradient at each weight and at each value of forward.

    `seen` is what forward returned, `grad` the gradient at its logits.
    """
    w, a, g = weights, seen, Named(logits=grad)
    g["norm"], head = linear_backward(grad, a["norm"], w["tok_emb"])
    g["x_ffn"], g["norm.weight"], g["norm.bias"] = layer_norm_backward(
        g["norm"], a["x_ffn"], w["norm.weight"]
    )

    g["ffn"] = g["x_ffn"]
    g["bent"], g["down_proj"] = linear_backward(
        g["ffn"], a["bent"], w["down_proj"]
    )
    g["up"] = gelu_backward(g["bent"], a["up"])
    g["ffn_norm"], g["up_proj"] = linear_backward(
        g["up"], a["ffn_norm"], w["up_proj"]
    )
    branch, g["ffn_norm.weight"], g["ffn_norm.bias"] = layer_norm_backward(
        g["ffn_norm"], a["x_attn"], w["ffn_norm.weight"]
    )
    g["x_attn"] = add(g["x_ffn"], branch)

    g["attn"] = g["x_attn"]
    g["merged"], g["o_proj"] = linear_backward(
        g["attn"], a["merged"], w["o_proj"]
    )
    g["heads"] = split_heads(g["merged"], N_HEADS)
    parts = zip(g["heads"], a["q"], a["k"], a["v"], a["weights"], strict=True)
    heads = [attention_backward(*head) for head in parts]
    g["q"], g["k"], g["v"], g["weights"], g["scores"] = map(
        list, zip(*heads, strict=True)
    )
    g["attn_norm"] = [[0.0] * len(row) for row in a["attn_norm"]]
    for n in "qkv":
        part, g[f"{n}_proj"] = linear_backward(
            merge_heads(g[n]), a["attn_norm"], w[f"{n}_proj"]
        )
        g["attn_norm"] = add(g["attn_norm"], part)
    branch, g["attn_norm.weight"], g["attn_norm.bias"] = layer_norm_backward(
        g["attn_norm"], a["x"], w["attn_norm.weight"]
    )
    g["x"] = add(g["x_attn"], branch)

    g["tok"] = g["pos"] = g["x"]
    places = list(range(len(ids)))
    g["pos_emb"] = lookup_backward(g["pos"], w["pos_emb"], places)
    g["tok_emb"] = add(head, lookup_backward(g["tok"], w["tok_emb"], ids))
    return g


# -- learning


@takes(
    weight="number", m="number", v="not negative", grad="number",
    step="count", lr="not negative", beta1="share", beta2="share",
    eps="not negative", decay="not negative",
)  # fmt: skip
def adamw(
    weight: float,
    m: float,
    v: float,
    grad: float,
    step: int,
    *,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: float = 0.01,
) -> tuple[float, float, float]:
    """Move one number; return it with its two running means.

    The means begin at 0 and are corrected for it. [kingma2015] made them,
    [loshchilov2019] keeps the decay out of them.
    """
    m = beta1 * m + (1 - beta1) * grad
    v = beta2 * v + (1 - beta2) * grad**2
    m_hat = m / (1 - beta1**step)
    v_hat = v / (1 - beta2**step)
    weight -= lr * decay * weight
    weight -= lr * m_hat / (math.sqrt(v_hat) + eps)
    return weight, m, v


def _each(fn: Callable[..., Any], *lists: Any) -> Any:
    """Call fn with the numbers that stand at the same place of each list."""
    if isinstance(lists[0], list):
        return [_each(fn, *parts) for parts in zip(*lists, strict=True)]
    return fn(*lists)


def _move(state: Any, grad: Any, step: int, lr: float) -> Any:
    return _each(
        lambda s, g: adamw(s[0], s[1], s[2], g, step, lr=lr), state, grad
    )


@takes(weights=SHAPES, ids="T<V", targets="T<V", steps="count", lr="positive")
def learn(
    weights: Named,
    ids: list[int],
    targets: list[int],
    steps: int,
    lr: float,
) -> tuple[Named, list[float]]:
    """Take steps of AdamW; return the new weights and the loss before each."""
    # each weight with its two means
    state = {n: _each(lambda w: (w, 0.0, 0.0), weights[n]) for n in SHAPES}
    losses = []
    for step in range(1, steps + 1):
        weights = {n: _each(lambda s: s[0], state[n]) for n in SHAPES}
        seen = forward(weights, ids)
        losses.append(cross_entropy(seen["logits"], targets))
        grad = cross_entropy_backward(seen["logits"], targets)
        grads = backward(weights, ids, seen, grad)
        for name in SHAPES:
            state[name] = _move(state[name], grads[name], step, lr)
    return {n: _each(lambda s: s[0], state[n]) for n in SHAPES}, losses


@takes(weights=SHAPES, ids="T<V", n_new="count")
def generate(weights: Named, ids: list[int], n_new: int) -> list[int]:
    """Write on with the likeliest token, one at a time."""
    for _ in range(n_new):
        last = forward(weights, ids)["logits"][-1]
        ids = [*ids, last.index(max(last))]
    return ids
