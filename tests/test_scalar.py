"""The model in lists and floats: equal to PyTorch, forward and backward.

Each function is held to PyTorch's own in float64 (1e-12), each gradient to
autograd (1e-10) and to central differences (1e-6), the whole to the model
that the book's own blocks make.
"""

import copy
import math
import re
import subprocess
import sys

import pytest
import torch
from handmade import scalar
from handmade.blocks import feedforward, multi_head
from handmade.blocks.attention import attention
from handmade.blocks.masks import causal_mask
from handmade.scalar_twin import ScalarTwin
from handmade.text import embeddings
from torch.nn import functional as F
from torch.testing import assert_close

T, D, W, H = 4, 6, 10, 3  # tokens, width, another width, heads
IDS, TARGETS = torch.tensor(scalar.IDS), torch.tensor(scalar.TARGETS)


def randoms(*shapes):
    generator = torch.Generator().manual_seed(7)
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in shapes
    ]


def near(got, want, within=1e-12):
    if isinstance(got, tuple):
        for one, other in zip(got, want, strict=True):
            near(one, other, within)
    else:
        got = torch.tensor(got, dtype=torch.float64)
        scale = max(want.abs().max().item(), 1.0)
        assert_close(got, want.detach(), rtol=0, atol=within * scale)


def heads(x):
    return multi_head.split_heads(x, H)


def attend(q, k, v):
    return attention(q, k, v, causal_mask(T), return_weights=True)


