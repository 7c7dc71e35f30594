"""Dockerfile and compose.yaml: they say nothing that the package, or they themselves, don't know."""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
import typer
import yaml

from callback_sdk import AddressGuard
from callback_sdk.commands.app import app
from callback_sdk.config.service import ServiceConfig
from callback_sdk.config.settings import STOP_TIMEOUT
from callback_sdk.parsing import parse_duration
from callback_sdk.service.store.cipher import new_key
from callback_sdk.testing import WebhookReceiver

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = (ROOT / "compose.yaml").read_text()
EXAMPLE = (ROOT / "compose.env.example").read_text()
INSTRUCTIONS = {"CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "RUN", "STOPSIGNAL", "USER"} | {
    "VOLUME",
    "WORKDIR",
}
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}
SECRET = re.compile("PASS|SECRET|KEY|DATABASE|BROKER")
_REFERENCE = re.compile(r"\$\{(?P<name>[A-Z0-9_]+)(?::(?P<kind>[-?])(?P<text>[^}]*))?\}")
_WORKERS_MARGIN = 10.0


def _instructions() -> list[tuple[str, str]]:
    lines = [line for line in DOCKERFILE.splitlines() if not line.startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def _last(word: str) -> str:
    return [rest for name, rest in _instructions() if name == word][-1]


def _image_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for name, rest in _instructions() if name == "ENV" for pair in shlex.split(rest))


def _values() -> dict[str, str]:
    """Return example values for the variables of compose.env.example."""
    given = dict(line.split("=", 1) for line in EXAMPLE.splitlines() if re.match("[A-Z0-9_]+=", line))
    made = {"CALLBACK_SDK_ENCRYPTION_KEYS": new_key().reveal(), "CALLBACK_SDK_WEBHOOK_SECRETS": ""}
    return {name: text or made.get(name, "0123456789abcdef") for name, text in given.items()}


def _filled_in(values: dict[str, str]) -> dict[str, Any]:
    """Return compose.yaml with values for its variables, put in as Compose does: after it is parsed."""

    def value(found: re.Match[str]) -> str:
        text = values.get(found["name"], "")
        assert text or found["kind"] == "-", f"{found['name']} has no value"
        return text or found["text"]

    def fill(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: fill(item) for key, item in node.items()}
        if isinstance(node, list):
            return [fill(item) for item in node]
        return _REFERENCE.sub(value, node) if isinstance(node, str) else node

    return fill(yaml.safe_load(COMPOSE))


def _services() -> dict[str, dict[str, Any]]:
    return _filled_in(_values())["services"]


def _is_ours(service: dict[str, Any]) -> bool:
    return service["image"].startswith("callback-sdk")


def _command_lines() -> list[list[str]]:
    """Return the arguments of `callback-sdk` in all files."""
    lines = [json.loads(_last("CMD"))]
    lines += [
        service["command"] for service in _services().values() if _is_ours(service) and "entrypoint" not in service
    ]
    for text in (DOCKERFILE, COMPOSE, EXAMPLE):
        lines += [found.split() for found in re.findall(r"callback-sdk ((?:db|users|serve|worker)\b[a-z \-]*)", text)]
        lines += [json.loads(found) for found in re.findall(r'CMD (\["(?:serve|worker)".*?\])', text)]
    return lines


