"""A variant is called as any decoder, and as the Llama that it extends."""

import inspect

import pytest
import torch
from handmade.contracts import Decoder
from handmade.models.llama import Llama
from handmade.models.variants import Variant
from handmade.text.data import document_mask, pack
from torch.testing import assert_close
from variant_helpers import (
    LEFT,
    MODELS,
    B,
    T,
    V,
    hf_model,
    some_ids,
)

each_model = pytest.mark.parametrize("kind", MODELS)


def parameters(function) -> list[tuple]:
    found = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in found]


def test_a_variant_is_called_as_the_contract_says():
    assert parameters(Variant.forward) == parameters(Decoder.__call__)
    assert parameters(Variant.forward) == parameters(Llama.forward)


@each_model
@pytest.mark.parametrize("n", [1, 4, T])
def test_only_the_last_logits(kind, n):
    theirs = hf_model(kind, torch.float64)
    ours, ids = Variant.from_hf(theirs), some_ids()
    made = []
    ours.lm_head.register_forward_hook(lambda *a: made.append(a[2].shape))
    got = ours(ids, LEFT, logits_to_keep=n)
    assert made == [(B, n, V)]
    assert_close(got, ours(ids, LEFT)[:, -n:])
    want = theirs(ids, logits_to_keep=n).logits
    assert_close(ours(ids, logits_to_keep=n), want)


@each_model
def test_packed_documents_are_each_what_they_are_alone(kind):
    model = Variant.from_hf(hf_model(kind, torch.float64))
    lengths = [9, 3, 7, 1, 12, 5]
    documents = [
        some_ids(n, 1, seed=i)[0].tolist() for i, n in enumerate(lengths)
    ]
    packed = pack(documents, T=14)
    logits = model(
        packed.ids,
        positions=packed.positions,
        mask=document_mask(packed.documents),
    )
    for row, of in enumerate(packed.documents):
        for number in range(int(of.max()) + 1):
            at = of == number
            alone = model(packed.ids[row, at][None])[0]
            assert_close(logits[row, at], alone, rtol=0, atol=1e-10)


def test_masks_and_rotations_are_made_once_for_each_kind(monkeypatch):
    model = Variant.from_hf(hf_model("gemma3_text"))
    asked = []
    for name in ("_mask", "_rope"):
        make = getattr(model, name)
        monkeypatch.setattr(
            model,
            name,
            lambda kind, x, name=name, make=make: (
                asked.append((name, kind)) or make(kind, x)
            ),
        )
    model(some_ids())
    kinds = ["sliding", "full"]
    assert asked == [(n, k) for n in ("_mask", "_rope") for k in kinds]
