"""aiobotocore and s3fs with AIStore: redirects and tokens, without blocking the event loop.

::

    import s3fs
    from callback_sdk import aistore
    from callback_sdk.aistore import aio

    session = aio.session("http://aistore:8080", token=aistore.Token("anna", password, "http://authn:52001"))
    async with session.create_client("s3") as s3:
        await s3.put_object(Bucket="results", Key="42.json", Body=b"{}")
    files = s3fs.S3FileSystem(session=session)

`aistore.follow_redirects` and `aistore.use_token` take clients of aiobotocore too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from botocore import UNSIGNED

from callback_sdk.aistore.bearer import Bearer
from callback_sdk.aistore.certificates import ClientCertFiles, Verify, certificates
from callback_sdk.aistore.clients import attach
from callback_sdk.aistore.cluster import UnknownNodes
from callback_sdk.aistore.environment import Environment
from callback_sdk.aistore.options import Redirects
from callback_sdk.aistore.requests import RedirectFollower
from callback_sdk.aistore.tokens import Token
from callback_sdk.errors import MissingExtraError
from callback_sdk.types import TokenSource

if TYPE_CHECKING:
    from aiobotocore.session import AioSession

__all__ = ["session"]


def session(
    endpoint: str | None = None,
    *,
    token: TokenSource | None = None,
    allow_hosts: Iterable[str] | None = None,
    max_redirects: int | None = None,
    unknown_nodes: UnknownNodes | None = None,
    verify: Verify = None,
    client_cert: ClientCertFiles = None,
) -> AioSession:
    """Create a session of aiobotocore whose S3 clients are for an AIStore cluster.

    Its clients of other services are not changed. What is not given is read from the environment, as for
    `aistore.client`.

    Args:
        endpoint: See `aistore.client`.
        token: See `aistore.client`. A function is called in a thread.
        allow_hosts: See `aistore.client`.
        max_redirects: See `aistore.client`.
        unknown_nodes: See `aistore.client`.
        verify: See `aistore.client`.
        client_cert: See `aistore.client`.

    Returns:
        The session. Its `create_client("s3")` takes the options of aiobotocore, which have precedence.

    Raises:
        MissingExtraError: aiobotocore is not installed.
        ConfigurationError: An argument or a variable is invalid.
    """
    try:
        from aiobotocore.config import AioConfig
        from aiobotocore.session import AioSession
    except ImportError:
        raise MissingExtraError("aiobotocore", extra="aiobotocore") from None
    environment = Environment.read()
    redirects = Redirects.of(allow_hosts, max_redirects, unknown_nodes)
    cluster = redirects.cluster(endpoint or environment.endpoint or "")
    tls = certificates(cluster.endpoint, verify, client_cert, environment)
    source = Token() if token is None and environment.has_token else token
    bearer = None if source is None else Bearer(source)

    class ClusterSession(AioSession):  # type: ignore[misc]
        """A session whose S3 clients are for one cluster."""

        async def _create_client(self, service_name: str, *args: Any, **options: Any) -> Any:
            if service_name != "s3":
                return await super()._create_client(service_name, *args, **options)
            signed = bearer is None and (
                options.get("aws_access_key_id") is not None or await self.get_credentials() is not None
            )
            ours = AioConfig(
                s3={"addressing_style": "path"},
                client_cert=tls.client_cert,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                signature_version="s3v4" if signed else UNSIGNED,
            )
            given = {"endpoint_url": f"{cluster.root}/s3", "region_name": "us-east-1", "verify": tls.verify} | options
            config = options.get("config")
            given["config"] = ours if config is None else ours.merge(config)
            client = await super()._create_client(service_name, *args, **given)
            attach(client, RedirectFollower(cluster, redirects.max_redirects, bearer))
            return client

    return ClusterSession()
