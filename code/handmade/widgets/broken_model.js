// Which of two models is broken? Two answers, a guess, then one bar a block.

const LETTERS = ["A", "B"];
// the bars are logarithmic: nothing at 1e-8, full at 1
const LOW = -8;

// a difference -> its bar, from 0 to 1
export function height(difference) {
  if (!(difference > 0)) return 0;
  return Math.min(1, Math.max(0, (Math.log10(difference) - LOW) / -LOW));
}

// 0.0599 -> "6 %", 5e-7 -> "0.00005 %", 3.2 -> "320 %"
export function share(value) {
  const digits = { maximumSignificantDigits: 2 };
  return `${(100 * value).toLocaleString("en", digits)}\u00a0%`;
}

// what the drawing says after a guess
export function verdict(round, picked) {
  const broken = LETTERS[round.broken];
  const right = LETTERS[1 - round.broken];
  const found = picked === round.broken;
  return {
    found,
    head: found ? `Yes, ${broken} is the broken one.` : `No, it is ${broken}.`,
    where: `${broken} leaves Hugging Face's numbers in block ${round.block}, ` +
      `in its ${round.place}: off by ${share(round.difference)} there, where ` +
      `rounding is allowed ${share(round.tolerance)}. ${right} never does.`,
  };
}

// what a screen reader says of a row of bars
export function spoken(bars, tolerance) {
  const wrong = bars.findIndex((value) => !(value <= tolerance));
  const all = `${bars.length} blocks`;
  return wrong < 0
    ? `${all}, none off by more than rounding`
    : `${all}, off by more than rounding from block ${wrong + 1} on`;
}

// one bar a block; without `bars` their places, to be lit
function drawBars(count, tolerance, bars) {
  const step = 10;
  const tall = 40;
  const line = tall * (1 - height(tolerance));
  const svg = element("svg", {
    viewBox: `0 0 ${count * step} ${tall}`, preserveAspectRatio: "none",
    role: "img",
    "aria-label": bars ? spoken(bars, tolerance) : `${count} blocks, unlit`,
  });
  for (let i = 0; i < count; i++) {
    const value = bars?.[i];
    const up = Math.max(3, tall * height(value));
    const bar = element("rect", {
      x: i * step + 1, y: tall - up, width: step - 2, height: up,
      class: !bars ? "hm-unlit" : value <= tolerance ? "hm-near" : "hm-off",
    });
    if (bars) {
      bar.append(element("title", {}, `block ${i + 1}: off by ${share(value)}`));
      bar.style.animationDelay = `${i * 30}ms`;
    }
    svg.append(bar);
  }
  svg.append(element("line", { x1: 0, x2: count * step, y1: line, y2: line }));
  return svg;
}

// the numbers below the bars: the first, the last, and the first wrong one
function drawNumbers(count, wrong) {
  const near = count / 5; // two numbers this close would touch
  const numbers = element("div", { class: "hm-numbers", "aria-hidden": "true" });
  const put = (number, kind) => {
    const node = element("span", { class: kind }, String(number));
    node.style.left = `${(100 * (number - 0.5)) / count}%`;
    numbers.append(node);
  };
  if (!wrong || wrong > near) put(1, "hm-end");
  if (wrong) put(wrong, "hm-mark");
  if (!wrong || wrong < count - near) put(count, "hm-end");
  return numbers;
}

// the site says where its pages are; a notebook has no page to lead to
function pageLink({ page, title }) {
  const root = document.documentElement.dataset.content_root;
  return root === undefined
    ? element("span", {}, `The page “${title}” explains it.`)
    : element("a", { href: `${root}${page}.html` }, `${title}: how it works`);
}

function render({ model, el }) {
  const rounds = model.get("rounds");
  const guesses = new Map(); // round -> whether the first guess was right
  const question = element("p", { class: "hm-question" });
  const answers = element("div", { class: "hm-answers" });
  const result = element("div", { class: "hm-result", "aria-live": "polite" });
  el.append(element("div", { class: "hm hm-broken-model" },
    question, answers, result));

  const cards = LETTERS.map((letter, i) => {
    const text = element("span", { class: "hm-text" });
    const tag = element("span", { class: "hm-tag" });
    const button = element("button", { type: "button", onclick: () => pick(i) },
      element("span", { class: "hm-letter" }, letter),
      element("span", {}, text, tag));
    const strip = element("div", { class: "hm-strip" });
    const card = element("div", { class: "hm-card" }, button, strip);
    answers.append(card);
    return { card, button, text, tag, strip };
  });
  const next = element("button", {
    type: "button", class: "hm-next",
    onclick: () => {
      const to = (at() + 1) % rounds.length;
      if (to === 0) guesses.clear();
      setTraits(model, { round: to, picked: -1 });
      draw();
      cards[0].button.focus({ preventScroll: true });
      question.scrollIntoView({ block: "nearest" });
    },
  });

  function at() {
    return Math.max(0, Math.min(rounds.length - 1, model.get("round")));
  }

  function pick(i) {
    setTraits(model, { picked: i });
    draw();
  }

  let drawn; // the round and whether its bars are lit

  function draw() {
    const round = rounds[at()];
    const picked = model.get("picked");
    const open = picked === 0 || picked === 1;
    if (open && !guesses.has(at())) guesses.set(at(), picked === round.broken);
    question.replaceChildren("Asked: ",
      element("q", {}, round.question));
    cards.forEach(({ card, button, text, tag, strip }, i) => {
      const wrong = i === round.broken;
      text.textContent = round.answers[i];
      tag.textContent = !open ? "" : wrong ? "✗ broken" : "✓ right";
      card.className = !open ? "hm-card"
        : `hm-card ${wrong ? "hm-wrong" : "hm-right"}`;
      button.setAttribute("aria-pressed", String(picked === i));
      // lit once a round: another guess leaves the bars as they stand
      if (drawn !== `${at()} ${open}`) {
        const bars = round.bars[i];
        strip.replaceChildren(
          drawBars(bars.length, round.tolerance, open ? bars : null),
          drawNumbers(bars.length, open && wrong ? round.block : 0));
      }
    });
    drawn = `${at()} ${open}`;
    result.replaceChildren(...open ? told(round, picked) : [
      element("p", { class: "hm-hint" },
        element("strong", {}, "Click the answer of the broken model. "),
        `Round ${at() + 1} of ${rounds.length}.`),
      scale(round)]);
  }

  function told(round, picked) {
    const { found, head, where } = verdict(round, picked);
    const score = [...guesses.values()].filter(Boolean).length;
    const last = at() + 1 === rounds.length;
    next.textContent = last ? "Play again" : "Another one";
    return [
      element("p", {},
        element("strong", { class: found ? "hm-yes" : "hm-no" }, head),
        ` ${where}`),
      element("p", {}, `${round.says} `, pageLink(round)),
      element("p", { class: "hm-score" }, next,
        ` ${score} of ${guesses.size} found`),
      scale(round),
    ];
  }

  function scale(round) {
    return element("p", { class: "hm-note" },
      `One bar for each of ${round.bars[0].length} blocks: how far its ` +
      "output is from Hugging Face's, on a logarithmic scale. Above the line " +
      "is more than rounding.");
  }

  for (const name of ["round", "picked"]) model.on(`change:${name}`, draw);
  draw();
}

export default { render };
