"""The package as a library: what it asks for, what it imports, its types.

`pip install handmade` is for the models: it asks for torch, safetensors and
little else. What only the pages or the binder need are extras, and a test
holds that nothing outside of them imports it.
"""

import ast
import functools
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from bookbinder import fingerprint
from bookbinder.book import Book
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
CODE = ROOT / "code"
PROJECT = tomllib.loads((CODE / "pyproject.toml").read_text())["project"]
LIBRARY = ("text", "blocks", "models", "inference", "training")

# modules of the package -> the extra that brings what they import; a module
# in none of them must do with the package's own dependencies
EXTRA_OF = {
    "handmade/inference/serve": "serve",
    "handmade/weights/hub.py": "book",
    "handmade/weights/": "weights",
    "handmade/inference/flash_kernel.py": "kernels",
    "handmade/widgets/": "book",
    "handmade/plot": "book",
    "handmade/notebook.py": "book",
    "handmade/strip.py": "book",
    "handmade/parity.py": "book",
    "handmade/record.py": "book",
    "handmade/registered.py": "book",
    "handmade/exercises/": "book",
    "handmade/experiments/": "book",
    "bookbinder/": "bind",
}
# asked for where a caller uses it, and named in the docstring of who asks
# torch pins its CUDA packages itself
TORCHS_OWN = ("cuda-", "nvidia-")
AT_CALL = {
    "IPython", "accelerate", "huggingface_hub", "pip", "psutil", "pyodide",
    "tqdm", "transformers",
}  # fmt: skip


def asked(extra: str = "") -> set[str]:
    """Return the distributions that an extra brings, the base included."""
    found = set()
    lines = [*PROJECT["dependencies"]]
    if extra:
        lines += PROJECT["optional-dependencies"][extra]
    for line in lines:
        name, inner = re.match(r"([\w-]+)(?:\[(\w+)\])?", line).groups()
        found |= asked(inner) if name == "handmade" else {name}
    return {re.sub(r"[-_.]+", "-", name).lower() for name in found}


def imported(tree: ast.Module, top_only: bool) -> set[str]:
    nodes = tree.body if top_only else ast.walk(tree)
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    ours = {"handmade", "bookbinder", *sys.stdlib_module_names}
    return names - ours


def modules() -> list[Path]:
    return sorted(
        path for part in ("handmade", "bookbinder")
        for path in (CODE / part).rglob("*.py")
    )  # fmt: skip


packages = functools.cache(importlib.metadata.packages_distributions)


def distributions(names: set[str]) -> set[str]:
    known = packages()
    found = set()
    for name in names:
        (distribution, *_) = known[name]
        found.add(re.sub(r"[-_.]+", "-", distribution).lower())
    return found


@pytest.mark.parametrize(
    "path", modules(), ids=lambda p: p.relative_to(CODE).as_posix()
)
def test_a_module_imports_only_what_its_extra_brings(path: Path):
    name = path.relative_to(CODE).as_posix()
    extra = next((x for p, x in EXTRA_OF.items() if name.startswith(p)), "")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    allowed = asked(extra)
    assert distributions(imported(tree, top_only=True)) <= allowed
    # inside of functions: the references, which `to_hf` and the like need
    everything = imported(tree, top_only=False) - AT_CALL
    assert distributions(everything) <= allowed


def test_the_library_asks_for_torch_safetensors_and_little_else():
    base = asked()
    assert {"torch", "safetensors"} <= base
    assert len(base) <= 4
    assert not base & asked_only_by_pages()


def asked_only_by_pages() -> set[str]:
    return asked("bind") - asked()


