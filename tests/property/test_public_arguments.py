"""A wrong value for any argument of any public callable: what is raised is an error of this package."""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
import math
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest

import callback_sdk.aistore.aio
import callback_sdk.aistore.patch
from callback_sdk import (
    AddressGuard,
    Algorithm,
    AsyncOutbox,
    AsyncResultsWriter,
    BatchItem,
    Client,
    DeliveryFilter,
    DeliveryProxy,
    JobResult,
    Outbox,
    Progress,
    ResultsWriter,
    S3Signer,
    Task,
    TaskOutput,
    TaskOutputs,
    Timeouts,
    aistore,
    check_target,
    compat,
    delivering,
    webhooks,
)
from callback_sdk.client.states import OutputSnapshot, TaskSnapshot
from callback_sdk.errors import CallbackSDKError, DeliveryError
from callback_sdk.service import JobContext, Registry
from callback_sdk.service.algorithms.output_folder import OutputFolder, OutputLimits
from callback_sdk.transport.http import HTTPSender
from tests.property.public_arguments import required
from tests.unit.client.fake import FakeService

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)

VALUES: tuple[Any, ...] = (
    *(5, -1, 1.5, True, None, b"\xff", "", "50", "\ud800", "a\r\nb", "x" * 3000, math.nan, math.inf, 10**400, object()),
    *([], [5], ["\ud800"], {}, {"a": "\ud800"}, {5: 5}, (1, 2), lambda: 1, type, int),
    *("http://[::1", "http://h/\ud800", timedelta(-1), timedelta.max, NOON, Path("\ud800"), Path("x")),
)

NO_ARGUMENTS_OF_USERS = {
    # Parsers of the service's JSON, and steps of this package in public classes.
    *("from_dict", "of", "add_hint", "replace_hint", "replaced_by", "functions", "setups", "state", "discard"),
    *("sign", "decode_secret", "verification_key", "SigningKey", "takes_result", "JobDelivery"),
    # It resolves a name until a deadline of the caller, and raises the OSError of the resolver.
    "resolve",
    # Calls of an existing upload, and a loop until it is stopped.
    *("presign_multipart", "abort_multipart", "run"),
}
"""Methods that are not called with values of users."""

URL = "http://127.0.0.1:9"
HOOK = "https://example.org/done"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TABLE = {"a": [1]}

Call = tuple[Callable[..., Any], dict[str, Any]]


def _function(features: Any, parameters: Any, context: Any) -> Any:
    return 1


def _hook(features: Any, parameters: Any, predictions: Any, context: Any) -> Any:
    return 1


def _registered() -> Registry:
    registry = Registry()
    registry.algorithm("a")(_function)
    return registry


def _context(folder: Path) -> JobContext:
    folder.mkdir()
    report: Any = lambda *_: None  # noqa: E731
    outputs = OutputFolder(folder, OutputLimits())
    model = {"export_new_version": True, "model_output": folder / "model"}
    return JobContext(job_id="1", attempt=1, evaluate=False, report=report, outputs=outputs, **model)  # type: ignore


def _set_up(function: Any, timeout: Any = 1) -> Any:
    return Registry().setup(function, timeout=timeout)


