"""Right calls of the model in lists and floats, and of its twin."""

import torch
from handmade import scalar
from handmade.scalar_twin import ScalarTwin

from valid_calls import call

IDS, TARGETS = scalar.IDS, scalar.TARGETS


def rows(T, D):
    return [[(7 * t + 3 * d) % 10 / 10 for d in range(D)] for t in range(T)]


def weights():
    return scalar.initial_weights()


def seen():
    return scalar.forward(weights(), IDS)


def shares():
    return scalar.softmax(rows(3, 4))


def of_attention():
    return {"q": rows(3, 4), "k": rows(3, 4), "v": rows(3, 4)}


CALLS = {
    f"scalar.{name}": make
    for name, make in {
        "initial_weights": lambda: call(seed=2),
        "transpose": lambda: call(a=rows(2, 3)),
        "matmul": lambda: call(a=rows(2, 3), b=rows(3, 4)),
        "add": lambda: call(a=rows(2, 3), b=rows(2, 3)),
        "linear": lambda: call(x=rows(2, 3), weight=rows(4, 3)),
        "linear_backward": lambda: call(
            grad=rows(2, 4), x=rows(2, 3), weight=rows(4, 3)
        ),
        "lookup": lambda: call(table=rows(5, 3), ids=[4, 1]),
        "lookup_backward": lambda: call(
            grad=rows(2, 3), table=rows(5, 3), ids=[4, 1]
        ),
        "standardize": lambda: call(x=rows(2, 3), eps=0.1),
        "layer_norm": lambda: call(
            x=rows(2, 3), weight=[1.0, 2.0, 3.0], bias=[0.1] * 3, eps=0.1
        ),
        "layer_norm_backward": lambda: call(
            grad=rows(2, 3), x=rows(2, 3), weight=[1.0, 2.0, 3.0], eps=0.1
        ),
        "split_heads": lambda: call(x=rows(2, 6), n_heads=3),
        "merge_heads": lambda: call(x=[rows(2, 3), rows(2, 3)]),
        "causal_mask": lambda: call(n_tokens=3),
        "softmax": lambda: call(scores=rows(2, 3)),
        "softmax_backward": lambda: call(grad=rows(3, 4), shares=shares()),
        "attention": lambda: call(
            **of_attention(), mask=scalar.causal_mask(3)
        ),
        "attention_backward": lambda: call(
            grad=rows(3, 4),
            **of_attention(),
            weights=scalar.softmax(rows(3, 3)),
        ),
        "gelu": lambda: call(x=rows(2, 3)),
        "gelu_backward": lambda: call(grad=rows(2, 3), x=rows(2, 3)),
        "cross_entropy": lambda: call(logits=rows(2, 5), targets=[4, 1]),
        "cross_entropy_backward": lambda: call(
            logits=rows(2, 5), targets=[4, 1]
        ),
        "forward": lambda: call(weights=weights(), ids=IDS),
        "backward": lambda: call(
            weights=weights(), ids=IDS, seen=seen(), grad=rows(5, 5)
        ),
        "adamw": lambda: call(
            weight=1.0, m=0.1, v=0.1, grad=0.2, step=2, lr=0.1, beta1=0.8,
            beta2=0.9, eps=1e-6, decay=0.1,
        ),
        "learn": lambda: call(
            weights=weights(), ids=IDS, targets=TARGETS, steps=1, lr=0.1
        ),
        "generate": lambda: call(weights=weights(), ids=[0, 1], n_new=2),
    }.items()
} | {
    "diagrams.by_hand.by_hand_graph": lambda: call(upto="loss"),
    "scalar_twin.ScalarTwin": lambda: call(weights=weights()),
    "scalar_twin.ScalarTwin.forward": lambda: call(
        ScalarTwin(weights()), ids=torch.tensor(IDS)
    ),
}  # fmt: skip
