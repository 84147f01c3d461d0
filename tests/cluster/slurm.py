"""A SLURM of one node on this machine, out of Debian's packages but without installing them.

Packages are unpacked into a folder; daemons run as whoever starts them and end with it. Nothing of
the system is touched, no root is needed, and what runs beside never sees a SLURM.
"""

import getpass
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGES = (
    *("slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins"),
    *("munge", "libmunge2", "libhwloc15"),
)
PATIENCE = 60.0
"""Seconds that daemons have to start."""

# The node says that it has more than the machine has, so that the profile's jobs fit as they are.
CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
PluginDir={plugins}
AuthType=auth/munge
AuthInfo=socket={work}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
AccountingStorageType=accounting_storage/none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
MinJobAge=3600
KillWait=30
ReturnToService=2
SchedulerParameters=sched_min_interval=100000
SlurmdParameters=config_overrides
SlurmctldPidFile={work}/slurmctld.pid
SlurmdPidFile={work}/slurmd.pid
StateSaveLocation={work}/state
SlurmdSpoolDir={work}/spool
SlurmctldLogFile={work}/slurmctld.log
SlurmdLogFile={work}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs=32 RealMemory=256000 Gres=gpu:4 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10
"""
# files that stand for four GPUs, which no program shall look for
GRES = "NodeName={host} Name=gpu File=/dev/null,/dev/zero,/dev/full,/dev/random Flags=no_gpu_env\n"


class MissingError(Exception):
    """Why no SLURM can be had here."""


class Slurm:
    """A running SLURM; ``environment`` is what its commands and those who call them need."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.node = socket.gethostname()

    def call(self, *command: str) -> str:
        """Return what a command of SLURM prints."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def jobs(self, state: str = "all") -> dict[str, str]:
        """Return the comments of jobs in a state by their numbers: rule and wildcards."""
        lines = self.call(
            "squeue", "--noheader", f"--states={state}", "--format=%i|%k"
        ).splitlines()
        return dict(line.split("|", 1) for line in lines)

    def state(self, job: str) -> str:
        return self.call(
            "squeue", "--noheader", "--states=all", "--jobs", job, "--format=%T"
        ).strip()

    def set_node(self, state: str) -> None:
        self.call("scontrol", "update", f"NodeName={self.node}", f"State={state}", "Reason=test")


@contextmanager
def running(folder: Path) -> Iterator[Slurm]:
    """Start a SLURM whose files lie in ``folder``, and end it; raises MissingError if it cannot."""
    root, work = unpacked(folder / "packages"), folder / "slurm"
    for name in ("state", "spool"):
        (work / name).mkdir(parents=True)
    plugins = next(root.glob("usr/lib/*/slurm-wlm"))
    facts = {"host": socket.gethostname(), "user": getpass.getuser(), "ports": _free_ports(2)}
    (work / "slurm.conf").write_text(CONFIG.format(work=work, plugins=plugins, **facts))
    (work / "gres.conf").write_text(GRES.format(**facts))
    needs = {"LD_LIBRARY_PATH": f"{plugins.parent}:{plugins}", "SLURM_CONF": f"{work}/slurm.conf"}
    _wrap(root / "usr", folder / "bin", needs)
    slurm = Slurm(os.environ | {"PATH": f"{folder}/bin:{os.environ['PATH']}"})
    with _daemons(slurm, folder / "bin", work):
        yield slurm


def _wrap(packages: Path, folder: Path, needs: dict[str, str]) -> None:
    """Write a command for each of the packages' that finds libraries and configuration by itself.

    Jobs start others with an environment from which all of SLURM's variables are gone.
    """
    folder.mkdir()
    said = " ".join(f"{name}={shlex.quote(value)}" for name, value in needs.items())
    for program in [*packages.glob("bin/*"), *packages.glob("sbin/*")]:
        command = folder / program.name
        command.write_text(f'#!/bin/sh\n{said} exec {shlex.quote(str(program))} "$@"\n')
        command.chmod(0o755)


@contextmanager
def _daemons(slurm: Slurm, programs: Path, work: Path) -> Iterator[None]:
    key = work / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    own = {name: f"{work}/munge.{name}" for name in ("socket", "pid", "log", "seed")}
    flags = [
        f"--{name if name == 'socket' else name + '-file'}={file}" for name, file in own.items()
    ]
    commands = {
        "munged": ["--foreground", "--force", f"--key-file={key}", *flags],
        "slurmctld": ["-D"],
        "slurmd": ["-D", "-d", f"{programs}/slurmstepd"],
    }
    signs = {
        "munged": lambda: (work / "munge.socket").exists(),
        "slurmctld": lambda: slurm.call("scontrol", "ping").split()[-1] == "UP",
        "slurmd": lambda: slurm.call("sinfo", "--noheader", "--format=%T").split()[0] == "idle",
    }
    started: list[subprocess.Popen] = []
    try:
        for name, flags in commands.items():
            with (work / f"{name}.out").open("w") as out:
                command = [f"{programs}/{name}", *flags]
                how = {"env": slurm.environment, "stdout": out, "stderr": out}
                started.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=work, **how))
            wait_for(signs[name], f"{name} ({work}/{name}.out)", PATIENCE)
        yield
    finally:
        if len(started) == len(commands):
            _end_jobs(slurm)
        for process in reversed(started):
            process.terminate()
            process.wait(PATIENCE)


def _end_jobs(slurm: Slurm) -> None:
    """No job outlives its daemons."""
    for job in slurm.jobs("pending,running,suspended"):
        slurm.call("scancel", job)
    wait_for(lambda: not slurm.jobs("running,completing"), "the end of all jobs", PATIENCE)


def wait_for(is_so: Callable[[], object], what: str, seconds: float) -> None:
    """Wait until ``is_so``; raises TimeoutError that names ``what``."""
    end = time.monotonic() + seconds
    while not _tried(is_so):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.2)


def _tried(is_so: Callable[[], object]) -> object:
    try:
        return is_so()
    except (RuntimeError, IndexError):
        return False


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def unpacked(folder: Path) -> Path:
    """Return a folder with Debian's packages of SLURM; raises MissingError without them."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise MissingError("no apt-get here: SLURM comes from Debian's packages")
    for name in ("archives/partial", "lists/partial", "root"):
        (folder / name).mkdir(parents=True)
    # where no lists of packages are, or old ones, they are fetched into the folder
    own = ["-o", f"Dir::State::lists={folder}/lists"]
    if not _downloaded(folder, []) and not (
        _apt(folder, own, "update") and _downloaded(folder, own)
    ):
        raise MissingError("Debian's packages slurm-wlm and munge cannot be downloaded here")
    root = folder / "root"
    for file in (folder / "archives").glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", file, root], check=True)
    for name in ("slurmctld", "slurmd", "slurmstepd"):
        # SLURM tells its own processes by this name
        (root / "usr" / "sbin" / name).symlink_to(f"{name}-wlm")
    return root


def _downloaded(folder: Path, options: list[str]) -> bool:
    what = ["install", "--download-only", "--reinstall", "--no-install-recommends", "--yes"]
    return _apt(folder, options, *what, *PACKAGES)


def _apt(folder: Path, options: list[str], *command: str) -> bool:
    own = {"Dir::Cache::archives": f"{folder}/archives", "Dir::Cache::pkgcache": ""}
    own |= {"Dir::Cache::srcpkgcache": "", "Debug::NoLocking": "1"}
    own |= {"Acquire::Retries": "0", "Acquire::http::Timeout": "10"}
    flags = [word for name, value in own.items() for word in ("-o", f"{name}={value}")]
    done = subprocess.run(["apt-get", "--quiet", *flags, *options, *command], capture_output=True)
    return done.returncode == 0
