"""callback_sdk.service.engines.celery"""

from __future__ import annotations

import pytest
import redis
from kombu.exceptions import OperationalError

from callback_sdk.errors import CallbackSDKError, ConfigurationError
from callback_sdk.redaction import Secret
from callback_sdk.service.engines import BrokerRefusedError
from callback_sdk.service.engines.celery import (
    _MAX_TASKS,
    _MIN_TASKS,
    CeleryEngine,
    EngineError,
    _reason,
    _Window,
    check_broker,
    make_app,
    require_broker,
)
from tests.conftest import missing_server


def test_a_queue_grows_with_its_consumption() -> None:
    """Fast workers get many ids ahead, slow ones few, so that tasks of high priority run soon."""
    window = _Window()
    capacity = window.update(0)
    assert capacity == _MIN_TASKS
    for _ in range(12):
        window.sent += capacity
        capacity = window.update(0)
    assert capacity == _MAX_TASKS
    window.sent += capacity
    assert window.update(_MAX_TASKS - 1) == 0
    assert window.limit == _MIN_TASKS


def test_few_slow_workers_have_few_ids_ahead() -> None:
    """A task of high priority, or of another user, waits for one run of each; without known workers more are sent."""
    for workers, minimum in ((1, 2), (5, 5), (100, _MIN_TASKS), (0, _MIN_TASKS)):
        assert _Window().update(0, workers) == minimum
    window = _Window(depth=40)
    assert window.update(0, workers=1) == 80


@pytest.mark.parametrize("url", [None, "http://x", "topsecret", "mongodb://user:topsecret@x"])
def test_a_broker_that_can_not_be_used_is_refused(url: str | None) -> None:
    """With those that can, and without its password."""
    with pytest.raises(ConfigurationError, match="redis://") as caught:
        require_broker(None if url is None else Secret(url))
    assert "topsecret" not in str(caught.value)


def test_a_broker_that_is_away_is_a_clear_error() -> None:
    """Without its password."""
    for url in ("amqp://user:topsecret@127.0.0.1:9//", "redis://:topsecret@127.0.0.1:9/0"):
        engine = CeleryEngine(make_app(Secret(url)), Secret(url), ["a"])
        for ask in (engine.check, engine.capacities, engine.delivery_capacity):
            with pytest.raises(EngineError, match="can't be used") as caught:
                ask()
            assert "topsecret" not in str(caught.value)
        engine.close()


@pytest.mark.parametrize("broker", ["callback_valkey", "callback_rabbitmq"])
def test_a_rejected_login_differs_from_an_outage(request: pytest.FixtureRequest, broker: str) -> None:
    """A retry doesn't help after a rejected login. Neither error contains the password."""
    try:
        url = request.getfixturevalue(broker).url
    except CallbackSDKError as error:
        missing_server(str(error))
    check_broker(make_app(Secret(url)))
    wrong = url.replace("guest:guest@", "").replace("://", "://somebody:topsecret@", 1)
    with pytest.raises(BrokerRefusedError, match=r"refuses the connection.* CALLBACK_SDK_BROKER") as caught:
        check_broker(make_app(Secret(wrong)))
    assert "topsecret" not in str(caught.value)
    with pytest.raises(EngineError, match="can't be used") as caught:
        check_broker(make_app(Secret("redis://:topsecret@127.0.0.1:1/0")))
    assert type(caught.value) is EngineError
    assert "topsecret" not in str(caught.value)


@pytest.mark.parametrize(
    ("command", "undo"),
    [
        (["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"]),
        (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"]),
    ],
)
def test_a_server_that_rejects_writes_is_an_outage(
    request: pytest.FixtureRequest, command: list[str], undo: list[str]
) -> None:
    """Redis does as a replica, or without memory; the error is transient."""
    try:
        broker = Secret(request.getfixturevalue("callback_valkey").url)
    except CallbackSDKError as error:
        missing_server(str(error))
    engine = CeleryEngine(make_app(broker), broker, ["sum"])
    with redis.Redis.from_url(broker.reveal()) as server:
        server.execute_command(*command)
        try:
            with pytest.raises(EngineError, match="accepts writes"):
                engine.capacities()
        finally:
            server.execute_command(*undo)
    assert engine.capacities()
    engine.close()


def test_an_error_without_a_message_is_described_by_its_cause() -> None:
    """RabbitMQ blocks publishers when memory or disk is low, and the error of kombu then has no message."""
    timeout = TimeoutError()
    silent = OperationalError("")
    silent.__cause__ = timeout
    assert _reason(silent) == "it did not respond in time."
    wrapped = OperationalError("")
    wrapped.__cause__ = ConnectionResetError("reset by peer.")
    assert _reason(wrapped) == "ConnectionResetError: reset by peer."
    assert _reason(OperationalError("")) == "OperationalError."
