"""callback_sdk.compat: the public names and call forms of the platform's SDK, with a service."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import requests

import callback_sdk
from callback_sdk import compat
from callback_sdk.compat import instances
from callback_sdk.errors import AuthenticationError, ConfigurationError, ConflictError, NotFoundError, ServiceError
from tests.conftest import missing_server
from tests.topology import Topology, wait_until

SDK = Path(sys.prefix) / "platform-sdk" / "compredict"
CLASSES = {
    "client.py:api": compat.PlatformClient,
    "resources/resources.py:Algorithm": compat.PlatformAlgorithm,
    "resources/resources.py:Version": compat.PlatformVersion,
    "resources/resources.py:Task": compat.PlatformTask,
}
DATA = {"a": [1, 2, 3]}


def methods(place: str) -> dict[str, ast.FunctionDef]:
    """Return the public methods and properties of a class of the platform's SDK."""
    if not SDK.is_dir():
        missing_server("The AI platform's SDK is missing: make platform-sdk installs it.")
    file, _, name = place.partition(":")
    tree = ast.parse((SDK / file).read_text())
    (found,) = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name)
    functions = {node.name: node for node in found.body if isinstance(node, ast.FunctionDef)}
    return {name: node for name, node in functions.items() if not name.startswith("_")}


@pytest.mark.parametrize("place", CLASSES)
def test_every_name_and_call_form_of_the_platforms_sdk_exists(place: str) -> None:
    """Each method accepts the same arguments, by name and by position."""
    theirs = methods(place)
    assert theirs
    for name, method in theirs.items():
        ours = inspect.getattr_static(CLASSES[place], name)
        if isinstance(ours, property):
            assert any(isinstance(one, ast.Name) and one.id == "property" for one in method.decorator_list), name
            continue
        parameters = [argument.arg for argument in method.args.args]
        signature = inspect.signature(getattr(CLASSES[place], name))
        signature.bind(None, *parameters[1:])
        signature.bind(None, **dict.fromkeys(parameters[1:]))
        required = parameters[1 : len(parameters) - len(method.args.defaults)]
        signature.bind(None, *required)


def test_get_instance_accepts_the_arguments_of_the_platforms_sdk() -> None:
    """All arguments of the SDK's constructor are accepted by name."""
    if not SDK.is_dir():
        missing_server("The AI platform's SDK is missing: make platform-sdk installs it.")
    tree = ast.parse((SDK / "client.py").read_text())
    (init,) = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    inspect.signature(compat.get_instance).bind(**dict.fromkeys(argument.arg for argument in init.args.args[1:]))


