"""The same explorable on two pages: under our host, and ipywidgets' own.

ipywidgets' html-manager, requirejs and anywidget's view are here for the
tests alone: they are what Jupyter runs, without a kernel.
"""

import json
import shutil
import sysconfig
from pathlib import Path

import ipywidgets
from bookbinder import explorables, pictures
from bookbinder.book import Page, find_book
from ipywidgets.embed import embed_data
from nbformat import v4

ROOT = find_book().root
MODULES = ROOT / "node_modules"
MANAGER = MODULES / "@jupyter-widgets/html-manager/dist/embed-amd.js"
REQUIRE = MODULES / "requirejs/require.js"
ANYWIDGET = Path(
    sysconfig.get_path("data"), "share/jupyter/nbextensions/anywidget/index.js"
)
STYLES = "".join(
    f"<style>{(ROOT / 'book' / 'style' / name).read_text('utf-8')}</style>"
    for name in ("custom.css", "host.css")
)
HEAD = "<!DOCTYPE html><html data-theme=light><head><meta charset=utf-8>"
HEAD += '<link rel="icon" href="data:,">'
# the same letters on both pages: a drawing makes room for its words
STYLES += "<style>body, body * { font-family: sans-serif !important }</style>"
# an anywidget's own element: ipywidgets' views have one of these classes
DRAWING = ".lm-Widget:not(.jupyter-widgets, .widget-inline-hbox)"
# room for the same drawing: its width decides what fits in it
ROOM = 640


def states_of(box: ipywidgets.Widget) -> tuple[dict, str]:
    """Return (the states of a widget and all it holds, its own id)."""
    data = embed_data(views=[box], drop_defaults=False)
    return data["manager_state"], data["view_specs"][0]["model_id"]


def twin_of(states: dict, *roots: str):
    """Return a notebook that shows these widgets."""
    outputs = [
        v4.new_output("display_data", {explorables.VIEW: {"model_id": root}})
        for root in roots
    ]
    twin = v4.new_notebook(cells=[v4.new_code_cell(outputs=outputs)])
    twin.metadata["widgets"] = {explorables.STATE: states}
    return twin


def our_page(folder: Path, twin, before: str = "", after: str = "") -> Path:
    """Write a page of the site with the explorables of a twin."""
    page = Page(folder, "page")
    frames = ""
    for found in explorables.of_twin(twin, "page"):
        explorables.write(page, found, folder)
        frames += explorables.placeholder(page, found, "<p>a picture</p>")
    shutil.copy(pictures.HOST, folder)
    path = folder / "page.html"
    path.write_text(
        f"{HEAD}{STYLES}<style>.hm-drawing {{ width: {ROOM}px }}</style>"
        f'<script defer src="host.js"></script></head><body>{before}{frames}'
        f"{after}</body></html>",
        encoding="utf-8",
    )
    return path


def their_page(folder: Path, states: dict, root: str) -> Path:
    """Write the page that ipywidgets itself would embed the widget in."""
    for source in (MANAGER, REQUIRE):
        shutil.copy(source, folder)
    shutil.copy(ANYWIDGET, folder / "anywidget.js")
    view = {"model_id": root, "version_major": 2, "version_minor": 0}
    state, view = (
        json.dumps(value).replace("<", r"\u003c") for value in (states, view)
    )
    kind = "application/vnd.jupyter.widget"
    path = folder / "theirs.html"
    path.write_text(
        f"{HEAD}{STYLES}<style>{DRAWING} {{ width: {ROOM}px; flex: none }}"
        "</style>"
        '<script src="require.js"></script>'
        '<script data-jupyter-widgets-cdn="none:/" src="embed-amd.js">'
        f'</script><script type="{kind}-state+json">{state}</script></head>'
        f'<body><script type="{kind}-view+json">{view}</script></body></html>',
        encoding="utf-8",
    )
    return path
