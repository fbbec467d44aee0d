"""The compiled training step is the eager one, and resumes to the bit."""

import shutil
from dataclasses import replace

import pytest
import torch
from handmade.training.checkpoint import load_checkpoint
from handmade.training.compiled import COMPILERS, compiled_loss
from handmade.training.mini_gpt import Run
from handmade.training.mini_gpt_command import main
from handmade.training.mini_gpt_settings import Settings, settings_of

from conftest import lack

# of what PyTorch itself imports when it compiles
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{says}:DeprecationWarning")
    for says in (
        ".torch.jit.script_method. is deprecated",
        ".*autograd.function.Function.* should not be instantiated",
    )
]
TEXT = "the quick brown fox jumps over the lazy dog.\n" * 40
SMALL = Settings(
    steps=6, d_model=16, n_layers=2, n_heads=2, d_ff=24, max_seq_len=24,
    batch_size=3, precision="float32", engine="compiled",
)  # fmt: skip


@pytest.fixture
def compilers(monkeypatch):
    """Count what is compiled, without compiling it."""
    torch._dynamo.reset()
    calls = []

    def counting(graph, inputs):
        calls.append(graph)
        return graph.forward

    real = torch.compile
    monkeypatch.setenv("CXX", "true")  # a compiler that nobody calls
    monkeypatch.setattr(
        torch, "compile", lambda fn, **how: real(fn, backend=counting, **how)
    )
    yield calls
    torch._dynamo.reset()


def train(settings, folder, steps=None):
    run = Run.new(folder, settings, TEXT)
    return run, run.trainer.run(settings.steps if steps is None else steps)


@pytest.fixture
def compiler():
    """Forget what was compiled; want a compiler for what will be."""
    if not any(map(shutil.which, COMPILERS)):
        lack("no C++ compiler: apt-get install g++")
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_compiled_step_is_the_eager_one(tmp_path, precision):
    settings = replace(SMALL, precision=precision)
    one, log = train(settings, tmp_path / "one")
    eager = replace(settings, engine="eager")
    two, wanted = train(eager, tmp_path / "two")
    near = 1e-5 if precision == "float32" else 0.02
    for ours, theirs in zip(log, wanted, strict=True):
        assert abs(ours.loss - theirs.loss) < near
        assert abs(ours.grad_norm - theirs.grad_norm) < 10 * near
    assert log[-1].loss < log[0].loss - 0.3
    if precision == "float32":
        for ours, theirs in zip(
            one.trainer.model.parameters(),
            two.trainer.model.parameters(),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_a_compiled_run_resumes_to_the_last_bit(tmp_path):
    whole, log = train(SMALL, tmp_path / "whole")
    half, first = train(SMALL, tmp_path / "half", steps=3)
    half.save()
    torch._dynamo.reset()
    again = Run.resumed(tmp_path / "half", TEXT)
    assert again.settings.engine == "compiled"
    assert first + again.trainer.run(SMALL.steps) == log
    for name, x in whole.trainer.model.state_dict().items():
        assert torch.equal(x, again.trainer.model.state_dict()[name]), name


def test_one_graph_serves_every_step_and_none_an_evaluation(
    tmp_path, compilers
):
    run, _ = train(SMALL, tmp_path)
    assert len(compilers) == 1
    loss = run.validation_loss()
    run.sample(5)
    assert len(compilers) == 1
    eager = Run.new(tmp_path / "b", replace(SMALL, engine="eager"), TEXT)
    eager.trainer.model.load_state_dict(run.trainer.model.state_dict())
    assert eager.validation_loss() == loss


def test_a_flag_and_a_checkpoint_keep_it(tmp_path, compilers, capsys):
    flags = [
        f"--{name.replace('_', '-')}={value}"
        for name, value in vars(SMALL).items()
    ]
    text = tmp_path / "text"
    text.write_text(TEXT, encoding="utf-8")
    folder = str(tmp_path / "run")
    main(["train", folder, *flags, f"--text={text}"])
    assert settings_of(load_checkpoint(folder)) == SMALL
    assert "validation loss" in capsys.readouterr().out
    assert len(compilers) == 1


def test_a_machine_without_a_compiler_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ValueError, match=r"engine: got no C\+\+ compiler"):
        compiled_loss(lambda model: model)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match="want no-such-compiler"):
        Run.new(tmp_path / "run", SMALL, TEXT)
    text = tmp_path / "text"
    text.write_text(TEXT, encoding="utf-8")
    folder = str(tmp_path / "run")
    with pytest.raises(SystemExit):
        main(["train", folder, "--engine=compiled", f"--text={text}"])
    assert "engine: got no C++ compiler" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_wrong_flag_is_named():
    with pytest.raises(ValueError, match="engine: got 'fast', want eager or"):
        Settings(engine="fast")
