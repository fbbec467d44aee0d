"""What the workflows may do: pinned, timed, and with the least rights.

A workflow is code that runs with the repository's rights; these are the rules
every one of them keeps, so that a new one cannot forget them. They hold for
the files as they stand here: a stranger's pull request runs its own copies,
and what keeps those from our machines and secrets are the repository's
settings, which no test can see.
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
    ("publish", "twins"): {"contents": "write"},
    ("nightly", "report"): {"issues": "write"},
}
# a workflow of this commit, called by another one
OURS = "./.github/workflows/ci.yml"
# all that pip may be asked: what has a hash, torch, our own code; and, in the
# nightly, the newest
INSTALLS = {
    "--no-deps --require-hashes -r requirements.txt",
    "--no-deps --require-hashes -r requirements-models.txt",
    "-r requirements-torch.txt",
    "--no-deps --no-build-isolation -e ./code",
}
NEWEST = "--upgrade ${PRE} torch transformers"
# commands that fetch code, and run it or could
FETCHES = re.compile(
    r"\b(pip|npm|npx|make|curl|wget|apt-get|\.ci/run)\b|\.venv"
)
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")

HOOK = ROOT / ".github" / "gpu_runner_hook.sh"
needs_bash = pytest.mark.skipif(
    os.name == "nt" or not shutil.which("bash"), reason="bash is missing"
)

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
    jobs = workflow["jobs"].values()
    return [s for job in jobs for s in job.get("steps", ())]


def test_the_five_are_there():
    assert {p.stem for p in WORKFLOWS} == NAMES
    assert {load(p)["name"] for p in WORKFLOWS} == NAMES


@every_workflow
def test_actions_are_pinned_by_commit_and_say_their_version(path):
    text = path.read_text(encoding="utf-8")
    uses = re.findall(r"uses:\s*(\S+)(.*)", text)
    assert len(uses) == text.count("uses:") >= 1
    for action, comment in uses:
        if action in UNPINNED or action == OURS:
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
    text = path.read_text(encoding="utf-8")
    assert "secrets" not in text  # each takes its own token, for one step
    if "pull_request" in on:
        assert path.stem == "ci"
        assert "github.token" not in text


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
        if job.get("uses") == OURS:
            assert "timeout-minutes" not in job  # its own jobs have theirs
            continue
        assert 0 < int(job["timeout-minutes"]) <= 90, name


@every_workflow
def test_pip_installs_what_is_locked(path):
    asked = [
        line.partition("pip install ")[2]
        for step in steps(load(path))
        for line in step.get("run", "").splitlines()
        if "pip install " in line
    ]
    newest = {NEWEST} if path.stem == "nightly" else set()
    assert set(asked) <= INSTALLS | newest
    assert (path.stem == "publish") == (asked == [])  # there make does it


def test_another_index_is_asked_for_torch_alone():
    for path in WORKFLOWS:
        workflow = load(path)
        for scope in (workflow, *workflow["jobs"].values()):
            assert "PIP_EXTRA_INDEX_URL" not in scope.get("env", {})
        for step in steps(workflow):
            if "PIP_EXTRA_INDEX_URL" in step.get("env", {}):
                assert "torch" in step["run"]
                assert "requirements.txt" not in step["run"]


@pytest.mark.parametrize("where", WRITES, ids="-".join)
def test_who_may_write_installs_nothing(where):
    name, job = where
    for step in load(FOLDER / f"{name}.yml")["jobs"][job]["steps"]:
        assert not FETCHES.search(step.get("run", "")), step
        # no action but GitHub's own
        assert step.get("uses", "actions/").startswith("actions/")


@every_workflow
def test_scripts_take_no_text_from_an_event(path):
    # ${{ github.event.… }} inside a script is pasted in before the shell runs
    for step in steps(load(path)):
        assert "${{" not in step.get("run", ""), step


def test_our_gpu_workflow_keeps_itself_to_main():
    """This copy of the file: what guards the machine stands in its head."""
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
        # before anything is installed, what main has refuses other jobs
        first, second = job["steps"][:2]
        assert first["uses"].startswith("actions/checkout@")
        assert second["run"] == f"bash .github/{HOOK.name}"


def test_what_guards_the_gpu_machine_is_written_where_it_is_set():
    head = (FOLDER / "gpu.yml").read_text(encoding="utf-8").split("on:")[0]
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    guide = text.split("## The GPU machine")[1].split("\n## ")[0]
    for said in (head, guide):
        said = " ".join(said.replace("\n# ", " ").split())
        assert re.search("keeps? a stranger|protects it: a fork", said)
        for guard in (
            ".github/workflows/gpu.yml@refs/heads/main",
            "runner group",
            "all external contributors",
            "phemeral runner",
            HOOK.name,
        ):
            assert guard in said, guard


MAIN = {
    "GITHUB_REPOSITORY": "ada/engine",
    "GITHUB_REF": "refs/heads/main",
    "GITHUB_WORKFLOW_REF": "ada/engine/.github/workflows/gpu.yml"
    "@refs/heads/main",
    "GITHUB_EVENT_NAME": "push",
}
STRANGE = {
    "a pull request": {
        "GITHUB_EVENT_NAME": "pull_request",
        "GITHUB_REF": "refs/pull/7/merge",
        "GITHUB_WORKFLOW_REF": "ada/engine/.github/workflows/gpu.yml"
        "@refs/pull/7/merge",
    },
    "another workflow": {
        "GITHUB_WORKFLOW_REF": "ada/engine/.github/workflows/mine.yml"
        "@refs/heads/main"
    },
    "another repository": {
        "GITHUB_WORKFLOW_REF": "eve/engine/.github/workflows/gpu.yml"
        "@refs/heads/main"
    },
    "a branch": {"GITHUB_REF": "refs/heads/main2"},
    "main of a stranger": {"GITHUB_EVENT_NAME": "pull_request_target"},
    "after a stranger's run": {"GITHUB_EVENT_NAME": "workflow_run"},
    "nothing told": dict.fromkeys(MAIN, ""),
}


def hook(told: dict[str, str]) -> subprocess.CompletedProcess:
    return subprocess.run(
        [shutil.which("bash"), str(HOOK)],
        env={"PATH": "/nowhere"} | told,  # it calls no other program
        capture_output=True,
        text=True,
        check=False,
    )


@needs_bash
@pytest.mark.parametrize("event", ["push", "schedule", "workflow_dispatch"])
def test_the_gpu_machine_takes_its_workflow_on_main(event):
    done = hook(MAIN | {"GITHUB_EVENT_NAME": event})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_bash
@pytest.mark.parametrize("told", STRANGE.values(), ids=STRANGE)
def test_the_gpu_machine_refuses_any_other_job(told):
    done = hook(MAIN | told)
    assert done.returncode == 1
    assert re.match(r"::error::refused: \w+: got .+, want ", done.stdout)
    assert hook({}).returncode == 1


def test_ci_runs_before_anything_is_published():
    """And in one run: no event of a stranger's can start what may write."""
    jobs = load(FOLDER / "publish.yml")["jobs"]
    assert triggers(load(FOLDER / "publish.yml")) == {
        "push",
        "workflow_dispatch",
    }
    assert jobs["ci"]["uses"] == OURS
    assert "main" in jobs["ci"]["if"]
    assert "workflow_call" in triggers(load(FOLDER / "ci.yml"))
    assert jobs["build"]["needs"] == "ci"
    assert jobs["twins"]["needs"] == "build"
    assert jobs["deploy"]["needs"] == ["build", "twins"]
    for name in ("build", "twins", "deploy"):
        # a status function here would run it after a failure, too
        condition = jobs[name].get("if", "")
        assert not re.search(r"always|failure|cancelled|\|\|", condition)


