"""What BERT's tensors are called in files of all ages.

A model's table has the names of today. Files made out of TensorFlow's call
a norm's gain and bias gamma and beta, and hold the positions 0, 1, ... as a
tensor; those of a model with a head put ``bert.`` before the encoder's names
and may name the head's one bias twice.
"""

from collections.abc import Mapping

import torch

from handmade import checks
from handmade.models.load_checks import check_weights

OLD_ENDS = {
    "LayerNorm.gamma": "LayerNorm.weight",
    "LayerNorm.beta": "LayerNorm.bias",
    # an alias, which transformers ties to the other
    "predictions.decoder.bias": "predictions.bias",
}


def todays_names(
    weights: Mapping[str, torch.Tensor], prefix: str
) -> dict[str, torch.Tensor]:
    """Rename what old files call otherwise; encoder's names get the prefix.

    Raises ValueError where two names mean one parameter and differ, where
    the stored positions are not 0, 1, ..., and on a head that tells whether
    two sentences follow each other, which no model of ours has.
    """
    check_weights(weights)
    checks.text("prefix", prefix)
    found: dict[str, torch.Tensor] = {}
    for given, x in weights.items():
        name = _name(given, prefix)
        if name.endswith("embeddings.position_ids"):
            _check_positions(given, x)
        elif name not in found:
            found[name] = x
        elif not torch.equal(found[name], x):
            raise ValueError(
                f"weights: got {given} and another {name}, want one of them"
            )
    return found


def _name(name: str, prefix: str) -> str:
    if name.startswith("cls.seq_relationship"):
        raise ValueError(
            f"weights: got {name}, want no head for pairs of sentences: "
            "leave it out to load the rest"
        )
    for old, new in OLD_ENDS.items():
        if name.endswith(old):
            name = name.removesuffix(old) + new
    is_head = name.startswith("cls.")
    return name if is_head else prefix + name.removeprefix("bert.")


def _check_positions(name: str, x: torch.Tensor) -> None:
    if x.flatten().tolist() != [*range(x.numel())]:
        raise ValueError(f"weights: got other {name}, want 0, 1, 2, ...")
