"""Plan the target of a callback; pure.

A new kind of target is one class in this package and its line in `_forms` or `_others`. Most processes need one kind,
and to import all takes as long as ten deliveries: other kinds than the most common are imported when they are asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from functools import cache
from typing import TYPE_CHECKING

from attrs import evolve

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.errors import CallbackParamError, InvalidTargetError, WrongOperationError
from callback_sdk.redaction import Secret, SecretFields, clearing_locals, wrap_secret
from callback_sdk.targets.aistore import check_key
from callback_sdk.targets.callbacks import Callback, parse_callbacks
from callback_sdk.targets.hosts import check_url
from callback_sdk.targets.identifiers import Identifiers, check_escaping, check_unsigned, is_signed, merge
from callback_sdk.targets.members import WEBHOOK_HINT
from callback_sdk.targets.operations import RESUMABLE
from callback_sdk.targets.provider_table import Provider
from callback_sdk.targets.providers import StorageProviders
from callback_sdk.targets.s3 import S3Put, S3PutV2
from callback_sdk.targets.support import check_support
from callback_sdk.targets.target import Target, TargetSettings
from callback_sdk.targets.url_shapes import plan_by_shape

if TYPE_CHECKING:
    from callback_sdk.types import CallbackParam, CallbackTarget

_Kinds = tuple[type[Target], ...]

_COMMON: _Kinds = (S3Put, S3PutV2)


def plan(callback: Callback, settings: TargetSettings | None = None) -> Target:
    """Return the target of a callback.

    Args:
        callback: The URL with its parameters.
        settings: Configuration of the targets.

    Raises:
        TargetError: No result can be delivered to it; the subclass tells why.
    """
    settings = settings or TargetSettings()
    check_url(callback.url)
    return plan_by_shape(callback, settings, plan_alone) or plan_alone(callback, settings)


def plan_alone(callback: Callback, settings: TargetSettings) -> Target:
    """Do the same as `plan`, for a URL that was checked, without what is known of others like it."""
    target = _webhook(callback, settings) if callback.webhook else _upload_or_webhook(callback, settings)
    if callback.prefix is not None and not target.takes_outputs():
        raise CallbackParamError(
            f"{callback.url} has {callback.prefix.member}, and its signature doesn't permit keys below a prefix.",
            hint="Presign with S3Signer(bucket).presign_prefix(...), or with generate_presigned_post for a key that "
            "ends with ${filename}; on Azure for a container or a directory. Or leave the member out.",
            url=str(callback.url),
        )
    return target


def _upload_or_webhook(callback: Callback, settings: TargetSettings) -> Target:
    try:
        return _upload(callback, settings) or _webhook(callback, settings)
    except InvalidTargetError as error:
        if _may_be_webhook(callback, settings, error):
            error.add_hint(WEBHOOK_HINT)
        raise


def check_callback(callback: Callback, settings: TargetSettings | None = None, *, size: int | None = None) -> Target:
    """Identify and validate the target of a callback without making a request.

    Args:
        callback: The URL with its parameters.
        settings: Configuration of the targets.
        size: Bytes of the document; None before they are known.

    Returns:
        The target.

    Raises:
        TargetError: No result can be delivered to it; the subclass tells why.
    """
    target = plan(callback, settings)
    # Not part of the plan: a target that has replaced another one gets its result, whatever it subscribes to.
    target.check_events()
    target.check(now=datetime.now(timezone.utc), size=size)
    return target


@clearing_locals
def check_target(
    url: CallbackTarget,
    param: CallbackParam | None = None,
    *,
    storage_endpoints: Iterable[str] = (),
    aistore_clusters: Iterable[str] = (),
    size: int | None = None,
) -> Target:
    """Identify and validate a callback target without making a request.

    Client and service run the same check when a task is submitted.

    Args:
        url: A URL, or what `S3Signer` returns.
        param: Its `callback_param`.
        storage_endpoints: URLs of object stores besides the known providers.
        aistore_clusters: URLs of the proxies of AIStore clusters.
        size: Bytes of the document; None before they are known.

    Returns:
        The target, with its `kind` and `expires_at`.

    Raises:
        TargetError: No result can be delivered to it; the subclass tells why.

    Example:
        >>> check_target("https://example.org/done").kind
        'webhook'
    """
    given, own = Secret([url]), wrap_secret(param)
    del url, param
    (callback,) = parse_callbacks(given, own)
    stores = StorageProviders.of(storage_endpoints, aistore_clusters)
    return check_callback(callback, TargetSettings(stores=stores), size=size)


def _upload(callback: Callback, settings: TargetSettings) -> Target | None:
    """Return the target of a signed URL, a form or an HTTP server; None for a URL without any sign of these."""
    check_escaping(callback.url)
    _check_http(callback)
    if settings.stores.in_cluster(callback.url):
        check_key(callback.url)
    provider = settings.stores.provider(callback.url)
    for kind in _candidates(callback):
        if (target := kind.recognize(callback, settings)) is not None:
            if provider is not None:
                check_support(callback.url, target.needs(), provider)
            return _with_provider(target, provider)
    check_unsigned(callback.url, _identifiers())
    return None


def _with_provider(target: Target, provider: Provider | None) -> Target:
    """Return a target with its provider, whose URL shows the name of the object."""
    start = target.public_path_start(provider)
    if start is None:
        return evolve(target, provider=provider)
    callback = evolve(target.callback, url=target.callback.url.with_public_path(start))
    return evolve(target, provider=provider, callback=callback)


def _webhook(callback: Callback, settings: TargetSettings) -> Target:
    with no_fork:
        from callback_sdk.targets.webhook import Webhook

    return Webhook.recognize(callback, settings)


def _may_be_webhook(callback: Callback, settings: TargetSettings, error: InvalidTargetError) -> bool:
    """Return whether a rejected URL may be that of a webhook: only its owner knows what a parameter `sig` is for."""
    is_bare = all(given is None for given in (callback.fields, callback.headers, callback.http, callback.parts))
    is_complete = isinstance(error, WrongOperationError)
    return is_bare and not is_complete and settings.stores.provider(callback.url) is None


def _candidates(callback: Callback) -> Iterator[type[Target]]:
    """Yield the kinds that may recognize a callback, in the order in which they are asked."""
    if callback.parts is not None:
        with no_fork:
            from callback_sdk.targets.s3_multipart import S3Multipart

        yield S3Multipart
    if callback.http is not None:
        with no_fork:
            from callback_sdk.targets.http_put import HTTPPut

        yield HTTPPut
    if callback.fields is not None:
        yield from _forms()
    if _starts_session(callback):
        yield from _starts()
    yield from _COMMON
    yield from _of_google()
    yield from _others()


def _starts_session(callback: Callback) -> bool:
    """Tell whether a callback may start a resumable upload to Google Cloud Storage."""
    signed, headers = callback.url.query("X-Goog-SignedHeaders"), callback.headers or SecretFields({})
    return RESUMABLE in (signed or "").lower() or RESUMABLE in headers.reveal()


@cache
def _forms() -> _Kinds:
    with no_fork:
        from callback_sdk.targets.bos import BOSPost
        from callback_sdk.targets.cos import COSPost
        from callback_sdk.targets.forms import FormPost, GCSPost
        from callback_sdk.targets.ks3 import KS3Post
        from callback_sdk.targets.obs import OBSPost
        from callback_sdk.targets.oss import OSSPost
        from callback_sdk.targets.tos import TOSPost

    return GCSPost, OSSPost, COSPost, OBSPost, TOSPost, KS3Post, BOSPost, FormPost


@cache
def _of_google() -> _Kinds:
    with no_fork:
        from callback_sdk.targets.gcs import GCSPut, GCSPutV2, GCSSession

    return GCSSession, GCSPut, GCSPutV2


@cache
def _starts() -> _Kinds:
    with no_fork:
        from callback_sdk.targets.gcs import GCSSession
        from callback_sdk.targets.gcs_resumable import GCSStart, GCSStartV2

    # A session's URI may have the parameters of the signature that started it.
    return GCSSession, GCSStart, GCSStartV2


@cache
def _others() -> _Kinds:
    with no_fork:
        from callback_sdk.targets.azure import AzureBlob
        from callback_sdk.targets.bos import BOSPut
        from callback_sdk.targets.cos import COSPut
        from callback_sdk.targets.ks3 import KS3Put, KS3PutV2
        from callback_sdk.targets.obs import OBSPut
        from callback_sdk.targets.oracle import OraclePAR
        from callback_sdk.targets.oss import OSSPut, OSSPutV1
        from callback_sdk.targets.supabase import SupabaseUpload
        from callback_sdk.targets.swift import SwiftTempURL
        from callback_sdk.targets.tos import TOSPut
        from callback_sdk.targets.ufile import UFilePut

    return (
        *(AzureBlob, OSSPut, OSSPutV1, COSPut, OBSPut, TOSPut, KS3Put, KS3PutV2, BOSPut, UFilePut),
        *(OraclePAR, SwiftTempURL, SupabaseUpload),
    )


@cache
def _identifiers() -> tuple[Identifiers, ...]:
    """Return what identifies the signed URLs of each kind."""
    return merge(kind.identifiers for kind in (*_forms(), *_COMMON, *_of_google(), *_others()))


def _check_http(callback: Callback) -> None:
    if callback.http is not None and is_signed(callback.url, _identifiers()):
        raise CallbackParamError(
            f"{callback.url} is a signed URL and has http too: one of the two belongs to another target.",
            hint="For a presigned URL leave http out.",
            url=str(callback.url),
        )
