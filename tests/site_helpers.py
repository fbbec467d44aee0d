"""Open a page of the built site as a reader does, and note what goes wrong."""

import contextlib

from playwright.sync_api import TimeoutError

FRAME = ".hm-explorable"
DRAWING = ".hm-drawing"
CONTROLS = '[role="slider"], select, button, input'

SETTLED = """async () => {
  await document.fonts.ready;
  await new Promise((done) => setTimeout(done, 50));
}"""

# bring every explorable near, until each has drawn something
DRAWN = """async ([frame, drawing]) => {
  const pause = () => new Promise((done) => setTimeout(done, 20));
  for (const area of document.querySelectorAll(frame)) {
    area.scrollIntoView();
    while (!["ready", "failed"].includes(area.dataset.state)) await pause();
    const drawings = [...area.querySelectorAll(drawing)];
    while (!drawings.every((el) => el.firstElementChild)) await pause();
  }
  scrollTo(0, 0);
}"""

UNFOLD = """() => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
}"""

WIDER = """() => {
  const width = window.innerWidth;
  const faults = [];
  for (const node of [document.documentElement, document.body]) {
    if (node.scrollWidth > width) {
      faults.push(`${node.tagName} is ${node.scrollWidth} wide`);
    }
  }
  const scrolls = (node) => {
    for (let up = node.parentElement; up; up = up.parentElement) {
      if (up.tagName === "BODY") return false;
      const style = getComputedStyle(up);
      if (style.overflowX !== "visible") return true;
    }
  };
  for (const node of document.querySelectorAll("main article *")) {
    const box = node.getBoundingClientRect();
    if (box.width && box.right > width + 1 && !scrolls(node)) {
      const name = node.cloneNode().outerHTML.slice(0, 120);
      faults.push(`${name} ends at ${Math.round(box.right)}`);
    }
  }
  return faults.slice(0, 4);
}"""

NO_ALT = """() => [...document.images]
  .filter((image) => !(image.alt || "").trim())
  .map((image) => image.outerHTML.slice(0, 200))"""

# barriers that axe calls serious or critical
AXE = """async (rules) => {
  const options = { resultTypes: ["violations"] };
  if (rules) options.runOnly = rules;
  const { violations } = await axe.run(document, options);
  return violations
    .filter(({ impact }) => ["serious", "critical"].includes(impact))
    .map(({ id, nodes }) => id + ": " + nodes.slice(0, 3).map((node) =>
      `${node.target} (${node.failureSummary.split("\\n").at(-1).trim()})`
    ).join("; "));
}"""

# what a drawing shows, in letters and in pixels
SHOWN = """(area, drawing) => {
  const shown = [];
  for (const el of area.querySelectorAll(drawing)) {
    shown.push(el.innerHTML);
    for (const canvas of el.querySelectorAll("canvas")) {
      shown.push(canvas.toDataURL());
    }
  }
  return shown.join();
}"""


