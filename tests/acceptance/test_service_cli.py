"""The operator's commands: users, the database and its keys, and errors at startup."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from callback_sdk import Client
from callback_sdk.errors import AuthenticationError, CallbackSDKError, NotFoundError
from callback_sdk.testing import WebhookReceiver
from tests.commands import run_here
from tests.conftest import missing_server
from tests.topology import Topology, wait_until

REGISTRY = "engine_jobs:registry"
MARKER = "MARKER93fa"
FAR = "10h"
Run = subprocess.CompletedProcess[str]


def _topology(folder: Path, **settings: str) -> Topology:
    return Topology(folder, REGISTRY, settings=settings)


def _run(folder: Path, *arguments: str, stdin: str = "", **settings: str) -> Run:
    """Run a command with the data directory of a topology.

    Those that could run for ever have a process of their own.
    """
    environment = _topology(folder, **settings).environment
    if arguments[0] in ("serve", "worker"):
        run = _in_a_process(folder, arguments, environment)
    else:
        run = run_here(arguments, folder=folder, environment=environment, stdin=stdin)
    assert "Traceback" not in run.stderr
    assert MARKER not in run.stdout + run.stderr
    return run


def _in_a_process(folder: Path, arguments: Sequence[str], environment: dict[str, str]) -> Run:
    return subprocess.run(
        [sys.executable, "-m", "callback_sdk.cli", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _done(folder: Path, *arguments: str, **options: Any) -> str:
    """Run a command that must succeed, and return its output."""
    run = _run(folder, *arguments, **options)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def _refused(folder: Path, *arguments: str, **options: Any) -> str:
    """Run a command that must fail with one line, and return that."""
    run = _run(folder, *arguments, **options)
    # EX_CONFIG and EX_TEMPFAIL of sysexits.h: whether a supervisor need start it again.
    assert run.returncode in ((75, 78) if arguments[0] in ("serve", "worker") else (1,))
    # Logs and warnings may come before it.
    error = run.stderr.splitlines()[-1]
    assert error.startswith("Error: ")
    return error


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """Run a service, beside which commands are used."""
    with _topology(tmp_path_factory.mktemp("operated")) as topology:
        yield topology


@pytest.fixture
def command(topology: Topology) -> Callable[..., str]:
    """Return a function that runs a command on the running service's data directory."""
    return lambda *arguments, **options: _done(topology.data.parent, *arguments, **options)


def _client(topology: Topology, **who: str) -> Client:
    return Client((topology.data / "address").read_text().strip(), **who)


def _gets_in(topology: Topology, **who: str) -> bool:
    with _client(topology, **who) as client:
        try:
            client.get_algorithms()
        except AuthenticationError:
            return False
    return True


def test_a_new_user_has_a_token(topology: Topology, command: Callable[..., str]) -> None:
    """The service accepts it at once; users don't see tasks of others, and the first user is an operator, who does."""
    token, other = command("users", "add", "ada"), command("users", "add", "eve")
    assert token.startswith("cbk_")
    with _client(topology, token=token) as client, topology.client() as admin, _client(topology, token=other) as eve:
        task = client.run_algorithm("sum", {"a": [1]})
        assert task.wait(progress=False).success
        assert admin.get_task(task.job_id).job_id == task.job_id
        with pytest.raises(NotFoundError):
            eve.get_task(task.job_id)


def test_a_disabled_user_is_shut_out(topology: Topology, command: Callable[..., str]) -> None:
    """At once and until the user is enabled, with the same token then."""
    token = command("users", "add", "bob")
    assert command("users", "disable", "bob") == "bob is disabled."
    assert not _gets_in(topology, token=token)
    assert command("users", "enable", "bob") == "bob is enabled."
    assert _gets_in(topology, token=token)


def test_a_password_comes_from_a_pipe(topology: Topology, command: Callable[..., str]) -> None:
    """The user can log in with it, and a new password replaces it."""
    first, second = f"{MARKER} the first", f"{MARKER} the second"
    command("users", "add", "carol", "--password", stdin=f"{first}\n")
    assert _gets_in(topology, username="carol", password=first)
    assert command("users", "set-password", "carol", stdin=f"{second}\n") == "carol has a new password."
    assert not _gets_in(topology, username="carol", password=first)
    assert _gets_in(topology, username="carol", password=second)
    assert MARKER not in topology.log


