"""Models of transformers in which no parameter keeps its default."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PretrainedConfig

Model = TypeVar("Model", bound=nn.Module)


@torch.no_grad()
def random_reference(
    hf_class: Callable[["PretrainedConfig"], Model],
    config: "PretrainedConfig",
    seed: int = 0,
) -> Model:
    """Return `hf_class(config)` with every parameter drawn at random.

    Matrices are drawn from N(0, 1 / fan_in), vectors from N(0, 0.2), norm
    gains around 1. Defaults (bias 0, gain 1) would let a swapped or missing
    vector pass every comparison. ``hf_class`` may be a function that makes
    the module, where a class asks for more than its config. Raises
    ValueError for what makes no module, or another model's config.
    """
    is_class = isinstance(hf_class, type)
    makes = callable(hf_class) and not isinstance(hf_class, nn.Module)
    if not makes or (is_class and not issubclass(hf_class, nn.Module)):
        got = repr(hf_class) if is_class else f"a {type(hf_class).__name__}"
        raise ValueError(f"hf_class: got {got}, want a model's class")
    wanted = getattr(hf_class, "config_class", None) or object
    if config is None or not isinstance(config, wanted):
        raise ValueError(
            f"config: got {type(config).__name__}, want {wanted.__name__}"
        )
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ValueError(f"seed: got {seed!r}, want a whole number")
    generator = torch.Generator().manual_seed(seed)
    model = hf_class(config)
    if not isinstance(model, nn.Module):
        made = f"a function that makes a {type(model).__name__}"
        raise ValueError(f"hf_class: got {made}, want one of a module")
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() > 1:
            noise /= parameter[0].numel() ** 0.5
        else:
            noise *= 0.2
            noise += 1.0 if bool((parameter == 1).all()) else 0.0
        parameter.copy_(noise.to(parameter.dtype))
        if not parameter.isfinite().all():
            raise ValueError(f"{name}: got nan or infinity, want finite")
    model.eval()
    return model
