"""Hiding tokens, against transformers' collator and BertForMaskedLM."""

import pytest
import torch
from handmade.models.masked_lm import MaskedLM
from handmade.models.masking import mask_tokens
from handmade.text.data import IGNORE
from handmade.weights.reference import random_reference
from torch.nn import functional as F

V, MASK, SPECIAL = 40, 4, (0, 1, 2, 3, 4)


def drawn(seed=0, rows=400, T=50):
    return torch.randint(
        5, V, (rows, T), generator=torch.Generator().manual_seed(seed)
    )


def masked(ids, seed=1, **options):
    return mask_tokens(
        ids,
        SPECIAL,
        mask_id=MASK,
        vocab_size=V,
        generator=torch.Generator().manual_seed(seed),
        **options,
    )


def fates(ids, read, labels) -> list[float]:
    """Return the shares: chosen, and of these hidden, swapped, left."""
    chosen = labels != IGNORE
    now, before = read[chosen], ids[chosen]
    hidden, left = now == MASK, now == before
    return [
        x.double().mean().item() for x in (chosen, hidden, ~hidden & ~left,
                                           left)
    ]  # fmt: skip


def collated(ids, seed=1):
    """Let transformers mask the same ids."""
    from transformers import BertTokenizerFast, DataCollatorForLanguageModeling

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    names += [f"w{i}" for i in range(V - len(names))]
    tokenizer = BertTokenizerFast(vocab={n: i for i, n in enumerate(names)})
    assert tokenizer.mask_token_id == MASK
    assert len(tokenizer) == V
    torch.manual_seed(seed)
    collator = DataCollatorForLanguageModeling(tokenizer)
    return collator.torch_mask_tokens(ids.clone())


def test_the_shares_are_those_of_transformers():
    ids = drawn(rows=2000)
    ours, theirs = fates(ids, *masked(ids)), fates(ids, *collated(ids))
    # of the swapped, one in V is what it was and one in V is [MASK]
    want = [0.15, 0.8 + 0.1 / V, 0.1 * (V - 2) / V, 0.1 + 0.1 / V]
    for name, a, b, c in zip(
        ("chosen", "hidden", "swapped", "left"), ours, theirs, want,
        strict=True,
    ):  # fmt: skip
        # five standard deviations of shares of 100,000 or of 15,000 tokens
        n = ids.numel() * (1 if name == "chosen" else 0.15)
        spread = 5 * (c * (1 - c) / n) ** 0.5
        assert abs(a - c) < spread, name
        assert abs(b - c) < spread, name


def test_a_swap_may_become_any_token_as_in_transformers():
    ids = drawn(rows=4000)
    for read, labels in (masked(ids), collated(ids)):
        swapped = (read != ids) & (read != MASK)
        counts = torch.bincount(read[swapped], minlength=V).double()
        counts = counts[torch.arange(V) != MASK] / counts.sum()
        assert counts.min() > 0.6 / V
        assert counts.max() < 1.5 / V
        assert (labels[swapped] == ids[swapped]).all()


def test_special_tokens_are_never_chosen():
    ids = drawn()
    ids[:, 0], ids[:, 30], ids[:, 31:] = 2, 3, 0
    for read, labels in (masked(ids), masked(ids, share=1.0)):
        special = torch.isin(ids, torch.tensor(SPECIAL))
        assert (labels[special] == IGNORE).all()
        assert torch.equal(read[special], ids[special])
    # all the others, if the share is 1
    assert (labels[~special] == ids[~special]).all()


def test_what_is_not_chosen_stays_and_has_no_label():
    ids = drawn()
    read, labels = masked(ids)
    rest = labels == IGNORE
    assert torch.equal(read[rest], ids[rest])
    assert torch.equal(labels[~rest], ids[~rest])


def test_the_input_is_left_alone_and_the_seed_decides():
    ids = drawn()
    before = ids.clone()
    first, again, other = masked(ids), masked(ids), masked(ids, seed=2)
    assert torch.equal(ids, before)
    for a, b, c in zip(first, again, other, strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_drawn_anew_every_token_has_its_turn():
    ids = drawn(rows=1)
    generator = torch.Generator().manual_seed(0)
    seen = torch.zeros_like(ids, dtype=torch.bool)
    for _ in range(100):
        _, labels = mask_tokens(
            ids, SPECIAL, mask_id=MASK, vocab_size=V, generator=generator
        )
        seen |= labels != IGNORE
    assert seen.all()


@pytest.mark.parametrize(
    ("hidden", "swapped", "want"),
    [(1.0, 0.0, 1), (0.0, 0.0, 3), (0.0, 1.0, 2)],
)
def test_one_fate_for_all(hidden, swapped, want):
    ids = drawn()
    shares = fates(ids, *masked(ids, hidden=hidden, swapped=swapped))
    assert shares[want] > 0.93


def test_int32_stays_int32():
    read, labels = masked(drawn().int())
    assert read.dtype == labels.dtype == torch.int32


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"share": 1.5}, "share: got 1.5"),
        ({"hidden": 0.9, "swapped": 0.2}, "hidden and swapped: got 0.9"),
        ({"hidden": -0.1}, "hidden: got -0.1"),
    ],
)
def test_wrong_shares_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        masked(drawn(), **options)


def test_a_mask_outside_the_vocabulary_is_refused():
    with pytest.raises(ValueError, match="mask_id: got 40, want 0 to 39"):
        mask_tokens(
            drawn(), SPECIAL, mask_id=40, vocab_size=V,
            generator=torch.Generator(),
        )  # fmt: skip


def test_loss_and_gradients_are_those_of_transformers():
    import transformers

    config = transformers.BertConfig(
        vocab_size=V, hidden_size=24, intermediate_size=36,
        num_hidden_layers=2, num_attention_heads=3,
        max_position_embeddings=16,
    )  # fmt: skip
    theirs = random_reference(transformers.BertForMaskedLM, config).double()
    ours = MaskedLM.from_hf(theirs)
    ids = drawn(rows=3, T=11)
    read, labels = masked(ids, share=0.4)
    chosen = labels != IGNORE
    # ours asks the head where a token was chosen, theirs everywhere
    loss = F.cross_entropy(ours.predict(ours.bert(read)[chosen]),
                           labels[chosen])  # fmt: skip
    want = theirs(read, labels=labels).loss
    assert abs(loss - want) < 1e-12
    loss.backward()
    want.backward()
    for a, b in (
        (ours.dense.weight, theirs.cls.predictions.transform.dense.weight),
        (ours.lm_head.bias, theirs.cls.predictions.bias),
        (ours.bert.tok_emb.weight,
         theirs.bert.embeddings.word_embeddings.weight),
    ):  # fmt: skip
        torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=1e-12)
