"""The commands about places for results: `sign` makes one, `check` explains one, and `send` uses one."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from callback_sdk.commands.options import AsJSON, duration, takes_settings, writer_settings
from callback_sdk.commands.printing import moment, print_json, print_line, print_table
from callback_sdk.config.settings import STORAGE_ENDPOINTS

if TYPE_CHECKING:
    from callback_sdk.config.storage import WriterConfig
    from callback_sdk.models import JobResult, PresignedPost, PresignedPut
    from callback_sdk.redaction import Secret
    from callback_sdk.signer import S3Signer
    from callback_sdk.targets import Target, TargetSettings

EXIT_ERROR = 1

_BOTO3_FORM = {"url", "fields"}
"""What `generate_presigned_post` returns."""

sign = typer.Typer(
    name="sign",
    help="""Presign an upload of one object, with the credentials boto3 finds.

    The output is a credential: whoever has it can write the object until it expires.""",
    no_args_is_help=True,
)

Place = Annotated[
    str,
    typer.Argument(metavar="BUCKET/KEY", help="The object, as s3://BUCKET/KEY or BUCKET/KEY.", show_default=False),
]
Expires = Annotated[
    str, typer.Option(metavar="DURATION", help="Lifetime of the signature, such as 90s, 6h or 7d (maximum).")
]
ContentType = Annotated[str | None, typer.Option(metavar="TYPE", help="Signed Content-Type of the object.")]
Acl = Annotated[str | None, typer.Option(metavar="ACL", help="Canned ACL, such as bucket-owner-full-control.")]
Metadata = Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Metadata of the object. Repeatable.")]
Region = Annotated[str | None, typer.Option(help="Region of the bucket.", show_default=False)]
EndpointUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="URL of an S3-compatible store.", show_default=False)
]
Where = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help='A file with a URL, or with JSON: {"url": ..., "param": {...}}, a list of these, or what '
        "generate_presigned_post returns. - reads standard input. A URL is accepted, too, but other users of this "
        "machine see command lines.",
        show_default=False,
    ),
]


@sign.command("put")
def sign_put(
    place: Place,
    *,
    expires: Expires = "1h",
    content_type: ContentType = None,
    acl: Acl = None,
    metadata: Metadata = None,
    if_none_match: Annotated[
        bool, typer.Option("--if-none-match", help="Reject the upload if the object exists.")
    ] = False,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for --callbacks-file of submit, including the signed headers.")
    ] = False,
) -> None:
    """Presign a PUT of one object and print the URL.

    Options that sign headers need --json, because the upload must send these headers.
    """
    options: dict[str, Any] = {"expires": duration(expires, "--expires"), "metadata": _pairs(metadata, "--metadata")}
    options |= {"content_type": content_type, "acl": acl, "if_none_match": if_none_match}
    key, signer = _signer(place, region, endpoint_url)
    target = signer.presign_put(key, **options)
    if target.callback_param and not as_json:
        raise typer.BadParameter("These options sign headers, which the plain URL doesn't carry: add --json.")
    _print_target(target, as_json=as_json)


@sign.command("post")
def sign_post(
    place: Place,
    *,
    expires: Expires = "1h",
    content_type: ContentType = None,
    acl: Acl = None,
    metadata: Metadata = None,
    field: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Form field. Repeatable.")] = None,
    max_size: Annotated[int | None, typer.Option(min=1, metavar="BYTES", help="Maximum size of the object.")] = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Presign a POST of one object and print the form as JSON for --callbacks-file of submit."""
    options: dict[str, Any] = {"expires": duration(expires, "--expires"), "metadata": _pairs(metadata, "--metadata")}
    options |= {"fields": _pairs(field, "--field"), "content_type": content_type, "acl": acl, "max_bytes": max_size}
    key, signer = _signer(place, region, endpoint_url)
    target = signer.presign_post(key, **options)
    _print_target(target, as_json=True)


