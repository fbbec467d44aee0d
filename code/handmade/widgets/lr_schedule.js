// A learning-rate schedule: its curve, the area under it, one step's rate.
//
// `factorAt` and `areaOf` are the logic, without a page around them: a test
// runs them in node against handmade.training.schedule.

// the factor on the peak at a step
export function factorAt({ shape, steps, warmup, flat, lowest }, step) {
  if (step < warmup) return (step + 1) / warmup;
  const u = Math.min(1, (step - warmup) / (steps - warmup));
  if (shape === "constant") return 1;
  if (shape === "cosine") {
    return lowest + (1 - lowest) * (1 + Math.cos(Math.PI * u)) / 2;
  }
  return 1 + (lowest - 1) * Math.max(0, (u - flat) / (1 - flat));
}

// the sum of the factors of the first `count` steps
export function areaOf(settings, count = settings.steps) {
  let sum = 0;
  for (let step = 0; step < count; step++) sum += factorAt(settings, step);
  return sum;
}

// which part of the schedule a step is in
export function phaseOf({ shape, steps, warmup, flat, lowest }, step) {
  if (step < warmup) return "rising";
  if (shape === "constant" || lowest === 1) return "flat";
  const u = (step - warmup) / (steps - warmup);
  return shape === "linear" && u < flat ? "flat" : "falling";
}

// steps at which to draw: as many as there is room for, and every corner
export function placesOf({ steps, warmup, flat, shape }, room) {
  const few = Math.min(steps, Math.max(2, Math.floor(room / 2)));
  const places = Array.from({ length: few + 1 }, (_, i) =>
    Math.round((i * steps) / few));
  const corners = [warmup - 1, warmup];
  if (shape === "linear") corners.push(Math.round(warmup + flat * (steps - warmup)));
  return [...new Set([...places, ...corners])]
    .filter((step) => step >= 0 && step < steps).sort((a, b) => a - b);
}

// 0.0003 -> 3.00e-4, as one writes it in code
export function rate(x) {
  return x === 0 ? "0" : x.toExponential(2);
}

function render({ model, el }) {
  const [shapes, peaks, lengths] = ["shapes", "peaks", "lengths"]
    .map((name) => model.get(name));
  const settings = () => {
    const steps = lengths[model.get("steps")];
    return { shape: shapes[model.get("shape")], steps,
      warmup: Math.floor(steps * model.get("warmup") / 100),
      flat: model.get("flat"), lowest: model.get("lowest") };
  };
  const last = () => settings().steps - 1;
  const stepNow = () => clamp(model.get("step"), 0, last());
  const go = (step) => setTraits(model, { step: clamp(Math.round(step), 0, last()) });
  let place = () => 0; // a step's x in the last drawing
  let back = () => 0; // and the step at an x

  const box = element("div", { class: "ls-box", role: "group", tabindex: 0,
    onclick: (event) => go(back(event.clientX - box.getBoundingClientRect().left)) });
  onKeys(box, { move: (dt, ds) => {
    const one = Math.max(1, Math.round((last() + 1) / 200));
    go(stepNow() + one * (ds - 10 * dt));
  } });
  const say = element("p", { class: "hm-say", "aria-live": "polite" });
  const more = element("p", { class: "hm-say hm-more hm-muted" });

  function picture(width, now, peak, step) {
    const [left, right, top, height] = [58, 12, 14, 220];
    const low = height - 38;
    place = (s) => left + (width - left - right) * s / now.steps;
    back = (x) => (x - left) / (width - left - right) * now.steps;
    const y = (factor) => low - (low - top) * factor;
    const text = (px, py, anchor, words) => element("text", { x: px, y: py,
      "text-anchor": anchor, class: "hm-muted" }, words);
    const points = (of) => placesOf(of, width - left - right)
      .map((s) => [s, factorAt(of, s)]);
    const path = (list) => list.map(([s, factor], i) =>
      `${i ? "L" : "M"}${place(s).toFixed(1)} ${y(factor).toFixed(1)}`).join("");
    const curve = points(now);
    const filled = (list, name) => list.length > 0 && element("path", { class: name,
      d: `${path(list)}L${place(list.at(-1)[0]).toFixed(1)} ${low}` +
        `L${place(list[0][0]).toFixed(1)} ${low}z` });
    const done = [...curve.filter(([s]) => s < step), [step, factorAt(now, step)]];
    const svg = element("svg", { width, height, "aria-hidden": "true" });
    svg.append(
      ...[0, 0.5, 1].flatMap((factor) => [
        element("line", { x1: left, x2: width - right, y1: y(factor), y2: y(factor),
          class: "ls-tick" }),
        text(left - 6, y(factor) + 4, "end", rate(peak * factor))]),
      ...[0, 0.5, 1].map((share) => text(place(share * now.steps), low + 16,
        share === 1 ? "end" : share ? "middle" : "start", number(share * now.steps))),
      text((left + width - right) / 2, height - 5, "middle", "step"),
      filled(curve, "ls-area"), filled(done, "ls-done"),
      ...shapes.filter((shape) => shape !== now.shape).map((shape) =>
        element("path", { d: path(points({ ...now, shape })), class: "ls-other" })),
      element("path", { d: path(curve), class: "ls-curve" }),
      element("line", { x1: place(step), x2: place(step), y1: top, y2: low,
        class: "ls-at" }),
      element("circle", { cx: place(step), cy: y(factorAt(now, step)), r: 5,
        class: "ls-dot" }));
    return svg;
  }

  function draw(width) {
    const [now, peak, step] = [settings(), peaks[model.get("peak")], stepNow()];
    const factor = factorAt(now, step);
    const [whole, spent] = [areaOf(now), areaOf(now, step + 1)];
    say.replaceChildren(`Step ${number(step)} of ${number(now.steps)}, ` +
      `${phaseOf(now, step)}: rate `, element("strong", {}, rate(peak * factor)),
      `, ${percent(factor)} of the peak.`);
    more.textContent = `All rates together: ${(peak * whole).toPrecision(3)}, as much as ` +
      `${number(Math.round(whole))} steps at the peak; ` +
      `${percent(spent / whole)} of it is spent after this step.`;
    box.replaceChildren(picture(width, now, peak, step));
    box.setAttribute("aria-label", `Learning rate over ${number(now.steps)} steps, ` +
      `${now.shape}. ${say.textContent} Arrow keys move the step.`);
  }

  return frame({
    model, el, name: "schedule", title: "A schedule, and what it spends",
    look: "Click the curve, then change its shape.",
    parts: [say, more, box,
      element("div", { class: "hm-key" }, swatch("--c1", "this schedule"),
        element("span", { class: "ls-dotted" }, "the other two shapes"),
        swatch("--c2", "the step that is read"))],
    draw,
  });
}

export default { render };