def _decorating(method: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(**arguments: Any) -> Any:
        return getattr(_registered(), method)(**arguments)(function)

    call.__signature__ = inspect.signature(getattr(_registered(), method))  # type: ignore[attr-defined]
    return call


def _awaited(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(**arguments: Any) -> Any:
        return asyncio.run(function(**arguments))

    return call


def _calls(service: FakeService, folder: Path) -> dict[str, Call]:
    """Return, by name, each callable and arguments with which it works, or the service responds with 404."""
    client = Client(service.url, token="t", retries=0)
    platform = compat.get_instance(token="t", url=service.url)
    signer = S3Signer("results", region="eu-central-1")
    put = signer.presign_put("k")
    s3 = boto3.client("s3", region_name="us-east-1")
    outbox, writer = Outbox(folder / "outbox"), ResultsWriter(timeout=0)
    async_outbox = AsyncOutbox(folder / "outbox")
    result = JobResult(job_id="1", success=True, results=TABLE)
    written = {"result": result, "callback_url": HOOK}
    version, context = _registered().get("a"), _context(folder / "files")
    job = delivering(HOOK, job_id="42")
    calls: dict[str, Call] = {
        "AddressGuard": (AddressGuard, {}),
        "AddressGuard.check": (AddressGuard().check, {"url": HOOK}),
        "BatchItem": (BatchItem, {"features": TABLE}),
        "Client": (Client, {"url": service.url, "token": "t"}),
        "DeliveryFilter": (DeliveryFilter, {}),
        "JobResult": (JobResult, {"job_id": "1", "success": True}),
        "AsyncOutbox": (AsyncOutbox, {"path": folder / "another"}),
        "AsyncOutbox.events": (async_outbox.events, {"job_id": "42", "callback_url": HOOK}),
        "AsyncOutbox.entries": (_awaited(async_outbox.entries), {}),
        "AsyncOutbox.purge": (_awaited(async_outbox.purge), {"older_than": 1}),
        "AsyncOutbox.redeliver": (lambda delivery_id: asyncio.run(async_outbox.redeliver(delivery_id)), {}),
        "AsyncOutbox.write": (_awaited(async_outbox.write), written),
        "AsyncResultsWriter": (AsyncResultsWriter, {}),
        "AsyncResultsWriter.events": (AsyncResultsWriter().events, {"job_id": "42", "callback_url": HOOK}),
        "AsyncResultsWriter.write": (_awaited(AsyncResultsWriter(timeout=0).write), written),
        "AsyncResultsWriter.write_many": (_awaited(AsyncResultsWriter(timeout=0).write_many), {"items": []}),
        "JobDelivery.output": (job.output, {"name": "n", "value": b"1"}),
        "JobDelivery.progress": (job.progress, {"fraction": 0.5}),
        "Outbox": (Outbox, {"path": folder / "another"}),
        "Outbox.events": (outbox.events, {"job_id": "42", "callback_url": HOOK}),
        "Outbox.entries": (outbox.entries, {}),
        "Outbox.purge": (outbox.purge, {"older_than": 1}),
        "Outbox.redeliver": (lambda delivery_id: outbox.redeliver(delivery_id), {}),
        "Outbox.write": (outbox.write, written),
        "Progress": (Progress, {}),
        "ResultsWriter": (ResultsWriter, {}),
        "ResultsWriter.events": (writer.events, {"job_id": "42", "callback_url": HOOK}),
        "ResultsWriter.write": (writer.write, written),
        "ResultsWriter.write_many": (writer.write_many, {"items": []}),
        "S3Signer": (S3Signer, {"bucket": "results", "region": "eu-central-1"}),
        "S3Signer.presign_post": (signer.presign_post, {"key": "k"}),
        "S3Signer.presign_post_many": (signer.presign_post_many, {"keys": ["k"]}),
        "S3Signer.presign_put": (signer.presign_put, {"key": "k"}),
        "S3Signer.presign_put_many": (signer.presign_put_many, {"keys": ["k"]}),
        "S3Signer.presign_prefix": (signer.presign_prefix, {"prefix": "runs/42/"}),
        "Timeouts": (Timeouts, {}),
        "check_target": (check_target, {"url": HOOK}),
        "delivering": (delivering, {"callback_url": HOOK, "job_id": "42"}),
        "get_instance": (compat.get_instance, {"token": "t", "url": service.url}),
        "aistore.Token": (aistore.Token, {"username": "u", "password": "p", "authn_endpoint": URL}),
        "aistore.client": (aistore.client, {"endpoint": URL}),
        "aistore.follow_redirects": (aistore.follow_redirects, {"client": s3}),
        "aistore.through": (aistore.through, {"target": put, "endpoint": URL}),
        "aistore.use_token": (aistore.use_token, {"client": s3, "token": "t"}),
        "aistore.aio.session": (callback_sdk.aistore.aio.session, {"endpoint": URL}),
        "aistore.patch.patch": (callback_sdk.aistore.patch.patch, {"endpoint": URL}),
        "service.AlgorithmVersion.graph": (version.graph, {}),
        "service.AlgorithmVersion.template": (version.template, {"kind": "input"}),
        "service.JobContext.output": (context.output, {"name": "n", "value": b"1"}),
        "service.JobContext.report_progress": (context.report_progress, {"fraction": 0.5}),
        "service.JobContext.save_model": (context.save_model, {"model": b""}),
        "service.Registry.algorithm": (_decorating("algorithm", _function), {"name": "b"}),
        "service.Registry.evaluation": (_decorating("evaluation", _hook), {"algorithm": "a", "name": "b"}),
        "service.Registry.fit": (_decorating("fit", _function), {"name": "a"}),
        "service.Registry.get": (_registered().get, {"name": "a"}),
        "service.Registry.monitor": (_decorating("monitor", _hook), {"algorithm": "a", "name": "b"}),
        "service.Registry.setup": (_set_up, {"function": dict}),
        "service.Registry.versions": (_registered().versions, {"name": "a"}),
        "DeliveryProxy": (DeliveryProxy, {"url": "http://proxy:3128"}),
        "webhooks.generate_secret": (webhooks.generate_secret, {}),
        "webhooks.public_key": (webhooks.public_key, {"secret": SECRET}),
        "webhooks.texts_of": (webhooks.texts_of, {"headers": {}}),
        "webhooks.verify": (webhooks.verify, {"secrets": SECRET, "headers": {}, "body": b""}),
    }  # fmt: skip
    plain = Algorithm.from_dict(client, {"id": "a"})
    of_platform = compat.PlatformAlgorithm.of(platform, plain)
    file = OutputSnapshot(name="n", size=1, sha256="0" * 64)
    objects: dict[str, Any] = {
        "Client": client,
        "Algorithm": plain,
        "client.SigningSecrets": client.signing_secrets,
        "Task": Task(client._api, TaskSnapshot(job_id="1")),
        "TaskOutput": TaskOutput(client._api, "1", file),
        "TaskOutputs": TaskOutputs(client._api, "1", (file,)),
        "compat.PlatformClient": platform,
        "compat.PlatformAlgorithm": of_platform,
        "compat.PlatformTask": compat.PlatformTask(platform._api, TaskSnapshot(job_id="1")),
        "compat.PlatformVersion": compat.PlatformVersion(version="1", client=platform, algorithm_id="a"),
    }
    given = {"features": TABLE, "items": [TABLE], "tasks": []}
    for name, found in objects.items():
        for method in _methods_of(name):
            call = getattr(found, method)
            names = [one.name for one in inspect.signature(call).parameters.values() if one.default is one.empty]
            calls[f"{name}.{method}"] = call, {one: given.get(one, "x") for one in names if one in _parameters(call)}
    return calls


def _methods_of(class_name: str) -> list[str]:
    start = f"callback_sdk.{class_name}."
    return [name.removeprefix(start) for name in CALLABLES if name.startswith(start)]


def _parameters(call: Callable[..., Any]) -> list[str]:
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [one.name for one in inspect.signature(call).parameters.values() if one.kind not in variable]


CALLABLES = sorted(name for name in required() if name.rpartition(".")[2] not in NO_ARGUMENTS_OF_USERS)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Call]]:
    """Give all calls. No result arrives, and the service knows nothing."""

    def fail(self: HTTPSender, upload: Any) -> Any:
        raise DeliveryError("down")

    service = FakeService()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("arguments"))
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
        patch.setattr(HTTPSender, "exchange", fail)
        found = _calls(service, Path.cwd())
        yield found
        # It is shared by the process otherwise.
        found["compat.PlatformClient.get_task"][0].__self__.close()  # type: ignore[attr-defined]
    service.close()


