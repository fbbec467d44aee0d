"""The explorables of a page, as the site's own host runs them.

A twin stores the states of all its widgets, with every script in it, for
Jupyter. The site needs less, and later: a script stands once on the site, the
data of one explorable beside its page, both as files that a page fetches when
the reader comes near; in the page itself stands the picture of its first
state (`bookbinder.pictures`). `site/host.js` draws them.
"""

import hashlib
import json
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import nbformat

from bookbinder.book import Page

STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
# where the scripts stand in the site
SCRIPTS = "_static/explorables"

NAMED = ("description", "disabled")
NUMBER = (*NAMED, "value", "min", "max", "step", "continuous_update",
          "readout_format")  # fmt: skip
CHOICE = (*NAMED, "index", "_options_labels")
TYPED = (*NAMED, "value", "placeholder", "continuous_update")
# what `host.js` draws -> what it reads of it
KINDS = {
    "IntSlider": NUMBER,
    "FloatSlider": NUMBER,
    "FloatLogSlider": (*NUMBER, "base"),
    "IntRangeSlider": NUMBER,
    "FloatRangeSlider": NUMBER,
    "SelectionSlider": (*CHOICE, "continuous_update"),
    "Dropdown": CHOICE,
    "ToggleButtons": CHOICE,
    "Checkbox": (*NAMED, "value"),
    "Text": TYPED,
    "Textarea": (*TYPED, "rows"),
    "Label": (*NAMED, "value"),
    "VBox": ("children",),
    "HBox": ("children",),
}
LINKS = ("Link", "DirectionalLink")
# the numbers that `host.js` can write
FORMAT = re.compile(r",?(\.\d+)?[dfeg%]?")
# in the name of a file
DIGEST = re.compile(r"-([0-9a-f]{8})\.js$")
REFERENCE = re.compile(r"IPY_MODEL_(\w+)")


@dataclass(frozen=True)
class Explorable:
    """One explorable of a page: its place, its scripts, its data."""

    name: str  # "explorable-1": the first of its page
    scripts: dict[str, str]  # file name -> text, for `SCRIPTS`
    data: dict[str, Any]  # what the data file registers
    traits: frozenset[str]  # what a word in the text may set

    def data_file(self, page: Page) -> tuple[str, str]:
        """Return (name, text) of the data file that stands by its page."""
        return _file(f"{page.source.stem}.{self.name}", self.data)

    def addresses(self, page: Page) -> list[str]:
        """Return where the files are, from the page: scripts, then data."""
        scripts = posixpath.relpath(SCRIPTS, posixpath.dirname(page.name))
        return [
            *(f"{scripts}/{name}" for name in self.scripts),
            self.data_file(page)[0],
        ]


def _file(stem: str, content: dict) -> tuple[str, str]:
    """Return (name, text) of a script that registers its content."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    name = f"{stem}-{_digest(text)}.js"
    return name, f"handmade.files[{json.dumps(name)}]={text};\n"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def digest_of(script: str) -> str:
    """Return the digest of what a file's text registers."""
    _, _, text = script.partition("]=")
    return _digest(text.removesuffix(";\n"))


def of_twin(twin: nbformat.NotebookNode, where: Any) -> list[Explorable]:
    """Return the explorables of a twin, in the order of their outputs.

    Raises ValueError, with the page's name, for a widget that the site
    cannot draw without a kernel.
    """
    states = twin.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    roots = [output.data[VIEW]["model_id"] for output in views(twin.cells)]
    try:
        return [
            _explorable(f"explorable-{number}", root, states)
            for number, root in enumerate(roots, 1)
        ]
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def views(
    cells: list[nbformat.NotebookNode],
) -> Iterator[nbformat.NotebookNode]:
    """Yield the outputs that show a widget."""
    for cell in cells:
        for output in cell.get("outputs", ()):
            if VIEW in output.get("data", {}):
                yield output


def _explorable(name: str, root: str, states: dict) -> Explorable:
    ids = _reached(root, states)
    numbers = {
        model: number
        for number, model in enumerate(
            i for i in ids if _kind(states[i]) not in LINKS
        )
    }
    scripts: dict[str, str] = {}
    models, traits = [], set()
    for model in numbers:
        made, script = _model(states[model], numbers)
        if script is not None:
            file, text = script
            scripts[file] = text
            made["module"] = 1 + list(scripts).index(file)
            traits |= made["state"].keys()
        models.append(made)
    traits |= {made["state"].get("description", "") for made in models}
    links = [_link(states[i], numbers) for i in ids if i not in numbers]
    data = {"root": numbers[root], "models": models, "links": links}
    return Explorable(name, scripts, data, frozenset(traits - {""}))


