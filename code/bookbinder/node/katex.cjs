// Formulas in, HTML out, one JSON text a line: `node katex.cjs katex.min.js`.
const katex = require(require("node:path").resolve(process.argv[2]));
const input = require("node:readline").createInterface({ input: process.stdin });

input.on("line", (line) => {
  const { tex, display } = JSON.parse(line);
  let told;
  try {
    const options = { displayMode: display, strict: "error" };
    told = { html: katex.renderToString(tex, options) };
  } catch (error) {
    told = { error: error.message };
  }
  process.stdout.write(JSON.stringify(told) + "\n");
});
