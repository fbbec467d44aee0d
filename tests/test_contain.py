"""No answer hangs, ends the notebook, or leaves anything changed."""

import random
import sys
import threading

import numpy as np
import pytest
import torch
from handmade.exercises import ExerciseError, check, core, lookup
from handmade.exercises.contain import (
    SETTINGS,
    TimeUp,
    plain_settings,
    put_back,
    read_settings,
    within,
)

NAME = "softmax-backward"


def right(weights, grad):
    return weights * (grad - (weights * grad).sum(-1, keepdim=True))


def attempt(fn, name=NAME):
    with pytest.raises(ExerciseError) as caught:
        check(name, fn)
    return " ".join(str(caught.value).split())


# -- endless answers


def loop(*args):
    while True:
        pass


def loop_that_swallows_errors(*args):
    while True:
        try:
            sum(range(1000))
        except BaseException:
            continue


def loop_in_long_steps(*args):
    n = 0
    while True:
        n = max(n, *range(1000))


@pytest.mark.parametrize(
    "fn",
    [loop, loop_that_swallows_errors, loop_in_long_steps],
    ids=lambda fn: fn.__name__,
)
def test_a_loop_that_never_ends_is_stopped_and_told(fn, monkeypatch):
    monkeypatch.setattr(core, "SECONDS", 0.05)
    said = attempt(fn)
    assert "in the case “one row”, your function has not come back" in said
    assert "stopped after 0.05 seconds" in said


def test_the_case_in_which_it_hangs_is_named(monkeypatch):
    monkeypatch.setattr(core, "SECONDS", 0.5)

    def fn(weights, grad):
        while weights.dtype == torch.float32:
            pass
        return right(weights, grad)

    assert "in the case “float32”, your function has not" in attempt(fn)


def test_a_loop_in_another_thread_than_the_main_one_is_stopped(monkeypatch):
    # as in a notebook's front end that runs cells in threads
    monkeypatch.setattr(core, "SECONDS", 0.05)
    said = []
    thread = threading.Thread(target=lambda: said.append(attempt(loop)))
    thread.start()
    thread.join()
    assert "has not come back" in said[0]