def _parse(arguments: list[str]) -> Any:
    """Parse a command line as the real command does, without running it."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("callback-sdk", list(arguments), resilient_parsing=False)
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
    return context


def test_the_dockerfile_has_known_instructions_only() -> None:
    """The last stage runs as a user without rights, and its entry point is the command."""
    assert {word for word, _ in _instructions()} <= INSTRUCTIONS
    assert _instructions()[0][0] == "FROM"
    assert _last("FROM").startswith("python:3.13-slim@sha256:")
    assert _last("USER") not in ("root", "0")
    assert json.loads(_last("ENTRYPOINT")) == ["callback-sdk"]


@pytest.mark.checkout
def test_files_that_the_dockerfile_copies_exist() -> None:
    """They are in the repository and not excluded by .dockerignore, which excludes everything else."""
    ignored, *allowed = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert ignored == "*"
    copies = [rest.split() for word, rest in _instructions() if word == "COPY"]
    sources = {source.removeprefix("./") for words in copies if not words[0].startswith("--") for source in words[:-1]}
    assert sources == {line.removeprefix("!") for line in allowed if line.startswith("!")}
    for source in sources:
        assert (ROOT / source).exists()


def test_stages_that_are_copied_from_exist() -> None:
    """A name after --from is one after AS."""
    names = re.findall(r"^FROM .* AS (\w+)$", DOCKERFILE, re.MULTILINE)
    assert re.findall(r"--from=(\w+)", DOCKERFILE) == names


@pytest.mark.checkout
def test_the_image_is_installed_from_a_lock_file_with_hashes() -> None:
    """Both installations use hashed versions, or no further package, setuptools included."""
    installs = [rest for word, rest in _instructions() if word == "RUN" and "pip install" in rest]
    assert [("--require-hashes" in line, "--no-deps --no-build-isolation ." in line) for line in installs] == [
        (True, False),
        (False, True),
    ]
    assert "setuptools" in _locked("requirements-image.txt")


@pytest.mark.checkout
def test_the_image_has_the_requirements_of_all_engines_and_databases() -> None:
    """The locked extras are declared, and their requirements are locked in the tested versions."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    (extras,) = re.findall(r"^IMAGE := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"service", "celery", "postgres", "parquet"} == set(extras.split())
    asked = "\n".join(
        [setup["options"]["install_requires"], *(setup["options.extras_require"][name] for name in extras.split())]
    )
    names = {_normal(name) for name in re.findall(r"^([A-Za-z][\w.-]*)", asked, re.MULTILINE)}
    image, tested = _locked("requirements-image.txt"), _locked("requirements-dev.txt")
    assert names <= set(image)
    assert {name for name in image if image[name] - tested.get(name, image[name])} == set()


def _locked(name: str) -> dict[str, set[str]]:
    """Return the versions of a lock file, after making sure that each has a hash."""
    found: dict[str, set[str]] = {}
    for entry in re.split(r"\n(?=[a-z0-9])", (ROOT / name).read_text())[1:]:
        line = re.match(r"([\w.-]+)(?:\[[\w,-]+\])?==(\S+)", entry)
        assert line is not None, entry
        assert "--hash=sha256:" in entry, entry
        found.setdefault(_normal(line[1]), set()).add(line[2])
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_all_images_are_pinned_by_digest() -> None:
    """A tag can be moved to another image; a digest is the image."""
    foreign = [service["image"] for service in _services().values() if not _is_ours(service)]
    bases = [rest.partition(" AS ")[0] for word, rest in _instructions() if word == "FROM"]
    assert len(foreign) == 3
    for image in foreign + bases:
        assert re.fullmatch(r"[a-z/]+:[\w.-]+@sha256:[0-9a-f]{64}", image)
    assert len(set(bases)) == 1


def test_no_container_has_more_rights_than_it_needs() -> None:
    """Neither capabilities nor a writable file system, nor all of the machine's memory and processes."""
    steps_down = {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}
    for service in _services().values():
        assert service["cap_drop"] == ["ALL"]
        assert set(service.get("cap_add", [])) <= (set() if _is_ours(service) else steps_down)
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"] is True
        assert "/tmp" in service["tmpfs"]
        assert re.fullmatch("[0-9]+[mg]", service["mem_limit"])
        assert service["pids_limit"] > 0
        assert "privileged" not in service


