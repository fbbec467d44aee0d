"""`handmade.device()`: CUDA where there is one, else what is asked for."""

import subprocess
import sys

import handmade
import pytest
import torch
from handmade.devices import device


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.delenv("HANDMADE_DEVICE", raising=False)


@pytest.mark.parametrize("has_cuda", [True, False])
def test_cuda_where_there_is_one(monkeypatch, has_cuda):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device() == torch.device("cuda" if has_cuda else "cpu")


@pytest.mark.parametrize("asked", ["cpu", " cpu ", "cpu:0"])
def test_the_variable_overrides(monkeypatch, asked):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("HANDMADE_DEVICE", asked)
    assert device().type == "cpu"


def test_an_empty_variable_asks_for_nothing(monkeypatch):
    monkeypatch.setenv("HANDMADE_DEVICE", "")
    assert device() is not None


# xla: a backend that no test machine has
@pytest.mark.parametrize("asked", ["gpu", "cpu:x", "xla", "meta", "cuda:99"])
def test_a_device_that_is_none_is_refused(monkeypatch, asked):
    monkeypatch.setenv("HANDMADE_DEVICE", asked)
    with pytest.raises(ValueError, match=f"HANDMADE_DEVICE: got '{asked}'"):
        device()


def test_the_package_says_its_version_and_device():
    assert handmade.device is device
    assert handmade.__version__.count(".") >= 1
    assert {"device", "__version__"} <= {*dir(handmade)}
    with pytest.raises(AttributeError, match="no attribute 'devise'"):
        _ = handmade.devise


def test_importing_the_package_imports_no_torch():
    script = "import sys, handmade; handmade.__version__;"
    script += "print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True
    )
    assert done.stdout == "False\n", done.stderr
