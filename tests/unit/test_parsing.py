"""Invalid arguments are rejected where they are given, not after a job has computed its result."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from callback_sdk.client import Client
from callback_sdk.compat import get_instance
from callback_sdk.errors import ConfigurationError, SigningError
from callback_sdk.outbox import Outbox
from callback_sdk.signer import S3Signer
from callback_sdk.testing import LocalService
from callback_sdk.transport.guard import AddressGuard
from callback_sdk.transport.http import Timeouts
from callback_sdk.writer import ResultsWriter
from callback_sdk.writer.writer import attempts_of

SECRET = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
URL = "https://store.example.org"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("timeout", "2", "timeout is of type str. Give seconds, or a timedelta"),
        ("timeout", True, "timeout is of type bool. Give seconds, or a timedelta"),
        ("timeout", float("inf"), "timeout is inf. Give a finite number"),
        ("timeout", 1e300, "timeout is 1e+300. Give a finite number"),
        ("timeout", -0.5, "timeout is -0.5. Must not be negative."),
        ("timeout", timedelta(seconds=-1), "timeout is -1 day, 23:59:59."),
        ("max_webhook_bytes", "1MB", "max_webhook_bytes is of type str. Give a whole number."),
        ("max_webhook_bytes", True, "max_webhook_bytes is of type bool. Give a whole number."),
        ("max_webhook_bytes", 0, "max_webhook_bytes is 0. Give a whole number of at least 1."),
        ("webhook_secrets", SECRET, "webhook_secrets is of type str, not a list. Give a list"),
        ("webhook_secrets", None, "webhook_secrets is of type NoneType, not a list. Give a list"),
        ("storage_endpoints", URL, "storage_endpoints is of type str, not a list. Give a list"),
    ],
)
def test_a_writer_validates_its_arguments(name: str, value: Any, said: str) -> None:
    """The error names the argument, has a hint, and contains no secret."""
    with pytest.raises(ConfigurationError) as caught:
        ResultsWriter(**{name: value})
    assert str(caught.value).startswith(said)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["connect", "read", "attempt"])
def test_timeouts_check_their_durations(name: str) -> None:
    """A duration is a timedelta or seconds, and positive."""
    assert getattr(Timeouts(**{name: 1.5}), name) == timedelta(seconds=1.5)
    assert getattr(Timeouts(**{name: timedelta(minutes=1)}), name) == timedelta(minutes=1)
    with pytest.raises(ConfigurationError, match=f"Timeouts.{name} is of type str"):
        Timeouts(**{name: "3"})
    with pytest.raises(ConfigurationError, match=f"Timeouts.{name} is 0. Must be positive."):
        Timeouts(**{name: 0})


def test_a_client_takes_a_list_of_endpoints() -> None:
    """As a writer does."""
    with pytest.raises(ConfigurationError, match="storage_endpoints is of type str, not a list"):
        Client("http://127.0.0.1:1", token="t", storage_endpoints=URL)


@pytest.mark.parametrize("name", ["storage_endpoints", "allow_networks", "allow_hosts", "pass_env", "webhook_secrets"])
def test_a_local_service_takes_lists(name: str) -> None:
    """Each of its settings that may have several values."""
    with pytest.raises(ConfigurationError, match=f"{name} is of type str, not a list"):
        LocalService("a:b", **{name: "a"})  # type: ignore[arg-type]


def test_iterators_are_converted_to_lists() -> None:
    """Any iterable is accepted."""
    with ResultsWriter(storage_endpoints=iter([URL]), webhook_secrets=(one for one in [SECRET])) as writer:
        assert len(attempts_of(writer)._settings.webhook_keys()) == 1
        assert attempts_of(writer)._settings.stores.endpoints == {("store.example.org", 443)}


@pytest.mark.parametrize("name", ["allow_networks", "allow_hosts"])
@pytest.mark.parametrize("value", ["10.0.0.0/8", 5])
def test_a_guard_takes_lists(name: str, value: Any) -> None:
    """The networks and the hosts."""
    with pytest.raises(ConfigurationError, match=f"{name} is of type {type(value).__name__}, not a list"):
        AddressGuard(**{name: value})


@pytest.mark.parametrize("secrets", [[5], [None], [b"AAAA"]])
def test_a_secret_is_a_string(secrets: Any) -> None:
    """Any other type is rejected like invalid base64."""
    with pytest.raises(ConfigurationError, match="A webhook secret must be the base64"):
        ResultsWriter(webhook_secrets=secrets)


def test_an_outbox_requires_a_writer(tmp_path: Path) -> None:
    """Any other type is rejected, and no file is created."""
    with pytest.raises(ConfigurationError, match="writer is of type str"):
        Outbox(tmp_path / "outbox", writer="w")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (5, "path is of type int. Give a path"),
        (None, "path is of type NoneType"),
        (b"outbox", "path is of type bytes"),
        ("out\0box", "path has a null character"),
    ],
)
def test_an_outbox_requires_a_path(path: Any, said: str) -> None:
    """Any other type is rejected."""
    with pytest.raises(ConfigurationError, match=said):
        Outbox(path)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("guard", 5, "guard is of type int. Give an AddressGuard"),
        ("client_cert", "a\0b", "client_cert has a null character"),
    ],
)
def test_a_writer_validates_guard_and_certificate(name: str, value: Any, said: str) -> None:
    """Other types are rejected at construction."""
    with pytest.raises(ConfigurationError, match=said):
        ResultsWriter(**{name: value})


@pytest.mark.parametrize("name", ["url", "username"])
def test_a_shared_client_validates_its_arguments(name: str) -> None:
    """They are the key by which it is shared."""
    with pytest.raises(ConfigurationError, match=f"{name} is of type list"):
        get_instance(**{name: ["x"]})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["region", "endpoint_url"])
def test_a_signer_validates_its_arguments(name: str) -> None:
    """The error names the argument, not an effect in botocore."""
    with pytest.raises(SigningError, match=f"{name} is of type int"):
        S3Signer("bucket", **{name: 5})  # type: ignore[arg-type]