# name -> our function, PyTorch's, and the shapes of what they take
FORWARD = {
    "matmul": (scalar.matmul, torch.matmul, [(T, D), (D, W)]),
    "add": (scalar.add, torch.add, [(T, D), (T, D)]),
    "linear": (scalar.linear, F.linear, [(T, D), (W, D)]),
    "layer_norm": (
        scalar.layer_norm,
        lambda x, w, b: F.layer_norm(x, (D,), w, b),
        [(T, D), (D,), (D,)],
    ),
    "softmax": (scalar.softmax, lambda x: x.softmax(-1), [(T, D)]),
    "gelu": (scalar.gelu, F.gelu, [(T, D)]),
    "our gelu": (scalar.gelu, feedforward.gelu, [(T, D)]),
    "split_heads": (lambda x: scalar.split_heads(x, H), heads, [(T, D)]),
    "merge_heads": (
        scalar.merge_heads, multi_head.merge_heads, [(H, T, D)],
    ),
    "attention": (
        lambda *qkv: scalar.attention(*qkv, scalar.causal_mask(T))[:2],
        attend,
        [(T, D)] * 3,
    ),
    "PyTorch's attention": (
        lambda *qkv: scalar.attention(*qkv, scalar.causal_mask(T))[0],
        lambda q, k, v: F.scaled_dot_product_attention(
            q[None], k[None], v[None], is_causal=True
        )[0],
        [(T, D)] * 3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORWARD)
def test_each_step_is_pytorchs(name):
    ours, theirs, shapes = FORWARD[name]
    given = randoms(*shapes)
    near(ours(*[x.tolist() for x in given]), theirs(*given))


# name -> what `*_backward` returns for (gradient, inputs), and the function
BACKWARD = {
    "linear": (scalar.linear_backward, F.linear, [(T, D), (W, D)]),
    "layer_norm": (
        lambda g, x, w, b: scalar.layer_norm_backward(g, x, w),
        FORWARD["layer_norm"][1],
        [(T, D), (D,), (D,)],
    ),
    "softmax": (
        lambda g, x: scalar.softmax_backward(g, scalar.softmax(x)),
        FORWARD["softmax"][1],
        [(T, D)],
    ),
    "gelu": (scalar.gelu_backward, F.gelu, [(T, D)]),
    "split_heads": (lambda g, x: scalar.merge_heads(g), heads, [(T, D)]),
    "merge_heads": (
        lambda g, x: scalar.split_heads(g, H),
        multi_head.merge_heads,
        [(H, T, D)],
    ),
    "attention": (
        lambda g, q, k, v: scalar.attention_backward(
            g, q, k, v,
            scalar.attention(q, k, v, scalar.causal_mask(T))[1],
        )[:3],
        lambda *qkv: attend(*qkv)[0],
        [(T, D)] * 3,
    ),
    "lookup": (
        lambda g, table: scalar.lookup_backward(g, table, [4, 1, 4, 0]),
        lambda table: embeddings.lookup(table, torch.tensor([4, 1, 4, 0])),
        [(5, D)],
    ),
    "cross_entropy": (
        lambda g, x: scalar.cross_entropy_backward(x, [4, 1, 4, 0]),
        lambda x: F.cross_entropy(x, torch.tensor([4, 1, 4, 0])),
        [(T, 5)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BACKWARD)
def test_each_gradient_is_autograds(name):
    ours, theirs, shapes = BACKWARD[name]
    given = [x.requires_grad_() for x in randoms(*shapes)]
    out = theirs(*given)
    (grad,) = randoms(out.shape) if out.ndim else [torch.ones(())]
    want = torch.autograd.grad(out, given, grad)
    got = ours(grad.tolist(), *[x.tolist() for x in given])
    near(got if isinstance(got, tuple) else (got,), want, 1e-12)


def test_lookup_and_cross_entropy_are_pytorchs():
    table, logits = randoms((5, D), (T, 5))
    ids = [4, 1, 4, 0]
    near(scalar.lookup(table.tolist(), ids), table[ids])
    loss = scalar.cross_entropy((1000 * logits).tolist(), ids)
    near(loss, F.cross_entropy(1000 * logits, torch.tensor(ids)))


def test_a_looked_up_row_is_a_copy():
    table = [[1.0, 2.0], [3.0, 4.0]]
    scalar.lookup(table, [1])[0][0] = 9.0
    assert table == [[1.0, 2.0], [3.0, 4.0]]


def test_the_mask_is_that_of_the_blocks():
    assert scalar.causal_mask(5) == causal_mask(5).tolist()


def test_large_scores_do_not_overflow():
    near(scalar.softmax([[1000.0, 0.0]])[0], torch.tensor([1.0, 0.0]).double())


def test_a_hidden_score_gets_no_gradient():
    q, k, v, grad = (x.tolist() for x in randoms(*[(T, D)] * 4))
    _, weights, scores = scalar.attention(q, k, v, scalar.causal_mask(T))
    grads = scalar.attention_backward(grad, q, k, v, weights)
    for t in range(T):
        assert all(scores[t][s] == -math.inf for s in range(t + 1, T))
        assert all(grads[4][t][s] == 0 for s in range(t + 1, T))
        assert all(grads[4][t][s] != 0 for s in range(t + 1) if t)


# -- the whole


def whole(seed=1, ids=scalar.IDS, targets=scalar.TARGETS):
    weights = scalar.initial_weights(seed)
    seen = scalar.forward(weights, ids)
    grad = scalar.cross_entropy_backward(seen["logits"], targets)
    return weights, seen, scalar.backward(weights, ids, seen, grad)


LENGTHS = [(1, 5), (2, 3), (3, 1)]  # seed, tokens


@pytest.mark.parametrize(("seed", "length"), LENGTHS)
def test_the_model_is_that_of_our_blocks(seed, length):
    ids, targets = scalar.IDS[:length], scalar.TARGETS[:length]
    weights, seen, grads = whole(seed, ids, targets)
    twin = ScalarTwin(weights)
    logits = twin(torch.tensor(ids))
    near(seen["logits"], logits)
    loss = F.cross_entropy(logits, torch.tensor(targets))
    near(scalar.cross_entropy(seen["logits"], targets), loss)
    loss.backward()
    for name, parameter in twin.by_name().items():
        near(grads[name], parameter.grad, 1e-10)
        assert parameter.grad.any() or length == 1


def test_each_value_and_its_gradient_are_torchs():
    """The same flow written in torch.nn.functional, every value kept."""
    weights, seen, grads = whole()
    w = {
        n: torch.tensor(x, dtype=torch.float64, requires_grad=True)
        for n, x in weights.items()
    }
    a = {"tok": w["tok_emb"][IDS], "pos": w["pos_emb"] * 1}
    a["x"] = a["tok"] + a["pos"]

    def normed(x, name):
        return F.layer_norm(x, (16,), w[f"{name}.weight"], w[f"{name}.bias"])

    def split(x):
        return x.unflatten(1, (2, 8)).transpose(0, 1) * 1

    a["attn_norm"] = normed(a["x"], "attn_norm")
    for n in "qkv":
        a[n] = split(a["attn_norm"] @ w[f"{n}_proj"].T)
    a["scores"] = a["q"] @ a["k"].mT / 8**0.5
    a["scores"] = a["scores"].masked_fill(~causal_mask(5), -math.inf)
    a["weights"] = a["scores"].softmax(-1)
    a["heads"] = a["weights"] @ a["v"]
    a["merged"] = a["heads"].transpose(0, 1).flatten(1)
    a["attn"] = a["merged"] @ w["o_proj"].T
    a["x_attn"] = a["x"] + a["attn"]
    a["ffn_norm"] = normed(a["x_attn"], "ffn_norm")
    a["up"] = a["ffn_norm"] @ w["up_proj"].T
    a["bent"] = F.gelu(a["up"])
    a["ffn"] = a["bent"] @ w["down_proj"].T
    a["x_ffn"] = a["x_attn"] + a["ffn"]
    a["norm"] = normed(a["x_ffn"], "norm")
    a["logits"] = a["norm"] @ w["tok_emb"].T
    for value in a.values():
        value.retain_grad()
    F.cross_entropy(a["logits"], TARGETS).backward()
    assert set(scalar.VALUES) == set(seen) == set(a)
    for name in scalar.VALUES:
        got = torch.tensor(seen[name], dtype=torch.float64)
        assert_close(got, a[name].detach(), rtol=0, atol=1e-12)
        near(grads[name], a[name].grad, 1e-10)
    for name in scalar.SHAPES:
        near(grads[name], w[name].grad, 1e-10)
    assert set(grads) == {*scalar.VALUES, *scalar.SHAPES}


def slope(weights, row, i, h=1e-5):
    """Return the loss's slope by row[i], from both sides."""
    kept, losses = row[i], []
    for at in (kept + h, kept - h):
        row[i] = at
        logits = scalar.forward(weights, scalar.IDS)["logits"]
        losses.append(scalar.cross_entropy(logits, scalar.TARGETS))
    row[i] = kept
    return (losses[0] - losses[1]) / (2 * h)


def rows_of(weights, grads):
    for name, values in weights.items():
        nested = isinstance(values[0], list)
        pairs = zip(values, grads[name], strict=True)
        for row, grad in pairs if nested else [(values, grads[name])]:
            yield name, row, grad


def test_some_gradients_are_slopes():
    weights, _, grads = whole()
    for number, (name, row, grad) in enumerate(rows_of(weights, grads)):
        if number % 3 == 0 or len(row) * 5 > 300:
            i = number % len(row)
            assert slope(weights, row, i) == pytest.approx(
                grad[i], abs=1e-6
            ), name


@pytest.mark.slow
def test_every_gradient_is_a_slope():
    weights, _, grads = whole()
    count = 0
    for name, row, grad in rows_of(weights, grads):
        for i in range(len(row)):
            count += 1
            assert slope(weights, row, i) == pytest.approx(
                grad[i], abs=1e-6
            ), name
    assert count == 3328


# -- numbers that are the same everywhere


def test_the_generator_is_the_one_it_says():
    """Lehmer's, on its first five numbers, in integers."""
    states = [48271, 182605794, 1291394886, 1914720637, 2078669041]
    state = 1
    for want in states:
        state = 48271 * state % 2147483647
        assert state == want
    row = scalar.initial_weights(1)["tok_emb"][0]
    assert row[:5] == [(s % 101 - 50) / 100 for s in states]


def test_the_weights_are_hundredths_and_no_two_seeds_alike():
    weights = scalar.initial_weights()
    assert weights == scalar.initial_weights(1) != scalar.initial_weights(2)
    for name, row, _ in rows_of(weights, weights):
        gain = name.endswith("norm.weight")
        assert all(abs(x - gain) <= 0.5 for x in row)
        assert all(round(x, 2) == x for x in row)
    assert sum(len(r) for _, r, _ in rows_of(weights, weights)) == 3328


def test_nothing_but_pythons_own_library_is_imported():
    script = (
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        top = name.partition('.')[0]\n"
        "        if top not in {'handmade', *sys.stdlib_module_names}:\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "from handmade import scalar\n"
        "weights = scalar.initial_weights()\n"
        "print(len(scalar.forward(weights, scalar.IDS)))\n"
        "print({'torch', 'numpy'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True
    )
    assert done.stdout == "20\nset()\n", done.stderr


# -- learning


@pytest.mark.parametrize("steps", [1, 4])
def test_a_step_is_pytorchs_adamw(steps):
    weight = torch.tensor([0.3, -2.0, 0.0], dtype=torch.float64)
    grads = randoms(*[(3,)] * steps)
    grads[0][2] = 1e-9  # so small that eps counts
    options = {"lr": 0.02, "weight_decay": 0.3, "eps": 1e-4}
    theirs = weight.clone().requires_grad_()
    optimizer = torch.optim.AdamW([theirs], betas=(0.8, 0.95), **options)
    ours = [(w, 0.0, 0.0) for w in weight.tolist()]
    for step, grad in enumerate(grads, 1):
        theirs.grad = grad
        optimizer.step()
        ours = [
            scalar.adamw(
                *state, g, step, lr=0.02, beta1=0.8, beta2=0.95, eps=1e-4,
                decay=0.3,
            )
            for state, g in zip(ours, grad.tolist(), strict=True)
        ]  # fmt: skip
    state = optimizer.state[theirs]
    near([w for w, _, _ in ours], theirs)
    near([m for _, m, _ in ours], state["exp_avg"])
    near([v for _, _, v in ours], state["exp_avg_sq"])


def test_the_defaults_are_pytorchs():
    theirs = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    theirs.grad = torch.tensor([0.2]).double()
    torch.optim.AdamW([theirs]).step()
    near([scalar.adamw(0.7, 0.0, 0.0, 0.2, 1)[0]], theirs, 1e-9)


def test_uncorrected_the_first_step_is_three_times_as_long():
    """(1 - beta1) g / sqrt((1 - beta2) g^2) = 0.1 / sqrt(0.001)."""
    moved, m, v = scalar.adamw(0.0, 0.0, 0.0, 0.2, 1, lr=1.0)
    assert moved == pytest.approx(-1)
    assert m / math.sqrt(v) == pytest.approx(math.sqrt(10))


def test_learning_is_that_of_the_twin():
    weights = scalar.initial_weights()
    kept = copy.deepcopy(weights)
    learned, losses = scalar.learn(
        weights, scalar.IDS, scalar.TARGETS, 5, 0.01
    )
    assert weights == kept, "learn changes what it was given"
    twin = ScalarTwin(weights)
    optimizer = torch.optim.AdamW(twin.parameters(), lr=0.01)
    for loss in losses:
        optimizer.zero_grad()
        theirs = F.cross_entropy(twin(IDS), TARGETS)
        near(loss, theirs, 1e-10)
        theirs.backward()
        optimizer.step()
    for name, parameter in twin.by_name().items():
        near(learned[name], parameter, 1e-9)


def test_a_hundred_steps_learn_the_sentence():
    weights = scalar.initial_weights()
    start = scalar.generate(weights, [0], 5)
    learned, losses = scalar.learn(
        weights, scalar.IDS, scalar.TARGETS, 100, 0.01
    )
    assert losses[0] > 3
    assert losses[-1] < 0.01
    said = scalar.generate(learned, [0], 5)
    assert " ".join(scalar.WORDS[i] for i in said) == ("the cat saw the dog .")
    assert start != said


# -- what is refused


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: scalar.linear([[1.0]], [[1.0, 2.0]]),
         "weight: got 2 for D, want 1"),
        (lambda: scalar.linear([[1.0, 2.0], [1.0]], [[1.0, 2.0]]),
         "x: got 1 for D, want 2"),
        (lambda: scalar.linear([], [[1.0]]),
         "x: got an empty list, want a list of lists of numbers"),
        (lambda: scalar.softmax([[1.0, True]]),
         "scores: got a bool in it, want a list of numbers"),
        (lambda: scalar.lookup([[1.0], [2.0]], [0, 2]),
         "ids: got 2, want 0 to 1"),
        (lambda: scalar.lookup([[1.0], [2.0]], [-1]),
         "ids: got -1, want 0 to 1"),
        (lambda: scalar.split_heads([[1.0, 2.0, 3.0]], 2),
         "n_heads: got 2, want a divisor of the width 3"),
        (lambda: scalar.attention([[1.0]], [[1.0]], [[1.0]], [[1]]),
         "mask: got a int in it, want a list of True or False"),
        (lambda: scalar.forward({"tok_emb": [[1.0]]}, [0]),
         "weights: got one without 'pos_emb', want a dict of tok_emb, "),
        (lambda: scalar.forward(
            scalar.initial_weights() | {"b": [1.0]}, [0]),
         "weights: got one with 'b', want a dict of "),
        (lambda: scalar.forward(scalar.initial_weights(), [0] * 6),
         "ids: got 5, want 0 to 4"),
        (lambda: scalar.adamw(1.0, 0.0, 0.0, 1.0, 0),
         "step: got 0, want a whole number, 1 or more"),
        (lambda: scalar.adamw(1.0, 0.0, 0.0, 1.0, 1, beta1=1.0),
         "beta1: got 1.0, want a number, 0 or more and below 1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(call, says):
    with pytest.raises(ValueError, match=f"^{re.escape(says)}"):
        call()


def test_an_argument_left_out_is_named_by_python():
    with pytest.raises(TypeError, match="missing 1 required"):
        scalar.linear([[1.0]])
