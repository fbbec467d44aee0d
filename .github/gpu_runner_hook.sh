#!/bin/bash
# Refuse every job but that of gpu.yml on main, on the machine with the GPU.
#
# Copy it to where the runner's user cannot write and name the copy in the
# runner's .env file: ACTIONS_RUNNER_HOOK_JOB_STARTED=/opt/gpu_runner_hook.sh
# The runner then starts it before the first step of any job, whatever file the
# job comes from. It looks only at what GitHub sets and no workflow can set,
# and calls no other program. CONTRIBUTING.md says what has to stand before it.
set -euo pipefail

refuse() {
  echo "::error::refused: $1"
  exit 1
}

wanted="${GITHUB_REPOSITORY:-}/.github/workflows/gpu.yml@refs/heads/main"
[[ ${GITHUB_WORKFLOW_REF:-} == "$wanted" ]] ||
  refuse "workflow: got ${GITHUB_WORKFLOW_REF:-none}, want $wanted"
[[ ${GITHUB_REF:-} == refs/heads/main ]] ||
  refuse "ref: got ${GITHUB_REF:-none}, want refs/heads/main"
case ${GITHUB_EVENT_NAME:-none} in
  push | schedule | workflow_dispatch) ;;
  *) refuse "event: got ${GITHUB_EVENT_NAME:-none}, want a push to main" ;;
esac
