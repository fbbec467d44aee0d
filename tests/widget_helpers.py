"""Draw an explorable in Chromium as a reader sees it, without a kernel."""

import json
from pathlib import Path

from handmade.widgets.base import Explorer, assets

# what anywidget's scripts use of a Backbone model
MODEL = """
const model = window.model = {
  state: JSON.parse(document.getElementById("state").textContent),
  calls: {},
  get(name) { return this.state[name]; },
  set(name, value) {
    const values = typeof name === "object" ? name : { [name]: value };
    const moved = Object.keys(values).filter((key) =>
      JSON.stringify(values[key]) !== JSON.stringify(this.state[key]));
    Object.assign(this.state, values);
    for (const key of moved) {
      for (const call of this.calls[`change:${key}`] ?? []) call();
    }
  },
  save_changes() {},
  on(event, call) { (this.calls[event] ??= []).push(call); },
  off(event, call) {
    this.calls[event] = this.calls[event].filter((other) => other !== call);
  },
};
window.stop = render({ model, el: document.getElementById("el") });
window.ready = true;
"""
STYLE = Path(__file__).parents[1] / "book" / "style" / "custom.css"

# letters that lie on others, are too small, or not there to be read
UNREADABLE = """() => {
  const faults = [];
  const drawn = [...document.querySelectorAll(".hm svg text")]
    .filter((text) => text.textContent.trim());
  const boxes = drawn.map((text) => text.getBoundingClientRect());
  boxes.forEach((a, i) => boxes.slice(0, i).forEach((b, j) => {
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (wide > 1 && high > 1) {
      faults.push(`${drawn[i].textContent} on ${drawn[j].textContent}`);
    }
  }));
  for (const node of document.querySelectorAll(".hm *")) {
    const own = [...node.childNodes].some((child) =>
      child.nodeType === 3 && child.data.trim());
    if (own && parseFloat(getComputedStyle(node).fontSize) < 12) {
      faults.push(`small: ${node.textContent}`);
    }
    if (own && /NaN|undefined|Infinity/.test(node.textContent)) {
      faults.push(node.textContent);
    }
  }
  const root = document.querySelector(".hm").getBoundingClientRect();
  for (const box of boxes) {
    if (box.left < root.left - 1 || box.right > root.right + 1) {
      faults.push("text beyond the frame");
    }
  }
  return faults;
}"""
# what is pressed or dragged, and smaller than a finger needs
SMALL = """() => [...document.querySelectorAll(
    ".hm :is(button, input, [role=slider])")]
  .filter((node) => {
    const box = node.getBoundingClientRect();
    return Math.min(box.width, box.height) < 24;
  }).map((node) => node.outerHTML.slice(0, 120))"""


def traits_of(box: Explorer) -> dict:
    """Return the drawing's own traits, as they travel with a page."""
    drawing = box.children[0]
    state = drawing.get_state()
    layout = ("layout", "tabbable", "tooltip")
    return {
        name: value
        for name, value in state.items()
        if not name.startswith("_") and name not in layout
    }


class Drawn:
    """An explorable on a page of its own, with room for its controls."""

    def __init__(self, browser, name: str, box: Explorer, width: int) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 844})
        self.page.set_default_timeout(10_000)
        self.faults: list[str] = []
        self.page.on("pageerror", lambda e: self.faults.append(str(e)))
        script, style = assets(name)
        state = json.dumps(traits_of(box)).replace("<", "\\u003c")
        book = STYLE.read_text(encoding="utf-8")
        room = 40 * (len(box.children) - 1)
        self.page.set_content(
            f"<meta charset=utf-8><style>{book}{style}"
            "body { margin: 0; font-family: sans-serif }</style>"
            f"<div id=el></div><div style='height: {room}px'></div>"
            f"<script type=application/json id=state>{state}</script>"
            f"<script type=module>{script}\n{MODEL}</script>"
        )
        self.page.wait_for_function("window.ready")

    def set(self, **values) -> None:
        """Set traits as a slider or a word in the text does."""
        self.page.evaluate("(values) => model.set(values)", values)

    def get(self, *names: str) -> list:
        return self.page.evaluate("(names) => names.map((n) => model.get(n))",
                                  list(names))  # fmt: skip

    def look(self) -> str:
        return self.page.evaluate("document.querySelector('.hm').innerHTML")

    def say(self) -> str:
        return self.page.inner_text(".hm-say >> nth=0")

    def height(self) -> int:
        return self.page.evaluate("document.body.offsetHeight")