def test_publish_refuses_before_it_uploads():
    jobs = load(FOLDER / "publish.yml")["jobs"]
    order = [s.get("run", s.get("uses", "")) for s in jobs["build"]["steps"]]
    check = next(i for i, s in enumerate(order) if "checksite" in s)
    upload = next(i for i, s in enumerate(order) if "upload-pages" in s)
    assert check < upload
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


def test_the_nightly_reports_also_when_its_time_is_up():
    jobs = load(FOLDER / "nightly.yml")["jobs"]
    regression, report = jobs["regression"], jobs["report"]
    # a step that runs out of time fails, and the report is written after it
    known = [int(s.get("timeout-minutes", 0)) for s in regression["steps"]]
    for step, minutes in zip(regression["steps"], known, strict=True):
        assert minutes or "pip" not in step.get("run", "")
        assert minutes or "pytest" not in step.get("run", "")
    assert sum(known) <= int(regression["timeout-minutes"]) - 5
    always = [s for s in regression["steps"] if s.get("if") == "always()"]
    assert ["report" in str(s) for s in always] == [True, False]
    # a job that runs out of time is cancelled, which is no failure()
    condition = " ".join(report["if"].split())
    wanted = "always() && needs.regression.result != 'success'"
    assert condition == f"{wanted} && !github.event.repository.fork"
    concurrency = load(FOLDER / "nightly.yml")["concurrency"]
    assert concurrency["cancel-in-progress"] == "false"
    # and the issue is opened where no report came
    download, write = report["steps"]
    assert download["continue-on-error"] == "true"
    assert "[ -s nightly/report.md ] ||" in write["run"]
    run = next(s["run"] for s in regression["steps"] if "pytest" in str(s))
    assert f'echo "{nightly_report().ENDED}" >> nightly/log.txt' in run


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
    cut = "The regression was cut off: its time was up."
    assert cut in text
    whole = f"{noise}\n{nightly_report().ENDED}\n"
    (tmp_path / "log.txt").write_text(whole, encoding="utf-8")
    assert cut not in write(tmp_path)