class Service:
    """A service with the algorithms of the contract of engines, and a user with a password."""

    USER: ClassVar[dict[str, str]] = {"username": "anna", "password": "a long enough password"}

    def __init__(self, topology: Topology) -> None:
        topology.run("users", "add", "anna", "--password", stdin=self.USER["password"])
        self.url = (topology.data / "address").read_text().strip() + "/api/v2"
        self.token = (topology.data / "token").read_text().strip()

    def refresh_token(self) -> str:
        """Log in as a script of the platform's does, and return the refresh token."""
        with requests.Session() as session:
            session.trust_env = False
            return session.post(f"{self.url}/token/", json=self.USER, timeout=30).json()["refresh"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service."""
    with Topology(tmp_path_factory.mktemp("service"), "engine_jobs:registry") as topology:
        yield Service(topology)


@pytest.fixture
def client(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[compat.PlatformClient]:
    """Give a client as scripts get it, and let nothing of it stay."""
    monkeypatch.setattr(instances, "_instances", {})
    with callback_sdk.get_instance(token=service.token, url=service.url) as client:
        yield client


def test_the_first_client_is_shared_without_arguments(client: compat.PlatformClient) -> None:
    """Another module asks for it again, as for a singleton."""
    assert compat.get_instance() is client
    client.close()
    with pytest.raises(ConfigurationError):
        compat.get_instance()


def test_tokens_are_verified(service: Service, client: compat.PlatformClient) -> None:
    """The client's own or another one; at once with validate=True."""
    assert client.verify_token() is True
    with pytest.raises(AuthenticationError):
        client.verify_token("another")
    assert compat.get_instance(token=service.token, url=service.url, validate=True) is client
    with pytest.raises(AuthenticationError):
        compat.get_instance(token="another", url=service.url, validate=True)


def test_a_client_that_was_not_valid_is_not_shared(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it was made by the call that validates, or before; and one that is valid is."""
    monkeypatch.setattr(instances, "_instances", {})
    monkeypatch.delenv("CALLBACK_SDK_URL", raising=False)
    for kept_before in (False, True):
        if kept_before:
            compat.get_instance(token="rejected", url=service.url)
        with pytest.raises(AuthenticationError):
            compat.get_instance(token="rejected", url=service.url, validate=True)
        with pytest.raises(ConfigurationError):
            compat.get_instance()
    with compat.get_instance(token=service.token, url=service.url, validate=True) as client:
        assert compat.get_instance(validate=True) is client


def test_an_outage_does_not_unshare_a_client(client: compat.PlatformClient) -> None:
    """An outage doesn't mean that the token is invalid, but a new client that could not be validated is not shared."""

    def away(*_: object, **__: object) -> None:
        raise ServiceError("The service can't be reached.", hint="Try again later.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(client._connection), "verify", away)
        with pytest.raises(ServiceError):
            compat.get_instance(validate=True)
        with pytest.raises(ServiceError):
            compat.get_instance(token="another", url="http://127.0.0.1:1/api/v2", validate=True)
    assert compat.get_instance() is client
    assert list(instances._instances.values()) == [client]


def test_certificates_are_always_verified(client: compat.PlatformClient) -> None:
    """verify_peer(True) has no effect, and any other value is an error with a hint."""
    client.verify_peer(True)
    with pytest.raises(ConfigurationError, match="REQUESTS_CA_BUNDLE"):
        client.verify_peer(False)


def test_an_algorithm_has_the_members_of_the_platforms_sdk(client: compat.PlatformClient) -> None:
    """Versions that run, the format of features and results, the last results, files of templates."""
    algorithm = client.get_algorithm("sum")
    (version,) = algorithm.get_versions()
    assert (version.algorithm_id, algorithm.version, str(algorithm)) == ("sum", version.version, "sum")
    assert algorithm.results == algorithm.get_response_time() == version.results
    assert algorithm.last_results is None
    task = algorithm.run(DATA, evaluate=False)
    assert algorithm.last_results is task
    assert task.wait(progress=False).predictions == {"a": 6}
    assert version.run(DATA).wait(progress=False).version == version.version
    assert version.last_results.success
    assert algorithm.get_template() == version.features_format
    assert algorithm.get_template("output") == version.output_format
    assert [one.algorithm_id for one in client.get_algorithm_versions("sum")] == ["sum"]
    assert client.get_algorithm_version("sum", version.version).run(DATA).wait(progress=False).success


def test_a_task_has_the_members_of_the_platforms_sdk(client: compat.PlatformClient) -> None:
    """The loop of its README: until the status is Finished, update."""
    task = client.run_algorithm("sum", DATA, None, False)
    wait_until(lambda: task.update() and task.get_current_status() == task.STATUS_FINISHED)
    assert client.get_task_results(task_id=task.job_id).predictions == {"a": 6}
    assert client.get_task_results(job_id=task.job_id).predictions == {"a": 6}
    assert client.get_task_results(task.job_id).get_current_status() == "Finished"
    with pytest.raises(ConflictError, match="has already ended"):
        client.cancel_task(task_id=task.job_id)
    with pytest.raises(callback_sdk.errors.InvalidRequestError, match="one id"):
        client.get_task_results()


def test_evaluate_may_be_json_text(client: compat.PlatformClient) -> None:
    """As the platform's SDK sends it unchanged."""
    task = client.run_algorithm("sum", DATA, evaluate='{"rainflow": {"N": 1}}')
    assert task.wait(progress=False).success
    with pytest.raises(callback_sdk.errors.InvalidRequestError, match="JSON text"):
        client.run_algorithm("sum", DATA, evaluate="[1")


def test_a_single_value_among_columns_is_repeated(client: compat.PlatformClient) -> None:
    """As pandas.DataFrame does, through which the platform's SDK sends a dict."""
    assert client.run_algorithm("sum", {"a": [1, 2], "b": 3}).wait(progress=False).predictions == {"a": 3, "b": 6}


def test_the_last_error_has_status_code_and_messages(client: compat.PlatformClient) -> None:
    """With fail_on_error(option=False) calls return False; the error's own type is in `error`."""
    client.fail_on_error(option=False)
    assert client.get_algorithm("nope") is False
    assert client.last_error.status_code == 404
    assert "nope" in client.last_error.messages[0]
    assert isinstance(client.last_error.error, NotFoundError)
    assert client.run_algorithm("nope", DATA) is False
    assert client.get_algorithm_versions("nope") is False
    assert client.get_algorithm_version("sum", "9") is False
    assert client.get_task_results(task_id="nope") is False
    assert client.verify_token("another") is False
    assert client.get_algorithm("sum").get_versions()
    assert client.last_error is None


def test_a_refresh_token_replaces_a_rejected_token(service: Service, client: compat.PlatformClient) -> None:
    """token_refresh= keeps a long script going; so does the method of that name. Nothing of it is shown."""
    refresh = service.refresh_token()
    other = compat.get_instance(token="rejected", token_refresh=refresh, url=service.url)
    assert other.get_algorithms()
    assert client.generate_token_from_refresh_token(service.refresh_token()) is True
    assert client.generate_token(**service.USER) is True
    assert client.get_algorithms()
    assert refresh not in repr([other, vars(other), vars(other._connection)])
    assert client.generate_token_from_refresh_token() is True
    with pytest.raises(AuthenticationError):
        client.generate_token_from_refresh_token("rejected")


def test_a_plain_token_can_not_be_refreshed(client: compat.PlatformClient) -> None:
    """Without a refresh token the error says so."""
    with pytest.raises(AuthenticationError, match="no refresh token"):
        client.generate_token_from_refresh_token()
