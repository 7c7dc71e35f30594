"""Fixtures shared by several directories of tests: real servers on loopback."""

from __future__ import annotations

import functools
import gc
import os
import signal
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import typer.main
from hypothesis import HealthCheck, settings

from callback_sdk.errors import MissingExtraError
from callback_sdk.testing import SeaweedFS, WebhookReceiver
from tests.balance import file_below, slow_first

pytest_plugins = ["callback_sdk.testing.fixtures"]

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell script ignores SIGINT for its background processes. Commands under test would inherit that, and ignore
    # Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Deadlines, and the check for slow strategies, measure the load of the machine.
settings.register_profile("any load", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any load")

_NOT_INSTALLED = "not installed: "


def missing_server(why: str) -> NoReturn:
    """Skip the test, or fail where all programs must be installed."""
    if os.environ.get("CI", "").lower() in {"1", "true", "yes", "on"}:
        pytest.fail(why, pytrace=False)
    pytest.skip(_NOT_INSTALLED + why)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Disable garbage collection while modules and tests are loaded, and exclude the loaded objects from collections.

    Every full collection, including those in tests, would traverse about a million objects that exist until the end.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the tests so that the workers of pytest-xdist start with the slow files."""
    if hasattr(config, "workerinput"):
        tests = Path(__file__).parent
        items[:] = slow_first([(file_below(item.path, tests), item) for item in items])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line with the number of tests that were skipped because a program is missing, and how to install it."""
    if line := skipped_line(terminalreporter.stats.get("skipped", [])):
        terminalreporter.write_line(line, yellow=True)


def skipped_line(skipped: list[pytest.TestReport]) -> str:
    """Summarize the tests that were skipped because of missing programs; empty if there are none."""
    reasons = Counter(
        report.longrepr[2].partition(_NOT_INSTALLED)[2]
        for report in skipped
        if isinstance(report.longrepr, tuple) and _NOT_INSTALLED in report.longrepr[2]
    )
    if not reasons:
        return ""
    causes = "; ".join(f"{count}: {why}" for why, count in reasons.most_common())
    count = "1 test was" if reasons.total() == 1 else f"{reasons.total()} tests were"
    return f"{count} skipped because a program is missing. {causes}"


@pytest.fixture(scope="session", autouse=True)
def commands_are_built_once() -> Iterator[None]:
    """Keep the commands that Typer builds: it would build all of them again at each call."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
        yield


@pytest.fixture(scope="session")
def seaweedfs(request: pytest.FixtureRequest) -> SeaweedFS:
    """Return the S3 store of the session, which verifies signatures."""
    try:
        return request.getfixturevalue("callback_s3")
    except MissingExtraError as error:
        missing_server(str(error))


@pytest.fixture
def bucket(seaweedfs: SeaweedFS) -> str:
    """Create a new bucket, and return its name."""
    return seaweedfs.create_bucket()


@pytest.fixture
def webhook(callback_webhook: WebhookReceiver) -> WebhookReceiver:
    """Return a new webhook receiver."""
    return callback_webhook
