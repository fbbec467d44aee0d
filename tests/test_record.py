"""`record` shows the run's own tensors, and leaves the model as it was."""

import pytest
import torch
from handmade.record import Name, record, recording, tensors_of
from torch import nn

X = torch.arange(6.0).reshape(2, 3)


class Twice(nn.Module):
    """Runs one of its modules twice, and another never."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.LayerNorm(3)
        self.lin = nn.Linear(3, 3)
        self.idle = nn.Linear(3, 3)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.norm(self.drop(self.lin(self.norm(x))))


class Parts(nn.Module):
    """Gives back what transformers' models do: parts within parts."""

    def forward(self, x):
        return {
            "loss": None,
            "hidden": x,
            "maps": (x + 1, x + 2),
            "cache": object(),
            "pooled": x.mean(1),
        }


class Careless(nn.Module):
    """Writes over what one of its modules put out."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Identity()

    def forward(self, x):
        return self.inner(x + 0).mul_(0)


def hooks(model):
    return [hook for m in model.modules() for hook in m._forward_hooks]


def test_what_is_recorded_is_what_the_modules_put_out():
    model = Twice().eval()
    seen = record(model, X, ["", "lin", "norm[0]"])
    first = model.norm(X)
    assert torch.equal(seen["norm[0]"], first)
    assert torch.equal(seen["lin"], model.lin(first))
    assert torch.equal(seen[""], model(X))
    assert list(seen) == ["norm[0]", "lin", ""]  # in the order they finish


def test_a_module_that_runs_twice_is_asked_for_by_number():
    model = Twice().eval()
    seen = record(model, X, ["norm[1]", "norm[:]", "lin[0]"])
    assert seen.found["norm[:]"] == ["norm[0]", "norm[1]"]
    assert torch.equal(seen["norm[1]"], model(X))
    assert not torch.equal(seen["norm[0]"], seen["norm[1]"])
    with pytest.raises(ValueError, match=r"want 'norm\[0\]' for one run"):
        record(model, X, ["norm"])
    with pytest.raises(ValueError, match=r"'norm\[2\]'.* ran 2 times"):
        record(model, X, ["norm[2]"])


def test_several_calls_in_one_block_are_several_runs():
    model = Twice().eval()
    with recording(model, ["lin[:]"]) as seen:
        for size in (1, 2, 3):
            model(size * torch.ones(1, 3))
    assert list(seen) == ["lin[0]", "lin[1]", "lin[2]"]


def test_parts_of_an_output():
    model = Parts()
    seen = record(model, X, ["", ":pooled", ":maps.1"])
    assert torch.equal(seen[""], X)  # the first tensor
    assert torch.equal(seen[":pooled"], X.mean(1))
    assert torch.equal(seen[":maps.1"], X + 2)
    seen = record(model, X, [":*"])
    assert list(seen) == [":hidden", ":maps.0", ":maps.1", ":pooled"]
    with pytest.raises(ValueError, match=r":logits'.*'hidden', 'maps\.0'"):
        record(model, X, [":logits"])


def test_every_tensor_of_an_output_that_is_one():
    assert list(record(nn.Identity(), X, [":*"])) == [":0"]


def test_outputs_of_transformers_models():
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 6, "intermediate_size": 8}
    config = BertConfig(
        vocab_size=9, num_hidden_layers=2, num_attention_heads=3, **sizes
    )
    config._attn_implementation = "eager"
    model = BertModel(config).eval()
    inputs = {"input_ids": torch.tensor([[1, 2, 3]])}
    inputs["output_attentions"] = True
    names = ["", ":pooler_output", ":attentions.1", "encoder.layer.1"]
    seen = record(model, inputs, names)
    assert seen[""].shape == (1, 3, 6)
    assert torch.equal(seen[""], seen["encoder.layer.1"])
    assert seen[":pooler_output"].shape == (1, 6)
    assert seen[":attentions.1"].shape == (1, 3, 3, 3)


def test_nothing_is_copied_unless_asked_for():
    model = Careless()
    assert record(model, X, ["inner"])["inner"].count_nonzero() == 0
    kept = record(model, X, ["inner"], copy=True)["inner"]
    assert torch.equal(kept, X)
    with recording(model, ["inner"]) as seen:
        out = model(X)
    assert out.data_ptr() == seen["inner"].data_ptr()


def test_gradients_go_through_a_recording():
    model = Twice().eval()
    with recording(model, ["lin"]) as seen:
        model(X).pow(3).sum().backward()
    assert seen["lin"].requires_grad
    assert not record(model, X, ["lin"])["lin"].requires_grad


def test_modes_and_hooks_are_put_back():
    model = Twice().train()
    model.lin.eval()
    seen = record(model, X, [""])
    assert torch.equal(seen[""], record(model, X, [""])[""])  # no dropout
    assert model.training
    assert not model.lin.training
    assert model.drop.training
    assert not hooks(model)


def test_modes_and_hooks_are_put_back_after_an_error():
    model = Twice().train()
    for broken in (torch.ones(2, 5), ("no tensor",)):
        with pytest.raises((RuntimeError, TypeError)):
            record(model, broken, ["lin"])
    with pytest.raises(ValueError, match="runs more than once"):
        record(model, X, ["norm"])
    assert all(m.training for m in model.modules())
    assert not hooks(model)


def test_one_module_under_two_paths():
    model = nn.Sequential(nn.Linear(3, 3))
    model.append(model[0])
    assert list(record(model, X, ["1[:]"])) == ["1[0]", "1[1]"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["lim"], r"names: got 'lim', want a module of Twice, such as 'lin'"),
        (["nrom[1]"], r"got 'nrom', .*'norm'"),
        (["idle"], r"'idle', want modules that run: this one did not run"),
        ([], "names: got none"),
        ("lin", "names: got the str 'lin'"),
        ([3], "names: got 3"),
        (["lin\n"], r"names: got 'lin\\n'"),
    ],
)
def test_wrong_names(names, message):
    model = Twice()
    with pytest.raises(ValueError, match=message):
        record(model, X, names)
    assert not hooks(model)


def test_an_output_without_a_tensor():
    class Words(nn.Module):
        def forward(self, x):
            return "words"

    with pytest.raises(ValueError, match="has no tensor"):
        record(Words(), X, [""])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ("", None, None)),
        ("a.0.b", ("a.0.b", None, None)),
        ("a[3]", ("a", "3", None)),
        ("a[:]:*", ("a", ":", "*")),
        (":maps.1", ("", None, "maps.1")),
        ("a[b]", ("a[b]", None, None)),  # no number: part of the path
    ],
)
def test_names_are_read_and_written(text, parts):
    name = Name.parse(text)
    assert (name.path, name.run, name.part) == parts
    assert str(name) == text


def test_tensors_of_what_is_nested():
    found = tensors_of([X, {"a": [X]}, None, 3])
    assert [part for part, _ in found] == ["0", "1.a.0"]
