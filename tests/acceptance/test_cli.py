"""The command line: its help, its errors, its exit codes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from callback_sdk._version import __version__
from callback_sdk.commands.serving import EXIT_SETTING
from callback_sdk.testing import SeaweedFS

ROOT = Path(__file__).parents[2]


def _run(*arguments: str, cwd: Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "callback_sdk.cli", *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | (environment or {}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_help_names_the_commands(tmp_path: Path) -> None:
    """Without a terminal the help is plain text, and it names every command."""
    run = _run("--help", cwd=tmp_path)
    assert run.returncode == 0
    assert "serve" in run.stdout
    assert "demo" in run.stdout
    assert "\x1b" not in run.stdout


def test_the_help_is_quick(tmp_path: Path) -> None:
    """The help loads none of the libraries that the commands need."""
    script = "import sys, callback_sdk.cli as c; c.main(['--help']); print([*sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = run.stdout.splitlines()[-1]
    for name in ("boto3", "fastapi", "pandas", "sqlalchemy", "requests"):
        assert f"'{name}'" not in loaded


def test_the_version_is_printed(tmp_path: Path) -> None:
    """`--version` prints only the name and the version."""
    run = _run("--version", cwd=tmp_path)
    assert (run.returncode, run.stdout) == (0, f"callback-sdk {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serve"], "REGISTRY"),
        (["serve", "a:b", "--prot", "1"], "--port"),
        (["serve", "a:b", "--port", "many"], "--port"),
        (["serve", "a:b", "--port", "70000"], "--port"),
        (["sevre"], "serve"),
    ],
)
def test_wrong_usage_ends_with_2(tmp_path: Path, arguments: list[str], said: str) -> None:
    """The error names the wrong argument, or suggests a similar one."""
    run = _run(*arguments, cwd=tmp_path)
    assert run.returncode == 2
    assert said in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("registry", "said"),
    [
        ("callback_sdk.exampels:registry", "callback_sdk.exampels"),
        ("callback_sdk.examples:registri", "registry"),
        ("callback_sdk.examples", "colon"),
        ("callback_sdk.examples:FatigueLaw", "type"),
    ],
)
def test_a_registry_that_is_none_is_one_clear_error(tmp_path: Path, registry: str, said: str) -> None:
    """A typo in the registry's name ends with 78 and one line, and nothing is left in the data directory."""
    run = _run("serve", registry, "--port", "0", cwd=tmp_path)
    assert run.returncode == EXIT_SETTING
    assert run.stderr.startswith("Error: ")
    assert said in run.stderr
    assert "Traceback" not in run.stderr


def test_a_wrong_environment_variable_is_named(tmp_path: Path) -> None:
    """A setting in the environment that can't be read is an error that names its variable."""
    run = _run("serve", "a:b", cwd=tmp_path, environment={"CALLBACK_SDK_PORT": "http"})
    assert run.returncode == EXIT_SETTING
    assert "CALLBACK_SDK_PORT" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("options", "environment", "code", "said"),
    [
        (["--allow-network", "10.0.0.1/8"], {}, 2, "'10.0.0.1/8' is invalid"),
        (["--allow-network", "10.0.0.0/8:http"], {}, 2, "'10.0.0.0/8:http' is invalid"),
        (["--allow-host", "http://minio:9000"], {}, EXIT_SETTING, "'http://minio:9000' is not a host name"),
        ([], {"CALLBACK_SDK_ALLOW_NETWORKS": "intranet"}, EXIT_SETTING, "CALLBACK_SDK_ALLOW_NETWORKS is 'intranet'"),
    ],
)
def test_an_invalid_allowed_network_or_host_is_an_error(
    tmp_path: Path, options: list[str], environment: dict[str, str], code: int, said: str
) -> None:
    """The service doesn't start with fewer or more permitted addresses than intended."""
    run = _run("serve", "callback_sdk.examples:registry", *options, cwd=tmp_path, environment=environment)
    assert run.returncode == code
    assert said in run.stderr
    assert "Traceback" not in run.stderr


