"""A right call of what hides tokens."""

import torch
from handmade.models.masking import mask_tokens

from valid_calls import call

CALLS = {
    f"models.masking.{mask_tokens.__name__}": lambda: call(
        ids=torch.randint(5, 30, (2, 7)),
        special_ids=[0, 2, 3],
        mask_id=4,
        vocab_size=30,
        generator=torch.Generator().manual_seed(0),
    ),
}