def test_tokens_are_revoked(topology: Topology, command: Callable[..., str]) -> None:
    """Another token counts beside the first; with --revoke it is the only one."""
    first = command("users", "add", "dan")
    second = command("users", "create-token", "dan")
    assert _gets_in(topology, token=first)
    assert _gets_in(topology, token=second)
    third = command("users", "create-token", "dan", "--revoke")
    assert [_gets_in(topology, token=token) for token in (first, second, third)] == [False, False, True]


def test_the_list_shows_users_and_no_secrets(command: Callable[..., str]) -> None:
    """In words and as JSON."""
    token = command("users", "add", "mallory", "--password", stdin="correct horse battery\n")
    command("users", "disable", "mallory")
    lines = command("users", "list").splitlines()
    assert "admin\tenabled\t\toperator" in lines
    assert "mallory\tdisabled\tpassword\tuser" in lines
    shown = command("users", "list", "--json")
    assert {"name": "mallory", "disabled": True, "password": True}.items() <= json.loads(shown)[-1].items()
    assert token not in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["users", "add", "admin"], "already"),
        (["users", "add", "short", "--password"], "characters"),
        (["users", "disable", "nobody"], "users list"),
        (["users", "create-token", "nobody"], "users list"),
        (["users", "list", "--data-dir", "typo"], "typo"),
        (["db", "rotate-keys", "--data-dir", "typo"], "typo"),
        (["users", "list", "--database", "postgresql://127.0.0.1/x", "--data-dir", "typo"], "keys"),
        (["db", "upgrade"], "Stop the service"),
    ],
)
def test_impossible_commands_are_one_clear_error(topology: Topology, arguments: list[str], said: str) -> None:
    """The error names the cause, and no command creates a directory by accident."""
    assert said in _refused(topology.data.parent, *arguments)
    assert not (topology.data.parent / "typo").exists()


@pytest.mark.parametrize("name", ["", " x", "x" * 129, "a\nb"])
def test_unprintable_user_names_are_rejected(topology: Topology, name: str) -> None:
    """The exit code is 2, as for any wrong usage."""
    assert _run(topology.data.parent, "users", "add", "--", name).returncode == 2


def test_upgrade_creates_a_database(tmp_path: Path) -> None:
    """The directory has mode 0700; users can be added before the first start of the service."""
    new = ("--data-dir", str(tmp_path / "data"))
    assert "has no database of a service" in _refused(tmp_path, "users", "add", "ada", *new)
    assert _done(tmp_path, "db", "upgrade", *new).startswith("Created the database")
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert _done(tmp_path, "users", "add", "ada", *new).startswith("cbk_")
    assert _done(tmp_path, "users", "list", *new).split("\t") == ["ada", "enabled", "", "user"]


def test_keys_are_rotated(tmp_path: Path, webhook: WebhookReceiver) -> None:
    """A delivery that was accepted under one key is made when only the next one is left."""
    first, second, other = (_done(tmp_path, "db", "generate-key") for _ in range(3))
    webhook.respond(503)
    with _topology(tmp_path, ENCRYPTION_KEYS=first, RETRY_DELAYS=FAR) as topology, topology.client() as client:
        task = client.run_algorithm(
            "sum", {"a": [1]}, callback_url=f"{webhook.url}?token={MARKER}", callback_param={"n": 1}
        )
        webhook.wait_for(1)
        job_id = task.job_id
        wait_until(lambda: client.get_deliveries(job_id)[0].attempts[-1].finished_at, what="the first try")
    assert "other keys" in _refused(tmp_path, "serve", REGISTRY, ENCRYPTION_KEYS=other)
    assert "other keys" in _refused(tmp_path, "users", "list", ENCRYPTION_KEYS=second)
    with _topology(tmp_path, ENCRYPTION_KEYS=f"{second} {first}"):
        said = _done(tmp_path, "db", "rotate-keys", ENCRYPTION_KEYS=f"{second} {first}")
    assert said == "Re-encrypted the credentials of 1 delivery."
    assert "other keys" in _refused(tmp_path, "serve", REGISTRY, ENCRYPTION_KEYS=first)
    with _topology(tmp_path, ENCRYPTION_KEYS=second) as topology, topology.client() as client:
        (delivery,) = client.get_deliveries(job_id)
        assert client.get_task(job_id).callback_param == {"n": 1}
        client.redeliver(job_id, delivery.delivery_id)
        _, request = webhook.wait_for(2)
    assert request.delivery_id == delivery.delivery_id
    assert request.path.endswith(MARKER)
    assert MARKER not in topology.log


