"""A client of a scripted service."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from callback_sdk.client import Client
from callback_sdk.client.certificates import VARIABLES
from tests.unit.client.fake import FakeService
from tests.unit.client.jobs import ACCEPTED, PREDICT, TOKEN


@pytest.fixture
def service() -> Iterator[FakeService]:
    """Run a scripted service."""
    fake = FakeService()
    yield fake
    fake.close()


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Take every setting out of the environment."""
    for name in list(os.environ):
        upper = name.upper()
        if upper.startswith(("CALLBACK_SDK_", "COMPREDICT_")) or upper in (
            "BUCKET",
            "REGION",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "NO_PROXY",
            *VARIABLES,
        ):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture
def client(service: Any, clean_environment: pytest.MonkeyPatch) -> Iterator[Client]:
    """Make a client of the scripted service."""
    with Client(service.url, token=TOKEN, timeout=timedelta(minutes=1)) as made:
        yield made


@pytest.fixture
def accepting(service: Any) -> Any:
    """Make the service accept every task."""
    service.on("POST", PREDICT, service.Say(202, ACCEPTED))
    return service
