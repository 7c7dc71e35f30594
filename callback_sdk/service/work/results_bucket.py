"""The service's own bucket, for targets `results:`: the URL of each object is signed when its upload begins."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property

from attrs import evolve

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.errors import CallbackParamError, ConfigurationError, DeliveryError, InvalidTargetError, SigningError
from callback_sdk.outputs import Output
from callback_sdk.redaction import SecretURL, without_credentials
from callback_sdk.signer import S3Signer
from callback_sdk.signer.buckets import environment_region
from callback_sdk.targets.callbacks import Callback, parse_callbacks
from callback_sdk.targets.target import JSON
from callback_sdk.writer import ResultsWriter
from callback_sdk.writer.attempts import DeliveryAttempts
from callback_sdk.writer.writer import attempts_of

LIFETIME = timedelta(minutes=10)
"""Lifetime of the URL of one attempt: a store checks it when the upload begins."""

DEFAULT_NAME = "result.json"

_REJECTED = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "NoSuchBucket"})
"""Error codes of a wrong bucket or key. Without s3:ListBucket the code is AccessDenied, after the signature's check."""

_HINT = "Have the operator check the bucket of --results-bucket and the credentials that boto3 finds in the service."

_log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}")
"""A bucket's name, in the characters and the length that S3 has ever allowed: no user, no password, no port."""

_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()/-]{0,450}")
"""With a task's id and the longest name of an output file, a key has at most 1,024 bytes."""


class ResultsBucket:
    """Objects `PREFIX/JOB_ID/NAME` of a bucket: one for each target `results:` or `results:NAME`, and for output files.

    The host is the operator's choice, so the service's SSRF protection doesn't apply to it. Credentials, region and
    endpoint are those of boto3's chain; boto3 is imported with the first signature.

    Args:
        place: `s3://BUCKET/PREFIX`.

    Raises:
        ConfigurationError: It is not such a location.
    """

    def __init__(self, place: str) -> None:
        scheme, _, rest = place.partition("://")
        self._bucket, _, prefix = rest.partition("/")
        prefix = prefix.strip("/")
        segments = prefix.split("/")
        is_valid = scheme == "s3" and _BUCKET.fullmatch(self._bucket) and _PREFIX.fullmatch(prefix)
        if not is_valid or {".", ".."}.intersection(segments):
            raise ConfigurationError(
                f"{without_credentials(place)!r:.100} is not a location for results.",
                hint="Give s3://BUCKET/PREFIX with --results-bucket.",
            )
        self._prefix = f"{prefix}/" if prefix else ""

    def __repr__(self) -> str:
        return f"ResultsBucket('s3://{self._bucket}/{self._prefix}')"

    @cached_property
    def attempts(self) -> DeliveryAttempts:
        """Single attempts at this bucket, on connections of their own."""
        return attempts_of(ResultsWriter())

    def with_shown_url(self, callback: Callback, job_id: str) -> Callback:
        """Return a target `results:` with the URL of its object, to show it.

        Raises:
            TargetError: Its name is invalid, or it has members for another target.
            SigningError: There are no credentials.
        """
        signed = self.sign(callback, job_id)
        return evolve(callback, shown=SecretURL(signed.url.bare).with_public_path())

    def sign(self, callback: Callback, job_id: str) -> Callback:
        """Return the target of one attempt, with a signed URL.

        Args:
            callback: `results:` or `results:NAME`.
            job_id: The task, whose id is a part of the key.

        Raises:
            TargetError: Its name is invalid, or it has members for another target.
            SigningError: There are no credentials.
        """
        return evolve(self._object(job_id, _name(callback), JSON), param=callback.param)

    def sign_file(self, output: Output, job_id: str) -> Callback:
        """Return the target of an output file beside the document, with a signed URL.

        Args:
            output: The file.
            job_id: The task.

        Raises:
            SigningError: There are no credentials.
        """
        return self._object(job_id, output.name, output.media_type)

    def _object(self, job_id: str, name: str, media_type: str) -> Callback:
        key = f"{self._prefix}{job_id}/{name}"
        (signed,) = parse_callbacks(self._signer.presign_put(key, expires=LIFETIME, content_type=media_type))
        return signed

    @cached_property
    def _signer(self) -> S3Signer:
        return S3Signer(self._bucket)

    def check(self) -> None:
        """Check that URLs can be signed, and that the store knows the bucket and accepts the key.

        A store that can't be reached at the moment, or doesn't permit the check, is logged: uploads may be possible.

        Raises:
            ConfigurationError: There are no credentials, or no region, or the store rejects the bucket or the key.
        """
        try:
            self.sign(Callback(SecretURL("results:")), "check")
        except SigningError as error:
            failure = error
        else:
            self._check_store()
            return
        raise ConfigurationError(
            f"Results can't be signed for s3://{self._bucket}: {failure.message}", hint=failure.hint
        )

    def _check_store(self) -> None:
        """List one object: unlike that of HeadBucket, the response has an error code."""
        with no_fork:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError, ClientError

        config = Config(signature_version="s3v4", connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 1})
        try:
            client = boto3.Session().client("s3", region_name=environment_region(), config=config)
            client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
        except BotoCoreError as error:
            code = type(error).__name__
        else:
            return
        if code in _REJECTED:
            raise ConfigurationError(
                f"The store rejects s3://{self._bucket} of --results-bucket: {code}.",
                hint="Check the bucket's name, and the credentials, region and endpoint that boto3 finds.",
            )
        _log.warning("s3://%s of --results-bucket can't be checked: %.100r.", self._bucket, code)


@contextmanager
def operators_errors() -> Iterator[None]:
    """Give errors of a wrong bucket or key the hint for the operator: the owner of the task has signed nothing."""
    try:
        yield
    except DeliveryError as error:
        if error.code in _REJECTED or error.status in (401, 403, 404):
            error.hint = _HINT
        raise


def _name(callback: Callback) -> str:
    name = callback.url.reveal().partition(":")[2] or DEFAULT_NAME
    if not _NAME.fullmatch(name):
        raise InvalidTargetError(
            "The name after results: is invalid.",
            hint="Give results: or results:NAME with up to 100 letters, digits, dots, hyphens and underscores.",
        )
    given = (callback.fields, callback.headers, callback.http, callback.issuer, callback.parts, callback.prefix)
    if any(member is not None for member in given) or callback.webhook:
        raise CallbackParamError(
            "callback_param of results: has members for another kind of target.",
            hint="Leave members such as s3_fields and refresh out: the service signs its own URL.",
        )
    return name
