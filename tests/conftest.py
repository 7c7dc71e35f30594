"""Fixtures that several folders of tests share: real servers on loopback."""

from __future__ import annotations

import gc
import os
import signal
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import NoReturn

import pytest

from callback_sdk.errors import MissingExtraError
from callback_sdk.testing import SeaweedFS, WebhookReceiver
from tests.balance import balanced, file_below

pytest_plugins = ["callback_sdk.testing.fixtures"]

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # So it is in the background of a shell script; commands under test would inherit it, and never see a Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)

_NOT_INSTALLED = "not installed: "


def missing_server(why: str) -> NoReturn:
    """Skip, or fail where nothing may be missing."""
    if os.environ.get("CI", "").lower() in {"1", "true", "yes", "on"}:
        pytest.fail(why, pytrace=False)
    pytest.skip(_NOT_INSTALLED + why)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage while modules and tests are loaded, and never look at them again.

    They are a million objects that live until the end, which each full collection would go through, also those
    that tests ask for.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let the workers of pytest-xdist begin with the slow tests."""
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    if workers > 1:
        tests = Path(__file__).parent
        items[:] = balanced([(file_below(item.path, tests), item) for item in items], workers)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line how many tests were skipped because a program is missing, and how to get it."""
    if line := skipped_line(terminalreporter.stats.get("skipped", [])):
        terminalreporter.write_line(line, yellow=True)


def skipped_line(skipped: list[pytest.TestReport]) -> str:
    """Summarize the tests that a missing program skipped; empty when there are none."""
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
