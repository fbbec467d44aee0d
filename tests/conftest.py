"""What the tests of the built site share: its folder, a server, a browser."""

import contextlib
import functools
import http.server
import os
import threading
from pathlib import Path

import pytest
from bookbinder.book import find_book
from bookbinder.browser import chromium
from bookbinder.vendor import is_vendored

# test files that run on another device as they are, under `--device`
PLACED = {
    "test_alibi",
    "test_attention",
    "test_block",
    "test_feedforward",
    "test_masks",
    "test_mixture_of_experts",
    "test_multi_head",
    "test_norms",
    "test_positions",
    "test_rope",
}
# tests in them that stay on the CPU, and why
EARLY = "masks made before the test"
AUTOCAST = "the fake device has no autocast"
AT_HOME = {
    "test_a_float32_bias_under_autocast": AUTOCAST,
    "test_a_position_off_the_table_is_named": "a GPU's kernel refuses",
    "test_balancing_loss_equals_transformers": "theirs knows CPU and CUDA",
    "test_causal_equals_pytorchs_lower_right_bias": "torch's own mask class",
    "test_equals_pytorch_forward_and_backward": EARLY,
    "test_float_masks_are_cast_to_the_scores": EARLY,
    "test_perturbation_finds_the_mask_and_nothing_else": EARLY,
    "test_scaled_angles_equal_transformers": "a table that is made on the CPU",
    "test_the_least_float32_hides_whole_rows_when_cast": EARLY,
    "test_under_autocast_with_norms_and_a_float_mask": AUTOCAST,
    "test_weights_sum_to_one_or_to_nothing": EARLY,
}
# those that go to a device by themselves
ON_DEVICE = {"test_devices", "test_on_device", "test_second_device"}


def pytest_collection_modifyitems(config, items):
    """With the fake device, run what computes there, and nothing else.

    With a real one leave out what tests the fake one: they cannot both be
    known to one process (`second_device.registered`).
    """
    device = config.getoption("--device")
    gone = [i for i in items if not runs_on(i, device)]
    config.hook.pytest_deselected(items=gone)
    items[:] = [i for i in items if runs_on(i, device)]


def runs_on(item, device: str | None) -> bool:
    name = getattr(item, "module", item).__name__
    if device == "second":
        return name in PLACED | ON_DEVICE
    return device in (None, "cpu") or name != "test_second_device"


@pytest.fixture(autouse=True)
def placed(request):
    """Under `--device second` or cuda, let tests make their tensors there."""
    name = request.config.getoption("--device")
    stays = getattr(request.node, "originalname", "") in AT_HOME
    if request.module.__name__ not in PLACED or stays or name in (None, "cpu"):
        yield
        return
    from placement import Placed
    from second_device import NAME, second_device

    fake = second_device() if name == NAME else contextlib.nullcontext()
    with fake, Placed(name):
        yield


def lack(what: str) -> None:
    """Skip and say what to install; where CI lacks it, fail."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must have it: {what}", pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the built HTML."""
    folder = find_book().root / "_build" / "html"
    if not (folder / "index.html").exists():
        pytest.fail("no built site: run `make book` first", pytrace=False)
    return folder


class Quiet(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        # of Jupyter Book's redirect, which names no icon, a browser asks for
        # one where it has the time to; our pages name theirs
        if self.path == "/favicon.ico":
            self.send_response(204)
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *args) -> None:
        """Say nothing: the browser reports what went wrong."""

    def copyfile(self, source, outputfile) -> None:
        # a page that is left drops its last requests
        with contextlib.suppress(ConnectionError):
            super().copyfile(source, outputfile)


@pytest.fixture(scope="session")
def address(site):
    """Serve the site on a free port of this machine; its address."""
    handler = functools.partial(Quiet, directory=os.fspath(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


# of a module, not of the session: Playwright leaves an event loop running
# in this thread, in which no later test could execute a notebook
@pytest.fixture(scope="module")
def browser(site):
    """A headless Chromium: the system's, or the one Playwright installed."""
    if not is_vendored(find_book().root):
        lack("pages ask public networks: install Node.js, then `make book`")
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(chromium())
        except ValueError as error:
            lack(str(error))
        yield found


@pytest.fixture(scope="session")
def axe(site) -> str:
    """The script of axe, which finds barriers for readers."""
    path = find_book().root / "node_modules" / "axe-core" / "axe.min.js"
    if not path.exists():
        lack("no axe-core: install Node.js, then `make vendor`")
    return path.read_text(encoding="utf-8")
