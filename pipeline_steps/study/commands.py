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


def exported(**values: object) -> str:
    """Return the beginning of every command: what depends on where a study lies, and no result.

    It is a pattern for Snakemake to fill in, and takes the place of its strict mode.
    """
    pairs = " ".join(f"{name}={shlex.quote(str(value))}" for name, value in values.items())
    return f"set -euo pipefail; export {pairs}; {LISTS}".replace("{", "{{").replace("}", "}}")