@takes_settings(STORAGE_ENDPOINTS, read=writer_settings)
def check(target: Where, *, config: WriterConfig, as_json: AsJSON = False) -> None:
    """Validate a target without sending anything: kind, expiry, request headers and warnings.

    Exit codes: 0 valid; 1 invalid, with the problem; 2 wrong usage. The output holds no credential.
    """
    settings = _settings(config)
    found = [_explained(item, settings) for item in _items(target)]
    if as_json:
        print_json([{name: _wire(value) for name, value in facts.items()} for facts in found])
    for facts in () if as_json else found:
        print_table((), [(name.upper().replace("_", " "), _shown(value)) for name, value in facts.items() if value])
    if any(facts["problem"] for facts in found):
        raise typer.Exit(EXIT_ERROR)


@takes_settings(STORAGE_ENDPOINTS, read=writer_settings)
def send(
    document: Annotated[
        Path,
        typer.Argument(
            metavar="DOCUMENT",
            help="JSON file: a result document with job_id and success, or with --job-id the results.",
            show_default=False,
        ),
    ],
    target: Where,
    *,
    job_id: Annotated[str | None, typer.Option(metavar="ID", help="Id of the job.", show_default=False)] = None,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="Total time for all attempts.")] = "2m",
    config: WriterConfig,
    as_json: AsJSON = False,
) -> None:
    """Deliver a result document to a target and print the receipt.

    Webhooks are signed with CALLBACK_SDK_WEBHOOK_SECRETS. Exit codes: 0 delivered to all targets; 1 a delivery failed,
    or another error; 2 wrong usage; 130 Ctrl-C.
    """
    from callback_sdk.errors import CallbackSDKError
    from callback_sdk.redaction import Secret
    from callback_sdk.writer import ResultsWriter

    result, targets = _result(document, job_id), Secret([item.reveal() for item in _items(target)])
    failure = None
    with (
        _attempts_text(),
        ResultsWriter(
            storage_endpoints=config.storage_endpoints,
            webhook_secrets=config.webhook_secrets,
            timeout=duration(timeout, "--timeout"),
        ) as writer,
    ):
        try:
            receipts = list(writer.write(result, targets.reveal()))
        except CallbackSDKError as error:
            receipts, failure = list(getattr(error, "receipts", ())), error
    if as_json:
        print_json([receipt.to_dict() for receipt in receipts])
    for receipt in () if as_json else receipts:
        facts = {"TARGET KIND": receipt.target_kind, "TARGET": receipt.url, "STATUS": str(receipt.status)}
        facts |= {
            "ETAG": receipt.etag or "",
            "BYTES": str(receipt.size),
            "SHA256": receipt.sha256,
            "FINISHED": moment(receipt.finished_at),
        }
        print_table((), [(name, value) for name, value in facts.items() if value])
    if failure is not None:
        raise failure


def add_to(app: typer.Typer) -> None:
    """Make these commands an app's own."""
    app.add_typer(sign)
    app.command()(check)
    app.command()(send)


def _signer(place: str, region: str | None, endpoint_url: str | None) -> tuple[str, S3Signer]:
    from callback_sdk.signer import S3Signer

    rest = place.removeprefix("s3://")
    bucket, _, key = rest.partition("/")
    if not bucket or not key or "://" in rest:
        raise typer.BadParameter("Give BUCKET/KEY.", param_hint="BUCKET/KEY")
    return key, S3Signer(bucket, region=region, endpoint_url=endpoint_url)


def _print_target(target: PresignedPut | PresignedPost, *, as_json: bool) -> None:
    if as_json:
        print_json([{"url": target.url, "param": target.callback_param}])
    else:
        print_line(target.url)
    if sys.stdout.isatty():
        print_line(f"It can be used until {moment(target.expires_at)}.", err=True)


def _explained(item: Secret[Any], settings: TargetSettings) -> dict[str, Any]:
    """Return what is known of a target, with the first problem that a result would have there."""
    from callback_sdk.errors import TargetError
    from callback_sdk.targets import plan
    from callback_sdk.targets.callbacks import parse_callbacks

    now = datetime.now(timezone.utc)
    facts: dict[str, Any] = dict.fromkeys(("url", "kind", "method", "object", "expires_at", "expires_in"))
    facts |= {"headers": [], "fields": [], "warnings": [], "problem": None}
    try:
        (callback,) = parse_callbacks(item)
        facts["url"] = str(callback.url)
        target = plan(callback, settings)
        facts |= {"kind": target.kind, "method": target.method, "object": target.object_url("ID")}
        if target.expires_at is not None:
            left = target.expires_at - now
            facts |= {"expires_at": target.expires_at, "expires_in": left.total_seconds()}
        facts["warnings"] = list(target.warnings(now))
        facts |= _request(target, now)
    except TargetError as error:
        facts["problem"] = str(error)
    return facts


