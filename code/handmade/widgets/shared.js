// Shared by all explorables; put in front of each one's script.

// base64 -> Uint8Array
function bytes(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

// base64 -> Float32Array
function floats(text) {
  return new Float32Array(bytes(text).buffer);
}

// element("div", {class: "x", "aria-label": "y"}, child, "text", ...)
function element(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "rect", "text", "line", "path", "circle", "title"];
  const node = svg.includes(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// redraw when any of the traits changes, however it was changed:
// by a slider linked in the page, by Python, by the widget itself
function onTraits(model, names, draw) {
  for (const name of names) model.on(`change:${name}`, draw);
}

// set traits from the drawing; quiet where there is no kernel to save to
function setTraits(model, values) {
  model.set(values);
  model.save_changes();
}

function percent(value) {
  return `${(100 * value).toFixed(1)} %`;
}
