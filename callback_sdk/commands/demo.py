"""The command `demo`: submits a task with three callbacks to local servers, and checks the delivered documents."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from attrs import define, field

from callback_sdk.client import Client
from callback_sdk.config.client import ClientConfig
from callback_sdk.errors import CallbackSDKError, ConfigurationError, MissingExtraError
from callback_sdk.receipt import Receipt
from callback_sdk.signer import S3Signer
from callback_sdk.testing import LocalService, Postgres, RabbitMQ, SeaweedFS, Valkey, WebhookReceiver

if TYPE_CHECKING:
    import pandas
    from rich.console import Console

    from callback_sdk.client.tasks import Task

MEMBERS = ("job_id", "status", "callback_param", "success", "results")
_REGISTRY = "callback_sdk.examples:registry"
_ALGORITHM = "thermal-fatigue"
_JSON = "application/json"
_TIMEOUT = timedelta(minutes=2)
_MAX_LIST = 4


@define(frozen=True, kw_only=True)
class Place:
    """The object store of the demo.

    Attributes:
        bucket: An existing bucket; None to start a local store.
        prefix: Prefix of the objects' keys.
        region: Region of the bucket; boto3's default if None.
        endpoint_url: URL of an S3-compatible store; AWS if None.
    """

    bucket: str | None = None
    prefix: str = "callback-sdk-demo/"
    region: str | None = None
    endpoint_url: str | None = None


@define(frozen=True, kw_only=True)
class _DemoBucket:
    bucket: str
    prefix: str
    client: Any = field(repr=False)
    endpoint: str | None


@define(frozen=True, kw_only=True)
class Arrival:
    """A delivered document.

    Attributes:
        where: Description of the target.
        body: Bytes of the document.
        wanted: Metadata of the request that the store has to keep.
        found: Metadata of the stored object.
    """

    where: str
    body: bytes = field(repr=False)
    wanted: Mapping[str, str] = field(factory=dict)
    found: Mapping[str, str] = field(factory=dict)


def run(place: Place, engine: str = "embedded") -> None:
    """Run the demo, and print its steps.

    Args:
        place: The object store.
        engine: `"embedded"`, or `"celery"` to start a worker, a message broker and a database server too.

    Raises:
        CallbackSDKError: A server didn't start, or a document didn't arrive or is wrong.
    """
    console = _console()
    temperatures = _temperatures()
    _keep_loopback_from_proxies()
    with _ended_by_signals(), ExitStack() as stack:
        store = _store(place, stack, console)
        webhook = stack.enter_context(WebhookReceiver(path="/done"))
        service = _service(store, engine, stack, console)
        # The environment may contain settings for another service.
        with Client(service.url, token=service.token, config=ClientConfig.from_environ({})) as client:
            arrivals, receipts = _run_and_deliver(client, store, webhook, temperatures, console)
    for number, arrival in enumerate(arrivals, 1):
        _show_document(console, number, arrival)
    _show_receipts(console, receipts)


def check(arrivals: Sequence[Arrival], job_id: str) -> None:
    """Check the delivered documents.

    Raises:
        CallbackSDKError: A document has wrong members, isn't a success or lacks metadata, or the results differ.
    """
    documents = [_parse(arrival) for arrival in arrivals]
    for arrival, document in zip(arrivals, documents, strict=True):
        if tuple(document) != MEMBERS:
            raise CallbackSDKError(f"{arrival.where}: the members are {', '.join(document)}.")
        if document["job_id"] != job_id or document["success"] is not True:
            raise CallbackSDKError(f"{arrival.where}: the document is not the success of job {job_id}.")
        if dict(arrival.found) != dict(arrival.wanted):
            raise CallbackSDKError(f"{arrival.where}: kept {dict(arrival.found)} of {dict(arrival.wanted)}.")
        if document["results"] != documents[0]["results"]:
            raise CallbackSDKError(f"{arrival.where}: the results differ from those at {arrivals[0].where}.")


def shorten(value: Any) -> Any:
    """Return a copy for display, in which the end of long lists is replaced by the number of further items."""
    if isinstance(value, Mapping):
        return {name: shorten(member) for name, member in value.items()}
    if isinstance(value, list):
        shown = [shorten(item) for item in value[:_MAX_LIST]]
        return [*shown, f"… {len(value) - _MAX_LIST} more"] if len(value) > _MAX_LIST else shown
    return value


def _run_and_deliver(
    client: Client, store: _DemoBucket, webhook: WebhookReceiver, temperatures: pandas.DataFrame, console: Console
) -> tuple[list[Arrival], Sequence[Receipt]]:
    run_id = secrets.token_hex(4)
    put_key, post_key = (f"{store.prefix}{run_id}/{name}.json" for name in ("put", "post"))
    metadata = {"x-amz-meta-run": run_id}
    signer = S3Signer(store.bucket, client=store.client)
    put = signer.presign_put(put_key, expires=timedelta(hours=1), content_type=_JSON)
    post = signer.presign_post(
        post_key, expires=timedelta(hours=1), fields={"acl": "bucket-owner-full-control"} | metadata
    )
    console.print(f"Signed  a PUT   to {put_key} (content type)")
    console.print(f"Signed  a POST  to {post_key} (ACL and metadata)")
    try:
        task = client.run_algorithm(_ALGORITHM, temperatures, evaluate=True, callbacks=[put, post, webhook.url])
        console.print(f"Submitted job {task.job_id}: {_ALGORITHM}, {len(temperatures)} hourly temperatures")
        _follow(task, console)
        arrivals = [
            _read_back(store, put_key, {"content-type": _JSON}),
            _read_back(store, post_key, metadata),
            Arrival(where=f"POST to {webhook.url}", body=webhook.wait_for(1, timeout=_TIMEOUT)[0].body),
        ]
        check(arrivals, task.job_id)
        return arrivals, task.receipts
    finally:
        _remove(store, [put_key, post_key], console)


def _follow(task: Task, console: Console) -> None:
    """Show the progress until the result is delivered to all targets."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    end = time.monotonic() + _TIMEOUT.total_seconds()
    with Progress(*columns, console=console, transient=not console.is_terminal) as progress:
        bar = progress.add_task("computing", total=1.0)
        while not _is_over(task):
            if time.monotonic() > end:
                raise CallbackSDKError(f"Task {task.job_id} was not delivered within {_TIMEOUT.total_seconds():g} s.")
            time.sleep(0.1)
            task.refresh()
            progress.update(bar, **_progress(task))
        progress.update(bar, completed=1.0, description="delivered")
    console.print(f"Computed and delivered to {len(task.receipts)} targets")


