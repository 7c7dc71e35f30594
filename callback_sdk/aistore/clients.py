"""S3 clients of boto3 for AIStore, by botocore's own events."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any
from weakref import WeakKeyDictionary

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from callback_sdk.aistore.cluster import Cluster
from callback_sdk.aistore.connections import own_connections
from callback_sdk.aistore.requests import RedirectFollower
from callback_sdk.aistore.tokens import Bearer, TokenSource
from callback_sdk.concurrency.forking import Lock
from callback_sdk.errors import ConfigurationError
from callback_sdk.signer.credentials import credentials_error

MAX_REDIRECTS = 3
"""As in AIStore's own SDK: proxy to node, and two more for a cluster that is just changing."""

_REGION = "us-east-1"

_couriers: MutableMapping[Any, RedirectFollower] = WeakKeyDictionary()
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
    """Make a boto3 S3 client for an AIStore cluster.

    Args:
        endpoint: The proxy's URL, `http://aistore:8080`, with `/s3` or without it.
        token: For a cluster with authentication: a token, a function that returns one, or a `Token`, which logs in.
            Requests are not signed then, and no credentials of AWS are needed.
        allow_hosts: Hosts that redirects may lead to, `"node-1"` or `"10.0.0.5:8081"`, besides the endpoint's own. When
            None, the nodes of the cluster's map.
        max_redirects: How many redirects of one request are followed.
        session: A `boto3.Session`; the default one when None.
        config: Settings of botocore that come before ours.
        **options: More options for `boto3.client`, such as `verify` or `aws_access_key_id`.

    Raises:
        ConfigurationError: The endpoint or the token can't be used.
        SigningError: There is no token, and the credentials of AWS that boto3 finds can't be used.
    """
    cluster = Cluster(endpoint, allow_hosts=allow_hosts)
    session = session or _session()
    signed = token is None and (options.get("aws_access_key_id") or _has_credentials(session))
    ours = Config(
        signature_version="s3v4" if signed else UNSIGNED,
        s3={"addressing_style": "path"},
        # Else botocore sends checksums after the body, in chunks of its own making that not every AIStore reads.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    made = session.client(
        "s3",
        endpoint_url=f"{cluster.root}/s3",
        config=ours.merge(config) if config is not None else ours,
        **{"region_name": session.region_name or _REGION} | options,
    )
    courier = RedirectFollower(cluster, max_redirects, Bearer(token) if token is not None else None)
    _attach(made, courier)
    return made


def follow_redirects(
    client: Any, *, allow_hosts: Iterable[str] | None = None, max_redirects: int = MAX_REDIRECTS
) -> Any:
    """Let an S3 client that exists follow redirects. Called again, the last settings count.

    Args:
        client: From `boto3.client`, or `resource.meta.client`; its endpoint is the cluster's.
        allow_hosts: See `client`.
        max_redirects: See `client`.

    Returns:
        The client.

    Raises:
        ConfigurationError: It is no S3 client.
    """
    courier = _courier(client)
    courier.cluster = Cluster(client.meta.endpoint_url, allow_hosts=allow_hosts)
    courier.max_redirects = max_redirects
    return client


def use_token(client: Any, token: TokenSource) -> Any:
    """Let an S3 client that exists send a bearer token in place of its signature, to hosts of the cluster only.

    Without `follow_redirects` that is the endpoint's host.

    Args:
        client: See `follow_redirects`.
        token: See `client`.

    Returns:
        The client.

    Raises:
        ConfigurationError: It is no S3 client, or the token is empty.
    """
    _courier(client).bearer = Bearer(token)
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
    except Exception as error:  # noqa: BLE001 - a provider raises what it likes
        failure = credentials_error(error, "can't be used")
    raise failure


def _courier(client: Any) -> RedirectFollower:
    if getattr(getattr(getattr(client, "meta", None), "service_model", None), "service_name", "") != "s3":
        raise ConfigurationError("That is no S3 client of boto3.", hint="Give boto3.client('s3', endpoint_url=...).")
    with _lock:
        if client not in _couriers:
            _attach(client, RedirectFollower(Cluster(client.meta.endpoint_url)))
        return _couriers[client]


def _attach(client: Any, courier: RedirectFollower) -> None:
    """Connect a courier with the events of a client."""

    def prepare(params: dict[str, Any], **_: Any) -> None:
        courier.prepare(params)

    def authorize(request: Any, **_: Any) -> None:
        courier.authorize(request)

    def wants_again(response: Any, request_dict: dict[str, Any], endpoint: Any, **_: Any) -> int | None:
        return 0 if courier.wants_again(request_dict, response, endpoint.http_session) else None

    events = client.meta.events
    events.register_first("before-call.s3", prepare)
    events.register_last("before-send.s3", authorize)
    # Before botocore's own redirector, which looks at what this one leaves in the context.
    events.register_first("needs-retry.s3", wants_again)
    own_connections(client._endpoint.http_session)
    _couriers[client] = courier
