"""What pages weigh on a phone: bytes, requests, and how long one waits.

    python benchmarks/page_weight.py [_build/html] [PAGE ...]

Each page is opened in a Chromium that is throttled to 1.6 Mbit/s, 150 ms and
a quarter of the processor, from a server that compresses as a web host does.
Bytes and requests are those of a reader who stays at the page's head. Another
then goes to its first explorable as soon as anything is painted: seconds from
opening the page to the first paint, to an explorable that moves, and from
where it comes into view to that. A site with ipywidgets' own html-manager is
measured alike, to compare.
"""

import argparse
import contextlib
import functools
import gzip
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from bookbinder.browser import chromium

PAGES = ("blocks/attention", "inference/sampling")
SLOW = {
    "offline": False,
    "latency": 150,
    "downloadThroughput": 1.6e6 / 8,
    "uploadThroughput": 0.75e6 / 8,
}
TEXT = {".html", ".js", ".css", ".svg", ".json"}
FRAME = ".hm-explorable, .cell_output:has([type*='widget-view'])"
PAINTED = """() => performance.getEntriesByName("first-contentful-paint")
  .map((entry) => entry.startTime / 1000)[0]"""
# under either host: controls, and something drawn below them
MOVES = """(selector) => {
  const frame = document.querySelector(selector);
  const drawing = frame.querySelector(
    ".hm-drawing, .lm-Widget:not(.jupyter-widgets, .widget-inline-hbox)");
  const control = frame.querySelector("input, select, [role='slider']");
  return Boolean(control && drawing && drawing.firstElementChild) &&
    performance.now() / 1000;
}"""


class Compressed(http.server.SimpleHTTPRequestHandler):
    """Serves text as a web host does."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        body = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        if path.suffix in TEXT:
            body = gzip.compress(body, 6)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)


class Server(http.server.ThreadingHTTPServer):
    """A server that readers may leave in the middle of an answer."""

    def handle_error(self, *_) -> None:
        """Say nothing."""


@contextlib.contextmanager
def served(site: Path) -> Iterator[str]:
    """Serve a built site on this machine, compressed; yield its address."""
    handler = functools.partial(Compressed, directory=os.fspath(site))
    with Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def weigh(browser, address: str) -> tuple[int, list[str]]:
    """Return (bytes received, what was asked for) of a page's head."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    tab = context.new_page()
    session = context.new_cdp_session(tab)
    session.send("Network.enable")
    sizes: list[float] = []
    asked: list[str] = []
    session.on(
        "Network.loadingFinished",
        lambda event: sizes.append(event["encodedDataLength"]),
    )
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(address, wait_until="networkidle")
    tab.wait_for_timeout(500)
    context.close()
    urls = [url for url in asked if url.startswith("http")]
    return int(sum(sizes)), urls


def wait(browser, address: str) -> tuple[float, float, float]:
    """Return seconds to the first paint, to what moves, from view to that."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    context.set_default_timeout(120_000)
    tab = context.new_page()
    session = context.new_cdp_session(tab)
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", SLOW)
    session.send("Emulation.setCPUThrottlingRate", {"rate": 4})
    tab.goto(address, wait_until="commit")
    paint = tab.wait_for_function(PAINTED).json_value()
    tab.wait_for_selector(FRAME, state="attached")
    seen = tab.evaluate(
        "(selector) => { document.querySelector(selector).scrollIntoView();"
        " return performance.now() / 1000; }",
        FRAME,
    )
    moves = tab.wait_for_function(MOVES, arg=FRAME).json_value()
    context.close()
    return paint, moves, moves - seen


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", nargs="?", type=Path, default="_build/html")
    parser.add_argument("pages", nargs="*", default=PAGES)
    given = parser.parse_args()
    if not (given.site / "index.html").exists():
        raise SystemExit(f"site: got {given.site}, want a built one")
    print(
        f"{'':22} {'KB':>6} {'requests':>8} {'paint, s':>8} {'moves, s':>8} "
        f"{'in view, s':>10}"
    )
    with served(given.site) as home, chromium() as browser:
        for page in given.pages:
            address = f"{home}/book/{page}.html"
            size, asked = weigh(browser, address)
            paint, moves, view = wait(browser, address)
            print(
                f"{page:22} {size / 1000:6.0f} {len(asked):8} {paint:8.1f} "
                f"{moves:8.1f} {view:10.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
