"""Start processes as `torchrun` does, and wait for them, but not for ever.

Left out: several machines, for which torchrun wants an address where they
meet; the page on processes has the words for it.
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import handmade
from handmade import checks


def torchrun(
    *words: str,
    processes: int = 2,
    restarts: int = 0,
    timeout: float = 120.0,
) -> subprocess.CompletedProcess[str]:
    """Run `torchrun --nproc-per-node N -m ...` on this machine, and wait.

    `words` is the module and what it is told. Each process has one thread,
    and they meet at a free port. Where the `timeout` in seconds passes, all
    are killed and RuntimeError is raised. Returns status and output.
    """
    checks.whole("processes", processes)
    checks.whole("restarts", restarts, at_least=0)
    checks.positive("timeout", timeout)
    for word in words:
        checks.text("words", word)
    checks.need(bool(words), "words", "none", "a module's name, and more")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone",
        "--nproc-per-node", str(processes), "--max-restarts", str(restarts),
        "-m", *words,
    ]  # fmt: skip
    ours = str(Path(handmade.__file__).parents[1])
    path = os.pathsep.join([ours, os.environ.get("PYTHONPATH", "")])
    # processes that all want every core would wait for each other
    env = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    # else a second attempt reads the addresses of the first, which is dead
    env["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, encoding="utf-8", errors="replace", start_new_session=True,
    ) as running:  # fmt: skip
        try:
            out, _ = running.communicate(timeout=timeout)
        except BaseException as error:
            _kill(running.pid)
            out, _ = running.communicate()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise RuntimeError(
                f"timeout: the processes were killed after {timeout:g} "
                f"seconds; they said:\n{out[-2000:]}"
            ) from error
    return subprocess.CompletedProcess(command, running.returncode, out, "")


def _kill(pid: int) -> None:
    """Kill a process and all below it, each of which has its own session."""
    import psutil  # only here: a launch that ends by itself needs none

    with contextlib.suppress(psutil.NoSuchProcess):
        agent = psutil.Process(pid)
        agent.suspend()  # or it would start others in place of the killed
        for each in (*agent.children(recursive=True), agent):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