def _is_over(task: Task) -> bool:
    if task.success is False:
        raise CallbackSDKError(f"Job {task.job_id} failed: {task.error}")
    for delivery in task.deliveries:
        if delivery.status == "dead":
            raise CallbackSDKError(f"The delivery to {delivery.url} failed: {delivery.error}")
    return bool(task.success) and all(delivery.status == "delivered" for delivery in task.deliveries)


def _progress(task: Task) -> dict[str, Any]:
    return {"completed": task.progress.fraction or 0.0, "description": task.progress.message or task.status}


def _store(place: Place, stack: ExitStack, console: Console) -> _DemoBucket:
    import boto3
    from botocore.config import Config

    if place.bucket is None:
        console.print("Starting an object store (SeaweedFS) …")
        server = stack.enter_context(SeaweedFS())
        bucket = server.create_bucket("results")
        client = stack.enter_context(contextlib.closing(server.client()))
        return _DemoBucket(bucket=bucket, prefix="runs/", client=client, endpoint=server.endpoint_url)
    with _storage_errors(place.bucket):
        client = boto3.client(
            "s3",
            region_name=place.region,
            endpoint_url=place.endpoint_url,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"} if place.endpoint_url else {}),
        )
        stack.enter_context(contextlib.closing(client))
        client.head_bucket(Bucket=place.bucket)
    return _DemoBucket(bucket=place.bucket, prefix=place.prefix, client=client, endpoint=place.endpoint_url)


