"""How pytest runs the book: `pytest --nbval book`, typed plainly, works.

Some things no notebook holds still from one machine to the next: the size of
a rounding error, the numbers of a followed token, the lines of a figure
(tests/nbval-sanitize.cfg blanks them) and the parity report behind the
ledger, which is made of such sizes and is left out here.

`--device NAME` says where the book computes (HANDMADE_DEVICE), and on which
device `tests/test_on_device.py` repeats what it computes on the CPU: a fake
one, "second", unless the option names a real one.

`--negate` runs each claim turned around (tests/negation.py).
"""

import importlib.util
import os
from pathlib import Path

import pytest

SANITIZE = Path(__file__).parent / "tests" / "nbval-sanitize.cfg"
LEDGER = "application/vnd.handmade.parity+json"


def pytest_collection_modifyitems(items):
    for notebook in {item.parent for item in items}:
        if hasattr(notebook, "skip_compare"):
            notebook.skip_compare = (*notebook.skip_compare, LEDGER)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    cell = getattr(item, "cell", None)  # of nbval's items
    claim = cell is not None and "claim" in cell.metadata.get("tags", ())
    if not (claim and item.config.getoption("--negate")):
        return (yield)
    judge = _negation().turned(item)
    result = yield
    judge()
    return result


def _negation():
    path = Path(__file__).parent / "tests" / "negation.py"
    spec = importlib.util.spec_from_file_location("negation", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pytest_addoption(parser):
    parser.addoption(
        "--negate",
        action="store_true",
        help="with --nbval: turn each claim around; it has to raise then",
    )
    parser.addoption(
        "--device",
        choices=("cpu", "cuda", "mps", "second"),
        help="where to compute; `second` is a fake device, on any machine",
    )


def pytest_configure(config):
    # by its whole path: pytest may be called in any folder of the book
    if getattr(config.option, "nbval_sanitize_with", "") is None:
        config.option.nbval_sanitize_with = str(SANITIZE)
    device = config.getoption("--device")
    # the fake one exists only inside the tests that ask for it
    if device and device != "second":
        os.environ["HANDMADE_DEVICE"] = device
