"""Location and credentials of a bucket, from botocore, once for each signer."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import parse_qs, urlsplit

from attrs import define

from callback_sdk.concurrency.forking import PerProcess
from callback_sdk.errors import SigningError, UnsupportedFeatureError
from callback_sdk.redaction import SecretURL
from callback_sdk.signer.credentials import CredentialSource, cause, check_client, describe, hint_for
from callback_sdk.targets.amazon import amazon_region, is_amazon
from callback_sdk.targets.provider_table import Feature
from callback_sdk.targets.providers import StorageProviders
from callback_sdk.targets.support import check_support
from callback_sdk.text.descriptions import sentence, short_repr

_PROBE = "callback-sdk-probe"

_RETRIES = {"mode": "standard", "total_max_attempts": 5}

_REGIONAL = {"us_east_1_regional_endpoint": "regional"}

_IN_DIRECTORY_BUCKETS = ("--x-s3", "--xa-s3")
_MULTI_REGION = ".mrap"
"""Ends of names and ARNs; "General purpose buckets naming rules" in the S3 user guide reserves them."""


@define(frozen=True)
class Location:
    """Location of a bucket's objects.

    Attributes:
        put_url: URL to append an encoded key to.
        post_url: URL of forms; None for an access point, which doesn't support them.
        host: The signed `Host` header.
        region: Region of the signature's scope.
        service: Service of the signature's scope, `"s3"` almost always.
    """

    put_url: str
    post_url: str | None
    host: str
    region: str
    service: str


class Bucket:
    """A bucket with its location and credentials.

    Args:
        name: The bucket's name, or the ARN of an access point.
        client: A boto3 S3 client, for its settings; boto3's own chain when None.
        region: The bucket's region.
        endpoint_url: URL of another store than AWS.
        addressing_style: `"virtual"` or `"path"`; path by default for another store than AWS.

    Raises:
        SigningError: There are no credentials, no region, or the bucket name is invalid.
    """

    def __init__(
        self,
        name: str,
        *,
        client: Any = None,
        region: str | None = None,
        endpoint_url: str | None = None,
        addressing_style: str | None = None,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise SigningError("The bucket has no name.", hint="Give the bucket's name as a string.")
        if "/" in name and not name.startswith("arn:"):
            alone = name.partition("://")[2].partition("/")[0] if "://" in name else name.partition("/")[0]
            raise SigningError(
                f"The bucket {short_repr(name)} is a URL or a path.",
                hint=f"Give the bucket's name alone{f', such as {alone!r}' if alone else ''}, and the rest as the key.",
            )
        self.name = name
        if client is not None:
            check_client(client)
        self.credentials = CredentialSource(client)
        if client is None:
            region = region or environment_region()
        self.location = _locate(name, client, region, endpoint_url, addressing_style)
        # No connection crosses a fork.
        self._clients: PerProcess[Any] = PerProcess(
            lambda: self._new_client(endpoint_url, addressing_style) if client is None else client
        )
        self._url = SecretURL(self.location.put_url)
        self._provider = StorageProviders().provider(self._url)

    def client(self) -> Any:
        """Return the client that was given, or one with the same settings; for requests."""
        return self._clients.get()

    def _new_client(self, endpoint_url: str | None, addressing_style: str | None) -> Any:
        import boto3
        from botocore.config import Config

        s3 = {"addressing_style": addressing_style or "auto", **_REGIONAL}
        config = Config(signature_version="s3v4", s3=s3, retries=_RETRIES)
        return boto3.client("s3", region_name=self.location.region, endpoint_url=endpoint_url, config=config)

    def check_support(self, feature: Feature) -> None:
        """Reject what the bucket's provider doesn't support.

        Args:
            feature: What a target in this bucket needs.

        Raises:
            SigningError: The provider would reject the upload.
        """
        if self._provider is None:
            return
        try:
            check_support(self._url, {feature}, self._provider)
        except UnsupportedFeatureError as error:
            raise SigningError(error.message, hint=error.hint) from None


def _check_kind(name: str, client: Any) -> None:
    """Reject a bucket that needs a signature of another kind; for some, botocore would make a request."""
    if name.endswith(_IN_DIRECTORY_BUCKETS) and not _without_sessions(client):
        raise SigningError(
            f"{name} is in a directory bucket, where signatures need a session of five minutes (CreateSession).",
            hint="Use a general purpose bucket. For an upload within minutes, presign with boto3.",
        )
    if name.endswith(_MULTI_REGION):
        raise SigningError(
            f"{name} is a multi-region access point, where signatures are of another kind (Signature Version 4A).",
            hint="Use one of its buckets, or an access point in one region. boto3 with botocore[crt] presigns for it.",
        )


def _without_sessions(client: Any) -> bool:
    """Tell whether IAM shall authorize each request to a directory bucket, with a signature of the usual kind."""
    # A setting of newer botocore: AWS_S3_DISABLE_EXPRESS_SESSION_AUTH.
    return bool(getattr(client.meta.config, "s3_disable_express_session_auth", False))


def environment_region() -> str | None:
    """Return the environment's region; None leaves the choice to boto3's configuration file.

    boto3 reads only AWS_DEFAULT_REGION. Amazon's other SDKs read AWS_REGION, which Lambda and many containers set.
    """
    return os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION") or None


def _locate(
    name: str, client: Any, region: str | None, endpoint_url: str | None, addressing_style: str | None
) -> Location:
    failure: SigningError
    try:
        _check_endpoint(endpoint_url)
        if client is None:
            client = _client(region, endpoint_url, s3={"addressing_style": addressing_style or "auto", **_REGIONAL})
        # It may come from the environment, or from a profile.
        _check_endpoint(client.meta.endpoint_url)
        _check_kind(name, client)
        probe = _probe(name, client, endpoint_url or _own_endpoint(client))
        url = probe.generate_presigned_url("put_object", Params={"Bucket": name, "Key": _PROBE})
        # botocore has no forms for access points.
        post_url = None if name.startswith("arn:") else probe.generate_presigned_post(name, _PROBE)["url"]
    except SigningError:
        raise
    except Exception as error:  # noqa: BLE001 - botocore raises anything for malformed files and variables
        failure = _endpoint_error(name, error)
    else:
        return _parse(name, url, post_url)
    raise failure


def _check_endpoint(url: str | None) -> None:
    """Reject an endpoint with credentials: they would be a part of each signed URL, and no server expects them."""
    if "@" in (url or ""):
        raise SigningError(
            "The endpoint has a user or a password.",
            hint="Give scheme and host, such as https://minio.example.org:9000. The credentials of a store are its "
            "access keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
        )


def _endpoint_error(name: str, error: Exception) -> SigningError:
    """Return the error for a bucket without an endpoint."""
    if isinstance(error, ValueError) and str(error).startswith("Invalid endpoint"):
        # botocore quotes the endpoint, which may have a password.
        return SigningError(
            "The endpoint is not a URL.",
            hint="Give scheme and host in endpoint_url, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or the profile, such as "
            "https://minio.example.org:9000.",
        )
    failure = SigningError(
        f"botocore can't resolve the endpoint of the bucket {name!r}: {sentence(describe(error))}",
        hint=hint_for(error, "Check its name, region and endpoint."),
    )
    failure.__cause__ = cause(error)
    return failure


def _own_endpoint(client: Any) -> str | None:
    """Return the endpoint that a client was given or configured with; None if botocore chose it by the region."""
    meta = client.meta
    usual = _client(meta.region_name, None, of=client, ignore_configured_endpoint_urls=True)
    return None if meta.endpoint_url == usual.meta.endpoint_url else meta.endpoint_url


def _probe(name: str, client: Any, endpoint_url: str | None) -> Any:
    """Return a client that resolves endpoints as a given one does, for its region and for Signature Version 4."""
    region = client.meta.region_name
    region = _region_of(endpoint_url) if region in (None, "aws-global") else region
    if region is None:
        error = SigningError(f"The region of the bucket {name} is not known.")
        error.add_hint("Give S3Signer(bucket, region='eu-central-1'),", "Give --region eu-central-1,")
        error.add_hint("or set AWS_REGION or AWS_DEFAULT_REGION.")
        raise error
    own = client.meta.config.s3 or {}
    style = own.get("addressing_style", "auto")
    if style == "auto" and endpoint_url is None:
        # With "auto" botocore presigns for the global endpoint, which redirects to the bucket's region.
        style = "virtual"
    s3 = {**own, "addressing_style": style, "disable_s3_express_session_auth": _without_sessions(client), **_REGIONAL}
    return _client(region, endpoint_url, of=client, s3=s3, ignore_configured_endpoint_urls=True)


def _region_of(endpoint_url: str | None) -> str | None:
    """Return the region in an endpoint; a usual one for another store than AWS, where it only has to be some text."""
    if endpoint_url is None:
        return None
    url = SecretURL(endpoint_url)
    return amazon_region(url) if is_amazon(url.host) else "us-east-1"


def _client(region: str | None, endpoint_url: str | None, *, of: Any = None, **options: Any) -> Any:
    """Return a client with fake credentials, to resolve endpoints.

    Args:
        region: Its region.
        endpoint_url: Its endpoint.
        of: A client with settings to keep.
        options: More settings.
    """
    import boto3
    from botocore.config import Config

    # A region in the settings replaces the global endpoint, which botocore prefers for us-east-1.
    config = Config(signature_version="s3v4", region_name=None, **options)
    return boto3.client(
        "s3",
        region_name=region,
        endpoint_url=endpoint_url,
        use_ssl=of is None or of.meta.endpoint_url.startswith("https:"),
        config=config if of is None else of.meta.config.merge(config),
        aws_access_key_id=_PROBE,
        aws_secret_access_key=_PROBE,
    )


def _parse(name: str, url: str, post_url: str | None) -> Location:
    parts = urlsplit(url)
    scope = parse_qs(parts.query).get("X-Amz-Credential", [""])[0].split("/")
    if len(scope) != 5:
        raise SigningError(
            f"botocore signs for the bucket {name!r} with another algorithm than Signature Version 4.",
            hint="Give the name of a general purpose bucket, or the ARN of an access point in one region.",
        )
    _, _, region, service, _ = scope
    put_url = url[: url.index(f"/{_PROBE}?") + 1]
    default_port = {"http": 80, "https": 443}[parts.scheme]
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    host = host if parts.port in (None, default_port) else f"{host}:{parts.port}"
    return Location(put_url, post_url, host, region, service)