def _service(store: _DemoBucket, engine: str, stack: ExitStack, console: Console) -> LocalService:
    database = broker = None
    if engine == "celery":
        console.print("Starting a database (PostgreSQL) …")
        database = stack.enter_context(Postgres()).url
        broker = _broker(stack, console)
    console.print("Starting the service and a worker …" if broker else "Starting the service …")
    service = LocalService(
        _REGISTRY,
        storage_endpoints=[store.endpoint] if store.endpoint else [],
        # SSRF protection is off for the loopback network, on which the demo's own servers listen.
        allow_networks=("0.0.0.0/0:*", "[::/0]:*"),
        database=database,
        broker=broker,
    )
    return stack.enter_context(service)


def _broker(stack: ExitStack, console: Console) -> str:
    if shutil.which("rabbitmq-server"):
        console.print("Starting a message broker (RabbitMQ) …")
        return stack.enter_context(RabbitMQ()).url
    console.print("Starting a message broker (Valkey, because rabbitmq-server is not installed) …")
    return stack.enter_context(Valkey()).url


def _read_back(store: _DemoBucket, key: str, wanted: Mapping[str, str]) -> Arrival:
    with _storage_errors(store.bucket):
        answer = store.client.get_object(Bucket=store.bucket, Key=key)
        with contextlib.closing(answer["Body"]) as stream:
            body = stream.read()
    kept = {"content-type": answer["ContentType"]}
    kept |= {f"x-amz-meta-{name.lower()}": value for name, value in answer["Metadata"].items()}
    found = {name: kept[name] for name in wanted if name in kept}
    return Arrival(where=f"s3://{store.bucket}/{key}", body=body, wanted=wanted, found=found)


def _remove(store: _DemoBucket, keys: Sequence[str], console: Console) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        for key in keys:
            store.client.delete_object(Bucket=store.bucket, Key=key)
    except (BotoCoreError, ClientError) as error:
        console.print(f"Not removed from bucket {store.bucket}: {', '.join(keys)} ({type(error).__name__})")


def _show_document(console: Console, number: int, arrival: Arrival) -> None:
    console.print(f"\n{number}. {arrival.where}, {len(arrival.body)} bytes", style="bold")
    for name, value in arrival.found.items():
        console.print(f"   {name}: {value}")
    console.print_json(json.dumps(shorten(json.loads(arrival.body))), ensure_ascii=False)


def _show_receipts(console: Console, receipts: Sequence[Receipt]) -> None:
    from rich.table import Table

    console.print()
    table = Table(title="Receipts", title_justify="left")
    for name in ("target kind", "url", "status", "attempts", "bytes", "etag", "sha256"):
        table.add_column(name, overflow="fold")
    for receipt in receipts:
        facts = (receipt.status, receipt.attempts, receipt.size, receipt.etag or "", receipt.sha256[:12])
        table.add_row(receipt.target_kind, receipt.url, *map(str, facts))
    console.print(table)


def _parse(arrival: Arrival) -> dict[str, Any]:
    try:
        document = json.loads(arrival.body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise CallbackSDKError(f"{arrival.where}: the document is not a JSON object.")
    return document


def _console() -> Console:
    try:
        from rich.console import Console
    except ModuleNotFoundError as error:
        raise MissingExtraError("rich", extra="demo") from error
    # A pipe has no width, and rich would wrap the table at 80 columns.
    return Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False, emoji=False)


def _temperatures() -> pandas.DataFrame:
    """Read a year of hourly temperatures in Seattle from the package vega_datasets."""
    try:
        import pandas as pd
        import pyarrow  # noqa: F401
        from vega_datasets import local_data
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), extra="demo") from error
    table = pd.read_csv(local_data.seattle_temps.filepath)
    celsius = (table["temp"] - 32.0) / 1.8
    return pd.DataFrame({"time": table["date"], "temperature": celsius.round(3)})


def _keep_loopback_from_proxies() -> None:
    """Exclude loopback addresses from the proxies of the environment, because the demo's servers listen there."""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join([*hosts, "127.0.0.1"])


@contextlib.contextmanager
def _storage_errors(bucket: str) -> Iterator[None]:
    """Convert errors of boto3 to errors with a hint."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise ConfigurationError(
            f"Bucket {bucket!r} can't be used: {str(error).rstrip('.')}.",
            hint="Check the bucket's name, --region, --endpoint-url, and the credentials that boto3 finds.",
        ) from error


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Exit by an exception at SIGTERM and SIGHUP, so that all started servers are stopped."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    previous = [signal.signal(number, _exit) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