class Visit:
    """A page in a browser, with everything that went wrong on it."""

    def __init__(self, page, home: str) -> None:
        self.page = page
        self.home = home
        self.faults: list[str] = []
        page.on("console", self._console)
        page.on("pageerror", lambda e: self.faults.append(f"error: {e}"))
        page.on("request", self._request)
        page.on("response", self._response)
        page.on("requestfailed", self._failed)

    def _console(self, message) -> None:
        if message.type == "error":
            self.faults.append(f"console: {message.text}")

    def _request(self, request) -> None:
        if not request.url.startswith((self.home, "data:", "blob:")):
            self.faults.append(f"asks another host: {request.url}")

    def _response(self, response) -> None:
        if response.status >= 400:
            self.faults.append(f"{response.status}: {response.url}")

    def _failed(self, request) -> None:
        if "ERR_ABORTED" not in (request.failure or ""):
            self.faults.append(f"{request.failure}: {request.url}")

    def open(self, path: str) -> None:
        """Go there and wait until nothing is left to be drawn."""
        self.page.goto(f"{self.home}/{path}")
        self.page.evaluate(SETTLED)
        self.page.evaluate(UNFOLD)
        self.page.evaluate(DRAWN, [FRAME, DRAWING])
        self.page.wait_for_timeout(50)

    def scheme(self, name: str) -> None:
        """Turn the reader's system light or dark; the page must follow."""
        self.page.emulate_media(color_scheme=name)
        follows = "(name) => document.documentElement.dataset.theme === name"
        self.page.wait_for_function(follows, arg=name, timeout=10_000)

    def barriers(self, axe: str, rules: tuple = ()) -> list[str]:
        """Return what axe finds serious or critical, by all rules or some."""
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.evaluate(axe)
        return self.page.evaluate(AXE, list(rules) or None)

    def dead_controls(self) -> list[str]:
        """Work every control by keyboard; name those that change nothing.

        A control is put back before the next is tried, as one may hide what
        another does: with one token kept, no other filter shows. One that
        does nothing as the page opens ("Back" at the first step) gets another
        chance after each of the others was used.
        """
        dead = []
        for area in self.page.query_selector_all(FRAME):
            if not area.query_selector(DRAWING):
                dead.append("a widget without a drawing")
            # a control may draw itself anew: find it by its place each time
            for i in range(len(area.query_selector_all(CONTROLS))):
                found = area.query_selector_all(CONTROLS)
                if i >= len(found) or self._works(area, found[i]):
                    continue
                name = found[i].evaluate("e => e.outerHTML.slice(0, 160)")
                if not self._wakes(area, i):
                    dead.append(name)
        return dead

    def _wakes(self, area, place: int) -> bool:
        """Use whatever else there is; tell whether the control then works."""
        others = f"{CONTROLS}, [tabindex='0']"
        for k in range(len(area.query_selector_all(others))):
            other = area.query_selector_all(others)[k]
            options = other.evaluate("e => e.options ? e.options.length : 0")
            start = other.evaluate("e => e.selectedIndex ?? 0")
            for option in range(options or 1):
                if options:
                    other.select_option(index=option)
                else:
                    other.focus()
                    self.page.keyboard.press("Space")
                self.page.wait_for_timeout(100)
                found = area.query_selector_all(CONTROLS)
                if place < len(found) and self._works(area, found[place]):
                    return True
            if options:
                other.select_option(index=start)
        return False

    def _works(self, area, control) -> bool:
        before = area.evaluate(SHOWN, DRAWING)
        kind = control.evaluate(
            "e => e.getAttribute('role') || e.type || e.tagName"
        )
        if kind == "radio" and control.evaluate(
            "e => e.checked || e.getAttribute('aria-checked') === 'true'"
        ):
            return True  # chosen already
        control.focus()
        if not control.evaluate(
            "e => e === document.activeElement &&"
            " (e.tabIndex >= 0 || e.getAttribute('role') === 'radio')"
        ):
            return False
        if kind in ("slider", "range"):
            return self._slides(area, control, before)
        if kind.startswith("select"):
            return self._selects(area, control, before)
        if kind == "text":
            return self._types(area, control, before)
        self.page.keyboard.press("Space")
        return self._changes(area, before)

    def _slides(self, area, handle, before: str) -> bool:
        # its place: the value it speaks may be rounded
        place = """e => [e.value, e.ariaValueNow,
            getComputedStyle(e.parentElement).transform].join()"""
        start = handle.evaluate(place)
        for there, back in (
            ("ArrowRight", "ArrowLeft"),
            ("ArrowLeft", "ArrowRight"),
        ):
            self.page.keyboard.press(there)
            if handle.evaluate(place) != start:
                works = self._changes(area, before)
                self.page.keyboard.press(back)
                return works
        return False

    def _selects(self, area, select, before: str) -> bool:
        start = select.evaluate("e => e.selectedIndex")
        last = select.evaluate("e => e.length") - 1
        select.select_option(index=start + 1 if start < last else start - 1)
        works = self._changes(area, before)
        select.select_option(index=start)
        return works

    def _types(self, area, box, before: str) -> bool:
        """Type the end of a slider into the box beside it."""
        start = box.input_value()
        ends = box.evaluate(
            """e => {
              const { min, max, value } =
                e.parentElement.querySelector("input");
              return value === min ? max : min;
            }"""
        )
        if "–" in start:  # a range: both ends at once
            ends = f"{ends} {ends}"
        box.fill(ends)
        self.page.keyboard.press("Enter")
        works = self._changes(area, before)
        box.fill(start)
        self.page.keyboard.press("Enter")
        return works

    def _changes(self, area, before: str) -> bool:
        test = f"([area, d, before]) => ({SHOWN})(area, d) !== before"
        try:
            self.page.wait_for_function(
                test, arg=[area, DRAWING, before], timeout=5_000
            )
        except TimeoutError:
            return False
        return True


@contextlib.contextmanager
def visit(browser, home: str, *, width: int = 1280, scheme: str = "light"):
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    context.set_default_timeout(20_000)
    try:
        yield Visit(context.new_page(), home)
    finally:
        context.close()
