"""Run a reader's function so that it cannot hang or leave things changed.

``within`` stops what does not come back. ``SETTINGS`` are what a function
can change behind everybody's back: PyTorch's defaults and the states of the
random numbers. They are read before a call and put back after it. Left out:
what a function does to files, to imported modules and to a GPU's random
numbers.
"""

import _thread
import ctypes
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from handmade.exercises.settings import SETTINGS, Setting

Result = TypeVar("Result")


class TimeUp(BaseException):
    """The call has used up its seconds. No ``except Exception`` stops it."""


def within(seconds: float, call: Callable[[], Result]) -> Result:
    """Call, and raise TimeUp inside the call when the seconds are over.

    A second thread raises it, between two steps of the interpreter, on every
    platform. A step that is one call into C (``time.sleep``, a product of
    huge matrices) is not stopped before it comes back. Nor, on Python 3.12,
    is a loop that is nothing but a ``try`` whose bare ``except:`` goes on:
    there every step counts as inside the ``try``.

    A browser has no second thread: there the reader presses stop.
    """
    if sys.platform == "emscripten":
        return call()
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
