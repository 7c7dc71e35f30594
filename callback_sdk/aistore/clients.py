"""boto3 S3 clients for AIStore, by botocore's event hooks."""

from __future__ import annotations

import functools
from collections.abc import Iterable, MutableMapping
from typing import Any
from weakref import WeakKeyDictionary

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from callback_sdk.aistore.cluster import Cluster
from callback_sdk.aistore.connections import own_connections
from callback_sdk.aistore.requests import RedirectFollower, following
from callback_sdk.aistore.tokens import Bearer, TokenSource
from callback_sdk.concurrency.forking import Lock
from callback_sdk.errors import ConfigurationError
from callback_sdk.signer.credentials import credentials_error

MAX_REDIRECTS = 3
"""From proxy to node, and two more while the cluster's map changes."""

_REGION = "us-east-1"

_followers: MutableMapping[Any, RedirectFollower] = WeakKeyDictionary()
_lock = Lock()


def client(
    endpoint: str,
    *,
    token: TokenSource | None = None,
    allow_hosts: Iterable[str] | None = None,
    max_redirects: int = MAX_REDIRECTS,
    session: Any = None,
    config: Config | None = None,
    **options: Any,
) -> Any:
    """Create a boto3 S3 client for an AIStore cluster.

    Args:
        endpoint: The proxy's URL, `http://aistore:8080`, with `/s3` or without it.
        token: For a cluster with authentication: a token, a function that returns one, or a `Token`, which logs in.
            Requests are then not signed, and no AWS credentials are needed.
        allow_hosts: Hosts that redirects may lead to besides the endpoint's own, such as `"node-1"` or
            `"10.0.0.5:8081"`. The nodes of the cluster's map when None.
        max_redirects: Maximum number of redirects of one request.
        session: A `boto3.Session`; the default one when None.
        config: botocore settings, which take precedence over those of this function.
        **options: More options for `boto3.client`, such as `verify` or `aws_access_key_id`.

    Raises:
        ConfigurationError: The endpoint or the token is invalid.
        SigningError: No token is given, and the AWS credentials that boto3 finds are invalid.
    """
    cluster = Cluster(endpoint, allow_hosts=allow_hosts)
    session = session or _session()
    signed = token is None and (options.get("aws_access_key_id") or _has_credentials(session))
    ours = Config(
        signature_version="s3v4" if signed else UNSIGNED,
        s3={"addressing_style": "path"},
        # By default botocore 1.36 and later send a checksum in a trailer (aws-chunked), which not every AIStore reads.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    s3_client = session.client(
        "s3",
        endpoint_url=f"{cluster.root}/s3",
        config=ours.merge(config) if config is not None else ours,
        **{"region_name": session.region_name or _REGION} | options,
    )
    follower = RedirectFollower(cluster, max_redirects, Bearer(token) if token is not None else None)
    _attach(s3_client, follower)
    return s3_client


def follow_redirects(
    client: Any, *, allow_hosts: Iterable[str] | None = None, max_redirects: int = MAX_REDIRECTS
) -> Any:
    """Let an existing S3 client follow redirects. A second call replaces the settings.

    Args:
        client: From `boto3.client`, or `resource.meta.client`; with the cluster's endpoint.
        allow_hosts: See `client`.
        max_redirects: See `client`.

    Returns:
        The client.

    Raises:
        ConfigurationError: The client is not an S3 client.
    """
    follower = _follower_of(client)
    follower.cluster = Cluster(client.meta.endpoint_url, allow_hosts=allow_hosts)
    follower.max_redirects = max_redirects
    return client


def use_token(client: Any, token: TokenSource) -> Any:
    """Let an existing S3 client send a bearer token instead of a signature, to hosts of the cluster only.

    Without `follow_redirects` that is the endpoint's host only.

    Args:
        client: See `follow_redirects`.
        token: See `client`.

    Returns:
        The client.

    Raises:
        ConfigurationError: The client is not an S3 client, or the token is empty.
    """
    _follower_of(client).bearer = Bearer(token)
    return client


def _session() -> Any:
    try:
        return boto3.Session()
    except BotoCoreError as error:
        failure = credentials_error(error, "can't be used")
    raise failure


def _has_credentials(session: Any) -> bool:
    try:
        return session.get_credentials() is not None
    except Exception as error:  # noqa: BLE001 - a credential provider may raise anything
        failure = credentials_error(error, "can't be used")
    raise failure


def _follower_of(client: Any) -> RedirectFollower:
    if getattr(getattr(getattr(client, "meta", None), "service_model", None), "service_name", "") != "s3":
        raise ConfigurationError(
            "The client is not an S3 client of boto3.", hint="Give boto3.client('s3', endpoint_url=...)."
        )
    with _lock:
        if client not in _followers:
            _attach(client, RedirectFollower(Cluster(client.meta.endpoint_url)))
        return _followers[client]


def _attach(client: Any, follower: RedirectFollower) -> None:
    """Register a redirect follower for the events of a client."""

    def prepare(params: dict[str, Any], **_: Any) -> None:
        follower.prepare(params)

    def authorize(request: Any, **_: Any) -> None:
        follower.authorize(request)

    events = client.meta.events
    events.register_first("before-call.s3", prepare)
    events.register_last("before-send.s3", authorize)
    endpoint = client._endpoint
    # Not the event needs-retry: its handlers get the number of attempts with those that redirects have taken. It also
    # runs before botocore's own redirector (S3RegionRedirectorv2), which reads the context that this one sets.
    endpoint._needs_retry = functools.partial(following(type(endpoint)._needs_retry, lambda *_: follower), endpoint)
    own_connections(endpoint.http_session)
    _followers[client] = follower
