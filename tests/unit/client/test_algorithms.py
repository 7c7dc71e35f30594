"""Templates and graphs of algorithms."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callback_sdk.client import Client
from callback_sdk.errors import InvalidRequestError, NotFoundError, ServiceError

ALGORITHM = "/algorithms/an-algorithm"
PNG = b"\x89PNG\r\n\x1a\n\x00"


@pytest.fixture
def drawn(service: Any) -> Any:
    """Give the algorithm a template and two graphs."""
    service.on("GET", f"{ALGORITHM}/template?type=input", service.Say(data={"a": [1]}))
    service.on("GET", f"{ALGORITHM}/template?type=output&version=1.0.0", service.Say(data=[]))
    png = {"Content-Type": "image/png"}
    service.on("GET", f"{ALGORITHM}/graph", service.Say(raw=PNG, headers=png))
    service.on("GET", f"{ALGORITHM}/graph?type=input&version=1.0.0", service.Say(raw=PNG[:4], headers=png))
    service.on("GET", ALGORITHM, service.Say(data={"id": "an-algorithm"}))
    return service


def test_a_template_is_a_file(client: Client, drawn: Any) -> None:
    """It is read like the temporary file that older scripts know, and closed without harm."""
    with client.get_template("an-algorithm", file_type="input") as file:
        assert json.load(file) == {"a": [1]}
    assert json.load(client.get_template("an-algorithm")) == {"a": [1]}
    assert json.load(client.get_template("an-algorithm", "output", "1.0.0")) == []


def test_a_graph_is_a_png(client: Client, drawn: Any) -> None:
    """Its bytes are those that the service sent."""
    assert client.get_graph("an-algorithm").read() == PNG
    assert client.get_graph("an-algorithm", file_type="input", version="1.0.0").read() == PNG[:4]
    assert drawn.requests[0].headers["accept"] == "image/png"


def test_an_algorithm_shows_itself(client: Client, drawn: Any) -> None:
    """Algorithms have the same calls."""
    algorithm = client.get_algorithm("an-algorithm")
    assert json.load(algorithm.get_template()) == {"a": [1]}
    assert algorithm.get_graph("input", version="1.0.0").read() == PNG[:4]


def test_an_unknown_algorithm_is_an_error(client: Client, drawn: Any) -> None:
    """The message of the service suggests existing names."""
    drawn.on("GET", f"{ALGORITHM}/graph?type=output", drawn.Say(404, {"error": "It has input."}))
    with pytest.raises(NotFoundError, match="It has input"):
        client.get_graph("an-algorithm", "output")
    drawn.on("GET", "/algorithms", drawn.Say(data=[{"id": "an-algorithm"}]))
    with pytest.raises(NotFoundError, match="Did you mean 'an-algorithm'"):
        client.get_template("an-algorith")


def test_an_error_is_not_a_file(client: Client, drawn: Any) -> None:
    """An error response isn't returned as an image."""
    drawn.on("GET", f"{ALGORITHM}/graph", drawn.Say(422, {"error": "No."}))
    with pytest.raises(InvalidRequestError, match="422: No"):
        client.get_graph("an-algorithm")


@pytest.mark.parametrize("options", [{"file_type": 7}, {"version": 1.0}])
def test_a_version_that_is_not_a_string_is_rejected(client: Client, drawn: Any, options: dict[str, Any]) -> None:
    """As a number, 1.10 would be 1.1."""
    with pytest.raises(ServiceError, match="Give a string"):
        client.get_graph("an-algorithm", **options)
    assert drawn.requests == []
