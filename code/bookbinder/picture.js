// Draws what stands in a frame, as it is seen, as SVG: boxes, letters, lines
// and canvases at the places where the browser put them. Colours come out as
// «#rrggbbaa», so that the caller can compare two colour schemes.
(frame) => {
  const home = frame.getBoundingClientRect();
  const out = [];
  const pen = document.createElement("canvas").getContext("2d");
  const round = (x) => String(Math.round(10 * x) / 10);
  const escape = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
  const tag = (name, attributes, inside = "") => {
    const list = Object.entries(attributes)
      .filter(([, value]) => value !== undefined && value !== "")
      .map(([key, value]) =>
        ` ${key}="${typeof value === "number" ? round(value) : escape(value)}"`);
    return `<${name}${list.join("")}${inside ? `>${inside}</${name}>` : "/>"}`;
  };
  const local = ({ left, top, width, height }) =>
    ({ x: left - home.left, y: top - home.top, width, height });

  // any colour -> «#rrggbbaa», or nothing where it is not seen
  function colour(text, opacity = 1) {
    if (!text || text === "none") return "";
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = text;
    pen.fillRect(0, 0, 1, 1);
    const rgba = [...pen.getImageData(0, 0, 1, 1).data];
    rgba[3] *= opacity;
    if (rgba[3] < 1) return "";
    const hex = rgba.map((v) => Math.round(v).toString(16).padStart(2, "0"));
    if (hex[3] === "ff") hex.pop();
    return `«#${hex.join("")}»`;
  }

  function box(node, style) {
    const at = local(node.getBoundingClientRect());
    if (!at.width || !at.height) return;
    const radius = Math.min(parseFloat(style.borderRadius) || 0, at.height / 2);
    const fill = colour(style.backgroundColor);
    const sides = ["Top", "Right", "Bottom", "Left"].map((side) => ({
      width: style[`border${side}Style`] === "none" ? 0
        : parseFloat(style[`border${side}Width`]),
      stroke: colour(style[`border${side}Color`]),
    }));
    const even = sides.every((s) =>
      s.width === sides[0].width && s.stroke === sides[0].stroke);
    const [{ width: w, stroke }] = sides;
    if (fill || (even && w && stroke)) {
      const half = even ? w / 2 : 0;
      out.push(tag("rect", { x: at.x + half, y: at.y + half,
        width: at.width - 2 * half, height: at.height - 2 * half,
        rx: radius || undefined, fill: fill || "none",
        ...(even && w && stroke ? { stroke, "stroke-width": w } : {}) }));
    }
    if (!even) {
      const { x, y, width, height } = at;
      const right = x + width, bottom = y + height;
      const lines = [[x, y, right, y], [right, y, right, bottom],
        [x, bottom, right, bottom], [x, y, x, bottom]];
      sides.forEach((side, i) => {
        if (!side.width || !side.stroke) return;
        const [x1, y1, x2, y2] = lines[i];
        out.push(tag("line", { x1, y1, x2, y2, stroke: side.stroke,
          "stroke-width": side.width }));
      });
    }
    if (style.outlineStyle !== "none" && parseFloat(style.outlineWidth)) {
      out.push(tag("rect", { ...at, fill: "none", rx: radius || undefined,
        stroke: colour(style.outlineColor),
        "stroke-width": parseFloat(style.outlineWidth) }));
    }
  }

  function letters(words, at, style, anchor) {
    pen.font = `${style.fontStyle} ${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
    const size = pen.measureText("x");
    const up = size.fontBoundingBoxAscent;
    const all = up + size.fontBoundingBoxDescent;
    const struck = style.textDecorationLine.includes("line-through");
    out.push(tag("text", {
      x: at.x, y: at.y + (at.height * up) / all,
      "font-size": parseFloat(style.fontSize),
      "font-family": /mono/.test(style.fontFamily) ? "ui-monospace, monospace" : undefined,
      "font-weight": style.fontWeight === "400" ? undefined : style.fontWeight,
      "font-style": style.fontStyle === "normal" ? undefined : style.fontStyle,
      "text-decoration": struck ? "line-through" : undefined,
      "text-anchor": anchor,
      fill: colour(style.color),
      // other letters than this machine's take the same room
      textLength: anchor || words.length < 2 ? undefined : at.width,
    }, escape(words)));
  }

  // the lines of a text node, as the browser broke them
  function text(node, style) {
    const range = document.createRange();
    let line = null;
    const flush = () => {
      if (line && line.words.trim()) {
        const trimmed = line.words.trimEnd();
        letters(trimmed, { ...line, width: line.right - line.x }, style);
      }
      line = null;
    };
    const signs = [...node.data];
    let offset = 0;
    for (const sign of signs) {
      range.setStart(node, offset);
      range.setEnd(node, (offset += sign.length));
      const rect = range.getClientRects()[0];
      if (!rect || !rect.width) continue;
      const at = local(rect);
      if (line && Math.abs(at.y - line.y) > 2) flush();
      if (!line && !sign.trim()) continue;
      line ??= { x: at.x, y: at.y, height: at.height, words: "" };
      line.words += sign.trim() ? sign : " ";
      if (sign.trim()) line.right = at.x + at.width;
    }
    flush();
  }

  function control(node, style) {
    const at = local(node.getBoundingClientRect());
    const middle = at.y + at.height / 2;
    const named = (name) =>
      colour(getComputedStyle(frame).getPropertyValue(`--hm-${name}`).trim());
    const mark = named("accent");
    if (node.type === "range") {
      const share = (node.valueAsNumber - node.min) / (node.max - node.min || 1);
      // of two handles, the second one has the track of the first
      if (node.previousElementSibling?.type !== "range") {
        out.push(tag("rect", { x: at.x, y: middle - 2, width: at.width,
          height: 4, rx: 2, fill: named("grid") }));
      }
      out.push(tag("circle", { cx: at.x + 12 + share * (at.width - 24),
        cy: middle, r: 11, fill: named("paper"), stroke: mark,
        "stroke-width": 2 }));
      return;
    }
    if (node.type === "checkbox" || node.type === "radio") {
      const rx = node.type === "radio" ? at.width / 2 : 3;
      out.push(tag("rect", { ...at, rx, stroke: colour(style.color),
        fill: node.checked ? mark : "none" }));
      return;
    }
    box(node, style);
    const pad = parseFloat(style.paddingLeft) + parseFloat(style.borderLeftWidth);
    const high = parseFloat(style.fontSize) * 1.2;
    const lines = (node.selectedOptions?.[0]?.text ?? node.value).split("\n");
    const long = node.tagName === "TEXTAREA";
    lines.forEach((words, i) => {
      if (!words) return;
      const y = long
        ? at.y + parseFloat(style.paddingTop) + parseFloat(style.lineHeight) * i
        : middle - high / 2;
      const right = style.textAlign === "right" || style.textAlign === "end";
      const x = right ? at.x + at.width - pad : at.x + pad;
      letters(words, { x, y, width: 0, height: high }, style, right ? "end" : "start");
    });
    if (node.tagName === "SELECT") {
      letters("▾", { x: at.x + at.width - pad, y: middle - high / 2, width: 0,
        height: high }, style, "end");
    }
  }

  // an SVG's own parts, with what styles them written out
  const STYLED = { fill: "rgb(0, 0, 0)", stroke: "none", "stroke-width": "1px",
    "stroke-dasharray": "none", "stroke-linecap": "butt",
    "font-size": "", "font-weight": "400", "font-style": "normal",
    "text-anchor": "start", "dominant-baseline": "auto", opacity: "1",
    "fill-opacity": "1", "stroke-opacity": "1", "font-family": "" };
  const KEPT = /^(x|y|x1|x2|y1|y2|dx|dy|cx|cy|r|rx|ry|d|width|height|points|transform|viewBox|preserveAspectRatio|offset|pathLength)$/;
  function part(node) {
    if (node.nodeType === Node.TEXT_NODE) return escape(node.data);
    if (node.nodeType !== Node.ELEMENT_NODE) return "";
    const name = node.tagName;
    if (["title", "desc", "style", "script"].includes(name)) return "";
    const style = getComputedStyle(node);
    if (style.display === "none" || style.visibility === "hidden") return "";
    const attributes = {};
    for (const { name: key, value } of node.attributes) {
      if (KEPT.test(key)) attributes[key] = value;
    }
    const shape = !["g", "svg", "defs"].includes(name);
    for (const [key, plain] of Object.entries(STYLED)) {
      const value = style.getPropertyValue(key);
      if (key === "opacity" ? value === plain : !shape || value === plain) continue;
      if (key.startsWith("font") || key.startsWith("text") || key.startsWith("dom")) {
        if (name !== "text" && name !== "tspan") continue;
        if (key === "font-family") {
          if (/mono/.test(value)) attributes[key] = "ui-monospace, monospace";
        } else attributes[key] = value.replace(/px$/, "");
      } else if (key === "fill" || key === "stroke") {
        attributes[key] = colour(value) || "none";
      } else if (key.startsWith("stroke") && style.stroke === "none") continue;
      else attributes[key] = value.replace(/px/g, "");
    }
    if (shape && !("fill" in attributes)) attributes.fill = colour(style.fill);
    return tag(name, attributes, [...node.childNodes].map(part).join(""));
  }

  function drawing(node) {
    const at = local(node.getBoundingClientRect());
    if (!at.width) return;
    const width = parseFloat(node.getAttribute("width")) || at.width;
    const height = parseFloat(node.getAttribute("height")) || at.height;
    const viewBox = node.getAttribute("viewBox") ?? `0 0 ${width} ${height}`;
    const inside = [...node.childNodes].map(part).join("");
    out.push(tag("svg", { ...at, viewBox }, inside));
  }

  function walk(node) {
    if (node.nodeType === Node.TEXT_NODE) {
      text(node, getComputedStyle(node.parentElement));
      return;
    }
    if (node.nodeType !== Node.ELEMENT_NODE) return;
    const name = node.tagName.toLowerCase();
    if (["style", "script", "noscript"].includes(name)) return;
    const style = getComputedStyle(node);
    if (style.display === "none" || style.visibility === "hidden") return;
    const dim = style.opacity !== "1";
    if (dim) out.push(`<g opacity="${style.opacity}">`);
    if (name === "svg") drawing(node);
    else if (name === "canvas") {
      const at = local(node.getBoundingClientRect());
      out.push(tag("image", { ...at, href: `«${node.toDataURL()}»`,
        style: `image-rendering:${style.imageRendering}` }));
    } else if (["input", "select", "textarea"].includes(name)) {
      control(node, style);
    } else {
      box(node, style);
      const clips = style.overflowX !== "visible" && style.display !== "inline";
      const at = local(node.getBoundingClientRect());
      const cut = clips && (node.scrollWidth > node.clientWidth + 1 ||
        node.scrollHeight > node.clientHeight + 1);
      if (cut) {
        const viewBox = [at.x, at.y, at.width, at.height].map(round).join(" ");
        out.push(tag("svg", { ...at, viewBox }, " ").replace(" </svg>", ""));
      }
      for (const child of node.childNodes) walk(child);
      if (cut) out.push("</svg>");
    }
    if (dim) out.push("</g>");
  }
  const [body] = frame.children;
  walk(body);
  // the picture stands where the body stands: inside the frame's padding
  return { ...local(body.getBoundingClientRect()), inside: out.join("\n") };
}
