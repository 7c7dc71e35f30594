"""`callback-sdk algorithms`"""

from __future__ import annotations

import json
from typing import Any

import pytest

from callback_sdk import cli
from tests.unit.client.fake import FakeService
from tests.unit.client.jobs import TOKEN

VERSION = {"version": "2", "change_description": None, "results": None, "features_format": ["json"]}
MEAN: dict[str, Any] = {
    "id": "mean",
    "name": "mean",
    "description": "The mean\x1b of a column.",
    "versions": [{**VERSION, "version": "1"}, VERSION],
    "evaluations": ["error"],
}


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a scripted service, and let the environment name it."""
    fake = FakeService()
    monkeypatch.setenv("CALLBACK_SDK_URL", fake.url)
    monkeypatch.setenv("CALLBACK_SDK_TOKEN", TOKEN)
    fake.on("GET", "/algorithms", fake.Say(data=[MEAN]))
    fake.on("GET", "/algorithms/mean", fake.Say(data=MEAN))
    yield fake
    fake.close()


def test_algorithms_are_listed(service: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    """With their versions; in JSON as the service has them."""
    assert cli.main(["algorithms"]) == 0
    assert capsys.readouterr().out == "mean\t1, 2\tThe mean\\x1b of a column.\n"
    assert cli.main(["algorithms", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed == {**MEAN, "versions": [{**one, "output_format": None} for one in MEAN["versions"]]}


def test_an_algorithm_is_shown(service: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    """With its evaluations."""
    assert cli.main(["algorithms", "mean"]) == 0
    assert "EVALUATIONS\terror" in capsys.readouterr().out
    assert cli.main(["algorithms", "mean", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == "mean"


def test_a_template_is_printed(service: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    """Unchanged, as a file that `submit` accepts; an unknown algorithm is an error with similar names."""
    path = "/algorithms/mean/template?type=input&version=2"
    service.on("GET", path, service.Say(data={"a": [1]}))
    assert cli.main(["algorithms", "mean", "--template", "input", "--version", "2"]) == 0
    assert json.loads(capsys.readouterr().out) == {"a": [1]}
    assert cli.main(["algorithms", "men", "--template", "input"]) == 1
    assert "Did you mean 'mean'?" in capsys.readouterr().err
