"""`make zipapp`: the archive runs with any Python, with no package installed, and delivers the same document."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from callback_sdk import Outbox, S3Signer
from callback_sdk.testing import SeaweedFS, WebhookReceiver
from tests.acceptance.exec_command import OWN_MOUNTS, namespaces  # noqa: F401 - a fixture
from tests.conftest import missing_server

ROOT = Path(__file__).parents[2]
VERSIONS = ("3.10", "3.11", "3.12", "3.13")

pytestmark = pytest.mark.checkout


def _build(path: Path) -> Path:
    subprocess.run([sys.executable, ROOT / "pyz", path], cwd="/", check=True)
    return path


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(tmp_path_factory.mktemp("archive") / "callback-sdk.pyz")


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest) -> str:
    """Return the path of a Python of each version: in PATH, or one of pyenv's."""
    name = f"python{request.param}"
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    candidates = [shutil.which(name), *sorted(versions.glob(f"{request.param}.*/bin/{name}"))]
    for candidate in filter(None, candidates):
        # What pyenv has in PATH ends with an error for a version that isn't chosen.
        if subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return str(candidate)
    return missing_server(f"Python {request.param} is missing.")


def _run(python: str, archive: Path, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the archive in an empty environment, and without the packages that are installed."""
    options = {"env": {}, "capture_output": True, "text": True, "timeout": 120, **options}
    return subprocess.run([python, "-I", "-S", archive, *map(str, arguments)], check=False, **options)


def _callbacks(folder: Path, target: Any) -> Path:
    path = folder / "callbacks.json"
    path.write_text(json.dumps(target))
    return path


def test_a_program_is_delivered_by_any_python(
    python: str, archive: Path, webhook: WebhookReceiver, tmp_path: Path
) -> None:
    """Results, parameters and errors are those of the package."""
    param = {"note": 'ä"\u2028', "numbers": [1e16, 0.1, 2**70, -0.0], "none": None}
    callbacks = _callbacks(tmp_path, {"url": webhook.url, "param": param})
    options = ("exec", "--callbacks-file", callbacks, "--job-id", "42", "--", "/bin/sh", "-c")
    ran = _run(python, archive, *options, 'echo "{\\"life\\": [7.5]}" > $CALLBACK_SDK_RESULTS', cwd=tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    failed = _run(python, archive, *options, "echo deep trouble >&2; kill -SEGV $$", cwd=tmp_path)
    assert failed.returncode == -signal.SIGSEGV
    invalid = _run(python, archive, *options, "echo '[01]' > $CALLBACK_SDK_RESULTS", cwd=tmp_path)
    assert invalid.returncode == 65
    success, failure, rejected = (json.loads(request.body) for request in webhook.requests)
    assert success["results"] == {"life": [7.5]}
    assert success["callback_param"] == param
    assert failure["error"].startswith("The program was ended by signal 11 (SIGSEGV).")
    assert "holds no valid JSON document" in rejected["error"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["callbacks.json"]


def test_files_and_what_an_outbox_has_are_delivered(
    archive: Path, seaweedfs: SeaweedFS, bucket: str, webhook: WebhookReceiver, tmp_path: Path
) -> None:
    """A large document included, and by `outbox run`."""
    signed = S3Signer(bucket, client=seaweedfs.client()).presign_prefix("runs/", document="{job_id}/result.json")
    callbacks = _callbacks(tmp_path, {"url": signed.url, "param": signed.callback_param})
    environment = {"CALLBACK_SDK_STORAGE_ENDPOINTS": seaweedfs.endpoint_url}
    python = sys.executable
    results = [number / 7 for number in range(200_000)]
    (tmp_path / "own.json").write_text(json.dumps({"values": results, "text": "x" * 300_000}))
    script = "cp own.json $CALLBACK_SDK_RESULTS; head -c 100000 /dev/urandom > model.bin"
    options = ("--callbacks-file", callbacks, "--output", "*.bin", "--outbox", "outbox.sqlite3")
    ran = _run(
        python, archive, "exec", "--job-id", "1", *options, "--", "/bin/sh", "-c", script, cwd=tmp_path, env=environment
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    stored = seaweedfs.client().get_object(Bucket=bucket, Key="runs/1/result.json")["Body"].read()
    assert json.loads(stored)["results"]["values"] == results
    model = seaweedfs.client().get_object(Bucket=bucket, Key="runs/1/model.bin")["Body"].read()
    assert model == (tmp_path / "model.bin").read_bytes()
    webhook.respond(503)
    hook = _callbacks(tmp_path, webhook.url)
    words = ("exec", "--job-id", "2", "--callbacks-file", hook, "--outbox", "o", "--", "true")
    assert "callback-sdk outbox run o" in _run(python, archive, *words, cwd=tmp_path).stderr
    webhook.respond(200)
    with Outbox(tmp_path / "o") as outbox:
        outbox.redeliver()
    rest = _run(python, archive, "outbox", "run", "o", "--until-empty", cwd=tmp_path)
    assert (rest.returncode, "Traceback" in rest.stderr) == (0, False)
    assert [json.loads(request.body)["job_id"] for request in webhook.requests] == ["2", "2"]


def test_commands_that_are_not_in_the_archive_say_so(archive: Path) -> None:
    """As an installation without the extra does."""
    for command in (["serve"], ["sign", "put", "bucket", "key"], ["outbox", "list", "o"]):
        ran = _run(sys.executable, archive, *command)
        assert (ran.returncode, ran.stdout) == (1, "")
        assert "pip install" in ran.stderr
        assert "Traceback" not in ran.stderr


@pytest.mark.usefixtures("namespaces")
def test_the_archive_needs_no_disk_that_can_be_written(archive: Path, webhook: WebhookReceiver, tmp_path: Path) -> None:
    """Not even one from which programs can be executed."""
    callbacks = _callbacks(tmp_path, webhook.url)
    with archive.open("rb") as own, callbacks.open("rb") as targets:
        paths = (f"/proc/self/fd/{own.fileno()}", f"/proc/self/fd/{targets.fileno()}")
        mounts = f"mount -t tmpfs -o noexec,ro none {tmp_path} && mount -t tmpfs -o noexec,ro none /tmp"
        # The interpreter itself, as a virtual environment may be below /tmp.
        words = (
            os.path.realpath(sys.executable),
            "-I",
            "-S",
            paths[0],
            "exec",
            "--callbacks-file",
            paths[1],
            "--job-id",
            "42",
            "--",
        )
        ran = subprocess.run(
            [*OWN_MOUNTS, "sh", "-c", f'{mounts} && cd / && exec "$@"', "sh", *words, "true"],
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
            pass_fds=[own.fileno(), targets.fileno()],
            capture_output=True,
            timeout=120,
            check=False,
        )
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert len(webhook.requests) == 1


def test_the_archive_is_executable_and_small(archive: Path, tmp_path: Path) -> None:
    """A container has it beside the program."""
    assert archive.stat().st_size < 1_200_000
    path = tmp_path / "callback-sdk"
    shutil.copy(archive, path)
    ran = subprocess.run([path, "exec", "--help"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("Usage: callback-sdk exec")


def test_the_same_sources_make_the_same_archive(archive: Path, tmp_path: Path) -> None:
    assert _build(tmp_path / "again.pyz").read_bytes() == archive.read_bytes()


def test_nothing_in_the_archive_is_compiled_and_everything_has_its_license(archive: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        names = content.namelist()
    assert {Path(name).suffix for name in names if ".dist-info/" not in name} <= {".py", ".pem", ""}
    packages = {name.split("/")[0] for name in names if "/" in name} - {"callback_sdk"}
    licensed = {name.split("-")[0].lower().replace("_", "-") for name in packages if name.endswith(".dist-info")}
    assert {"attrs", "certifi", "charset-normalizer", "environ-config", "idna", "requests", "urllib3"} == licensed


STANDING_IN = (
    "tests/unit/transport/test_response.py",
    "tests/unit/documents/test_decoding.py",
    "tests/unit/documents/test_output_list.py",
    "tests/unit/documents/test_result_files.py",
)


def test_what_stands_in_for_compiled_packages_passes_their_tests() -> None:
    """Those of all modules that import them, but for values of other libraries: results are files here."""
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *STANDING_IN],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "pyz" / "modules")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    assert " passed" in ran.stdout


def test_nothing_else_in_the_archive_imports_what_it_stands_in_for(archive: Path) -> None:
    """A module that does needs its tests in the list above."""
    with zipfile.ZipFile(archive) as content:
        texts = {name: content.read(name).decode() for name in content.namelist() if name.startswith("callback_sdk/")}
    users = {name for name, text in texts.items() if re.search(r"^ *import (httptools|ijson|orjson)$", text, re.M)}
    assert {str(Path(name).parent) for name in users} == {
        "callback_sdk/documents",
        "callback_sdk/documents/values",
        "callback_sdk/transport",
    }
