"""The famous checkpoints, from the hub."""

from handmade.weights.downloads import hub_folder, hub_wanted
from handmade.weights.pretrained import Pretrained

CLASSES = {
    "gpt2": "AutoModelForCausalLM",
    "bert-base-uncased": "AutoModelForMaskedLM",
    "t5-small": "AutoModelForSeq2SeqLM",
    "HuggingFaceTB/SmolLM2-135M-Instruct": "AutoModelForCausalLM",
}


def hub(name: str):
    """Return a famous checkpoint from the hub: needs `HANDMADE_HUB=1`.

    Raises ValueError for a name the book does not use or when the switch is
    off, ConnectionError when the hub cannot be reached.
    """
    if name not in CLASSES:
        raise ValueError(
            f"name: got {name!r}, the book uses {sorted(CLASSES)}"
        )
    if not hub_wanted():
        raise ValueError(
            f"{name} is on the hub, and the book downloads nothing unasked: "
            "set HANDMADE_HUB=1 to allow it"
        )
    return Pretrained(name, hub_folder(name), CLASSES[name])