def test_of_the_object_store_only_its_s3_port_can_be_reached() -> None:
    """Its other parts, without authentication, listen inside the container; callbacks are held to its port."""
    services = _services()
    command = services["seaweedfs"]["command"]
    assert {"-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3.ip.bind=0.0.0.0"} <= set(command)
    assert [option for option in command if "0.0.0.0" in option] == ["-s3.ip.bind=0.0.0.0"]
    assert {"-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0"} <= set(command)
    for service in services.values():
        if _is_ours(service):
            environment = service["environment"]
            assert environment["CALLBACK_SDK_ALLOW_HOSTS"] == "seaweedfs:8333"
            assert "CALLBACK_SDK_ALLOW_NETWORKS" not in environment
            guard = AddressGuard(allow_hosts=environment["CALLBACK_SDK_ALLOW_HOSTS"].split())
            assert [str(host) for host in guard.allow_hosts] == ["seaweedfs:8333"]


def test_every_part_has_a_network_of_its_own() -> None:
    """Database, broker and object store meet the service and its workers, and never each other."""
    document = _filled_in(_values())
    services = document["services"]
    for name in ("postgres", "rabbitmq", "seaweedfs"):
        (private,) = [
            network for network in services[name]["networks"] if document["networks"][network].get("internal")
        ]
        others = {other for other in services if private in services[other]["networks"]} - {name}
        assert all(_is_ours(services[other]) for other in others)
        for network in set(services[name]["networks"]) - {private}:
            assert [other for other in services if network in services[other]["networks"]] == [name]
            assert services[name]["ports"]


