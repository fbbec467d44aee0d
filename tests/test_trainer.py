"""What the Trainer adds to the loop: accumulation, precision, looking."""

import pytest
import torch
from handmade.training.loop import Trainer
from torch import nn
from torch.nn import functional as F

IGNORE = -100


def net(dropout=0.0):
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Embedding(7, 6), nn.Dropout(dropout), nn.Linear(6, 7)
    ).double()


def masked_loss(model, ids, labels):
    logits = model(ids).flatten(0, 1)
    return F.cross_entropy(logits, labels.flatten(), ignore_index=IGNORE)


def tokens(ids, labels):
    return int((labels != IGNORE).sum())


def uneven(n):
    """n batches of one row; row i has i + 1 labels out of 5."""
    g = torch.Generator().manual_seed(2)
    ids = torch.randint(7, (n, 5), generator=g)
    labels = torch.randint(7, (n, 5), generator=g)
    for i in range(n):
        labels[i, i + 1 :] = IGNORE
    return ids, labels


def trainer(model, draw, **options):
    return Trainer(
        model,
        torch.optim.SGD(model.parameters(), lr=0.5),
        draw,
        options.pop("loss_of", masked_loss),
        generator=torch.Generator().manual_seed(0),
        **options,
    )


def in_turn(ids, labels):
    rows = iter(range(len(ids)))

    def draw(generator):
        i = next(rows)
        return ids[i : i + 1], labels[i : i + 1]

    return draw


def test_accumulated_batches_are_the_big_batch_whatever_their_lengths():
    ids, labels = uneven(4)
    small = trainer(net(), in_turn(ids, labels), accumulate=4, count=tokens)
    big = trainer(net(), lambda generator: (ids, labels))
    one, two = small.train_step(), big.train_step()
    assert one.loss == pytest.approx(two.loss, rel=1e-12)
    assert one.grad_norm == pytest.approx(two.grad_norm, rel=1e-12)
    for a, b in zip(
        small.model.parameters(), big.model.parameters(), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-13)


def test_a_mean_of_means_is_another_gradient():
    """So the test above can fail: without `count` each row counts alike."""
    ids, labels = uneven(4)
    alike = trainer(net(), in_turn(ids, labels), accumulate=4)
    big = trainer(net(), lambda generator: (ids, labels))
    gap = abs(alike.train_step().grad_norm - big.train_step().grad_norm)
    assert gap > 1e-3


def test_looking_moves_no_random_state_and_leaves_the_mode():
    ids, labels = uneven(3)
    batches = [(ids, labels)]

    def run(looks):
        one = trainer(net(0.5), lambda generator: (ids, labels))
        log = []
        for _ in range(4):
            log.append(one.train_step())
            for _ in range(looks):
                one.evaluate(batches)
        return log, [p.clone() for p in one.model.parameters()]

    (log, weights), (again, other) = run(0), run(3)
    assert log == again
    assert all(map(torch.equal, weights, other))


def test_the_loss_is_of_all_tokens_without_dropout():
    ids, labels = uneven(4)
    model = net(0.5)
    one = trainer(model, lambda g: (), count=tokens)
    rows = [(ids[i : i + 1], labels[i : i + 1]) for i in range(4)]
    model.eval()
    with torch.no_grad():
        want = masked_loss(model, ids, labels).item()
    for mode in (True, False):
        model.train(mode)
        assert one.evaluate(rows) == pytest.approx(want, rel=1e-12)
        assert model.training is mode
    with pytest.raises(ValueError, match="batches: got none"):
        one.evaluate([])


def test_an_error_while_looking_leaves_the_mode():
    model = net().train()
    one = trainer(model, lambda g: ())
    with pytest.raises(TypeError):
        one.evaluate([()])
    assert model.training


def test_products_are_computed_in_the_precision_that_was_asked_for():
    seen = []

    def loss_of(model, x):
        y = model(x)
        seen.append(y.dtype)
        return y.float().pow(2).mean()

    for precision, want in ((None, torch.float32), (torch.bfloat16,) * 2):
        model = nn.Linear(3, 3)
        one = trainer(
            model,
            lambda g: (torch.ones(2, 3),),
            loss_of=loss_of,
            precision=precision,
        )
        one.train_step()
        one.evaluate([(torch.ones(2, 3),)])
        assert seen == [want, want]
        assert model.weight.dtype == model.weight.grad.dtype == torch.float32
        seen.clear()


def test_a_run_goes_on_where_it_is():
    ids, labels = uneven(2)
    one = trainer(net(), lambda g: (ids, labels))
    heard = []
    first = one.run(3, lambda step, measured: heard.append(step))
    assert (len(first), one.step) == (3, 3)
    assert len(one.run(5, lambda step, measured: heard.append(step))) == 2
    assert one.run(5) == []
    assert heard == [0, 1, 2, 3, 4]


def test_what_makes_no_sense_is_refused():
    ids, labels = uneven(2)
    for options, said in (
        ({"accumulate": 0}, "accumulate"),
        ({"precision": torch.float16}, "precision"),
        ({"count": 3}, "count"),
    ):
        with pytest.raises(ValueError, match=said):
            trainer(net(), lambda g: (ids, labels), **options)
    one = trainer(net(), lambda g: (ids, labels), count=lambda *b: 0)
    with pytest.raises(ValueError, match="count: got"):
        one.train_step()
