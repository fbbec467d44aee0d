"""Run an explorable's script without a browser, to hold it to the package."""

import json
import shutil
import subprocess

from handmade.widgets.base import assets

from conftest import lack


def run_script(name: str, body: str, **given):
    """Return what `body` returns, run in Node.js below the widget's script.

    `body` is the inside of a function that sees all the script defines, and
    each of `given` by its name; both ways the values travel as JSON.
    """
    node = shutil.which("node")
    if node is None:
        lack("Node.js: without it an explorable's script cannot be tested")
    script = "\n".join(
        (
            'import { readFileSync } from "node:fs";',
            assets(name)[0],
            f"const answer = (({{ {', '.join(given)} }}) => {{ {body} }})(",
            '  JSON.parse(readFileSync(0, "utf8")));',
            "process.stdout.write(JSON.stringify(answer));",
        )
    )
    done = subprocess.run(
        [node, "--input-type=module", "-e", script],
        input=json.dumps(given),
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
