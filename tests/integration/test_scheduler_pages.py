"""Scripts and manifests in the documentation of schedulers: valid by the schedulers' own rules, and run as they do.

Those of Slurm and Snakemake are run by the schedulers themselves: `test_slurm_page.py` and `test_snakemake.py`.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import yaml
from botocore.validate import ParamValidator
from moto import mock_aws

from callback_sdk.testing import WebhookReceiver
from tests.conftest import missing_server

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BIN = Path(sys.executable).parent
SCHEDULERS = ROOT / ".venv" / "schedulers" / "bin"
"""Programs that `make schedulers` installs."""

PROGRAM = '#!/bin/sh\necho 7 > "$CALLBACK_SDK_RESULTS"\n'

pytestmark = pytest.mark.checkout


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a page."""
    text = (DOCS / f"{page}.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def scripts() -> list[Any]:
    return [
        pytest.param(text, id=f"{page.stem}-{number}")
        for page in sorted(DOCS.glob("*.md"))
        for number, text in enumerate(blocks(page.stem, "sh"))
        if text.startswith("#!")
    ]


@pytest.fixture
def folder(tmp_path: Path, webhook: WebhookReceiver) -> Path:
    """Make a working directory with the program and its targets."""
    program = tmp_path / "simulate"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    (tmp_path / "callbacks.json").write_text(json.dumps({"url": webhook.url}))
    return tmp_path


def run(command: list[str], folder: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command with nothing but these variables."""
    environment = {"PATH": f"{BIN}:{folder}:{os.environ['PATH']}", **variables}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return ran


def delivered(webhook: WebhookReceiver) -> dict[str, Any]:
    """Return job id, success and results of the document that was delivered."""
    document = json.loads(webhook.requests[-1].body)
    return {name: document[name] for name in ("job_id", "success", "results")}


@pytest.mark.parametrize("text", scripts())
def test_scripts_are_valid(text: str) -> None:
    """For the shell of their first line."""
    subprocess.run([text.splitlines()[0].removeprefix("#!"), "-n"], input=text, text=True, check=True)


@pytest.mark.parametrize(
    ("marker", "variables", "job_id"),
    [
        ("#PBS", {"PBS_JOBID": "1234[7].server", "PBS_O_WORKDIR": "."}, "1234[7].server"),
        ("#BSUB", {"LSB_JOBID": "1234", "LSB_JOBINDEX": "7"}, "1234[7]"),
        ("#$ ", {"JOB_ID": "1234", "SGE_TASK_ID": "7"}, "1234.7"),
    ],
)
def test_scripts_of_other_schedulers_deliver(
    marker: str, variables: dict[str, str], job_id: str, folder: Path, webhook: WebhookReceiver
) -> None:
    """With the variables that the scheduler sets."""
    (text,) = [text for text in blocks("other_schedulers", "sh") if marker in text]
    (folder / "job.sh").write_text(text)
    run(["sh", "job.sh"], folder, variables)
    assert delivered(webhook) == {"job_id": job_id, "success": True, "results": 7}


def test_the_job_definition_of_aws_batch_is_valid(folder: Path, webhook: WebhookReceiver) -> None:
    """By botocore's model and moto, and its command runs with the variables of a job of an array."""
    (text,) = blocks("aws_batch", "json")
    definition = json.loads(text)
    session = botocore.session.get_session()
    shape = session.get_service_model("batch").operation_model("RegisterJobDefinition").input_shape
    report = ParamValidator().validate(definition, shape)
    assert not report.has_errors(), report.generate_report()
    with mock_aws(config={"batch": {"use_docker": False}}):
        options = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "eu-central-1"}
        client = session.create_client("batch", **options)
        client.register_job_definition(**definition)
        (found,) = client.describe_job_definitions(jobDefinitionName="simulate")["jobDefinitions"]
    container = found["containerProperties"]
    assert container["command"] == definition["containerProperties"]["command"]
    (secret,) = container["secrets"]
    variables = {secret["name"]: (folder / "callbacks.json").read_text(), "AWS_BATCH_JOB_ATTEMPT": "2"}
    job_id = "4f1c0d5e-7a1b-4f8e-9a51-2f5f5f5f5f5f:7"
    run(container["command"], folder, {**variables, "AWS_BATCH_JOB_ID": job_id, "AWS_BATCH_JOB_ARRAY_INDEX": "7"})
    assert delivered(webhook) == {"job_id": job_id, "success": True, "results": 7}


def manifests() -> list[Any]:
    return [pytest.param(text, id=yaml.safe_load(text)["kind"]) for text in blocks("kubernetes", "yaml")]


@pytest.mark.parametrize("text", manifests())
def test_manifests_of_kubernetes_are_valid(text: str, tmp_path: Path) -> None:
    """By its published schemas, without unknown members."""
    if not (SCHEDULERS / "kubernetes-validate").exists():
        missing_server("kubernetes-validate is missing: make schedulers")
    bad = text.replace("restartPolicy:", "restartsPolicy:")
    for name, content, is_valid in (("good", text, True), ("bad", bad, False)):
        path = tmp_path / f"{name}.yaml"
        path.write_text(content)
        command = [SCHEDULERS / "kubernetes-validate", "--strict", path]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (ran.returncode == 0) is is_valid, ran.stdout + ran.stderr
        assert ("passed for resource" in ran.stdout) is is_valid


@pytest.mark.parametrize("text", manifests())
def test_commands_of_manifests_deliver(text: str, folder: Path, webhook: WebhookReceiver) -> None:
    """With the variables of a Pod."""
    manifest = yaml.safe_load(text)
    job = manifest["spec"]["jobTemplate"]["spec"] if manifest["kind"] == "CronJob" else manifest["spec"]
    (container,) = job["template"]["spec"]["containers"]
    values = {"JOB_NAME": "nightly-29412345", "CALLBACK_SDK_CALLBACKS": (folder / "callbacks.json").read_text()}
    variables = {each["name"]: values[each["name"]] for each in container.get("env", ())}
    mounts = container.get("volumeMounts", ())
    command = [re.sub(r"\$\((\w+)\)", lambda found: variables[found[1]], word) for word in container["command"]]
    for mount in mounts:
        command = [word.replace(mount["mountPath"], str(folder)) for word in command]
    pod = {"HOSTNAME": "simulate-7", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    run(command, folder, {**variables, **pod})
    job_id = "nightly-29412345" if manifest["kind"] == "CronJob" else "simulate-7"
    assert delivered(webhook) == {"job_id": job_id, "success": True, "results": 7}


def test_the_workflow_of_nextflow_is_valid(tmp_path: Path) -> None:
    """By Groovy's own parser: Nextflow can't be installed from a package registry."""
    groovy = SCHEDULERS.parent / "groovy.jar"
    if not groovy.exists() or shutil.which("java") is None:
        missing_server("Groovy is missing: make schedulers, which needs Maven")
    (text,) = blocks("nextflow", "groovy")
    for name, content, is_valid in (("good", text, True), ("bad", text.replace("script:", "script: ("), False)):
        path = tmp_path / f"{name}.groovy"
        path.write_text(content)
        command = ["java", "-cp", groovy, "org.codehaus.groovy.tools.FileSystemCompiler", "-d", tmp_path, path]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (ran.returncode == 0) is is_valid, ran.stderr


def test_the_script_of_nextflow_delivers(folder: Path, webhook: WebhookReceiver) -> None:
    """As Nextflow runs it: with the values of the process, by a shell that ends with the first error."""
    (text,) = blocks("nextflow", "groovy")
    (script,) = re.findall(r'"""\n(.*?)"""', text, re.DOTALL)
    (folder / "simulate").write_text('#!/bin/sh\necho "{\\"sample\\": \\"$1\\"}" > $2\n')
    for name, value in (("sample", "s1"), ("task.attempt", "2"), ("params.callbacks", str(folder / "callbacks.json"))):
        assert f"${{{name}}}" in script
        script = script.replace(f"${{{name}}}", value)
    assert "$" not in script
    run(["bash", "-euo", "pipefail", "-c", script], folder, {})
    assert delivered(webhook) == {"job_id": "simulate.s1.2", "success": True, "results": {"sample": "s1"}}


def test_the_lines_of_the_crontab_run(folder: Path, webhook: WebhookReceiver) -> None:
    """As cron(8) runs them: with its variables alone, and with the percent signs that are not escaped as newlines."""
    (text,) = blocks("cron", "text")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    variables = dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line))
    entries = [line.split(maxsplit=5) for line in lines if not re.match(r"\w+=", line)]
    _check_schedules([" ".join(entry[:5]) for entry in entries])
    places = {"/run/lock": folder, "/var/lib/nightly": folder, "/etc/callbacks.json": folder / "callbacks.json"}
    places |= {"/opt/nightly/run": folder / "simulate", "/opt/callback-sdk/bin": BIN}
    for *_, command in entries:
        own = re.sub(r"(?<!\\)%.*", "", command).replace("\\%", "%")
        for name, there in places.items():
            own = own.replace(name, str(there))
            variables = {key: value.replace(name, str(there)) for key, value in variables.items()}
        run(["/bin/sh", "-c", own], folder, variables)
    found = delivered(webhook)
    assert re.fullmatch(r"nightly-\d{4}-\d\d-\d\d", found["job_id"])
    assert found["results"] == 7


