"""Models of transformers in which no parameter keeps its default."""

from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

Model = TypeVar("Model", bound="PreTrainedModel")


@torch.no_grad()
def random_reference(
    hf_class: type[Model], config: "PretrainedConfig", seed: int = 0
) -> Model:
    """Return `hf_class(config)` with every parameter drawn at random.

    Matrices are drawn from N(0, 1 / fan_in), vectors from N(0, 0.2), norm
    gains around 1. Defaults (bias 0, gain 1) would let a swapped or missing
    vector pass every comparison.
    """
    generator = torch.Generator().manual_seed(seed)
    model = hf_class(config)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() > 1:
            noise /= parameter[0].numel() ** 0.5
        else:
            noise *= 0.2
            noise += 1.0 if bool((parameter == 1).all()) else 0.0
        parameter.copy_(noise.to(parameter.dtype))
        if not parameter.isfinite().all():
            raise ValueError(f"parameter {name} is not finite")
    model.eval()
    return model
