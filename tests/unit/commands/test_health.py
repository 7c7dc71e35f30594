"""`callback-sdk health`: which server it queries, and what it prints"""

from __future__ import annotations

import pytest

from callback_sdk import cli
from tests.unit.client.fake import FakeService

VARIABLES = ("CALLBACK_SDK_METRICS_PORT", "CALLBACK_SDK_PORT", "CALLBACK_SDK_HOST", "CALLBACK_SDK_URL")


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> tuple[FakeService, FakeService]:
    """Run a service that is ready, and one that isn't."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    ready, unready = FakeService(), FakeService()
    ready.script["GET", "/readyz"] = [ready.Say(data={"status": True})]
    ready.script["GET", "/prefix/readyz"] = [ready.Say(data={"status": True, "workers": []})]
    unready.script["GET", "/readyz"] = [unready.Say(503, {"status": False, "error": "No database."})]
    yield ready, unready
    ready.close()
    unready.close()


def port(server: FakeService) -> str:
    return server.host.rpartition(":")[2]


def test_a_url_names_the_service(
    servers: tuple[FakeService, FakeService], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By option or environment, with the path of the API or without it, and behind a prefix."""
    ready, unready = servers
    for url in (ready.url, f"http://{ready.host}", f"http://{ready.host}/prefix/api/v2/"):
        assert cli.main(["health", "--url", url]) == 0
    monkeypatch.setenv("CALLBACK_SDK_URL", unready.url)
    assert cli.main(["health"]) == 1
    assert "Not ready: No database." in capsys.readouterr().err


def test_a_port_of_this_machine_has_precedence_over_the_environments_url(
    servers: tuple[FakeService, FakeService], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker's container has the service's URL in its environment too."""
    ready, unready = servers
    monkeypatch.setenv("CALLBACK_SDK_URL", unready.url)
    assert cli.main(["health", "--port", port(ready)]) == 0
    for name in VARIABLES[:2]:
        monkeypatch.setenv(name, port(ready))
        assert cli.main(["health"]) == 0
        monkeypatch.delenv(name)
    assert cli.main(["health", "--port", port(ready), "--url", ready.url]) == 2


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "http://a b/", "http://user:s3cret@127.0.0.1:1", "http://[::1", ""])
def test_a_url_that_cannot_be_requested(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says so, without a password."""
    assert cli.main(["health", "--url", url, *(["--port", "1"] if not url else [])]) in (1, 2)
    assert "s3cret" not in capsys.readouterr().err


def test_no_response_is_an_error(servers: tuple[FakeService, FakeService], capsys: pytest.CaptureFixture[str]) -> None:
    """It names the place."""
    ready, _ = servers
    ready.script["GET", "/readyz"] = [ready.Say(drop=True)]
    assert cli.main(["health", "--port", port(ready)]) == 1
    assert f"No answer from http://{ready.host}/readyz" in capsys.readouterr().err
