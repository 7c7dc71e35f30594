"""Stores that verify signatures, one of each for the session; clients and browsers of a module's service."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from callback_sdk import Client
from tests.checkers import azurite, cos, gcs, http_store, obs, oss, swift
from tests.checkers.places import Place
from tests.conftest import missing_server
from tests.integration.browsers import PASSWORD, Browser
from tests.topology import Topology


@pytest.fixture(scope="session")
def azure() -> Iterator[azurite.Azurite]:
    """Run Azurite."""
    command = azurite.find()
    if command is None:
        missing_server(azurite.HOW_TO_GET_IT)
    with azurite.running(command) as server:
        yield server


@pytest.fixture(scope="session")
def google() -> Iterator[gcs.GCS]:
    """Run the checker for Google Cloud Storage."""
    with gcs.running() as server:
        yield server


@pytest.fixture(scope="session")
def alibaba() -> Iterator[oss.OSS]:
    """Run the checker for Alibaba OSS."""
    with http_store.running(oss.OSS()) as server:
        yield server


@pytest.fixture(scope="session")
def tencent() -> Iterator[cos.COS]:
    """Run the checker for Tencent COS."""
    with http_store.running(cos.COS()) as server:
        yield server


@pytest.fixture(scope="session")
def huawei() -> Iterator[obs.OBS]:
    """Run the checker for Huawei OBS."""
    with http_store.running(obs.OBS()) as server:
        yield server


@pytest.fixture(scope="session")
def openstack() -> Iterator[swift.Swift]:
    """Run the checker for OpenStack Swift."""
    with http_store.running(swift.Swift()) as server:
        yield server


@pytest.fixture
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[type[Place]], Place]:
    """Make a place at its server."""
    servers = {"s3": "seaweedfs", "azure": "azure", "gcs": "google", "webhook": "receiver"} | {
        "oss": "alibaba",
        "cos": "tencent",
        "obs": "huawei",
        "swift": "openstack",
    }

    def make(kind: type[Place]) -> Place:
        for name, value in kind.constants.items():
            monkeypatch.setattr(name, value)
        return kind(request.getfixturevalue(servers[kind.kind.partition("-")[0]]))  # type: ignore[call-arg]

    return make


@pytest.fixture
def client(topology: Topology) -> Iterator[Client]:
    """Give a client of the first user, who is an operator."""
    with topology.client() as client:
        yield client


@pytest.fixture
def mary(topology: Topology) -> Iterator[Browser]:
    """Give another user's browser."""
    with Browser(topology) as browser:
        browser.log_in(username="mary", password=PASSWORD)
        yield browser
