"""Fixtures for pytest: `pytest_plugins = ["callback_sdk.testing.fixtures"]` in the topmost `conftest.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from callback_sdk.testing.objectstore import ObjectStore
from callback_sdk.testing.postgres import Postgres
from callback_sdk.testing.rabbitmq import RabbitMQ
from callback_sdk.testing.seaweedfs import SeaweedFS
from callback_sdk.testing.valkey import Valkey
from callback_sdk.testing.webhooks import WebhookReceiver


@pytest.fixture
def callback_store() -> Iterator[ObjectStore]:
    """Run a new object store in memory, into which faults can be injected."""
    with ObjectStore() as store:
        yield store


@pytest.fixture
def callback_webhook() -> Iterator[WebhookReceiver]:
    """Run a new webhook receiver, into which faults can be injected."""
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def callback_s3() -> Iterator[SeaweedFS]:
    """Run one S3 store for the whole session, which verifies signatures. Needs `callback-sdk[demo]`."""
    with SeaweedFS() as server:
        yield server


@pytest.fixture
def callback_bucket(callback_s3: SeaweedFS) -> str:
    """Create a new bucket in `callback_s3`, and return its name."""
    return callback_s3.create_bucket()


@pytest.fixture
def callback_strict_store(callback_s3: SeaweedFS) -> Iterator[ObjectStore]:
    """Run a new object store in front of `callback_s3`: signatures are verified, and faults can be injected."""
    with ObjectStore(upstream=callback_s3.endpoint_url) as store:
        yield store


@pytest.fixture(scope="session")
def callback_postgres() -> Iterator[Postgres]:
    """Run one PostgreSQL server for the whole session. Needs `callback-sdk[servers]`."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def callback_valkey() -> Iterator[Valkey]:
    """Run one Valkey server for the whole session. Needs `callback-sdk[servers]`."""
    with Valkey() as server:
        yield server


@pytest.fixture(scope="session")
def callback_rabbitmq() -> Iterator[RabbitMQ]:
    """Run one RabbitMQ server for the whole session. Needs the operating system's `rabbitmq-server`."""
    with RabbitMQ() as server:
        yield server