def test_an_option_wins_over_the_environment(tmp_path: Path) -> None:
    """The data directory of the command line is the one that is used."""
    (tmp_path / "taken").write_text("")
    environment = {"CALLBACK_SDK_DATA_DIR": str(tmp_path / "other")}
    run = _run(
        "serve",
        "callback_sdk.examples:registry",
        "--data-dir",
        str(tmp_path / "taken"),
        "--port",
        "0",
        cwd=tmp_path,
        environment=environment,
    )
    assert run.returncode == EXIT_SETTING
    assert "Traceback" not in run.stderr
    assert "taken" in run.stderr
    assert not (tmp_path / "other").exists()


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    """Without the libraries of a command, the error has the pip command that installs them."""
    script = "import sys; sys.modules['{name}'] = None; import callback_sdk.cli as c; sys.exit(c.main({arguments}))"
    for name, arguments, extra, code in (
        ("typer", ["--version"], "cli", 1),
        ("fastapi", ["serve", "a:b"], "service", EXIT_SETTING),
        ("vega_datasets", ["demo"], "demo", 1),
    ):
        run = subprocess.run(
            [sys.executable, "-c", script.format(name=name, arguments=arguments)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == code
        assert f"pip install '.[{extra}]'" in run.stderr
        assert "Traceback" not in run.stderr


def test_a_target_is_signed_checked_and_used(tmp_path: Path, seaweedfs: SeaweedFS) -> None:
    """Through pipes, with no credential on a command line or in the output."""
    bucket = seaweedfs.create_bucket()
    environment = {"AWS_ACCESS_KEY_ID": seaweedfs.access_key, "AWS_SECRET_ACCESS_KEY": seaweedfs.secret_key}
    options = ("--region", seaweedfs.region, "--endpoint-url", seaweedfs.endpoint_url)
    (tmp_path / "results.json").write_text('{"life": 7.5}')
    for kind, key in (("put", "runs/1.json"), ("post", "runs/2.json")):
        signed = _run("sign", kind, f"s3://{bucket}/{key}", *options, cwd=tmp_path, environment=environment)
        assert (signed.returncode, signed.stderr) == (0, "")
        (tmp_path / "target").write_text(signed.stdout)
        explained = _run("check", "target", cwd=tmp_path)
        assert (explained.returncode, explained.stderr) == (0, "")
        sent = _run("send", "results.json", "target", "--job-id", "42", cwd=tmp_path)
        assert (sent.returncode, sent.stderr) == (0, "")
        document = json.loads(seaweedfs.client().get_object(Bucket=bucket, Key=key)["Body"].read())
        assert (document["job_id"], document["results"]) == ("42", {"life": 7.5})
        for said in (explained.stdout, sent.stdout):
            assert f"s3-{kind}" in said
            assert "Signature=" not in said
            assert "\x1b" not in said
    tampered = (tmp_path / "target").read_text().replace(bucket, f"{bucket}x")
    (tmp_path / "target").write_text(tampered)
    refused = _run("send", "results.json", "target", "--job-id", "42", "--timeout", "1s", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("Error: ")


def test_an_interrupt_ends_quietly(tmp_path: Path) -> None:
    """Ctrl-C while a target is silent: 130, and no traceback."""
    (tmp_path / "results.json").write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        command = [sys.executable, "-m", "callback_sdk.cli", "send", "results.json", url, "--job-id", "42"]
        with subprocess.Popen(
            command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True
        ) as process:
            silent.settimeout(60)
            with silent.accept()[0]:
                process.send_signal(signal.SIGINT)
                _, said = process.communicate(timeout=60)
    # The interrupt may come while the request is being sent.
    assert process.returncode == 130
    assert said == "" or (said.count("\n") == 1 and "was interrupted; it may have been processed" in said)