WITHOUT = """
import importlib, pkgutil, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"blocked: {{name}}", name=name)

sys.meta_path.insert(0, Blocked())
import torch
import handmade
for part in {library!r}:
    try:
        package = importlib.import_module(f"handmade.{{part}}")
    except ModuleNotFoundError as error:
        assert error.name == f"handmade.{{part}}", error
        continue
    prefix = f"{{package.__name__}}."
    for found in pkgutil.walk_packages(package.__path__, prefix):
        if found.name.startswith({apart!r}):
            continue
        importlib.import_module(found.name)

from handmade.inference.generate import generate
from handmade.models.llama import Llama, LlamaConfig
from handmade.text.bpe import BPETokenizer

torch.manual_seed(0)
config = LlamaConfig.from_name("smollm2-135m")
config = type(config)(**vars(config) | {{
    "vocab_size": 300, "d_model": 16, "n_layers": 2, "n_heads": 4,
    "n_kv_heads": 2, "d_ff": 24, "max_seq_len": 64,
}})
model = Llama(config).eval()
tokenizer = BPETokenizer.train(["to be, or not to be. "] * 50, 300)
tokenizer.save(sys.argv[1])
again = BPETokenizer.load(sys.argv[1])
text = "not to be"
ids = torch.tensor([again.encode(text)])
assert again.decode(ids[0].tolist()) == text
new = generate(model, ids, max_new_tokens=5)
assert new.shape[0] == 1 and new.shape[1] >= 5
model(ids).sum().backward()
print(sorted({blocked!r} & set(sys.modules)))
"""


def test_models_tokenizers_and_loops_do_without_the_extras(tmp_path):
    """Imported and used, in a process where the extras cannot be."""
    pages_only = asked_only_by_pages()
    blocked = {
        name
        for name, found in packages().items()
        if any(d.lower().replace("_", "-") in pages_only for d in found)
    }
    blocked -= {"numpy"}  # torch itself takes it where it finds it
    for name in ("anywidget", "ipywidgets", "transformers", "gguf"):
        assert name in blocked
    apart = tuple(
        name.removesuffix(".py").replace("/", ".")
        for name in EXTRA_OF
        if name.startswith(tuple(f"handmade/{part}/" for part in LIBRARY))
    )
    assert apart == (
        "handmade.inference.serve",
        "handmade.inference.flash_kernel",
    )
    script = WITHOUT.format(blocked=blocked, library=LIBRARY, apart=apart)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "tokenizer.json")],
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


def test_types_travel_with_the_package():
    assert (CODE / "handmade" / "py.typed").exists()
    text = (CODE / "pyproject.toml").read_text()
    data = tomllib.loads(text)["tool"]["setuptools"]["package-data"]
    assert "py.typed" in data["handmade"]
    assert not (CODE / "bookbinder" / "py.typed").exists()


def test_mypy_is_strict_where_readers_import():
    mypy = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert mypy["strict"] is True
    for part in ("blocks", "inference", "models", "text"):
        assert f"code/handmade/{part}" in mypy["files"]
    for path in mypy["files"]:
        assert (ROOT / path).exists()


def pinned() -> dict[str, str]:
    """Return what set-up installs: package -> version."""
    return fingerprint.pins(Book(ROOT))


def test_the_pinned_versions_are_those_that_the_extras_allow():
    """Set-up installs the package with --no-deps: the lock has its extras."""
    pins = pinned()
    lines = [*PROJECT["dependencies"]]
    for extra in PROJECT["optional-dependencies"].values():
        lines += extra
    for requirement in map(Requirement, lines):
        if requirement.name != "handmade":
            pin = pins[requirement.name.lower()]
            assert requirement.specifier.contains(pin), requirement


def test_nothing_that_is_needed_is_missing_from_the_lock():
    """pip looks nothing up: what a locked package asks for stands there."""
    pins = pinned()
    lines = [*PROJECT["dependencies"], "handmade[bind]"]
    for line in (ROOT / "requirements.in").read_text().splitlines():
        lines += [line] if line[0].isalpha() else []
    todo, done = [Requirement(line) for line in lines], set()
    while todo:
        asked = todo.pop()
        name = canonicalize_name(asked.name)
        if str(asked) in done or name.startswith(TORCHS_OWN):
            continue
        done.add(str(asked))
        if name != "handmade":
            assert name in pins, f"{asked} is not in requirements.txt"
            assert asked.specifier.contains(pins[name]), asked
        for line in importlib.metadata.requires(name) or ():
            below = Requirement(line)
            if below.marker is None or any(
                below.marker.evaluate({"extra": extra})
                for extra in asked.extras or {""}
            ):
                todo.append(below)
    assert len(done) > len(lines)


def test_colab_installs_what_pages_need():
    from bookbinder import twin

    assert '"handmade[book] @ git+' in twin.SETUP
