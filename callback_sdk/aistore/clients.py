"""boto3 S3 clients for AIStore, by botocore's event hooks."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from types import MethodType
from typing import Any
from weakref import WeakKeyDictionary

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from callback_sdk.aistore.async_endpoints import follow_async, is_async
from callback_sdk.aistore.bearer import Bearer
from callback_sdk.aistore.certificates import ClientCertFiles, Verify, certificates
from callback_sdk.aistore.cluster import Cluster, UnknownNodes
from callback_sdk.aistore.connections import own_connections
from callback_sdk.aistore.endpoints import METHODS, redirecting_methods
from callback_sdk.aistore.environment import Environment
from callback_sdk.aistore.options import Redirects
from callback_sdk.aistore.requests import RedirectFollower
from callback_sdk.aistore.tokens import Token
from callback_sdk.concurrency.forking import Lock
from callback_sdk.errors import ConfigurationError
from callback_sdk.signer.credentials import credentials_error
from callback_sdk.types import TokenSource

_REGION = "us-east-1"

_followers: MutableMapping[Any, RedirectFollower] = WeakKeyDictionary()
_lock = Lock()


def client(
    endpoint: str | None = None,
    *,
    token: TokenSource | None = None,
    allow_hosts: Iterable[str] | None = None,
    max_redirects: int | None = None,
    unknown_nodes: UnknownNodes | None = None,
    verify: Verify = None,
    client_cert: ClientCertFiles = None,
    session: Any = None,
    config: Config | None = None,
    **options: Any,
) -> Any:
    """Create a boto3 S3 client for an AIStore cluster.

    What is not given is read from AIStore's environment variables (`AIS_ENDPOINT`, `AIS_AUTHN_TOKEN` and others) and
    from `CALLBACK_SDK_AISTORE_...`; see the page on AIStore.

    Args:
        endpoint: The proxy's URL, `http://aistore:8080`, with `/s3` or without it.
        token: For a cluster with authentication: a token, a function that returns one, or a `Token`, which is renewed.
            Requests are then not signed, and no AWS credentials are needed.
        allow_hosts: Hosts that redirects may lead to besides the endpoint's own, such as `"node-1"` or
            `"10.0.0.5:8081"`. The nodes of the cluster's map when None.
        max_redirects: Maximum number of redirects of one request; 3 when None.
        unknown_nodes: What to do with redirects to other hosts: `"follow"` without credentials, `"reject"`, or
            `"auto"`, the default, which follows them if the map can't be read, as with AuthN's roles Guest and
            BucketOwner.
        verify: Whether to verify certificates, or the path of a PEM file with the trusted authorities.
        client_cert: A PEM file with client certificate and key, or `(certificate, key)`.
        session: A `boto3.Session`; the default one when None.
        config: botocore settings, which take precedence over those of this function.
        **options: More options for `boto3.client`, such as `aws_access_key_id`.

    Raises:
        ConfigurationError: An argument or a variable is invalid.
        SigningError: No token is given, and the AWS credentials that boto3 finds are invalid.
    """
    environment = Environment.read()
    redirects = Redirects.of(allow_hosts, max_redirects, unknown_nodes)
    cluster = redirects.cluster(_require_endpoint(environment.endpoint if endpoint is None else endpoint))
    tls = certificates(cluster.endpoint, verify, client_cert, environment)
    if token is None and "aws_session_token" not in options and environment.has_token:
        token = Token()
    session = session or _session()
    signed = token is None and (options.get("aws_access_key_id") or _has_credentials(session))
    ours = Config(
        signature_version="s3v4" if signed else UNSIGNED,
        s3={"addressing_style": "path"},
        client_cert=tls.client_cert,
        # By default botocore 1.36 and later send a checksum in a trailer (aws-chunked), which not every AIStore reads.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    s3_client = session.client(
        "s3",
        endpoint_url=f"{cluster.root}/s3",
        config=ours.merge(_checked_config(config)) if config is not None else ours,
        verify=tls.verify,
        **{"region_name": session.region_name or _REGION} | options,
    )
    bearer = Bearer(token) if token is not None else None
    attach(s3_client, RedirectFollower(cluster, redirects.max_redirects, bearer))
    return s3_client


def follow_redirects(
    client: Any,
    *,
    allow_hosts: Iterable[str] | None = None,
    max_redirects: int | None = None,
    unknown_nodes: UnknownNodes | None = None,
) -> Any:
    """Let an existing S3 client follow redirects. A second call replaces the settings.

    A token that the client itself sends goes to the cluster only: a JSON Web Token as `aws_session_token`, or the
    header `Authorization` that a handler of `before-send.s3` sets.

    Args:
        client: From `boto3.client`, `resource.meta.client` or aiobotocore; with the cluster's endpoint.
        allow_hosts: See `client`.
        max_redirects: See `client`.
        unknown_nodes: See `client`.

    Returns:
        The client.

    Raises:
        ConfigurationError: The client is not an S3 client, or an argument or a variable is invalid.
    """
    redirects = Redirects.of(allow_hosts, max_redirects, unknown_nodes)
    follower = _follower_of(client)
    follower.cluster = redirects.cluster(client.meta.endpoint_url)
    follower.max_redirects = redirects.max_redirects
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


def _require_endpoint(endpoint: str | None) -> str:
    if endpoint is None:
        raise ConfigurationError(
            "The endpoint is missing.", hint="Give the URL of a proxy, or set AIS_ENDPOINT: http://aistore:8080."
        )
    return endpoint


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
            attach(client, RedirectFollower(Cluster(client.meta.endpoint_url)))
        return _followers[client]


def attach(client: Any, follower: RedirectFollower) -> None:
    """Let the requests of a client of botocore or of aiobotocore follow redirects."""
    endpoint = client._endpoint
    if is_async(endpoint):
        follow_async(endpoint, lambda *_: follower)
    else:
        original = {name: getattr(type(endpoint), name) for name in METHODS}
        for name, method in redirecting_methods(original, lambda *_: follower).items():
            setattr(endpoint, name, MethodType(method, endpoint))
        own_connections(endpoint.http_session)
    _followers[client] = follower


def _checked_config(config: Any) -> Config:
    if not isinstance(config, Config):
        raise ConfigurationError(f"config is of type {type(config).__name__}.", hint="Give a botocore.config.Config.")
    return config
