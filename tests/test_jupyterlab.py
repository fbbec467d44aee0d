"""An explorable in a real JupyterLab, with a kernel: it moves there too.

One page, in Chromium.
"""

import contextlib
import copy
import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from bookbinder import explorables
from bookbinder.book import find_book
from bookbinder.browser import chromium
from host_pages import ROOM, our_page, twin_of
from nbclient import NotebookClient
from nbformat import v4, write
from test_host import DRAWN, OURS, THEIRS, drawing, steps_for, work

from conftest import lack

pytestmark = pytest.mark.slow
CODE = """\
import torch
from handmade.widgets.rope_rotator import rope_rotator
torch.manual_seed(0)
rope_rotator(torch.randn(8), torch.randn(8))"""


@contextlib.contextmanager
def jupyterlab(folder):
    """Start a server of this machine's own; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = {
        name: str(folder / name.lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "HOME")
    }
    code = find_book().root / "code"
    log = (folder / "log").open("w")
    server = subprocess.Popen(
        [
            sys.executable, "-m", "jupyterlab", "--no-browser",
            "--allow-root", f"--ServerApp.port={port}",
            "--ServerApp.ip=127.0.0.1", "--IdentityProvider.token=",
            f"--ServerApp.root_dir={folder}",
            "--LabApp.news_url=", "--ServerApp.port_retries=0",
        ],
        env={**os.environ, **home, "PYTHONPATH": os.fspath(code)},
        stdout=log,
        stderr=log,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            assert server.poll() is None, (folder / "log").read_text()
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/api", timeout=5)
                break
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait(30)
        log.close()


def test_an_explorable_moves_in_jupyterlab(tmp_path):
    """It draws what our host draws from the states that JupyterLab saves."""
    notebook = v4.new_notebook(cells=[v4.new_code_cell(CODE)])
    notebook.metadata["kernelspec"] = {
        "name": "python3", "display_name": "Python 3", "language": "python",
    }  # fmt: skip
    write(notebook, tmp_path / "page.ipynb")
    twin = run(notebook)
    (output,) = explorables.views(twin.cells)
    root = output.data[explorables.VIEW]["model_id"]
    states = twin.metadata.widgets[explorables.STATE]
    (tmp_path / "ours").mkdir()
    ours = our_page(tmp_path / "ours", twin_of(states, root))
    with contextlib.ExitStack() as stack:
        try:
            browser = stack.enter_context(chromium())
        except ValueError as error:
            lack(str(error))
        address = stack.enter_context(jupyterlab(tmp_path))
        mine, lab = (
            browser.new_page(viewport={"width": 1300, "height": 1000})
            for _ in range(2)
        )
        mine.goto(ours.as_uri())
        mine.wait_for_selector(DRAWN)
        lab.set_default_timeout(120_000)
        lab.goto(f"{address}/lab/tree/page.ipynb?reset")
        lab.locator(".jp-Cell .cm-content").first.click()
        lab.wait_for_selector(
            '.jp-Notebook-ExecutionIndicator[data-status="idle"]'
        )
        lab.keyboard.press("Shift+Enter")
        lab.wait_for_selector(f".jp-OutputArea {THEIRS[1]} > *")
        lab.add_style_tag(
            content=f".jp-OutputArea {THEIRS[1]} "
            f"{{ width: {ROOM}px; flex: none }}"
        )
        selector = f".jp-OutputArea .widget-vbox > {THEIRS[1]}"
        rows = f".jp-OutputArea {THEIRS[0]}"
        first = drawing(mine, OURS[1])
        assert first == drawing(lab, selector)
        looks = {first}
        for step in steps_for(mine):
            work(mine, *OURS, step)
            work(lab, rows, selector, step)
            look = drawing(mine, OURS[1])
            assert look == drawing(lab, selector), step
            looks.add(look)
        assert len(looks) > 5


def run(notebook):
    """Execute a copy here, for the states that our host starts from."""
    done = copy.deepcopy(notebook)
    NotebookClient(done, timeout=300, kernel_name="python3").execute()
    return done