@needs_bash
def test_binder_installs_what_a_twin_needs(tmp_path):
    folder = ROOT / ".binder"
    # that it is there tells Binder to make a Python; see postBuild
    lines = (folder / "requirements.txt").read_text(encoding="utf-8")
    assert all(line.startswith("#") for line in lines.splitlines())
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    script = folder / "postBuild"
    assert script.read_bytes().startswith(b"#!/bin/bash\n")
    done = subprocess.run(
        [script],
        env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    *asked, last = done.stdout.splitlines()
    start = "-m pip install --no-cache-dir "
    assert all(line.startswith(start) for line in asked)
    assert {line.removeprefix(start) for line in asked} == on_cpu(INSTALLS)
    assert last == "-m handmade.weights"


def on_cpu(installs: set[str]) -> set[str]:
    """Return the same commands, with torch from PyTorch's index."""
    torch = "-r requirements-torch.txt"
    cpu = f"{torch} --index-url https://download.pytorch.org/whl/cpu"
    return {cpu if line == torch else line for line in installs}


@pytest.mark.skipif(
    os.name == "nt" or not shutil.which("make"), reason="make is missing"
)
@pytest.mark.parametrize("build", ["", "cpu"])
def test_make_installs_what_is_locked(build, tmp_path):
    done = subprocess.run(
        ["make", "-n", "setup", f"VENV={tmp_path}", f"TORCH={build}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    said = done.stdout.replace("\\\n", "").splitlines()
    asked = [line.split("pip install ") for line in said if "pip i" in line]
    assert {
        " ".join(line.replace("--progress-bar on", "").split())
        for _, line in asked
    } == (on_cpu(INSTALLS) if build else INSTALLS)
    told = (ROOT / "README.md").read_text(encoding="utf-8")
    for install in INSTALLS:
        assert f"`pip install {install}`" in told


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
