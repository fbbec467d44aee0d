"""Run a reader's function so that it cannot hang or leave things changed.

``within`` stops what does not come back. ``SETTINGS`` are what a function
can change behind everybody's back: PyTorch's defaults and the states of the
random numbers. They are read before a call and put back after it. Left out:
what a function does to files, to imported modules and to a GPU's random
numbers.
"""

import _thread
import ctypes
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

Result = TypeVar("Result")
CPU = torch.device("cpu")


class TimeUp(BaseException):
    """The call has used up its seconds. No ``except Exception`` stops it."""


def within(seconds: float, call: Callable[[], Result]) -> Result:
    """Call, and raise TimeUp inside the call when the seconds are over.

    A second thread raises it, between two steps of the interpreter, on every
    platform. A step that is one call into C (``time.sleep``, a product of
    huge matrices) is not stopped before it comes back. Nor, on Python 3.12,
    is a loop that is nothing but a ``try`` whose bare ``except:`` goes on:
    there every step counts as inside the ``try``.
    """
    rung: list[bool] = []
    try:
        return _with_a_bell(seconds, call, rung)
    except (TimeUp, KeyboardInterrupt):
        if rung:
            raise TimeUp from None
        raise  # somebody has pressed stop


def _with_a_bell(
    seconds: float, call: Callable[[], Result], rung: list[bool]
) -> Result:
    caller = ctypes.c_ulong(threading.get_ident())
    raise_in_thread = ctypes.pythonapi.PyThreadState_SetAsyncExc
    time_up = ctypes.py_object(TimeUp)
    # a loop with a bare `except:` swallows one exception, but not a second
    # that comes before it is back in its `try`: so two are sent
    twice = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    begun: list[bool] = []
    over: list[bool] = []
    done = threading.Event()

    def ring() -> None:
        wait = seconds
        while not done.wait(wait) and not over:
            wait = 0.01
            if not begun:
                continue
            rung.append(True)
            # no other thread runs between a look at `over` and what follows
            if not over:
                raise_in_thread(caller, time_up)
            if twice and not over:
                _thread.interrupt_main()

    bell = threading.Thread(target=ring, daemon=True)
    try:
        bell.start()
        begun.append(True)
        return call()
    finally:
        over.append(True)  # one step: nothing can come in between
        try:
            _take_a_step()  # what was on its way arrives here
            _take_a_step()
        except (TimeUp, KeyboardInterrupt):
            _take_a_step()
        done.set()


def _take_a_step() -> None:
    """Let the interpreter raise what waits to be raised."""


@dataclass(frozen=True)
class Setting:
    """Something global that a function can change."""

    what: str  # completes "your function changes …"
    read: Callable[[], Any]  # a value that can be compared with ==
    write: Callable[[Any], None]
    plain: Any = None  # what it is while an answer runs; None: left as it is
    drawn: bool = False  # using it changes it: no fault, but worth saying


def _torch_state() -> bytes:
    return torch.get_rng_state().numpy().tobytes()


def _set_torch_state(state: bytes) -> None:
    torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))


def _numpy_state() -> tuple[Any, ...]:
    kind, keys, *rest = np.random.get_state(legacy=True)
    return kind, np.asarray(keys).tobytes(), *rest


def _set_numpy_state(state: tuple[Any, ...]) -> None:
    kind, keys, *rest = state
    np.random.set_state((kind, np.frombuffer(keys, np.uint32), *rest))


def _set_grad_enabled(enabled: bool) -> None:
    torch.set_grad_enabled(enabled)


def _set_device(device: torch.device) -> None:
    # None is what PyTorch starts with; "cpu" would watch every call
    torch.set_default_device(None if device == CPU else device)


SETTINGS = (
    Setting(
        "the default dtype",
        torch.get_default_dtype,
        torch.set_default_dtype,
        plain=torch.float32,
    ),
    Setting(
        "the default device", torch.get_default_device, _set_device, plain=CPU
    ),
    Setting(
        "whether gradients are recorded (torch.set_grad_enabled)",
        torch.is_grad_enabled,
        _set_grad_enabled,
        plain=True,
    ),
    Setting(
        "whether only deterministic algorithms are allowed",
        torch.get_deterministic_debug_mode,
        torch.set_deterministic_debug_mode,
        plain=0,
    ),
    Setting(
        "the precision of float32 products",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
        plain="highest",
    ),
    Setting(
        "PyTorch's random numbers", _torch_state, _set_torch_state, drawn=True
    ),
    Setting(
        "Python's random numbers",
        random.getstate,
        random.setstate,
        drawn=True,
    ),
    Setting(
        "NumPy's random numbers", _numpy_state, _set_numpy_state, drawn=True
    ),
)


def read_settings() -> list[Any]:
    """Return the value of each of ``SETTINGS``."""
    return [setting.read() for setting in SETTINGS]


def put_back(values: list[Any]) -> list[Setting]:
    """Write back the settings that differ from ``values``; return those."""
    changed = []
    for setting, value in zip(SETTINGS, values, strict=True):
        if setting.read() != value:
            setting.write(value)
            changed.append(setting)
    return changed


@contextmanager
def plain_settings() -> Iterator[None]:
    """Judge under PyTorch's own defaults, whatever the notebook has set."""
    before = read_settings()
    put_back(
        [
            value if setting.plain is None else setting.plain
            for setting, value in zip(SETTINGS, before, strict=True)
        ]
    )
    try:
        yield
    finally:
        put_back(before)
