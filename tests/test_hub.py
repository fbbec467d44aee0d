"""The hub's door, tried on a stand-in: a small server on this machine.

It answers the four requests that huggingface_hub makes (model info, tree,
HEAD and GET of a file) and serves a tiny GPT-2 with random weights. Each case
runs in a fresh process, because HF_ENDPOINT and HF_HOME are read at import.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import torch
from handmade.weights.hub import CHECKPOINTS

COMMIT = CHECKPOINTS["gpt2"][0]
CLOSED = "http://127.0.0.1:9"  # the discard port: refused at once
REFUSED = "ConnectionError: the hub's gpt2 could not be had"

READ = """
from handmade.weights.hub import hub
m = hub("gpt2")
print(m.config["model_type"], float(m.weights["transformer.ln_f.bias"].sum()))
"""

LOAD = """
import torch
from handmade.weights.hub import hub
m = hub("gpt2")
ids = m.tokenizer().encode("to be or not").ids
assert ids == m.hf_tokenizer()("to be or not")["input_ids"], ids
with torch.no_grad():
    print(m.hf_model()(torch.tensor([ids])).logits.double().sum().item())
"""


@dataclass
class Hub:
    """What the server holds, how it misbehaves, what it was asked."""

    folder: Path
    url: str = ""
    cut: str = ""  # the file of which only the first half is sent
    asked: list[str] = field(default_factory=list)

    def files(self) -> list[Path]:
        return sorted(p for p in self.folder.iterdir() if p.is_file())


def etag(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    """Return a request handler that answers as the hub does."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_) -> None:
            """Keep the test's output clean."""

        def reply(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def reply_json(self, value) -> None:
            body = json.dumps(value).encode()
            self.reply(200, body, Content_Type="application/json")

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(f"{self.command} {path}")
            if path == f"/api/models/gpt2/revision/{COMMIT}":
                names = [{"rfilename": p.name} for p in hub.files()]
                info = {"id": "gpt2", "sha": COMMIT, "siblings": names}
                self.reply_json(info)
            elif path == f"/api/models/gpt2/tree/{COMMIT}":
                self.reply_json([tree_entry(p) for p in hub.files()])
            else:
                self.send_file(path)

        def send_file(self, path: str) -> None:
            prefix = f"/gpt2/resolve/{COMMIT}/"  # main may have moved on
            name = path[len(prefix) :] if path.startswith(prefix) else ""
            file = hub.folder / name
            if not name or not file.is_file():
                code = "EntryNotFound" if name else "RepoNotFound"
                self.reply(404, b"", X_Error_Code=code)
                return
            body = file.read_bytes()
            if name == hub.cut and self.command == "GET":
                body = body[: len(body) // 2]
            self.reply(200, body, ETag=f'"{etag(file)}"')

    return Handler


def tree_entry(path: Path) -> dict:
    size = path.stat().st_size
    return {"type": "file", "path": path.name, "size": size, "oid": etag(path)}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> tuple[Path, float, float]:
    """Save a tiny random GPT-2 and its tokenizer; return what they give."""
    from handmade.weights.reference import random_reference
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        PreTrainedTokenizerFast,
    )

    folder = tmp_path_factory.mktemp("gpt2")
    words = {w: i for i, w in enumerate(["<unk>", "to", "be", "or", "not"])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>"
    )
    fast.save_pretrained(folder)
    config = GPT2Config(
        vocab_size=5, n_positions=7, n_embd=6, n_layer=1, n_head=2
    )
    model = random_reference(GPT2LMHeadModel, config)
    model.save_pretrained(folder)
    with torch.no_grad():
        logits = model(torch.tensor([[1, 2, 3, 4]])).logits
    bias = model.transformer.ln_f.bias.sum().item()
    return folder, bias, logits.double().sum().item()


@pytest.fixture
def hub(checkpoint):
    """Run the stand-in for one test."""
    hub = Hub(checkpoint[0])
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield hub
    server.shutdown()
    server.server_close()


def run(code: str, home: Path, url: str, **more: str):
    """Run `code` in a fresh process that knows only this hub."""
    ours = ("HF_", "HUGGING", "TRANSFORMERS_", "HANDMADE_")
    env = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    env |= {"HF_ENDPOINT": url, "HF_HOME": str(home), "HANDMADE_HUB": "1"}
    env |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"} | more
    return subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def weight_files(home: Path) -> list[Path]:
    return list(home.rglob("model.safetensors"))


def last_number(done) -> float:
    assert done.returncode == 0, done.stderr
    return float(done.stdout.split()[-1])


def test_checkpoint_loads_through_the_hub(hub, checkpoint, tmp_path):
    done = run(LOAD, tmp_path, hub.url)
    assert last_number(done) == pytest.approx(checkpoint[2], rel=1e-5)
    assert f"GET /gpt2/resolve/{COMMIT}/model.safetensors" in hub.asked


def test_every_checkpoint_is_pinned_by_a_whole_commit():
    assert len({revision for revision, _ in CHECKPOINTS.values()}) == 4
    for revision, _ in CHECKPOINTS.values():
        assert re.fullmatch("[0-9a-f]{40}", revision)


def test_a_checkpoint_says_where_it_is_from(hub, tmp_path):
    code = READ + "from handmade.weights.pretrained import opened\n"
    done = run(code + "print(opened(), m.source)", tmp_path, hub.url)
    source = f"hub gpt2@{COMMIT}"
    last = done.stdout.splitlines()[-1]
    assert last == f"{ {'gpt2': source} } {source}"
    assert not any("main" in path for path in hub.asked)


@pytest.mark.parametrize("value", ["yes", "2", " 1", "true"])
def test_a_switch_that_is_neither_on_nor_off_is_refused(tmp_path, value):
    done = run(READ, tmp_path, CLOSED, HANDMADE_HUB=value)
    assert f"ValueError: HANDMADE_HUB: got {value!r}, want 1 or 0" in (
        done.stderr
    )


def test_second_load_needs_no_network(hub, checkpoint, tmp_path):
    assert last_number(run(READ, tmp_path, hub.url)) == checkpoint[1]
    before = len(hub.asked)
    done = run(READ, tmp_path, hub.url, HF_HUB_OFFLINE="1")
    assert last_number(done) == checkpoint[1]
    assert len(hub.asked) == before


@pytest.mark.parametrize(
    "more", [{}, {"HF_HUB_OFFLINE": "1"}], ids=["unreachable", "offline"]
)
def test_no_hub_is_one_clear_error(tmp_path, more):
    done = run(READ, tmp_path, CLOSED, **more)
    assert done.returncode == 1
    assert REFUSED in done.stderr
    assert "unset HANDMADE_HUB" in done.stderr.strip().splitlines()[-1]


def test_unknown_name_and_closed_switch_are_refused(tmp_path):
    wrong = READ.replace('"gpt2"', '"gpt3"')
    done = run(wrong, tmp_path, CLOSED)
    assert "ValueError: name: got 'gpt3'" in done.stderr
    done = run(READ, tmp_path, CLOSED, HANDMADE_HUB="0")
    assert "set HANDMADE_HUB=1" in done.stderr


def test_truncated_download_is_refused_and_leaves_nothing(
    hub, checkpoint, tmp_path
):
    hub.cut = "model.safetensors"
    done = run(READ, tmp_path, hub.url)
    assert done.returncode == 1
    assert REFUSED in done.stderr
    assert not weight_files(tmp_path)
    assert not list(tmp_path.rglob("*.incomplete"))

    # with the hub gone, the half that did arrive is not taken for a whole
    done = run(READ, tmp_path, CLOSED)
    assert done.returncode == 1
    assert REFUSED in done.stderr

    hub.cut = ""
    assert last_number(run(READ, tmp_path, hub.url)) == checkpoint[1]


def test_file_cut_short_in_the_cache_is_named(hub, tmp_path):
    assert run(READ, tmp_path, hub.url).returncode == 0
    (file,) = weight_files(tmp_path)
    with open(file, "r+b") as opened:
        opened.truncate(file.stat().st_size // 2)
    done = run(READ, tmp_path, CLOSED)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "ValueError" in last
    assert str(file) in last
