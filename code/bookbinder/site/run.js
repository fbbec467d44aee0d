// Makes a page's cells editable and runs them in the reader's browser. Python
// is fetched when it is asked for, and runs in a worker (python_worker.mjs):
// what never ends is stopped by ending the worker, or by an interrupt where
// the host's headers allow shared memory.
(() => {
  const bar = document.querySelector(".hm-run-page");
  const given = JSON.parse(bar.dataset.live);
  const home = new URL(".", document.currentScript.src);
  const MOST = 100_000; // letters of output below one cell
  const OUTSIDE = "made when the book was built";
  const HELP = "Shift+Enter runs the cell, Control+] and Control+[ indent " +
    "and outdent, Tab moves on.";
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
  let worker, shared, ready, ended; // `ended` settles the cell that runs
  let stopped = false;

  function node(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in made) made[name] = value;
      else made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  function button(text, act, properties = {}) {
    const made = node("button", { type: "button", className: "hm-run", ...properties }, text);
    made.addEventListener("click", act);
    return made;
  }

  // -- the line under the title

  const said = node("p", { className: "hm-run-said", role: "status" });
  const meter = node("progress", { max: 1, value: 0, hidden: true,
    "aria-label": "Python, fetched so far" });
  const go = button(given.whole ? "Run this page" : "Run the exercises", () => begin(), { className: "hm-run hm-run-first" });
  const stop = button("Stop", () => halt(), { hidden: true });
  const reset = button("Reset page", () => resetPage(), { hidden: true });
  const help = node("p", { id: "hm-run-help", className: "hm-run-help", hidden: true }, HELP);
  const say = (text) => (said.textContent = text);

  function openBar() {
    if (location.protocol === "file:") {
      say("The cells of this page can be changed and run where the book is " +
        "served: make serve, then open it there.");
      bar.append(said);
      return;
    }
    bar.append(node("div", { className: "hm-run-buttons" }, go, stop, reset),
      said, meter, help);
    const what = given.whole ? "Every cell becomes editable and runs"
      : `The cells of ${cells.length > 1 ? "these exercises" : "an exercise"} ` +
        "become editable and run";
    say(`${what} in your browser, on no server. ` +
      `Python is fetched for it once: ${megabytes(given.packed)}.`);
  }

  // -- Python

  function start() {
    meter.hidden = false;
    meter.value = 0;
    shared = self.crossOriginIsolated
      ? new Uint8Array(new SharedArrayBuffer(1)) : null;
    ready = new Promise((good, bad) => {
      worker = new Worker(new URL("python_worker.mjs", home), { type: "module" });
      worker.addEventListener("error", (event) => {
        event.preventDefault();
        bad(new Error(event.message || "a file is missing"));
        ended?.({ how: "failed", what: "Python" });
      });
      worker.addEventListener("message", ({ data }) => {
        if (data.kind === "come") meter.value = data.bytes / given.counted;
        else if (data.kind === "ready") good(data.version);
        else if (data.kind === "output") running?.show(data.type, data.text);
        else if (data.kind === "ended") ended?.(data);
        else if (data.kind === "broken") {
          bad(new Error(data.text));
          running?.show("error", `Python broke down: ${data.text}`);
          lose();
          ended?.({ how: "failed", what: "Python" });
        }
      });
      const archive = new URL(given.archive, home).href;
      worker.postMessage({ kind: "start", archive, imports: given.imports,
        interrupt: shared });
    });
    ready.catch(() => {}).finally(() => (meter.hidden = true));
    return ready;
  }

  function lose() {
    worker?.terminate();
    worker = ready = null;
    for (const cell of cells) cell.ran = false;
  }

  async function begin() {
    go.disabled = true;
    say(`Python is on its way: ${megabytes(given.packed)} the first time.`);
    let version;
    try {
      version = await start();
    } catch (error) {
      lose();
      go.disabled = false;
      go.textContent = "Try again";
      say(`Python could not be fetched (${error.message}). Are you offline?`);
      return;
    }
    for (const cell of cells) cell.open();
    help.hidden = reset.hidden = false;
    go.textContent = "Run all";
    go.replaceWith(all);
    all.focus({ preventScroll: true });
    say(`Python ${version} is here.`);
    await runAll();
  }

  const all = button("Run all", () => runAll(), { className: "hm-run hm-run-first" });

  // -- cells

  let running = null; // the cell whose outputs come

  class Cell {
    constructor(area, number, needs) {
      // `ran` in this Python; `shown`: what it shows is not the build's
      Object.assign(this, { area, number, needs, ran: false, shown: false });
      this.input = area.querySelector(".cell_input");
      this.code = this.input.querySelector("pre");
      this.first = this.code.textContent.replace(/\n$/, "");
      this.fold = area.querySelector("details.claim, details.preparation");
      this.claim = area.querySelector("details.claim");
      this.output = area.querySelector(".cell_output");
      this.stored = this.output?.cloneNode(true);
    }

    open() {
      if (this.note) return;
      this.note = node("p", { className: "hm-run-note", role: "status" });
      if (this.needs) {
        this.input.after(this.note);
        this.tellNeeds(this.needs);
        return;
      }
      this.edit();
      this.button = button("Run", () => {
        if (running === this) halt();
        else runSome([this]);
      });
      const above = button("Run from above", () =>
        runSome(cells.slice(0, this.number)));
      this.undo = button("Reset", () => this.reset(), { disabled: true });
      for (const each of [this.button, above, this.undo]) {
        each.setAttribute("aria-label", `${each.textContent}: cell ${this.number}`);
      }
      const tools = node("div", { className: "hm-run-tools" },
        this.button, above, this.undo, this.note);
      this.input.after(tools);
    }

    edit() {
      const box = node("textarea", {
        className: "hm-run-code", value: this.first, spellcheck: false,
        autocomplete: "off", autocapitalize: "off", wrap: "off",
        "aria-label": `Code of cell ${this.number}`,
        "aria-describedby": help.id,
      });
      const frame = node("div", { className: "hm-editor" });
      this.code.replaceWith(frame);
      frame.append(this.code, box);
      const look = getComputedStyle(this.code);
      for (const name of ["padding", "font", "lineHeight", "letterSpacing", "tabSize"]) {
        box.style[name] = look[name];
      }
      box.addEventListener("input", () => this.draw());
      box.addEventListener("keydown", (event) => this.key(event));
      this.box = box;
      this.draw();
    }

    draw() {
      this.code.innerHTML = `${coloured(this.box.value)}\n`;
      if (this.undo) this.undo.disabled = !this.changed;
    }

    get changed() {
      return this.box.value !== this.first || this.shown;
    }

    key(event) {
      const { box } = this;
      const control = event.ctrlKey && !event.altKey && !event.metaKey;
      const before = box.value.slice(0, box.selectionStart);
      const line = before.slice(before.lastIndexOf("\n") + 1);
      const none = box.selectionStart === box.selectionEnd;
      if (event.key === "Enter" && (event.shiftKey || control)) {
        runSome([this]);
      } else if (event.key === "Enter") {
        const deeper = /:\s*$/.test(line) ? "    " : "";
        const own = line.match(/^ */)[0];
        write(`\n${own}${deeper}`);
      } else if (control && event.key === "]") {
        indent(box, (text) => text.replace(/^/gm, "    "));
      } else if (control && event.key === "[") {
        indent(box, (text) => text.replace(/^ {1,4}/gm, ""));
      } else if (event.key === "Backspace" && none && /^ +$/.test(line)) {
        const back = (line.length - 1) % 4 + 1;
        box.setSelectionRange(before.length - back, before.length);
        document.execCommand("delete");
      } else {
        return;
      }
      event.preventDefault();
    }

    reset() {
      this.box.value = this.first;
      this.shown = false;
      this.draw();
      this.state("");
      this.note.textContent = "";
      if (this.stored) {
        const stored = this.stored.cloneNode(true);
        this.output.replaceWith(stored);
        this.output = stored;
      } else {
        this.output?.remove();
        this.output = null;
      }
    }

    state(name) {
      this.area.dataset.run = name;
      if (!this.button) return;
      const runs = name === "running";
      this.button.textContent = runs ? "Stop" : "Run";
      this.button.setAttribute("aria-label",
        `${this.button.textContent}: cell ${this.number}`);
    }

    // what came before stays until something new comes
    async run(alone) {
      this.state("running");
      this.note.textContent = "runs …";
      this.fresh = true;
      this.letters = 0;
      running = this;
      this.output?.setAttribute("aria-live", alone ? "polite" : "off");
      const began = performance.now();
      const answer = await new Promise((settle) => {
        ended = settle;
        worker.postMessage({ kind: "run", source: this.box.value,
          name: `cell ${this.number}` });
      });
      ended = running = null;
      this.lay();
      const { how, what } = answer;
      if (how !== "stopped") this.ran = true;
      const own = this.box.value !== this.first;
      const kept = how === "stopped" || (how === "needs" && !own);
      if (!kept && this.fresh && this.output) this.clear();
      this.state(how);
      const seconds = (performance.now() - began) / 1000;
      if (how === "needs" && own) {
        this.note.textContent = `It needs ${what}, which is not in your browser.`;
      } else if (how === "needs") this.tellNeeds(what);
      else if (how === "stopped") this.note.textContent = "Stopped.";
      else if (how === "failed") this.tellFailed(what);
      else {
        const held = this.claim ? "held here too, " : "ran, ";
        this.note.textContent = `${held}${seconds.toFixed(1)} s`;
      }
      this.undo.disabled = !this.changed;
      return how;
    }

    tellNeeds(what) {
      this.area.dataset.run = "needs";
      const it = this.claim ? "This check ran"
        : this.stored ? "What is shown was" : "This cell ran";
      const when = this.claim || !this.stored
        ? "when the book was built" : OUTSIDE;
      this.note.textContent = `${it} ${when}: it needs ${what}, ` +
        "which is not in your browser.";
    }

    tellFailed(what) {
      if (this.fold) this.fold.open = true;
      const waits = cells.some((cell) =>
        cell.number < this.number && !cell.needs && !cell.ran);
      this.note.textContent = what === "NameError" && waits
        ? "Failed. Cells above have not run since Python started: " +
          "run from above."
        : "Failed.";
    }

    // a figure's caption stays: its drawing alone is replaced
    clear() {
      this.fresh = false;
      this.shown = true;
      this.stream = null;
      if (!this.output) {
        this.output = node("div", { className: "cell_output docutils container" });
        (this.fold ?? this.area).append(this.output);
        if (this.fold && !this.claim) this.area.append(this.output);
      }
      if (!this.output.querySelector("figure")) this.output.replaceChildren();
      else this.output.querySelectorAll(":scope > .output").forEach((e) => e.remove());
    }

    show(kind, text) {
      if (this.fresh) this.clear();
      if (this.stream?.kind !== kind) this.lay();
      if (this.letters > MOST) return;
      this.letters += text.length;
      if (this.letters > MOST) text = text.slice(0, MOST) + "\n… cut here";
      if (kind === "text/html") {
        this.stream = null;
        const made = node("div", { className: "output text_html" });
        made.innerHTML = text;
        harmless(made);
        this.output.append(made);
      } else if (kind === "image/svg+xml") {
        this.stream = null;
        this.drawing(text);
      } else {
        this.print(kind, text);
      }
    }

    print(kind, text) {
      if (this.stream?.kind !== kind) {
        const pre = node("pre");
        const called = kind === "error" ? "traceback highlight-ipythontb"
          : kind === "stderr" ? "stderr highlight-myst-ansi"
          : "stream highlight-myst-ansi";
        this.output.append(node("div", { className: `output ${called} notranslate` },
          node("div", { className: "highlight" }, pre)));
        this.stream = { kind, pre, text: "" };
      }
      this.stream.text += text;
      // once a frame, however often something is printed
      this.waits ??= requestAnimationFrame(() => this.lay());
    }

    lay() {
      if (!this.waits) return;
      cancelAnimationFrame(this.waits);
      this.waits = null;
      if (!this.stream) return;
      const lines = this.stream.text.replace(/\n$/, "").split("\n").map((line) =>
        node("span", { className: "line", style: `--i:${line.search(/\S|$/)}` }, line));
      this.stream.pre.replaceChildren(
        ...lines.flatMap((line) => [line, "\n"]));
    }

    drawing(text) {
      const holder = node("div");
      holder.innerHTML = text;
      harmless(holder);
      const drawn = holder.querySelector("svg");
      if (!drawn) return;
      const old = this.output.querySelector("figure svg");
      // ids are the page's: those of another drawing may not stand twice
      const own = `hm-run-${this.number}-`;
      for (const one of drawn.querySelectorAll("[id]")) one.id = own + one.id;
      for (const one of drawn.querySelectorAll("*")) {
        for (const { name, value } of [...one.attributes]) {
          if (/url\(#/.test(value)) {
            one.setAttribute(name, value.replaceAll("url(#", `url(#${own}`));
          } else if (/href$/.test(name) && value.startsWith("#")) {
            one.setAttribute(name, `#${own}${value.slice(1)}`);
          }
        }
      }
      drawn.setAttribute("class", "hm-svg");
      drawn.setAttribute("role", "img");
      const words = old?.querySelector("desc")?.textContent ??
        drawn.querySelector("desc, title")?.textContent;
      if (words) drawn.setAttribute("aria-label", words);
      if (old) old.replaceWith(drawn);
      else this.output.append(node("div", { className: "output image_svg" }, drawn));
    }
  }

  // what our helpers write is harmless; a reader may paste what is not
  function harmless(made) {
    for (const one of made.querySelectorAll("script, iframe, object, embed")) {
      one.remove();
    }
    for (const one of made.querySelectorAll("*")) {
      for (const { name } of [...one.attributes]) {
        if (/^on/i.test(name)) one.removeAttribute(name);
      }
    }
  }

  // -- typing

  // so that the browser can undo it
  const write = (text) => document.execCommand("insertText", false, text);

  function indent(box, change) {
    const from = box.value.lastIndexOf("\n", box.selectionStart - 1) + 1;
    const next = box.value.indexOf("\n", box.selectionEnd);
    const to = next < 0 ? box.value.length : next;
    const text = change(box.value.slice(from, to));
    box.setSelectionRange(from, to);
    write(text);
    box.setSelectionRange(from, from + text.length);
  }

  // -- colours, by the names that the page's style has for them

  const KINDS = [
    ["c1", /#.*/],
    ["s2", /\b[rbfuRBFU]{0,2}(?:"""[^]*?(?:"""|$)|'''[^]*?(?:'''|$)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?)|"""[^]*?(?:"""|$)|'''[^]*?(?:'''|$)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?/],
    ["kn", /\b(?:import|from)\b/],
    ["ow", /\b(?:and|in|is|not|or)\b/],
    ["kc", /\b(?:False|None|True)\b/],
    ["k", /\b(?:as|assert|async|await|break|case|class|continue|def|del|elif|else|except|finally|for|global|if|lambda|match|nonlocal|pass|raise|return|try|while|with|yield)\b/],
    ["nb", /\b(?:abs|all|any|bool|dict|enumerate|filter|float|int|len|list|map|max|min|next|open|print|range|repr|reversed|round|set|sorted|str|sum|tuple|type|zip)\b/],
    ["mf", /\b\d[\w.]*/],
    ["o", /[-+*/%@=<>!&|^~]+/],
  ];
  const TOKEN = new RegExp(KINDS.map(([, of]) => `(${of.source})`).join("|"), "g");
  const escaped = (text) => text.replace(/[&<>]/g, (sign) =>
    ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[sign]);

  function coloured(text) {
    let at = 0, made = "";
    for (const found of text.matchAll(TOKEN)) {
      const kind = KINDS[found.slice(1).findIndex((one) => one !== undefined)][0];
      made += escaped(text.slice(at, found.index));
      made += `<span class="${kind}">${escaped(found[0])}</span>`;
      at = found.index + found[0].length;
    }
    return made + escaped(text.slice(at));
  }

  // -- running

  let busy = false;

  async function runSome(some) {
    if (busy) return null;
    busy = true;
    stopped = false;
    const wanted = some.filter((cell) => !cell.needs);
    stop.hidden = false;
    all.disabled = reset.disabled = true;
    if (shared) shared[0] = 0;
    for (const cell of wanted) cell.state("waiting");
    let last = "done", at = null;
    try {
      await (ready ?? start());
      for (at of wanted) {
        if (stopped) break;
        if (wanted.length > 1) say(`Cell ${at.number} of ${cells.length} runs.`);
        last = await at.run(wanted.length === 1);
        if (last === "failed" || last === "stopped") break;
      }
    } catch (error) {
      last = "failed";
      lose();
      say(`Python could not be started (${error.message}).`);
    } finally {
      for (const cell of wanted) {
        if (cell.area.dataset.run === "waiting") cell.state("");
      }
      busy = false;
      stop.hidden = true;
      all.disabled = reset.disabled = false;
    }
    if (stopped) return null;
    if (last === "failed" && at) say(`Cell ${at.number} failed.`);
    else if (wanted.length === 1) say(`Cell ${at.number} ran.`);
    else if (at) say(`The cells up to number ${at.number} ran.`);
    return last;
  }

  async function runAll() {
    const began = performance.now();
    const last = await runSome(cells);
    if (last === null || last === "failed") return;
    const left = cells.filter((cell) => cell.area.dataset.run === "needs");
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    const most = left.length
      ? `, but ${left.length} that ${left.length > 1 ? "need" : "needs"} ` +
        [...new Set(left.map((cell) => cell.needs || "more"))].join(" or ")
      : "";
    say(`Every cell ran${most}: ${seconds} s. Change one and run it.`);
  }

  // an interrupt where memory is shared; elsewhere a new Python
  function halt() {
    if (!busy) return;
    stopped = true;
    if (!running) return; // Python is on its way: nothing will run then
    if (shared) {
      shared[0] = 2;
      say("Stopped: what cells have computed is still there.");
      return;
    }
    const cell = running;
    lose();
    ended?.({ how: "stopped" });
    start().then(
      () => say("Stopped. Python was started anew, and what cells had " +
        "computed is gone: run all, or a cell from above."),
      (error) => say(`Python could not be started (${error.message}).`));
    say(`Stopped cell ${cell.number}: Python starts anew.`);
  }

  async function resetPage() {
    lose();
    for (const cell of cells) if (cell.box) cell.reset();
    say("The page is as it was.");
    start().then(() => say("The page is as it was, and Python is new."),
      (error) => say(`Python could not be started (${error.message}).`));
  }

  const cells = [...document.querySelectorAll(".cell.hm-live")].map(
    (area, i) => new Cell(area, i + 1, given.needs[i]));
  openBar();
})();