def _request(target: Target, now: datetime) -> dict[str, Any]:
    """Return the names of headers and of form fields that a document would be sent with."""
    from callback_sdk.documents.body import Body

    target.check(now=now)
    upload = target.upload(Body(b"{}"), delivery_id="ID", now=now)
    fields = target.callback.fields
    return {"headers": sorted(upload.headers.reveal()), "fields": list(fields.reveal()) if fields else []}


def _wire(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, float):
        return f"{timedelta(seconds=abs(round(value)))}{' ago' if value < 0 else ''}"
    return str(value)


def _settings(config: WriterConfig) -> TargetSettings:
    from callback_sdk.targets import TargetSettings
    from callback_sdk.targets.providers import StorageProviders

    return TargetSettings(stores=StorageProviders.of(config.storage_endpoints))


def _items(where: str) -> list[Secret[Any]]:
    """Return the targets of a file, of standard input, or of the command line itself."""
    from callback_sdk.errors import CallbackParamError
    from callback_sdk.redaction import Secret

    text = _read(where)
    del where
    found: Secret[Any] = text
    if text.reveal()[:1] in ("{", "["):
        try:
            found = Secret(json.loads(text.reveal()))
        except ValueError:
            found = Secret(None)
    items = [Secret(_item(one)) for one in _listed(found).reveal()]
    if not items:
        raise CallbackParamError(
            "There is no target in what was given.", hint='Give a URL, or JSON: {"url": "https://...", "param": {}}.'
        )
    return items


def _read(where: str) -> Secret[str]:
    from callback_sdk.redaction import Secret

    if where == "-":
        return Secret(sys.stdin.read().strip())
    if "://" in where:
        return Secret(where.strip())
    return Secret(Path(where).read_text(encoding="utf-8").strip())


def _listed(found: Secret[Any]) -> Secret[list[Any]]:
    from callback_sdk.redaction import Secret

    value = found.reveal()
    return Secret(value if isinstance(value, list) else [value] if value else [])


def _item(given: Any) -> Any:
    if isinstance(given, dict) and given.keys() >= _BOTO3_FORM:
        return {"url": given["url"], "param": {"s3_fields": given["fields"]}}
    return given


def _result(path: Path, job_id: str | None) -> JobResult:
    from callback_sdk.errors import EncodingError
    from callback_sdk.models import JobResult

    if job_id is not None:
        return JobResult(job_id=job_id, success=True, results=path)
    try:
        document = json.loads(path.read_bytes())
        return JobResult(
            job_id=document["job_id"],
            success=document["success"],
            results=document.get("results"),
            error=document.get("error"),
            status=document.get("status", "Finished"),
        )
    except (ValueError, KeyError, TypeError):
        raise EncodingError(
            f"{path} is no result document, which is a JSON object with job_id and success.",
            hint="Give --job-id when the file holds the results alone.",
        ) from None


@contextmanager
def _attempts_text() -> Iterator[None]:
    """Print the tries that fail, as somebody waits; the last one is an error by itself."""
    log, handler = logging.getLogger("callback_sdk.writer"), logging.StreamHandler()
    handler.addFilter(lambda record: record.levelno == logging.WARNING)
    log.addHandler(handler)
    log.propagate = False
    try:
        yield
    finally:
        log.propagate = True
        log.removeHandler(handler)


def _pairs(given: list[str] | None, option: str) -> dict[str, str]:
    pairs = [text.partition("=") for text in given or ()]
    if not all(name and equals for name, equals, _ in pairs):
        raise typer.BadParameter("Give NAME=VALUE.", param_hint=option)
    return {name: value for name, _, value in pairs}
