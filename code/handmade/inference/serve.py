"""Serve a model to OpenAI's clients: python -m handmade.inference.serve.

The endpoint itself is in `serve_app`, the engine in `engine`. Here are the
command, and a server that runs in a thread, for tests and for cells.

Left out: TLS, keys, several processes. One engine is one process, and what
stands between it and other machines is a proxy's affair.
"""

import argparse
import contextlib
import json
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from handmade import checks
from handmade.devices import device
from handmade.inference.engine import Engine
from handmade.inference.serve_app import HERE, app
from handmade.inference.serve_service import Service
from handmade.models.hugging_face import from_pretrained, read_config_file
from handmade.weights.pretrained import Pretrained

GRACE = 5  # seconds that running requests have when the server is told to end
HELP = """\
Serve a model on this machine, to whatever speaks OpenAI's API: GET /health
and /v1/models, POST /v1/completions and /v1/chat/completions. Requests share
one engine: they are batched as they come, their keys stand in pages.
"""
WARNING = """\
There is no authentication. Whoever reaches the port can use the model and
fill its queue. So the default is 127.0.0.1: programs on this machine. With
--host 0.0.0.0 everybody who can reach this machine can; do that only behind
a proxy that asks for a key. SIGINT (ctrl-C) and SIGTERM end the server.
"""


class Server(uvicorn.Server):
    """A server on a port that is bound when it is made.

    ``port`` 0 takes a free one; ``url`` is what a client needs.
    Raises OSError where the port is taken.
    """

    def __init__(
        self, service: Service, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        _check_server(service, host, port)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.create_server((host, port), family=family)
        number = self.socket.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{number}/v1"
        self.ready = threading.Event()
        here = host in ("127.0.0.1", "localhost", "::1")
        super().__init__(
            uvicorn.Config(
                app(service, HERE if here else ("*",)),
                log_config=None,
                access_log=False,
                lifespan="on",
                timeout_graceful_shutdown=GRACE,
            )
        )

    async def startup(
        self, sockets: list[socket.socket] | None = None
    ) -> None:
        """Begin to listen, and let those know who wait for it."""
        await super().startup(sockets)
        self.ready.set()

    def serve_until_told(self) -> None:
        """Run until ``should_exit`` is set."""
        self.run([self.socket])


@contextlib.contextmanager
def running(service: Service, port: int = 0) -> Iterator[str]:
    """Serve from a thread while the block runs; yields the URL."""
    server = Server(service, port=port)
    thread = threading.Thread(target=server.serve_until_told, daemon=True)
    thread.start()
    while not server.ready.wait(0.1):
        if not thread.is_alive():
            raise RuntimeError("the server ended before it began to listen")
    try:
        yield server.url
    finally:
        server.should_exit = True
        thread.join()


def checkpoint(model: str) -> Pretrained:
    """Return what --model names: "smollm2", or a Hugging Face folder."""
    checks.text("model", model)
    if model == "smollm2":
        # only here: its file's reader asks for more than serving does
        from handmade.weights.smollm2 import smollm2

        return smollm2()
    folder = Path(model)
    for name in ("config.json", "tokenizer.json"):
        here = (folder / name).is_file()
        checks.need(
            here, "model", repr(model), f'"smollm2", or a {name} there'
        )
    source, kind = str(folder), "AutoModelForCausalLM"
    return Pretrained(folder.resolve().name, folder, kind, source)


def serve_checkpoint(
    found: Pretrained,
    *,
    name: str | None = None,
    n_pages: int = 512,
    page_size: int = 16,
    max_batch: int = 8,
    max_waiting: int = 64,
) -> Service:
    """Return a service for a checkpoint, under its own name or another.

    The end tokens are those that the folder's generation_config.json, or
    else its config.json, names. Raises ValueError on a folder that one of
    our models cannot read.
    """
    checks.kind("found", found, Pretrained, "a Pretrained")
    engine = Engine(
        from_pretrained(found.folder, device=device()),
        n_pages=n_pages,
        page_size=page_size,
        max_batch=max_batch,
        max_waiting=max_waiting,
    )
    tokenizer = found.tokenizer()
    added = tokenizer.get_added_tokens_decoder().values()
    return Service(
        found.name if name is None else name,
        engine,
        tokenizer,
        eos_ids=_eos_ids(found.folder),
        chat=_Template(found).render if _has_template(found.folder) else None,
        special=[token.content for token in added if token.special],
    )


class _Template:
    """A checkpoint's chat template, as transformers fills it in."""

    def __init__(self, found: Pretrained) -> None:
        self.found = found

    @cached_property
    def _tokenizer(self) -> Any:
        return self.found.hf_tokenizer()

    def render(self, messages: list[dict[str, str]]) -> str:
        return str(
            self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        )


def _has_template(folder: Path) -> bool:
    described = folder / "tokenizer_config.json"
    if (folder / "chat_template.jinja").is_file():
        return True
    if not described.is_file():
        return False
    return "chat_template" in json.loads(described.read_text("utf-8"))


def _eos_ids(folder: Path) -> list[int]:
    config = read_config_file(folder)
    decoding = folder / "generation_config.json"
    if decoding.is_file():
        config |= json.loads(decoding.read_text("utf-8"))
    found = config.get("eos_token_id")
    ids = found if isinstance(found, list) else [found]
    return [i for i in ids if i is not None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return what the shell gets."""
    options = _parser().parse_args(arguments)
    try:
        service = serve_checkpoint(
            checkpoint(options.model),
            name=options.name,
            n_pages=options.pages,
            page_size=options.page_size,
            max_batch=options.max_batch,
            max_waiting=options.max_waiting,
        )
        server = _Telling(service, options.host, options.port)
    except (ValueError, OSError) as error:
        print(f"serve: {error}", file=sys.stderr)
        return 2

    def end(signum: int, frame: FrameType | None) -> None:
        server.should_exit = True

    # uvicorn ends tidily on either, and then sends it again, to these
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    server.serve_until_told()
    return 0


class _Telling(Server):
    async def startup(
        self, sockets: list[socket.socket] | None = None
    ) -> None:
        await super().startup(sockets)
        print(self.url, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m handmade.inference.serve",
        description=HELP,
        epilog=WARNING,
    )
    add = parser.add_argument
    add(
        "--model",
        default="smollm2",
        metavar="FOLDER",
        help="a folder with config.json, safetensors and tokenizer.json, of "
        "a class that handmade has; by default smollm2, the packaged one",
    )
    add("--name", help="what clients call it; by default the folder's name")
    add(
        "--host",
        default="127.0.0.1",
        help="the address to listen at; see "
        "below what another one than 127.0.0.1 means",
    )
    add(
        "--port",
        type=int,
        default=8000,
        help="by default 8000; 0 takes a free one. The URL is printed when "
        "the server listens",
    )
    sizes = [
        ("--pages", 512, "pages for keys and values: what all requests share"),
        ("--page-size", 16, "tokens a page"),
        ("--max-batch", 8, "requests that run at once"),
        ("--max-waiting", 64, "requests that wait; a further one gets a 429"),
    ]
    for flag, default, said in sizes:
        add(
            flag,
            type=int,
            default=default,
            metavar="N",
            help=f"{said}; by default {default}",
        )
    return parser


def _check_server(service: Service, host: str, port: int) -> None:
    checks.kind("service", service, Service, "a Service")
    checks.text("host", host)
    checks.whole("port", port, at_least=0)
    checks.need(port < 2**16, "port", port, "one below 65536")


if __name__ == "__main__":
    sys.exit(main())
