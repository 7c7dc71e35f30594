"""Slurm on loopback: a cluster of one node, without systemd, with its own munge."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import define

from callback_sdk.testing.supervisor import free_ports

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel")
HOW_TO_GET_IT = "Slurm is missing: apt-get install slurmctld slurmd slurm-client munge, as root."

_CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={controller}
SlurmdPort={daemon}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=p Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@define(frozen=True)
class Slurm:
    """A cluster.

    Attributes:
        folder: Its directory.
        start_daemon: Starts slurmd, which runs the jobs of the node.
    """

    folder: Path
    start_daemon: Callable[[], None]

    def run(self, *command: object) -> str:
        """Run a command of Slurm, and return its output."""
        environment = os.environ | {"SLURM_CONF": str(self.folder / "slurm.conf")}
        words = [str(word) for word in command]
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout

    def job(self, job_id: str) -> dict[str, str]:
        """Return what scontrol shows of a job, such as `{"JobState": "COMPLETED", "ExitCode": "0:0"}`."""
        words = self.run("scontrol", "--oneliner", "show", "job", job_id).split()
        return dict(word.partition("=")[::2] for word in words)

    def wait_for(self, job_id: str, *states: str) -> dict[str, str]:
        """Wait until a job is in one of these states, and return what scontrol shows of it."""
        end = time.monotonic() + 300
        while (job := self.job(job_id)).get("JobState") not in states:
            assert time.monotonic() < end, f"job {job_id} is {job.get('JobState')}"
            time.sleep(0.2)
        return job

    def kill_daemon(self) -> None:
        """Kill slurmd with SIGKILL. Its jobs go on, each with its slurmstepd."""
        os.kill(int((self.folder / "slurmd.pid").read_text()), signal.SIGKILL)


def missing() -> list[str]:
    """Return the programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@contextmanager
def slurm(*, cpus: int = 20) -> Iterator[Slurm]:
    """Run a cluster with one node.

    Args:
        cpus: CPUs that the node says it has.
    """
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o700)
    daemons: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> None:
        with (folder / f"{command[0]}.out").open("ab") as log:
            daemons.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))

    configuration = folder / "slurm.conf"
    cluster = Slurm(folder, lambda: start("slurmd", "-D", "-f", str(configuration)))
    try:
        _configure(folder, configuration, cpus)
        start("munged", "--foreground", "--force", *_munge_options(folder))
        _wait_until((folder / "munge.sock").exists)
        start("slurmctld", "-D", "-i", "-f", str(configuration))
        cluster.start_daemon()
        _wait_until(lambda: "State=IDLE" in cluster.run("scontrol", "--oneliner", "show", "nodes"))
        yield cluster
    finally:
        for daemon in reversed(daemons):
            with suppress(ProcessLookupError):
                os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait(30)
        _kill_steps(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _configure(folder: Path, configuration: Path, cpus: int) -> None:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    controller, daemon = free_ports(2)
    values = {"host": socket.gethostname().split(".")[0], "folder": folder, "cpus": cpus}
    configuration.write_text(_CONFIGURATION.format(**values, controller=controller, daemon=daemon))


def _munge_options(folder: Path) -> list[str]:
    names = {"key-file": "munge.key", "socket": "munge.sock", "pid-file": "munge.pid", "log-file": "munge.log"}
    return [f"--{option}={folder / name}" for option, name in {**names, "seed-file": "munge.seed"}.items()]


def _wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while True:
        with suppress(subprocess.CalledProcessError):
            if condition():
                return
        assert time.monotonic() < end, "Slurm did not start"
        time.sleep(0.1)


def _kill_steps(folder: Path) -> None:
    """Kill the processes that slurmd started for jobs, which outlive it."""
    for file in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if str(folder).encode() in file.read_bytes():
                os.kill(int(file.parent.name), signal.SIGKILL)
