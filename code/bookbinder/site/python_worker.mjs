// Python in a worker of its own, so that what never ends can be stopped. All
// that it fetches lies beside it: pyodide, and the package's archive.
import { loadPyodide } from "./pyodide/pyodide.mjs";

const folder = new URL("pyodide/", import.meta.url).href;
const say = (kind, more = {}) => postMessage({ kind, ...more });
let run;

// the page draws a bar of what has come
let come = 0;
const plainFetch = self.fetch;
async function counted(...given) {
  const answer = await plainFetch(...given);
  if (!answer.ok) throw new Error(`${answer.status} for ${answer.url}`);
  count(answer.clone().body.getReader());
  return answer; // itself: a browser keeps what it compiled from it
}

async function count(reader) {
  for (let part; !(part = await reader.read()).done; ) {
    say("come", { bytes: (come += part.value.byteLength) });
  }
}

async function start({ archive, imports, interrupt }) {
  self.fetch = counted;
  const [content, lock] = await Promise.all([
    fetch(archive).then((answer) => answer.arrayBuffer()),
    fetch(`${folder}pyodide-lock.json`).then((answer) => answer.json()),
  ]);
  // the packages that pyodide could fetch lie on another host
  lock.packages = {};
  const python = await loadPyodide({
    indexURL: folder,
    packageBaseUrl: folder,
    lockFileContents: lock,
  });
  self.fetch = plainFetch;
  if (interrupt) python.setInterruptBuffer(interrupt);
  python.unpackArchive(content, "zip", { extractDir: "/book" });
  python.runPython('import sys; sys.path.insert(0, "/book")');
  const runner = python.pyimport("in_browser");
  const version = runner.start("/book", (kind, text) =>
    say("output", { type: kind, text }));
  run = runner.run;
  if (imports) run(imports, "cell 0");
  say("ready", { version });
}

addEventListener("message", async ({ data }) => {
  try {
    if (data.kind === "start") await start(data);
    else say("ended", JSON.parse(run(data.source, data.name)));
  } catch (error) {
    say("broken", { text: String(error?.message ?? error) });
  }
});