def _check_schedules(schedules: list[str]) -> None:
    if not (SCHEDULERS / "python").exists():
        missing_server("croniter is missing: make schedulers")
    script = "import sys, croniter; sys.exit(not all(map(croniter.croniter.is_valid, sys.argv[1:])))"
    subprocess.run([SCHEDULERS / "python", "-c", script, *schedules], check=True)


def test_the_unit_of_systemd_is_valid(folder: Path) -> None:
    """By systemd-analyze(1), which prints what it would ignore. The programs must exist."""
    if shutil.which("systemd-analyze") is None:
        missing_server("systemd-analyze is missing: apt-get install systemd")
    (text,) = blocks("cron", "ini")
    own = text.replace("/opt/callback-sdk/bin/callback-sdk", "/bin/true")
    for name, content, warned in (("good", own, False), ("bad", own.replace("KillMode", "KillsMode"), True)):
        path = folder / f"{name}.service"
        path.write_text(content)
        ran = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True, check=False
        )
        assert ("Unknown key" in ran.stderr) is warned
        assert warned or (ran.returncode, ran.stderr) == (0, "")


def test_the_unit_of_systemd_runs(folder: Path, webhook: WebhookReceiver) -> None:
    """Its command, with the specifier of the directory of credentials replaced."""
    (text,) = blocks("cron", "ini")
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(text)
    service = unit["Service"]
    name, _ = service["LoadCredential"].split(":")
    variables = dict([service["Environment"].replace("%d", str(folder)).split("=", 1)])
    assert variables["CALLBACK_SDK_CALLBACKS_FILE"].endswith(f"/{name}")
    command = service["ExecStart"].replace("${INVOCATION_ID}", "4f1c0d5e")
    for place, there in (
        ("/opt/callback-sdk/bin/", f"{BIN}/"),
        (f"/var/lib/{service['StateDirectory']}", str(folder)),
        ("/opt/nightly/run", str(folder / "simulate")),
    ):
        assert place in command
        command = command.replace(place, there)
    run(command.split(), folder, variables)
    assert delivered(webhook) == {"job_id": "nightly-4f1c0d5e", "success": True, "results": 7}