def test_every_public_callable_is_tested(calls: dict[str, Call]) -> None:
    """A new one needs a call here, or a reason why no user calls it."""
    assert sorted(f"callback_sdk.{name}" for name in calls) == CALLABLES


@pytest.mark.parametrize("name", CALLABLES)
def test_a_wrong_value_is_an_error_of_this_package(calls: dict[str, Call], name: str) -> None:
    """Whichever value an argument has, and its text can be printed."""
    call, given = calls[name.removeprefix("callback_sdk.")]
    tried = itertools.product(_parameters(call), VALUES)
    found = [(f"{name}={value!r:.30}", _foreign_error(call, {**given, name: value})) for name, value in tried]
    assert [(what, error) for what, error in found if error] == []


def _foreign_error(call: Callable[..., Any], arguments: dict[str, Any]) -> str:
    """Return what a call raises, unless it is an error of this package, or one of a file that its docstring names."""
    try:
        _close(call(**arguments))
    except CallbackSDKError as error:
        str(error).encode()
    except Exception as error:  # noqa: BLE001 - that is what the test looks for
        if isinstance(error, OSError) and "OSError" in (call.__doc__ or ""):
            return ""
        return f"{type(error).__name__}: {error!s:.100}"
    finally:
        callback_sdk.aistore.patch.unpatch()
    return ""


def _close(made: Any) -> None:
    """Use up an iterator, and close what holds files or connections."""
    if isinstance(made, Iterator):
        list(itertools.islice(made, 3))
    elif isinstance(made, (Client, Outbox, ResultsWriter)):
        made.close()


def test_fractions_are_not_percentages() -> None:
    """Progress is from 0 to 1. A report outside is clipped, with a warning, because the run must go on."""
    with pytest.raises(CallbackSDKError, match=r"50 % is 0\.5"):
        Progress(50)
    assert Progress(1.0000001) == Progress(1.0)
    assert Progress(math.nan).fraction is None
    assert Progress.from_dict({"fraction": 50}).fraction == 1.0


def test_the_algorithm_decorator_needs_a_name() -> None:
    """Without parentheses, its error says how to write it."""
    with pytest.raises(CallbackSDKError, match=r'Write @registry.algorithm\("NAME"\)'):
        Registry().algorithm(_function)  # type: ignore[arg-type]
