"""Fixtures that several folders of tests share: real servers on loopback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NoReturn

import pytest

from callback_sdk.errors import MissingExtraError
from callback_sdk.testing import SeaweedFS, WebhookReceiver


def missing_server(why: str) -> NoReturn:
    """Skip, or fail where nothing may be missing."""
    if os.environ.get("CI", "").lower() in {"1", "true", "yes", "on"}:
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[SeaweedFS]:
    """Run one S3 store for the whole session; it checks signatures."""
    try:
        server = SeaweedFS()
    except MissingExtraError as error:
        missing_server(str(error))
    with server:
        yield server


@pytest.fixture
def bucket(seaweedfs: SeaweedFS) -> str:
    """Make a fresh bucket and give its name."""
    return seaweedfs.create_bucket()


@pytest.fixture
def webhook() -> Iterator[WebhookReceiver]:
    """Run a fresh webhook receiver."""
    with WebhookReceiver() as receiver:
        yield receiver
