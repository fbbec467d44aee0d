"""The famous checkpoints, from the hub, each pinned by its commit."""

from handmade.weights import smollm2
from handmade.weights.downloads import from_hub, hub_wanted
from handmade.weights.pretrained import Pretrained

CHECKPOINTS = {  # name -> revision, class
    "gpt2": (
        "607a30d783dfa663caf39e06633721c8d4cfcd7e",
        "AutoModelForCausalLM",
    ),
    "bert-base-uncased": (
        "86b5e0934494bd15c9632b12f734a8a67f723594",
        "AutoModelForMaskedLM",
    ),
    "t5-small": (
        "df1b051c49625cf57a3d0d8d3863ed4d13564fe4",
        "AutoModelForSeq2SeqLM",
    ),
    smollm2.HUB: (smollm2.REVISION, smollm2.CLASS),
}


def hub(name: str) -> Pretrained:
    """Return a famous checkpoint from the hub: needs `HANDMADE_HUB=1`.

    Raises ValueError for a name the book does not use or when the switch is
    off, ConnectionError when the hub cannot be reached.
    """
    if not isinstance(name, str) or name not in CHECKPOINTS:
        raise ValueError(
            f"name: got {name!r}, want one of {sorted(CHECKPOINTS)}"
        )
    if not hub_wanted():
        raise ValueError(
            f"{name} is on the hub, and the book downloads nothing unasked: "
            "set HANDMADE_HUB=1 to allow it"
        )
    return from_hub(name, *CHECKPOINTS[name])
