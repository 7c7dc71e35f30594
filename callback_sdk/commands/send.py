"""`callback-sdk send`: deliver a result document by hand."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from callback_sdk.commands.options import AsJSON, duration, takes_settings, writer_settings
from callback_sdk.commands.printing import moment, print_facts, print_json
from callback_sdk.commands.target_argument import AsWebhook, TargetArgument
from callback_sdk.config.settings import STORAGE_ENDPOINTS
from callback_sdk.config.target_files import read_targets, split_outputs

if TYPE_CHECKING:
    from callback_sdk.config.storage import WriterConfig
    from callback_sdk.models import JobResult


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
    target: TargetArgument,
    *,
    job_id: Annotated[str | None, typer.Option(metavar="ID", help="Id of the job.", show_default=False)] = None,
    webhook: AsWebhook = False,
    output: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH",
            help="Output file or directory, which is uploaded before the document. Repeatable.",
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="Total time for all attempts.")] = "2m",
    config: WriterConfig,
    as_json: AsJSON = False,
) -> None:
    """Deliver a result document to a target and print the receipt.

    Output files go to a target that takes any number of objects, such as one of `callback-sdk sign prefix`, or each to
    a target with its name as "output": {"url": ..., "param": ..., "output": "model.bin"}.

    Webhooks are signed with CALLBACK_SDK_WEBHOOK_SECRETS. Exit codes: 0 delivered to all targets; 1 a delivery failed,
    or another error; 2 wrong usage; 130 Ctrl-C.
    """
    from attrs import evolve

    from callback_sdk.aistore.sources import token_sources
    from callback_sdk.errors import CallbackSDKError
    from callback_sdk.writer import ResultsWriter

    targets, own = split_outputs(read_targets(target, webhook=webhook))
    result = evolve(_result(document, job_id), outputs=_outputs(output))
    failure = None
    with (
        _attempts_text(),
        ResultsWriter(
            storage_endpoints=config.storage_endpoints,
            aistore_clusters=token_sources(config.aistore_clusters),
            webhook_secrets=config.webhook_secrets,
            timeout=duration(timeout, "--timeout"),
        ) as writer,
    ):
        try:
            receipts = list(writer.write(result, targets.reveal(), outputs=own))
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
            "OUTPUT FILES": ", ".join(receipt.outputs),
            "FINISHED": moment(receipt.finished_at),
        }
        print_facts(facts.items())
    if failure is not None:
        raise failure


def _outputs(given: list[str] | None) -> dict[str, Path] | None:
    pairs = [text.partition("=") for text in given or ()]
    if not all(name and path for name, _, path in pairs):
        raise typer.BadParameter("Give NAME=PATH.", param_hint="--output")
    if len({name for name, _, _ in pairs}) < len(pairs):
        raise typer.BadParameter("A name is given twice.", param_hint="--output")
    return {name: Path(path) for name, _, path in pairs} or None


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
            f"{path} is not a result document, which is a JSON object with job_id and success.",
            hint="Give --job-id when the file holds the results alone.",
        ) from None


@contextmanager
def _attempts_text() -> Iterator[None]:
    """Print each failed attempt that is retried. The error of the last attempt is raised."""
    log, handler = logging.getLogger("callback_sdk.writer"), logging.StreamHandler()
    handler.addFilter(lambda record: record.levelno == logging.WARNING)
    log.addHandler(handler)
    log.propagate = False
    try:
        yield
    finally:
        log.propagate = True
        log.removeHandler(handler)
