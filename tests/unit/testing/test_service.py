"""The settings that a local service is started with."""

from __future__ import annotations

from callback_sdk.config import settings
from callback_sdk.parsing import parse_duration
from callback_sdk.testing import LocalService
from callback_sdk.testing.service import _STOP_TIMEOUT


def test_running_tasks_have_less_time_than_the_process() -> None:
    """Otherwise the service is killed while it waits for them."""
    variables = LocalService("jobs:registry")._settings.reveal()
    assert parse_duration(variables[settings.SHUTDOWN_TIMEOUT.variable]).total_seconds() == _STOP_TIMEOUT / 4


def test_devices_are_those_of_the_service() -> None:
    """Algorithms with devices need some, also on a machine without any."""
    variables = LocalService("jobs:registry", devices=["0", "1"])._settings.reveal()
    assert variables[settings.DEVICES.variable] == "0,1"
    assert settings.DEVICES.parse(variables[settings.DEVICES.variable]) == ("0", "1")