def _kind(model: dict) -> str:
    return model["model_name"].removesuffix("Model")


def _ends(model: dict) -> list[str]:
    """Return the ids of the two models that a link joins."""
    state = model["state"]
    return [
        _referred(state[end][0])
        for end in ("source", "target")
        if state.get(end)
    ]


def _referred(reference: str) -> str:
    found = REFERENCE.fullmatch(reference)
    if not found:
        raise ValueError(f"widget: got {reference!r}, want another's id")
    return found[1]


def _reached(root: str, states: dict) -> list[str]:
    """Return the models that a view needs: what it holds, what is linked.

    Links come last, in the order in which they were made.
    """
    if root not in states:
        raise ValueError(f"widget: got no state of {root}: run `make sync`")
    links = [i for i, model in states.items() if _kind(model) in LINKS]
    found: dict[str, None] = {}
    waiting = [root]
    while waiting:
        model = waiting.pop(0)
        if model in found:
            continue
        found[model] = None
        children = states[model]["state"].get("children", ())
        waiting += [_referred(child) for child in children]
        for link in links:
            ends = _ends(states[link])
            if model in ends:
                waiting += ends
    joined = [i for i in links if set(_ends(states[i])) & found.keys()]
    return [*found, *joined]


def _model(
    model: dict, numbers: dict[str, int]
) -> tuple[dict[str, Any], tuple[str, str] | None]:
    """Return (what the host reads of a model, its script's file)."""
    state, kind = model["state"], _kind(model)
    if model["model_module"] == "anywidget":
        name = state["_anywidget_id"].split(".")[-2]
        kept = {
            key: value
            for key, value in state.items()
            if key[0] != "_" and key not in ("layout", "tabbable", "tooltip")
        }
        code = {"esm": state["_esm"], "css": state.get("_css", "")}
        made = {"state": kept}
        script = _file(name, code)
    else:
        if kind not in KINDS:
            raise ValueError(
                f"widget: got a {kind}, which needs a kernel or a host that "
                f"knows it, want one of {sorted(KINDS)}"
            )
        kept = {key: state[key] for key in KINDS[kind] if key in state}
        _check_format(kept)
        if "children" in kept:
            children = map(_referred, kept["children"])
            kept["children"] = [numbers[child] for child in children]
        made, script = {"kind": kind, "state": kept}, None
    if model.get("buffers"):
        made["buffers"] = [
            {"path": buffer["path"], "data": _base64(buffer)}
            for buffer in model["buffers"]
        ]
    return made, script


def _check_format(state: dict) -> None:
    how = state.get("readout_format", "")
    if not FORMAT.fullmatch(how):
        raise ValueError(
            f"readout_format: got {how!r}, want one like 'd', '.2f', ',.0f'"
        )


def _base64(buffer: dict) -> str:
    if buffer.get("encoding") != "base64":
        got = buffer.get("encoding")
        raise ValueError(f"buffers: got the encoding {got!r}, want base64")
    return buffer["data"]


def _link(model: dict, numbers: dict[str, int]) -> list:
    """Return [source, trait, target, trait, whether it goes one way]."""
    state = model["state"]
    (source, ours), (target, theirs) = state["source"], state["target"]
    one_way = _kind(model) == "DirectionalLink"
    return [
        numbers[_referred(source)],
        ours,
        numbers[_referred(target)],
        theirs,
        int(one_way),
    ]


def placeholder(page: Page, found: Explorable, picture: str) -> str:
    """Return what stands in the page until the explorable is drawn."""
    files = escape(" ".join(found.addresses(page)))
    return (
        f'<div class="hm-explorable" id="{found.name}" role="group" '
        f'aria-label="explorable" data-files="{files}">{picture}'
        "<noscript><p>The controls of this drawing need JavaScript."
        "</p></noscript></div>"
    )


def write(page: Page, found: Explorable, site: Path) -> None:
    """Write one explorable's files into the built site."""
    for name, text in found.scripts.items():
        _write(site / SCRIPTS / name, text)
    name, text = found.data_file(page)
    _write((site / page.name).with_name(name), text)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
