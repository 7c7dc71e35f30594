"""Fixtures that several folders of tests share: real servers on loopback."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from callback_sdk.errors import MissingExtraError
from callback_sdk.testing import SeaweedFS, WebhookReceiver

pytest_plugins = ["callback_sdk.testing.fixtures"]


def missing_server(why: str) -> NoReturn:
    """Skip, or fail where nothing may be missing."""
    if os.environ.get("CI", "").lower() in {"1", "true", "yes", "on"}:
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


@pytest.fixture(scope="session")
def seaweedfs(request: pytest.FixtureRequest) -> SeaweedFS:
    """Give the S3 store that the whole session shares; it checks signatures."""
    try:
        return request.getfixturevalue("callback_s3")
    except MissingExtraError as error:
        missing_server(str(error))


@pytest.fixture
def bucket(seaweedfs: SeaweedFS) -> str:
    """Make a fresh bucket and give its name."""
    return seaweedfs.create_bucket()


@pytest.fixture
def webhook(callback_webhook: WebhookReceiver) -> WebhookReceiver:
    """Give a fresh webhook receiver."""
    return callback_webhook
