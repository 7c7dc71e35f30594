"""Plan presigned PUT URLs of one signer by what they have in common; pure.

They differ in path, date, key id, token and signature only, whose checks are here. All else is planned once for each
shape, with a URL that has no credential, in the way of all targets. Whatever isn't of the most common form isn't
planned here, so every error has one origin. `tests/property/test_url_shapes.py` compares both ways.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from operator import attrgetter

from attrs import define, fields

from callback_sdk.errors import TargetError
from callback_sdk.redaction import SecretURL, clearing_locals
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.expiry import is_plausible, parse_v4_time
from callback_sdk.targets.operations import has_object_key
from callback_sdk.targets.providers import StorageProviders
from callback_sdk.targets.s3 import S3Put
from callback_sdk.targets.target import Target, TargetSettings

Plan = Callable[[Callback, TargetSettings], Target]
"""Plans any target."""

_QUERY = re.compile(
    "X-Amz-Algorithm=AWS4-HMAC-SHA256"
    "&X-Amz-Credential=(?:(ASIA)[A-Za-z0-9]{0,124}|[A-Za-z0-9]{1,128})"
    "%2F([0-9]{8})%2F([a-z0-9-]{1,64})%2Fs3%2Faws4_request"
    "&X-Amz-Date=(\\2T[0-9]{6}Z)"
    "&X-Amz-Expires=([0-9]{1,9})"
    "&X-Amz-SignedHeaders=([a-z0-9%;-]{1,256})"
    "(?:(&X-Amz-Security-Token=)[A-Za-z0-9%/+=._~-]+)?"
    "&X-Amz-Signature=[0-9a-f]{64}"
)
"""The query in the order of botocore. No group is a credential."""

_PATH = re.compile("/[!-~]+")
_HOST = re.compile("[a-z0-9.-]+")

_DATE = "20300101"

_CARRIED = {"url", "param", "events", "shown"}
"""Attributes of a callback that its target has unchanged, and that no plan depends on but the URL."""

# Of all others, so that an attribute which is added is taken into account.
_OTHERS = [attribute.name for attribute in fields(Callback) if attribute.name not in _CARRIED]
_members = attrgetter(*_OTHERS)
_NO_MEMBERS = (None,) * len(_OTHERS)


@define(frozen=True, eq=False, repr=False)
class _Query:
    """What the query of a URL has besides credentials."""

    is_temporary: bool
    region: str
    time: str
    expires: str
    signed: str
    has_token: bool


def plan_by_shape(callback: Callback, settings: TargetSettings, plan: Plan) -> Target | None:
    """Return the target of a presigned PUT URL that has the shape of earlier ones; None if it has to be planned.

    Args:
        callback: The URL with its parameters. `hosts.check_url` has accepted the URL.
        settings: Configuration of the targets.
        plan: Plans any target: the first one of a shape.
    """
    url, stores = callback.url, settings.stores
    if stores.clusters or not _is_bare(callback) or not _HOST.fullmatch(url.host) or not _PATH.fullmatch(url.path):
        return None
    query = _read(url)
    if query is None or not has_object_key(url, stores):
        return None
    common = _plan_shape(
        url.origin, query.is_temporary, query.region, query.expires, query.signed, query.has_token, stores, plan
    )
    if common is None:
        return None
    try:
        expires_at = _time(query.time) + common.lifetime
    except (ValueError, OverflowError):
        return None
    if not is_plausible(expires_at):
        return None
    return S3Put(
        callback=Callback(
            url.with_public_path(template=common.callback.url),
            callback.param,
            events=callback.events,
            shown=callback.shown,
        ),
        expires_at=expires_at,
        provider=common.provider,
        signed=common.signed,
        lifetime=common.lifetime,
        given=common.given,
        checksums=common.checksums,
    )


def _is_bare(callback: Callback) -> bool:
    """Return whether a callback has nothing but its URL that the plan depends on."""
    return _members(callback) == _NO_MEMBERS


@clearing_locals
def _read(url: SecretURL) -> _Query | None:
    match = _QUERY.fullmatch(url.request_target(), len(url.path) + 1)
    if match is None:
        return None
    temporary, _, region, time, expires, signed, token = match.groups()
    return _Query(temporary is not None, region, time, expires, signed, token is not None)


@lru_cache(maxsize=256)
def _time(text: str) -> datetime:
    return parse_v4_time(text)


@lru_cache(maxsize=256)
def _plan_shape(
    origin: str,
    is_temporary: bool,
    region: str,
    expires: str,
    signed: str,
    has_token: bool,
    stores: StorageProviders,
    plan: Plan,
) -> S3Put | None:
    """Plan a URL without credentials; None if the others of its shape need more than their path, date and signature."""
    query = (
        f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={'ASIA' if is_temporary else 'AKIA'}%2F{_DATE}%2F{region}"
        f"%2Fs3%2Faws4_request&X-Amz-Date={_DATE}T000000Z&X-Amz-Expires={expires}&X-Amz-SignedHeaders={signed}"
        f"{'&X-Amz-Security-Token=token' if has_token else ''}&X-Amz-Signature={'0' * 64}"
    )
    try:
        target = plan(Callback(SecretURL(f"{origin}/bucket/key?{query}")), TargetSettings(stores=stores))
    except TargetError:
        return None
    if type(target) is not S3Put or target.callback.headers is not None:
        return None
    return None if target.given.reveal() or target.checksums.reveal() else target
