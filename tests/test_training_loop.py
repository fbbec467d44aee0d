"""The one training loop, held to updates written out by hand."""

import math

import pytest
import torch
from handmade.training.loop import Step, next_token_loss, train
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook


class Line(nn.Module):
    """y = x w + b, in float64; `unused` is never reached by a gradient."""

    def __init__(self):
        super().__init__()
        g = torch.Generator().manual_seed(5)
        draw = torch.randn(3, 2, generator=g, dtype=torch.float64)
        self.w = nn.Parameter(draw)
        self.b = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.unused = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, x):
        return x @ self.w + self.b


def draw(generator):
    x = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    return x, x.sum(-1, keepdim=True).expand(-1, 2) + 3.0


def square(model, x, y):
    return ((model(x) - y) ** 2).mean()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def trained(steps=4, lr=0.1, optimizer=torch.optim.SGD, **options):
    model = Line()
    log = train(
        model,
        optimizer(model.parameters(), lr=lr),
        options.pop("draw", draw),
        options.pop("loss_of", square),
        steps=steps,
        generator=options.pop("generator", seeded()),
        **options,
    )
    return model, log


def halving(step):
    return 0.5**step


def adamw_by_hand(steps, lr, max_norm, decay=0.01):
    """AdamW, clipping and schedule with nothing of torch.optim.

    m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2,
    p = p (1 - lr decay) - lr m' / (sqrt(v') + eps), each ' unbiased
    """
    model, generator, log = Line(), seeded(), []
    state = {
        name: (torch.zeros_like(p), torch.zeros_like(p))
        for name, p in model.named_parameters()
    }
    for step in range(steps):
        x, y = draw(generator)
        rate = lr * halving(step)
        residual = x @ model.w + model.b - y
        loss = (residual**2).mean()
        # the gradients, too, by hand
        slope = 2 * residual / residual.numel()
        grads = {"w": x.T @ slope, "b": slope.sum(0)}
        norm = math.sqrt(sum((g**2).sum().item() for g in grads.values()))
        log.append(Step(loss.item(), norm, rate))
        with torch.no_grad():
            for name, g in grads.items():
                g = g * min(1.0, max_norm / (norm + 1e-6))
                p, (m, v) = getattr(model, name), state[name]
                m.mul_(0.9).add_(0.1 * g)
                v.mul_(0.999).add_(0.001 * g**2)
                p.mul_(1 - rate * decay)
                up = m / (1 - 0.9 ** (step + 1))
                down = (v / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8
                p.sub_(rate * up / down)
    return model, log


@pytest.mark.parametrize("max_norm", [1.0, 3.0, math.inf])
def test_the_steps_are_those_written_by_hand(max_norm):
    ours, log = trained(
        6,
        0.3,
        torch.optim.AdamW,
        schedule=halving,
        max_norm=max_norm,
    )
    theirs, wanted = adamw_by_hand(6, 0.3, max_norm)
    for one, two in zip(log, wanted, strict=True):
        assert one.loss == pytest.approx(two.loss, rel=1e-10)
        assert one.grad_norm == pytest.approx(two.grad_norm, rel=1e-10)
        assert one.lr == pytest.approx(two.lr, rel=1e-12)
    for name, p in ours.named_parameters():
        torch.testing.assert_close(p, theirs.get_parameter(name))
    assert torch.equal(ours.unused, Line().unused)


def norms_at_the_step(run):
    """Call run; return the gradient's norm at each optimizer step."""
    norms = []

    def look(optimizer, args, kwargs):
        grads = [p.grad for g in optimizer.param_groups for p in g["params"]]
        norms.append(
            math.sqrt(sum((g**2).sum().item() for g in grads if g is not None))
        )

    hook = register_optimizer_step_pre_hook(look)
    try:
        return run(), norms
    finally:
        hook.remove()


def test_no_gradient_is_longer_than_asked_and_shorter_ones_stay():
    _, free = trained(lr=0.0)
    bound = sorted(step.grad_norm for step in free)[2]
    (_, log), norms = norms_at_the_step(
        lambda: trained(lr=0.0, max_norm=bound)
    )
    assert log == free  # it is the unclipped norm that is told
    for step, norm in zip(log, norms, strict=True):
        assert norm == pytest.approx(min(bound, step.grad_norm), rel=1e-5)
    assert max(norms) < max(step.grad_norm for step in log) - 1e-3


def test_each_gradient_is_that_of_its_own_batch():
    # nothing moves, one batch again and again: nothing may add up
    _, log = trained(lr=0.0, draw=lambda generator: draw(seeded(3)))
    assert len({(step.loss, step.grad_norm) for step in log}) == 1


def test_the_schedule_is_a_factor_on_every_groups_rate():
    model, seen = Line(), []
    optimizer = torch.optim.SGD(
        [{"params": [model.w], "lr": 0.1}, {"params": [model.b], "lr": 0.02}]
    )

    def tell(step, measured):
        seen.append([group["lr"] for group in optimizer.param_groups])

    options = {"steps": 3, "generator": seeded(), "tell": tell}
    log = train(model, optimizer, draw, square, schedule=halving, **options)
    for step, rates in enumerate(seen):
        assert rates == pytest.approx([0.1 * 0.5**step, 0.02 * 0.5**step])
    assert [s.lr for s in log] == [rates[0] for rates in seen]


def test_without_a_schedule_the_rates_are_the_callers():
    model = Line()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    cycle = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1)
    log = train(
        model,
        optimizer,
        draw,
        square,
        steps=3,
        generator=seeded(),
        tell=lambda step, measured: cycle.step(),
    )
    assert [s.lr for s in log] == pytest.approx([0.1, 0.01, 0.001])