def test_a_rotation_without_the_old_key_changes_nothing(tmp_path: Path) -> None:
    """It fails before anything is re-encrypted."""
    first, second = (_done(tmp_path, "db", "generate-key") for _ in range(2))
    _done(tmp_path, "db", "upgrade", ENCRYPTION_KEYS=first)
    assert "other keys" in _refused(tmp_path, "db", "rotate-keys", ENCRYPTION_KEYS=second)
    assert _done(tmp_path, "users", "list", ENCRYPTION_KEYS=first) == ""


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (["serve"], {"ENGINE": "pigeons"}, "embedded and celery"),
        (["serve"], {"ENGINE": "celery"}, "CALLBACK_SDK_BROKER"),
        (["worker"], {}, "CALLBACK_SDK_BROKER"),
        (["serve"], {"ENGINE": "celery", "BROKER": f"sqs://user:{MARKER}@host"}, "amqp://"),
        (["worker"], {"BROKER": f"sqs://user:{MARKER}@host"}, "amqp://"),
        (["worker"], {"BROKER": MARKER}, "amqp://"),
        (["worker", "--algorithm", "none"], {"BROKER": f"amqp://user:{MARKER}@127.0.0.1:9//"}, "slow-elsewhere"),
        (["serve"], {"DATABASE": f"mysql://user:{MARKER}@host/x"}, "postgresql://"),
        (["serve"], {"DATABASE": f"postgresql://user:{MARKER}@127.0.0.1:9/x"}, "refused"),
        (["serve"], {"DATABASE": f"postgresql://user:{MARKER}@127.0.0.1:port/x"}, "malformed"),
        (["serve"], {"DATABASE": f"postgresql://user:a@{MARKER}@127.0.0.1:9/x"}, "malformed"),
        (["serve"], {"DATABASE": "postgresql://127.0.0.1:9/x?nonsense=1"}, "nonsense"),
        (["serve"], {"DATABASE": "sqlite:////nowhere/store"}, "/nowhere/store"),
        (["serve"], {"ENCRYPTION_KEYS": MARKER}, "db generate-key"),
        (["serve"], {"BLOB_STORAGE": "ftp://host"}, "s3://"),
        (["serve"], {"RESULTS_BUCKET": "ftp://host"}, "s3://"),
        (["serve"], {"SHUTDOWN_TIMEOUT": "soon"}, "CALLBACK_SDK_SHUTDOWN_TIMEOUT"),
        (["serve"], {"LOG_FORMAT": "xml"}, "CALLBACK_SDK_LOG_FORMAT"),
        (["serve"], {"PROCESSES": "0"}, "CALLBACK_SDK_PROCESSES"),
    ],
)
def test_a_wrong_setting_is_one_clear_error(
    tmp_path: Path, arguments: list[str], settings: dict[str, str], said: str
) -> None:
    """The error has a hint, and contains no password."""
    command, *options = arguments
    assert said in _refused(tmp_path, command, REGISTRY, *options, **settings)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serve", REGISTRY, "--log-format", "xml"], "--log-format"),
        (["worker", REGISTRY, "--log-format", "xml"], "--log-format"),
        (["serve", REGISTRY, "--shutdown-timeout", "soon"], "--shutdown-timeout"),
        (["worker", REGISTRY, "--processes", "0"], "--processes"),
        (["worker"], "REGISTRY"),
    ],
)
def test_wrong_usage_ends_with_2(tmp_path: Path, arguments: list[str], said: str) -> None:
    """The option is named."""
    run = _run(tmp_path, *arguments)
    assert run.returncode == 2
    assert said in run.stderr


def test_a_wrong_password_of_the_database_is_not_shown(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Nor is it when the database doesn't exist; the server's own words are."""
    try:
        server = request.getfixturevalue("callback_postgres")
    except CallbackSDKError as error:
        missing_server(str(error))
    head, _, rest = server.url.partition("@")
    user = head.rpartition(":")[0]
    error = _refused(tmp_path, "serve", REGISTRY, DATABASE=f"{user}:{MARKER}@{rest}")
    assert "password authentication failed" in error
    error = _refused(tmp_path, "serve", REGISTRY, DATABASE=server.url.removesuffix("postgres") + "nowhere")
    assert '"nowhere" does not exist' in error
    assert head.rpartition(":")[2] not in error


def test_a_second_service_on_the_directory_is_rejected(topology: Topology) -> None:
    """The first service continues."""
    error = _refused(topology.data.parent, "serve", REGISTRY)
    assert "Another service" in error
    with topology.client() as client:
        assert client.run_algorithm("sum", {"a": [2]}).wait(progress=False).predictions == {"a": 2}