def test_the_alarm_is_off_once_the_call_is_over():
    assert within(0.01, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(0.01, lambda: 1 / 0)
    with pytest.raises(TimeUp):
        within(0.01, loop)
    # were it still on, it would ring in here
    assert sum(i % 7 for i in range(300_000)) > 0


def test_what_comes_after_a_stopped_answer_is_not_disturbed(monkeypatch):
    for _ in range(20):
        with monkeypatch.context() as patch:
            patch.setattr(core, "SECONDS", 0.001)
            attempt(loop_that_swallows_errors)
        check(NAME, right)


# -- answers that would end the notebook


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (SystemExit(3), "it raises SystemExit: 3, at its line “raise error”"),
        (GeneratorExit(), "it raises GeneratorExit"),
        (KeyboardInterrupt(), "your function was interrupted"),
        (RecursionError("too deep"), "it raises RecursionError: too deep"),
        (MemoryError(), "it raises MemoryError"),
        (StopIteration(), "it raises StopIteration"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_an_answer_raises_is_told(error, says):
    def fn(weights, grad):
        raise error

    said = attempt(fn)
    assert "in the case “one row”" in said
    assert says in said


def test_sys_exit_is_told():
    assert "it raises SystemExit: 5" in attempt(lambda *args: sys.exit(5))


# -- answers that change what is not theirs

CHANGES = {
    "the default dtype": lambda: torch.set_default_dtype(torch.float64),
    "the default device": lambda: torch.set_default_device("meta"),
    "whether gradients are recorded": lambda: torch.set_grad_enabled(False),
    "whether only deterministic algorithms": lambda: (
        torch.set_deterministic_debug_mode("error")
    ),
    "the precision of float32 products": lambda: (
        torch.set_float32_matmul_precision("high")
    ),
}
DRAWS = {
    "PyTorch's random numbers": lambda: torch.manual_seed(3),
    "Python's random numbers": lambda: random.seed(3),
    "NumPy's random numbers": lambda: np.random.seed(3),
}


def test_every_setting_is_tried():
    for setting in SETTINGS:
        tried = DRAWS if setting.drawn else CHANGES
        assert any(setting.what.startswith(what) for what in tried)
    assert len(CHANGES) + len(DRAWS) == len(SETTINGS)


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("then", [right, loop, lambda w, g: 1 / 0, sys.exit])
def test_a_changed_setting_is_put_back_and_told(what, then, monkeypatch):
    monkeypatch.setattr(core, "SECONDS", 10 if then is right else 0.2)
    before = read_settings()

    def fn(weights, grad):
        out = right(weights, grad) if then is right else None
        CHANGES[what]()
        return out if then is right else then(weights, grad)

    said = attempt(fn)
    assert read_settings() == before
    if then is loop:
        assert "has not come back" in said
    else:
        assert f"your function changes {what}" in said
        assert "(in the case “one row”)" in said


@pytest.mark.parametrize("what", DRAWS)
def test_random_numbers_are_put_back_and_told(what, capsys):
    before = read_settings()

    def fn(weights, grad):
        DRAWS[what]()
        return right(weights, grad)

    check(NAME, fn)  # right all the same: a layer's first weights are drawn
    assert read_settings() == before
    printed = " ".join(capsys.readouterr().out.split())
    assert f"Your function uses {what}, which changes them" in printed
    check(NAME, right)
    assert "Your function uses" not in capsys.readouterr().out


def test_an_answer_is_judged_under_plain_settings_that_are_then_put_back():
    theirs = [torch.float64, torch.device("meta"), False, 2, "medium"]
    outer = read_settings()
    values = [*theirs, *outer[len(theirs) :]]
    try:
        put_back(values)
        before = read_settings()
        assert before[: len(theirs)] == theirs
        check(NAME, right)
        check("scaled-dot-product", core_attention)
        assert read_settings() == before
    finally:
        put_back(outer)


def core_attention(q, k, v, mask=None):
    assert torch.is_grad_enabled()
    assert torch.zeros(1).dtype == torch.float32
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, mask)


def fails_in_half_precision():
    torch.set_default_dtype(torch.float16)
    raise KeyError


def test_plain_settings_are_put_back_after_an_error():
    before = read_settings()
    with pytest.raises(KeyError), plain_settings():
        fails_in_half_precision()
    assert read_settings() == before


def test_a_changed_requires_grad_of_an_argument_is_told():
    def fn(weights, grad):
        return right(weights, grad.requires_grad_())

    assert "changes requires_grad of its argument 2" in attempt(fn)

    def frozen(model):
        model.requires_grad_(False)
        return sum(
            {p.data_ptr(): p.numel() for p in model.parameters()}.values()
        )

    said = attempt(frozen, "distinct-parameters")
    assert "changes requires_grad of its argument 1" in said


def test_a_list_of_layers_cannot_be_emptied_for_good():
    name = "mix-experts"

    reference = lookup(name).reference

    def fn(x, logits, experts, k):
        out = reference(x, logits, list(experts), k)
        experts.clear()
        return out

    assert "changes its argument 3 in place" in attempt(fn, name)
    check(name, reference)


# -- what it prints, and what it cannot fake


def test_what_an_answer_prints_is_shown(capsys):
    def fn(weights, grad):
        print("shape", tuple(weights.shape))
        return right(weights, grad)

    check(NAME, fn)
    printed = capsys.readouterr().out
    assert printed.startswith("shape (4,)\nshape (3, 3)\n")
    assert printed.count("shape") == 5


class AlwaysEqual(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func in (torch.Tensor.ne, torch.Tensor.__ne__):
            return torch.zeros(())
        return super().__torch_function__(func, types, args, kwargs or {})


class EqualText(str):
    __hash__ = str.__hash__

    def __eq__(self, other):
        return True


class EqualList(list):
    __hash__ = None

    def __eq__(self, other):
        return True


@pytest.mark.parametrize(
    ("name", "fn", "says"),
    [
        (
            NAME,
            lambda w, g: torch.zeros_like(w).as_subclass(AlwaysEqual),
            "it returns an AlwaysEqual, want a tensor",
        ),
        ("strip-accents", EqualText, "want a str"),
        ("character-starts", EqualList, "want a list"),
        ("state-size", lambda *args: True, "it returns a bool, want an int"),
    ],
)
def test_what_claims_to_equal_everything_is_refused(name, fn, says):
    assert says in attempt(fn, name)


def test_a_parameter_is_a_tensor():
    check(NAME, lambda w, g: torch.nn.Parameter(right(w, g)))
