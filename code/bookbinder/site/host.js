// Runs a page's explorables without a kernel: the ES modules that anywidget
// runs in Jupyter, their controls, and what links them. Data and modules are
// fetched when the reader comes near. They are classic scripts that register
// their content, since a page opened from a folder may fetch nothing else.
(() => {
  const handmade = (window.handmade = { files: {} });
  const SIGNED = /[-−]?[\d.]+(?:e[-+]?\d+)?/gi;

  function same(a, b) {
    const deep = (x) =>
      x && typeof x === "object" && !ArrayBuffer.isView(x);
    if (!deep(a) || !deep(b)) return Object.is(a, b);
    const keys = Object.keys(a);
    return keys.length === Object.keys(b).length &&
      keys.every((key) => same(a[key], b[key]));
  }

  // what anywidget's modules and ipywidgets' links use of Backbone's models
  class Model {
    constructor({ kind, state, module }) {
      Object.assign(this, { kind, state, module, heard: [] });
    }
    get(name) {
      return this.state[name];
    }
    set(name, value) {
      const values = typeof name === "object" ? name : { [name]: value };
      const changed = Object.keys(values).filter(
        (key) => !same(this.state[key], values[key]));
      Object.assign(this.state, values);
      for (const key of changed) this.tell(`change:${key}`, this.state[key]);
      if (changed.length) this.tell("change");
    }
    on(names, callback) {
      for (const name of names.split(" ")) this.heard.push([name, callback]);
    }
    off(names, callback) {
      this.heard = this.heard.filter(([name, heard]) =>
        (names && !names.split(" ").includes(name)) ||
        (callback && heard !== callback));
    }
    tell(event, value) {
      for (const [name, callback] of [...this.heard]) {
        if (name === event) callback(this, value);
      }
    }
    save_changes() {}
    send() {}
  }

  function link([source, from, target, to, oneWay]) {
    let busy = false;
    const copy = (a, trait, b, other) => {
      if (busy) return;
      busy = true;
      try {
        b.set(other, a.get(trait));
      } finally {
        busy = false;
      }
    };
    const there = () => copy(source, from, target, to);
    source.on(`change:${from}`, there);
    if (!oneWay) {
      target.on(`change:${to}`, () => copy(target, to, source, from));
    }
    there();
  }

  function node(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in made) made[name] = value;
      else made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  // a number as d3-format writes it, which ipywidgets uses
  function format(x, how) {
    const [, comma, digits, type] = /^(,?)(?:\.(\d+))?([dfeg%]?)$/.exec(how);
    const places = type === "d" ? 0 : Number(digits ?? 6);
    const text =
      type === "g" ? x.toPrecision(places)
      : type === "e" ? x.toExponential(places)
      : type === "%" ? `${(100 * x).toFixed(places)}%`
      : x.toLocaleString("en", { useGrouping: Boolean(comma),
        minimumFractionDigits: places, maximumFractionDigits: places });
    return text.replace("-", "−");
  }

  let count = 0;
  // a control in its row: its name, what is moved, what it says
  function row(model, control, ...parts) {
    control.id = `hm-control-${++count}`;
    const name = node("label", { htmlFor: control.id });
    follow(model, ["description"], () => {
      name.textContent = model.get("description");
    });
    if (!parts.length) parts = [control];
    return node("div", { className: "hm-control" }, name, ...parts);
  }

  // call draw now and whenever one of these changes
  function follow(model, traits, draw) {
    for (const trait of [...traits, "disabled"]) {
      model.on(`change:${trait}`, draw);
    }
    draw();
  }

  function slider(model) {
    const picks = model.kind === "SelectionSlider";
    const log = model.kind === "FloatLogSlider";
    const whole = picks || model.kind.startsWith("Int");
    const trait = picks ? "index" : "value";
    const labels = () => model.get("_options_labels");
    const low = () => (picks ? 0 : model.get("min"));
    const high = () => (picks ? labels().length - 1 : model.get("max"));
    const base = model.get("base");
    const place = (v) => (log ? Math.log(v) / Math.log(base) : v);
    const value = (p) => (log ? base ** p : p);
    const say = (v) =>
      picks ? labels()[v] : format(v, model.get("readout_format"));
    const values = () => [model.get(trait)].flat();

    const name = model.get("description");
    const double = model.kind.endsWith("RangeSlider");
    const ends = (double ? [", from", ", to"] : [""]).map((which) =>
      node("input", { type: "range", "aria-label": name + which }));
    const typed = picks
      ? node("output", { className: "hm-value" })
      : node("input", { className: "hm-value", type: "text",
        autocomplete: "off", "aria-label": `${name}, typed` });
    const fit = (p) => Math.min(high(), Math.max(low(), p));
    const put = (places) => {
      places = places.map((p) => fit(whole ? Math.round(p) : p));
      const all = places.map(value);
      model.set(trait, double ? all : all[0]);
      draw();
    };
    const moved = (which) => () => {
      const places = ends.map((end) => end.valueAsNumber);
      // a handle stops at the other
      if (places[0] > places[1]) places[which] = places[1 - which];
      put(places);
    };
    const event = model.get("continuous_update") === false ? "change" : "input";
    ends.forEach((end, which) => end.addEventListener(event, moved(which)));
    typed.addEventListener("change", () => {
      const text = typed.value.replaceAll(",", "").replaceAll("−", "-");
      const unit = (model.get("readout_format") ?? "").endsWith("%") ? 100 : 1;
      const given = (text.match(SIGNED) ?? []).map((n) => Number(n) / unit);
      const good = given.length === ends.length && given.every(isFinite);
      if (good) put(given.sort((a, b) => a - b).map(place));
      else draw();
    });
    typed.addEventListener("keydown", (event) => event.stopPropagation());

    function draw() {
      const shown = values();
      ends.forEach((end, which) => {
        const step = picks ? 1 : model.get("step");
        Object.assign(end, { min: low(), max: high(), step });
        end.value = place(shown[which]);
        end.disabled = Boolean(model.get("disabled"));
        end.setAttribute("aria-valuetext", say(shown[which]));
      });
      typed.value = shown.map(say).join(" – ");
      typed.disabled = ends[0].disabled;
      if (double) {
        // where both meet at the right end, the left one can still be taken
        const middle = (low() + high()) / 2;
        ends[0].style.zIndex = place(shown[0]) > middle ? 2 : 1;
        ends[1].style.zIndex = 1;
      }
    }
    follow(model, [trait, "min", "max", "step", "_options_labels"], draw);
    const track = node("div", { className: "hm-track" }, ...ends);
    return row(model, ends[0], track, typed);
  }

  function dropdown(model) {
    const select = node("select");
    select.addEventListener("change", () =>
      model.set("index", select.selectedIndex));
    follow(model, ["index", "_options_labels"], () => {
      const labels = model.get("_options_labels");
      const now = [...select.options].map((option) => option.text);
      if (!same(now, labels)) {
        select.replaceChildren(...labels.map((text) => node("option", { text })));
      }
      select.selectedIndex = model.get("index") ?? -1;
      select.disabled = Boolean(model.get("disabled"));
    });
    return row(model, select);
  }

  function buttons(model) {
    const group = node("div", { className: "hm-buttons", role: "group",
      "aria-label": model.get("description") });
    follow(model, ["index", "_options_labels"], () => {
      const labels = model.get("_options_labels");
      while (group.childElementCount > labels.length) group.lastChild.remove();
      labels.forEach((text, index) => {
        const button = group.children[index] ??
          group.appendChild(node("button", { type: "button",
            onclick: () => model.set("index", index) }));
        button.textContent = text;
        button.disabled = Boolean(model.get("disabled"));
        button.setAttribute("aria-pressed", index === model.get("index"));
      });
    });
    return row(model, group);
  }

  function checkbox(model) {
    const box = node("input", { type: "checkbox" });
    box.addEventListener("change", () => model.set("value", box.checked));
    follow(model, ["value"], () => {
      box.checked = model.get("value");
      box.disabled = Boolean(model.get("disabled"));
    });
    return row(model, box);
  }

  function text(model) {
    const long = model.kind === "Textarea";
    const box = long
      ? node("textarea", { rows: model.get("rows") ?? 3 })
      : node("input", { type: "text" });
    box.placeholder = model.get("placeholder") ?? "";
    const event = model.get("continuous_update") === false ? "change" : "input";
    box.addEventListener(event, () => model.set("value", box.value));
    follow(model, ["value"], () => {
      if (box.value !== model.get("value")) box.value = model.get("value");
      box.disabled = Boolean(model.get("disabled"));
    });
    return row(model, box);
  }

  function label(model) {
    const words = node("output");
    follow(model, ["value"], () => {
      words.textContent = model.get("value");
    });
    return row(model, words);
  }

  const CONTROLS = {
    IntSlider: slider, FloatSlider: slider, FloatLogSlider: slider,
    IntRangeSlider: slider, FloatRangeSlider: slider, SelectionSlider: slider,
    Dropdown: dropdown, ToggleButtons: buttons, Checkbox: checkbox,
    Text: text, Textarea: text, Label: label,
  };

  // a box: controls that follow each other stand in one grid
  function view(model, models, drawings) {
    if (model.module) {
      const el = node("div", { className: "hm-drawing" });
      drawings.push([model, el]);
      return el;
    }
    if (model.kind in CONTROLS) {
      return node("div", { className: "hm-controls" }, CONTROLS[model.kind](model));
    }
    const box = node("div", { className: `hm-box hm-${model.kind.toLowerCase()}` });
    for (const id of model.get("children")) {
      const child = view(models[id], models, drawings);
      const last = box.lastChild;
      if (child.className === "hm-controls" && last?.className === child.className) {
        last.append(...child.children);
      } else box.append(child);
    }
    // a box of controls alone is no box: its rows join those around it
    const [only] = box.children;
    return box.childElementCount === 1 && only.className === "hm-controls" ? only : box;
  }

  const loading = new Map();
  // address of a script -> what it registers, under its own name
  function load(address) {
    if (!loading.has(address)) {
      loading.set(address, new Promise((done, failed) => {
        const name = decodeURIComponent(address.split("/").pop());
        const script = node("script", { src: address });
        script.onload = () => done(handmade.files[name]);
        script.onerror = () => {
          loading.delete(address);
          failed(new Error(`${name}: got nothing, want an explorable's file`));
        };
        document.head.append(script);
      }));
    }
    return loading.get(address);
  }

  // what a module exports, once: from its text, as a file has no other way
  function run(file) {
    file.ran ??= (async () => {
      if (file.css) document.head.append(node("style", {}, file.css));
      const blob = new Blob([file.esm], { type: "text/javascript" });
      const { default: made } = await import(URL.createObjectURL(blob));
      return typeof made === "function" ? made() : made;
    })();
    return file.ran;
  }

  function bytes(base64) {
    const data = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    return new DataView(data.buffer);
  }

  async function draw(frame) {
    const addresses = frame.dataset.files.split(" ");
    const files = await Promise.all(addresses.map(load));
    const data = files.pop();
    const widgets = await Promise.all(files.map(run));
    const models = data.models.map((made) => new Model(structuredClone(made)));
    data.models.forEach(({ buffers = [] }, i) => {
      for (const { path, data: text } of buffers) {
        const last = path.at(-1);
        const owner = path.slice(0, -1).reduce((o, key) => o[key], models[i].state);
        owner[last] = bytes(text);
      }
    });
    for (const [a, from, b, to, oneWay] of data.links) {
      link([models[a], from, models[b], to, oneWay]);
    }
    const signal = new AbortController().signal;
    const widget = (model) => widgets[model.module - 1];
    for (const model of models) {
      if (model.module) await widget(model).initialize?.({ model, signal });
    }
    const drawings = [];
    const body = node("div", { className: "hm-body" },
      view(models[data.root], models, drawings));
    const picture = [...frame.childNodes];
    frame.replaceChildren(body);
    try {
      for (const [model, el] of drawings) {
        await widget(model).render?.({ model, el, signal });
      }
    } catch (error) {
      frame.replaceChildren(...picture);
      throw error;
    }
    keepHeight(frame, body);
    return models;
  }

  // the page below never moves up: at one width a frame only grows
  function keepHeight(frame, body) {
    let width = 0, height = 0;
    new ResizeObserver(() => {
      if (frame.clientWidth !== width) height = 0;
      width = frame.clientWidth;
      height = Math.max(height, body.offsetHeight);
      frame.style.setProperty("--hm-height", `${height}px`);
    }).observe(body);
  }

  const started = new Map();
  function start(frame) {
    if (!started.has(frame)) {
      frame.dataset.state = "loading";
      started.set(frame, draw(frame).then((models) => {
        frame.dataset.state = "ready";
        return models;
      }, (error) => {
        frame.dataset.state = "failed";
        started.delete(frame);
        console.error(error);
      }));
    }
    return started.get(frame);
  }

  // by a trait of the drawing, or by what a control is called
  function set(models, values) {
    const traits = new Map();
    for (const [name, value] of Object.entries(values)) {
      const drawing = models.find((m) => m.module && name in m.state);
      const model = drawing ?? models.find((m) => m.get("description") === name);
      const at = model.get("_options_labels")?.indexOf(String(value));
      const trait = drawing ? name : at === undefined ? "value" : "index";
      traits.set(model, { ...traits.get(model), [trait]: at ?? value });
    }
    // all of one model at once: what they mean may depend on each other
    for (const [model, together] of traits) model.set(together);
  }

  const frames = () => [...document.querySelectorAll(".hm-explorable")];
  document.addEventListener("click", async ({ target }) => {
    const button = target.closest?.(".hm-set");
    if (!button) return;
    button.focus({ preventScroll: true });
    const after = (frame) => button.compareDocumentPosition(frame) &
      Node.DOCUMENT_POSITION_FOLLOWING;
    const frame = frames().find(after) ?? frames().at(-1);
    const models = frame && (await start(frame));
    if (!models) return;
    set(models, JSON.parse(button.dataset.set));
    for (let up = frame; up; up = up.parentElement.closest("details")) {
      if (up.matches("details")) up.open = true;
    }
    const { top, bottom } = frame.getBoundingClientRect();
    if (bottom <= 0 || top >= innerHeight) {
      frame.scrollIntoView({ block: "nearest" });
    }
  });

  function begin() {
    for (const button of document.querySelectorAll(".hm-set")) {
      button.disabled = false;
    }
    const near = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        near.unobserve(target);
        start(target);
      }
    }, { rootMargin: "100% 0px" });
    for (const frame of frames()) near.observe(frame);
  }
  // as soon as the page is read: not after all its other scripts
  if (document.readyState === "loading") {
    document.addEventListener("readystatechange", begin, { once: true });
  } else begin();
})();
