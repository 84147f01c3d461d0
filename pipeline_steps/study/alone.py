"""Run one command at a time: ``python -m pipeline_steps.study.alone LOCKFILE COMMAND …``.

The lock belongs to the command and all it starts, and goes with the last of them, however they
end. So a run that was killed blocks nobody, and one whose steps still write is waited for.
"""

import fcntl
import os
import sys
from pathlib import Path


def main(lock: str, *command: str) -> None:
    """Take the lock, waiting for it if need be, and become ``command``."""
    Path(lock).parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(lock, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"{lock}: another run is going on here; waiting for its end", file=sys.stderr)
        fcntl.flock(handle, fcntl.LOCK_EX)
    # as standard input, the one file that every process passes on to those it starts
    os.dup2(handle, 0)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
