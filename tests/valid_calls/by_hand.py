"""Right calls of `handmade.widgets.by_hand`."""

from valid_calls import call

CALLS = {
    "widgets.by_hand.scrub": lambda: call(
        ids=[0, 1, 2, 0, 3],
        targets=[1, 2, 0, 3, 4],
        seed=1,
        step="logits",
        row=0,
        column=0,
        weight="q_proj",
        at=0,
    ),
}
