"""How pytest runs the book: `pytest --nbval book`, typed plainly, works.

Some things no notebook holds still from one machine to the next: the size of
a rounding error, the numbers of a followed token, the lines of a figure
(tests/nbval-sanitize.cfg blanks them) and the parity report behind the
ledger, which is made of such sizes and is left out here.

`--device NAME` says where the book computes (HANDMADE_DEVICE), and on which
device `tests/test_on_device.py` repeats what it computes on the CPU: a fake
one, "second", unless the option names a real one.
"""

import os
from pathlib import Path

SANITIZE = Path(__file__).parent / "tests" / "nbval-sanitize.cfg"
LEDGER = "application/vnd.handmade.parity+json"


def pytest_collection_modifyitems(items):
    for notebook in {item.parent for item in items}:
        if hasattr(notebook, "skip_compare"):
            notebook.skip_compare = (*notebook.skip_compare, LEDGER)


def pytest_addoption(parser):
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
