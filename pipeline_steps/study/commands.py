"""How the command of every rule begins."""

import shlex

LISTS = (
    "lists=$(mktemp -d); trap 'rm -rf \"$lists\"' EXIT; "
    'list() { file=$(mktemp "$lists/XXXXXX"); printf \'%s\\0\' "$@" > "$file"; echo "$file"; }; '
)
"""Shell: ``list A B …`` writes words into a file, each ended by a NUL, and prints its name.

One argument of a command has at most 128 KiB and all together some megabytes. What is as many as
scenes or runs reaches a step by such a file, as ``--counts-from "$(list …)"``: no limit holds for
what is built into the shell. The files lie where the job runs, and go with it.
"""

PATIENT = "trap : TERM; "
"""Shell: a signal that all of a job's processes get shall not end it before the step has ended.

A training saves itself first, and Snakemake takes away what is left as soon as the shell has gone.
"""


def exported(**values: object) -> str:
    """Return the beginning of every command: what depends on where a study lies, and no result.

    It is a pattern for Snakemake to fill in, and takes the place of its strict mode.
    """
    pairs = " ".join(f"{name}={shlex.quote(str(value))}" for name, value in values.items())
    return f"set -euo pipefail; {PATIENT}export {pairs}; {LISTS}".replace("{", "{{").replace(
        "}", "}}"
    )


def python_on(devices: int) -> list[str]:
    """Return what starts a step: on several devices, a process for each."""
    several = ["torchrun", "--standalone", "--nproc-per-node", str(devices)]
    return several if devices > 1 else ["python"]
