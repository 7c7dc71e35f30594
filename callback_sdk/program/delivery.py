"""Delivers the document of a program, by `ResultsWriter` or an outbox."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callback_sdk.errors import ConfigurationError, OutboxError
from callback_sdk.redaction import Secret

if TYPE_CHECKING:
    from callback_sdk.errors import CallbackSDKError
    from callback_sdk.models import JobResult
    from callback_sdk.writer import ResultsWriter

PLACEHOLDER = "{job_id}"

_NOT_IN_NAMES = re.compile(r'[/\\:*?"<>|]')
"""Characters that names of files can't have. Ids of AWS Batch have a colon before the index of an array."""

_USUAL = re.compile(r"(?!con|prn|aux|nul|com|lpt)[0-9a-z](?:[0-9a-z_.\[\]-]{0,98}[0-9a-z_\]-])?", re.IGNORECASE)
"""Ids that any name can have. Others are checked, which takes longer to import."""


def with_job_id(targets: list[Secret[Any]], job_id: str) -> list[Secret[Any]]:
    """Replace `{job_id}` in the names of documents, so that one signature for a prefix serves all jobs of an array.

    Args:
        targets: Targets as they were read.
        job_id: The job's id.

    Raises:
        ConfigurationError: The name that this makes is not allowed.
    """
    return [Secret(_with_job_id(each.reveal(), job_id)) for each in targets]


def _with_job_id(value: Any, job_id: str) -> Any:
    if isinstance(value, list):
        return [_with_job_id(each, job_id) for each in value]
    if not isinstance(value, dict):
        return value
    names = ("s3_prefix", "azure_prefix")
    return {
        name: _rename(each, job_id) if name in names else _with_job_id(each, job_id) for name, each in value.items()
    }


def _rename(prefix: Any, job_id: str) -> Any:
    document = prefix.get("document") if isinstance(prefix, dict) else None
    if not isinstance(document, str) or PLACEHOLDER not in document:
        return prefix
    part = _NOT_IN_NAMES.sub("_", job_id)
    name = document.replace(PLACEHOLDER, part)
    if _USUAL.fullmatch(part) is None:
        _check_name(name)
    return {**prefix, "document": name}


def _check_name(name: str) -> None:
    from callback_sdk.errors import OutputError
    from callback_sdk.outputs.names import checked_name

    try:
        checked_name(name)
    except OutputError as error:
        raise ConfigurationError(
            f"The job id can't be part of the document's name: {error.message}",
            hint="Give another --job-id, or sign a target for each job, without {job_id}.",
        ) from None


def folder_of(targets: list[Secret[Any]]) -> str:
    """Return the directory of the document below a prefix, where its output files go too; empty without one."""
    for target in targets:
        for prefix in _prefixes(target.reveal()):
            folder, slash, _ = str(prefix.get("document", "")).rpartition("/")
            if slash:
                return folder + slash
    return ""


def _prefixes(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [found for each in value for found in _prefixes(each)]
    if not isinstance(value, dict):
        return []
    own = [value[name] for name in ("s3_prefix", "azure_prefix") if isinstance(value.get(name), dict)]
    return own + _prefixes(value.get("param"))


def subscribe_to_events(targets: list[Secret[Any]]) -> bool:
    """Return whether a target may get events before the end of the job."""
    return any(_has_events(target.reveal()) for target in targets)


def _has_events(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_has_events, value))
    return isinstance(value, dict) and ("events" in value or _has_events(value.get("param")))


def check(targets: list[Secret[Any]]) -> None:
    """Check targets as far as possible without sending anything.

    Raises:
        CallbackSDKError: A target can't be used.
    """
    from callback_sdk.config.storage import WriterConfig
    from callback_sdk.config.target_files import split_outputs
    from callback_sdk.outputs.names import named_targets
    from callback_sdk.targets import check_target

    documents, outputs = split_outputs(targets)
    config = WriterConfig.from_environ()
    clusters = [url for url, _ in config.aistore_clusters]
    for target in [*map(Secret, documents.reveal()), *named_targets(outputs).values()]:
        # Wrapped again by the function, which hides what it gets from tracebacks.
        check_target(target.reveal(), storage_endpoints=config.storage_endpoints, aistore_clusters=clusters)


def deliver(
    result: JobResult,
    targets: list[Secret[Any]],
    outbox: Path | None,
    *,
    warn: Callable[[CallbackSDKError], object],
    sending: Callable[[bool], object],
) -> str | None:
    """Deliver a result, and return None if all targets have it, otherwise what remains to be done.

    Args:
        result: The result.
        targets: Its targets.
        outbox: The file of the outbox, in which the document is stored before anything is sent; None without one.
        warn: Called with the error of an outbox that can't store it, after which it is sent all the same.
        sending: Called before anything is sent, with whether the outbox has the document.

    Raises:
        EncodingError: The results are not JSON, or an output file is not valid; nothing was sent.
        CallbackSDKError: A target does not have the result, and will not get it from the outbox.
    """
    from callback_sdk.config.target_files import split_outputs
    from callback_sdk.program.configured import open_writer

    documents, own = split_outputs(targets)
    with open_writer() as writer:
        try:
            pending: Sequence[object] = []
            if outbox is not None:
                pending = _write_to(outbox, writer, result, documents, own, stored=partial(sending, True))
        except (ConfigurationError, OutboxError) as error:
            warn(error)
            outbox = None
        if outbox is None:
            sending(False)
            writer.write(result, documents.reveal(), outputs=own)
            return None
    if not pending:
        return None
    return f"{len(pending)} of the deliveries not made yet: callback-sdk outbox run {outbox} --until-empty"


def _write_to(
    outbox: Path,
    writer: ResultsWriter,
    result: JobResult,
    documents: Secret[list[Any]],
    own: Secret[dict[str, Any]],
    *,
    stored: Callable[[], object],
) -> Sequence[object]:
    """Write a result to an outbox, and return its pending deliveries."""
    from callback_sdk.outbox import Outbox
    from callback_sdk.outbox.jobs import write_result

    with Outbox(outbox, writer=writer) as store:
        return write_result(store, result, documents, own, stored=stored).pending


def open_sender(outbox: Path | None) -> None:
    """Import and open what `deliver` needs.

    Raises:
        CallbackSDKError: The configuration is not valid, or the outbox can't be opened.
    """
    from callback_sdk.program.configured import open_writer

    with open_writer() as writer:
        if outbox is not None:
            from callback_sdk.outbox import Outbox

            Outbox(outbox, writer=writer).close()