def test_training_goes_on_where_the_generator_is():
    generator = seeded()
    whole, log = trained(6)
    model = Line()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    parts = [
        train(model, optimizer, draw, square, steps=n, generator=generator)
        for n in (2, 4)
    ]
    assert parts[0] + parts[1] == log
    assert torch.equal(model.w, whole.w)


def test_each_step_is_told_in_order_and_the_model_trains():
    told, modes = [], []

    def loss_of(model, x, y):
        modes.append(model.training)
        return square(model, x, y)

    model = Line().eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    log = train(
        model,
        optimizer,
        draw,
        loss_of,
        steps=3,
        generator=seeded(),
        tell=lambda *heard: told.append(heard),
    )
    assert told == list(enumerate(log))
    assert modes == [True] * 3


def test_frozen_parameters_stay():
    model = Line()
    model.b.requires_grad_(False)
    optimizer = torch.optim.AdamW([model.w], lr=0.1)
    train(model, optimizer, draw, square, steps=2, generator=seeded())
    assert torch.equal(model.b, torch.zeros_like(model.b))
    assert not torch.equal(model.w, Line().w)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_refused_before_it_is_learned(bad):
    calls, states = [], []

    def loss_of(model, x, y):
        calls.append(1)
        states.append(model.w.detach().clone())
        return square(model, x, y) * (bad if len(calls) == 3 else 1.0)

    with pytest.raises(ValueError, match=f"loss: got {bad} at step 2, want"):
        trained(loss_of=loss_of)
    assert len(calls) == 3
    assert not torch.equal(states[1], states[2])


def test_a_gradient_that_is_not_finite_is_refused():
    def loss_of(model, x, y):  # the root has no slope at 0
        return (model.w.sum() * 0).sqrt()

    model = Line()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="grad_norm: got nan at step 0, want"):
        train(model, optimizer, draw, loss_of, steps=1, generator=seeded())
    assert torch.equal(model.w, Line().w)


class Elsewhere(torch.Generator):
    device = torch.device("cuda")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps: got 0, want"),
        ({"steps": -3}, "steps: got -3, want"),
        ({"steps": 2.0}, "steps: got 2.0, want"),
        ({"steps": True}, "steps: got True, want"),
        ({"generator": Elsewhere()}, "generator: got one on cuda, want"),
        ({"max_norm": 0.0}, "max_norm: got 0.0, want"),
        ({"max_norm": math.nan}, "max_norm: got nan, want"),
    ],
)
def test_wrong_arguments_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        trained(**wrong)


def test_nothing_to_train_is_an_error():
    model = Line()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="model: got no parameter"):
        train(model, optimizer, draw, square, steps=1, generator=seeded())


def test_each_token_is_predicted_from_those_before_it():
    class Copies(nn.Module):
        """Says what it has just read, surely."""

        def forward(self, ids):
            self.read = ids
            return 50.0 * nn.functional.one_hot(ids, 4).float()

    model = Copies()
    same = torch.tensor([[2, 2, 2, 2]])
    assert next_token_loss(model, same) < 1e-6
    assert torch.equal(model.read, same[:, :-1])
    assert next_token_loss(model, torch.tensor([[0, 1, 2, 3]])) > 49
