"""From a callback to a target, without any network.

A new kind of target is one class in this package and its line in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone

from callback_sdk.errors import InvalidTargetError
from callback_sdk.redaction import Secret, SecretURL, clearing_locals, hide
from callback_sdk.targets.azure import AzureBlob
from callback_sdk.targets.callbacks import Callback, parse_callbacks
from callback_sdk.targets.forms import FormPost, GCSPost
from callback_sdk.targets.gcs import GCSPut, GCSPutV2
from callback_sdk.targets.providers import StorageProviders
from callback_sdk.targets.s3 import S3Put, S3PutV2
from callback_sdk.targets.target import Target, TargetSettings
from callback_sdk.targets.webhook import Webhook
from callback_sdk.types import CallbackParam, CallbackTarget

KINDS: tuple[type[Target], ...] = (FormPost, GCSPost, S3Put, GCSPut, S3PutV2, GCSPutV2, AzureBlob, Webhook)
"""Every kind of target. The first that recognizes a callback has it, so the webhook is last."""


def plan(callback: Callback, settings: TargetSettings | None = None) -> Target:
    """Find out what a callback is.

    Args:
        callback: The URL and what came with it.
        settings: What to know besides.

    Raises:
        TargetError: A result can't go there; the subclass tells why.
    """
    settings = settings or TargetSettings()
    _check_url(callback.url)
    return next(target for kind in KINDS if (target := kind.recognize(callback, settings)) is not None)


def check_callback(callback: Callback, settings: TargetSettings | None = None, *, size: int | None = None) -> Target:
    """Refuse, without any network, a callback that a result could never be delivered to.

    Args:
        callback: The URL and what came with it.
        settings: What to know besides.
        size: Bytes of the document; None when it is not known yet.

    Returns:
        What the callback is.

    Raises:
        TargetError: A result can't go there; the subclass tells why.
    """
    target = plan(callback, settings)
    target.check(now=datetime.now(timezone.utc), size=size)
    return target


@clearing_locals
def check_target(
    url: CallbackTarget,
    param: CallbackParam | None = None,
    *,
    storage_endpoints: Iterable[str] = (),
    size: int | None = None,
) -> Target:
    """Tell what a callback is, and refuse one that a result could never be delivered to. It makes no request.

    Client and service run the same check when a job is submitted.

    Args:
        url: A URL, a `PresignedPut` or a `PresignedPost`.
        param: Its `callback_param`.
        storage_endpoints: URLs of object stores besides the known providers.
        size: Bytes of the document; None when it is not known yet.

    Returns:
        The target: its `kind`, and when it `expires_at`.

    Raises:
        TargetError: A result can't go there; the subclass tells why.

    Example:
        >>> check_target("https://example.org/done").kind
        'webhook'
    """
    given, own = Secret([url]), hide(param)
    del url, param
    (callback,) = parse_callbacks(given, own)
    return check_callback(callback, TargetSettings(stores=StorageProviders.of(storage_endpoints)), size=size)


def _check_url(url: SecretURL) -> None:
    if not url.scheme:
        raise InvalidTargetError(
            "The callback URL has no scheme." if url.reveal() else "The callback URL is empty.",
            hint="Give a whole URL, such as https://example.org/results.",
        )
    if url.scheme not in ("http", "https"):
        raise InvalidTargetError(
            f"The callback URL {url} has the scheme {url.scheme}; a result goes to http or https.",
            hint="Sign the object instead: S3Signer(bucket).presign_put(key)."
            if url.scheme == "s3"
            else "Give a whole URL.",
            url=str(url),
        )
    if not url.host or url.port == 0 or url.has_userinfo or url.has_forbidden_characters:
        what = (
            "no host"
            if not url.host
            else "a user or a password in it"
            if url.has_userinfo
            else "a character or a port that no URL has"
        )
        raise InvalidTargetError(f"The callback URL {url} has {what}.", hint="Copy it again, whole.", url=str(url))
