"""A platform client of a scripted service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from callback_sdk.compat import PlatformClient, get_instance
from tests.unit.client.conftest import clean_environment, service
from tests.unit.client.jobs import TOKEN

__all__ = ["clean_environment", "client", "service"]


@pytest.fixture
def client(service: Any, clean_environment: pytest.MonkeyPatch) -> Iterator[PlatformClient]:
    """Make a platform client of the scripted service."""
    with get_instance(token=TOKEN, url=service.url) as made:
        yield made
