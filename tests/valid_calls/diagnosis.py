"""Right calls of `handmade.inference.diagnosis`."""

import torch

from valid_calls import call
from valid_calls.models import ids, llama, mask

CALLS = {
    "inference.diagnosis.score_text": lambda: call(
        model=llama(), ids=ids(), attention_mask=mask()
    ),
    "inference.diagnosis.repetition": lambda: call(ids=ids(), n=2),
    "inference.diagnosis.draws_match": lambda: call(
        draws=torch.tensor([0, 1, 1, 2]), logits=torch.zeros(3), least=1.0
    ),
}
