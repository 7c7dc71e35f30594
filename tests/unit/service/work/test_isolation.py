"""callback_sdk.service.work.isolation"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from attrs import evolve

from callback_sdk.service.work import isolation
from callback_sdk.service.work.outcome import StopSignal
from callback_sdk.service.work.process import ChildProcess
from tests.unit.service.work.test_process import run_spec

JOBS = "tests.unit.service.isolation_jobs:registry"

SECRETS = {
    "CALLBACK_SDK_ENCRYPTION_KEYS": "marker-keys",
    "CALLBACK_SDK_WEBHOOK_SECRETS": "marker-webhooks",
    "CALLBACK_SDK_DATABASE": "postgresql://user:marker-database@host/name",
    "CALLBACK_SDK_BROKER": "amqp://user:marker-broker@host//",
    "AWS_ACCESS_KEY_ID": "marker-aws-id",
    "AWS_SECRET_ACCESS_KEY": "marker-aws-secret",
    "AWS_SESSION_TOKEN": "marker-aws-session",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN": "marker-aws-container",
    "AZURE_CLIENT_SECRET": "marker-azure",
    "GOOGLE_APPLICATION_CREDENTIALS": "/marker-google",
    "PGPASSWORD": "marker-pg",
    "POSTGRES_PASSWORD": "marker-postgres",
    "HTTPS_PROXY": "http://user:marker-proxy@proxy",
    "DATABASE_URL": "marker-url",
    "SENTRY_DSN": "marker-dsn",
    "TF_API_TOKEN": "marker-terraform",
    "NVIDIA_API_KEY": "marker-nvidia",
    "SOMETHING_THAT_NOBODY_THOUGHT_OF": "marker-unknown",
}
USUAL = {
    "PATH": "/usr/bin",
    "HOME": "/home/user",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "TZ": "Europe/Berlin",
    "TMPDIR": "/tmp",
    "PYTHONPATH": "/jobs",
    "LD_LIBRARY_PATH": "/opt/lib",
    "OMP_NUM_THREADS": "2",
    "MKL_NUM_THREADS": "2",
    "OPENBLAS_NUM_THREADS": "2",
    "CUDA_VISIBLE_DEVICES": "0",
    "SSL_CERT_FILE": "/etc/ssl/cert.pem",
}


def test_only_variables_that_are_known_to_be_harmless_are_passed() -> None:
    """Any other variable may be a credential."""
    assert isolation.environment(SECRETS | USUAL) == USUAL


def test_the_operator_can_pass_further_variables() -> None:
    """Each by its name, and no other with it."""
    passed = isolation.environment(SECRETS | USUAL, ["SENTRY_DSN", "NOT_SET"])
    assert passed == USUAL | {"SENTRY_DSN": "marker-dsn"}


def run(folder: Path, pass_env: tuple[str, ...] = ()) -> dict[str, Any]:
    """Run an algorithm that inspects its process, and return its result."""
    process = ChildProcess(JOBS, pass_env=pass_env)
    try:
        task = evolve(run_spec(folder, "inherited"), registry=JOBS)
        outcome = process.run(task, timeout=timedelta(minutes=2), stop=StopSignal())
    finally:
        process.close()
    assert outcome.result is not None, outcome
    assert outcome.result.error is None
    found: dict[str, Any] = orjson.loads(task.results.read_bytes())["predictions"]
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="what a process has is read from /proc")
def test_an_algorithm_finds_no_credential_in_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in its environment nor in /proc/PID/environ; variables that the operator names are passed."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    found = run(tmp_path, ("SENTRY_DSN",))
    assert found["environment"]["SENTRY_DSN"] == found["block"]["SENTRY_DSN"] == "marker-dsn"
    assert found["environment"]["PATH"] == os.environ["PATH"]
    del found["environment"]["SENTRY_DSN"], found["block"]["SENTRY_DSN"]
    assert "marker" not in str(found["environment"]) + str(found["block"])


@pytest.mark.skipif(sys.platform != "linux", reason="what a process has is read from /proc")
def test_an_algorithm_inherits_no_files(tmp_path: Path) -> None:
    """Neither sockets nor files of the service, also such as a library left open for children; its input is empty."""
    with contextlib.ExitStack() as stack:
        database = stack.enter_context((tmp_path / "database").open("w"))
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        for number in (database.fileno(), listener.fileno()):
            os.set_inheritable(number, True)
        inode = os.fstat(listener.fileno()).st_ino
        files = run(tmp_path)["files"]
    assert files["0"] == "/dev/null"
    assert str(tmp_path / "database") not in files.values()
    assert f"socket:[{inode}]" not in files.values()


TRACKER = """
import os
from pathlib import Path
from multiprocessing import resource_tracker
from callback_sdk.service.work import isolation
isolation.start_tracker(["PASSED"])
assert os.environ["AWS_SECRET_ACCESS_KEY"] == "marker"
environment = Path(f"/proc/{resource_tracker._resource_tracker._pid}/environ")
# Empty until the process has become another program.
while not environment.read_text():
    pass
print(environment.read_text())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the environment is read from /proc")
def test_a_child_is_in_a_session_of_its_own_from_its_start() -> None:
    """Ctrl-C at the terminal goes to the parent alone, also while the child's interpreter starts."""
    child = isolation.context().Process(target=os.getpid)
    child.start()
    try:
        assert child.pid is not None
        assert os.getsid(child.pid) == child.pid
    finally:
        child.join()


def test_multiprocessing_keeps_no_process_with_credentials_beside_the_child() -> None:
    """An algorithm could read them there, as it is the same user."""
    environment = os.environ | {"AWS_SECRET_ACCESS_KEY": "marker", "PASSED": "yes"}
    tell = subprocess.run([sys.executable, "-c", TRACKER], env=environment, capture_output=True, text=True, check=True)
    assert "PASSED=yes" in tell.stdout
    assert "marker" not in tell.stdout


INSPECTED = """
import ctypes, os
from pathlib import Path
from callback_sdk.service.work import isolation

def read_by_another() -> str:
    pid, (end, other) = os.getpid(), os.pipe()
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
        said = b""
        for name in ("environ", "mem", "maps"):
            try:
                with Path(f"/proc/{pid}/{name}").open("rb") as file:
                    file.read(0 if name == "mem" else 1)
                said += b"read "
            except OSError:
                said += b"refused "
        os.write(other, said)
        os._exit(0)
    os.wait()
    return os.read(end, 100).decode()

# A change of the user alone forbids it, until it is allowed again.
os.setresuid(65534, 65534, 65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
before = read_by_another()
isolation.forbid_inspection()
print(before, "then", read_by_another())
"""


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="becomes another user, on Linux")
def test_the_memory_of_the_service_is_closed_to_its_algorithms() -> None:
    """Though they are the same user; only root may still read it."""
    tell = subprocess.run([sys.executable, "-c", INSPECTED], capture_output=True, text=True, check=True)
    before, _, after = tell.stdout.partition("then")
    assert "read" in before.split()
    assert after.split() == ["refused", "refused", "refused"]
