"""`python -m bookbinder COMMAND`: bind the book, look into it, serve it."""

import argparse
import functools
import http.server
import os
import sys
import webbrowser
from pathlib import Path

from bookbinder import (
    card,
    experiments,
    measure,
    new_page,
    pages,
    pdf,
    vendor,
    why,
)
from bookbinder.book import find_book
from bookbinder.sync import PageError, stale, sync


class Server(http.server.ThreadingHTTPServer):
    """A server that shares its port with no other, on Windows either."""

    allow_reuse_address = os.name != "nt"
    allow_reuse_port = False


class Handler(http.server.SimpleHTTPRequestHandler):
    """Lets a page share memory with its worker.

    So what a reader runs can be interrupted and keeps what it has computed
    (`site/run.js`); from a host without these headers it begins anew.
    """

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()


def serve(folder: str, port: int, show: bool) -> None:
    """Serve the built book on this machine alone, until interrupted.

    Raises ValueError for a port that is in use or cannot be had.
    """
    handler = functools.partial(Handler, directory=folder)
    try:
        server = Server(("127.0.0.1", port), handler)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(
            f"port: got {port} ({why}), want a free one: --port 0 takes any, "
            "make serve PORT=0 too"
        ) from None
    address = f"http://127.0.0.1:{server.server_port}/"
    print(f"the book is at {address} (Ctrl-C stops)", flush=True)
    if show:
        webbrowser.open(address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bookbinder", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("sync", help="execute what changed")
    one.add_argument("pages", nargs="*", help="page names; default: all")
    one.add_argument("-j", "--jobs", type=int, default=1)
    one.add_argument("--force", action="store_true", help="execute anyway")
    one.add_argument("--check", action="store_true", help="only tell")
    asked = commands.add_parser("why", help="what a page depends on")
    asked.add_argument("page")
    fresh = commands.add_parser("new", help="write a page's skeleton")
    fresh.add_argument("page", metavar="PART/PAGE")
    held = commands.add_parser("pages", help="what reading each page asks")
    held.add_argument("--json", action="store_true")
    cost = commands.add_parser("costs", help="measure what pages cost")
    cost.add_argument("pages", nargs="*", help="page names; default: all")
    commands.add_parser("vendor", help="copy the site's own JavaScript")
    commands.add_parser("card", help="draw the social card")
    sheets = commands.add_parser("pdf", help="print the built book")
    sheets.add_argument("pages", nargs="*", help="page names; default: all")
    sheets.add_argument("--output", type=Path, help="default: _build/*.pdf")
    two = commands.add_parser("serve", help="serve the built book")
    two.add_argument("--port", type=int, default=8000)
    two.add_argument("--no-browser", action="store_true")
    experiments.add_parser(commands)
    options = parser.parse_args(arguments)
    if options.command == "experiments":
        return experiments.main(options)

    book = find_book()
    try:
        if options.command == "vendor":
            print(vendor.vendor(book.root))
            return 0
        if options.command == "card":
            print(card.draw(book.root))
            return 0
        if options.command == "pdf":
            print(pdf.write(book, options.pages, options.output))
            return 0
        if options.command == "serve":
            folder = book.root / "_build" / "html"
            if not (folder / "index.html").exists():
                raise ValueError("no built book: run `make book` first")
            serve(os.fspath(folder), options.port, not options.no_browser)
            return 0
        if options.command == "sync" and options.check:
            reasons = stale(book)
            for name, reason in reasons.items():
                told = f"stale: {name}: {reason}. Run `make sync`"
                print(told, file=sys.stderr)
            return 1 if reasons else 0
        if options.command == "why":
            print(why.explain(book, book.page(options.page)))
            return 0
        if options.command == "new":
            print(new_page.write(book, options.page))
            return 0
        if options.command == "pages":
            print(pages.report(book, options.json))
            return 0
        if options.command == "costs":
            measure.update(book, options.pages)
            return 0
        sync(book, options.pages, options.jobs, options.force)
    except (PageError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