@pytest.mark.checkout
def test_every_module_is_installed() -> None:
    """Every directory with modules is a package; others would be missing in the wheel."""
    folders = {path.parent for path in (ROOT / "callback_sdk").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_all_command_lines_are_ones_that_the_command_takes() -> None:
    """Commands, options and their values, in both files and their comments."""
    names = {_parse(line).info_name for line in _command_lines()}
    assert {"serve", "worker", "generate-key"} <= names


def test_all_variables_are_ones_that_the_configuration_reads() -> None:
    """A typo would silently change nothing."""
    known = {f"CALLBACK_SDK_{field.name.upper()}" for field in attrs.fields(ServiceConfig)}
    for text in (DOCKERFILE, COMPOSE, EXAMPLE):
        assert set(re.findall(r"CALLBACK_SDK_\w+", text)) <= known


def test_all_values_are_ones_that_the_configuration_takes() -> None:
    """Those of the image with those of each service over them."""
    for service in _services().values():
        if _is_ours(service):
            config = ServiceConfig.from_environ(_image_environment() | service["environment"])
            assert config.database is not None
            assert config.database.reveal().startswith("postgresql://")
            assert len(config.encryption_keys) == 1


def test_ports_agree() -> None:
    """The port of the image, its EXPOSE, and the published port in compose.yaml, on loopback only."""
    environment = _image_environment()
    assert environment["CALLBACK_SDK_PORT"] == _last("EXPOSE")
    (port,) = _services()["service"]["ports"]
    assert port == f"127.0.0.1:8000:{_last('EXPOSE')}"
    endpoint = _services()["service"]["environment"]["AWS_ENDPOINT_URL_S3"]
    assert f"-s3.port={endpoint.rpartition(':')[2]}" in _services()["seaweedfs"]["command"]
    assert _last("VOLUME") == environment["CALLBACK_SDK_DATA_DIR"]
    assert _services()["service"]["volumes"] == [f"service:{_last('VOLUME')}"]


def test_services_refer_to_existing_names() -> None:
    """Networks, volumes and services in `depends_on` exist, and the services can reach each other."""
    document = _filled_in(_values())
    services = document["services"]
    for service in services.values():
        assert set(service["networks"]) <= set(document["networks"])
        assert {volume.split(":")[0] for volume in service.get("volumes", [])} <= set(document["volumes"])
        for name, wanted in service.get("depends_on", {}).items():
            assert wanted["condition"] in CONDITIONS
            assert wanted["condition"] != "service_healthy" or _has_health(services[name])
            assert wanted["condition"] != "service_completed_successfully" or "restart" not in services[name]
    assert sum("worker" in name for name in services) == 2
    for name, service in services.items():
        assert ("deploy" in service) == ("worker" in name)


def _has_health(service: dict[str, Any]) -> bool:
    check = service.get("healthcheck", {"test": _last("HEALTHCHECK")} if _is_ours(service) else {})
    return bool(check.get("test"))


def test_a_stop_lasts_longer_than_the_grace() -> None:
    """Else running tasks would be killed, and count as lost."""
    for name, service in _services().items():
        if _is_ours(service) and name != "buckets":
            grace = parse_duration(service["environment"]["CALLBACK_SDK_SHUTDOWN_TIMEOUT"]).total_seconds()
            grace += STOP_TIMEOUT.default.total_seconds()
            assert parse_duration(service["stop_grace_period"]).total_seconds() > grace + _WORKERS_MARGIN


def test_no_credential_is_in_the_files() -> None:
    """Credentials are required variables; the example lists them without values."""
    for name, value in _image_environment().items():
        assert not SECRET.search(name), value
    for service in yaml.safe_load(COMPOSE)["services"].values():
        for name, value in service.get("environment", {}).items():
            if SECRET.search(name):
                assert _REFERENCE.search(value), name
    needed = {found["name"] for found in _REFERENCE.finditer(COMPOSE) if found["kind"] == "?"}
    assert {name for name in needed if f"\n{name}=\n" in EXAMPLE} == needed


@pytest.mark.parametrize("name", ["POSTGRES_PASSWORD", "CALLBACK_SDK_ENCRYPTION_KEYS", "S3_SECRET_KEY"])
def test_a_value_that_is_missing_is_noticed(name: str) -> None:
    """Nothing starts without it."""
    with pytest.raises(AssertionError, match=name):
        _filled_in(_values() | {name: ""})


def test_the_buckets_that_are_made_are_those_that_are_used() -> None:
    """The script is Python, and makes the bucket of the blobs."""
    services = _services()
    (script,) = services["buckets"]["command"]
    made = [node for node in ast.walk(ast.parse(script)) if isinstance(node, ast.Set)]
    bucket = services["service"]["environment"]["CALLBACK_SDK_BLOB_STORAGE"].removeprefix("s3://").partition("/")[0]
    assert bucket in ast.literal_eval(made[0])


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check_reports_readiness(webhook: WebhookReceiver, status: int, code: int) -> None:
    """The command of the Dockerfile, with any proxy in the environment."""
    _, _, command = _last("HEALTHCHECK").partition(" CMD ")
    _, *arguments = json.loads(command)
    webhook.respond(status)
    port = webhook.url.split(":")[2].split("/")[0]
    environment = os.environ | {"CALLBACK_SDK_PORT": port, "http_proxy": "http://127.0.0.1:9"}
    assert subprocess.run([sys.executable, *arguments], env=environment, timeout=60, check=False).returncode == code
    (request,) = webhook.requests
    assert (request.method, request.path) == ("GET", "/readyz")


def test_docker_parses_the_file_if_it_is_installed() -> None:
    """Without Docker, only the names of keys are checked."""
    if not _has_compose():
        keys = {key for service in _services().values() for key in service}
        assert keys <= _COMPOSE_KEYS
        assert set(_filled_in(_values())) <= {"name", "services", "networks", "volumes"} | {
            key for key in yaml.safe_load(COMPOSE) if key.startswith("x-")
        }
        return
    command = ["docker", "compose", "--file", str(ROOT / "compose.yaml"), "config", "--quiet"]
    run = subprocess.run(command, env=os.environ | _values(), capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr


_COMPOSE_KEYS = {
    *("build", "command", "entrypoint", "image", "environment", "hostname", "volumes", "networks", "ports"),
    *("depends_on", "deploy", "healthcheck", "restart", "stop_grace_period"),
    *("cap_add", "cap_drop", "mem_limit", "pids_limit", "read_only", "security_opt", "tmpfs"),
}


def _has_compose() -> bool:
    if shutil.which("docker") is None:
        return False
    return (
        subprocess.run(["docker", "compose", "version"], capture_output=True, timeout=60, check=False).returncode == 0
    )
