"""Location and credentials of a bucket, from botocore, once for each signer."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import parse_qs, urlsplit

from attrs import define

from callback_sdk.errors import SigningError, UnsupportedFeatureError, sentence
from callback_sdk.redaction import SecretURL
from callback_sdk.signer.credentials import CredentialSource, cause, check_client, describe, hint_for
from callback_sdk.targets.amazon import is_amazon
from callback_sdk.targets.provider_table import Feature
from callback_sdk.targets.providers import StorageProviders
from callback_sdk.targets.support import check_support

_PROBE = "callback-sdk-probe"


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
        if name.endswith("--x-s3"):
            raise SigningError(
                f"{name} is a directory bucket: its signatures need a session, which a callback can't have.",
                hint="Use a general purpose bucket.",
            )
        self.name = name
        if client is not None:
            check_client(client)
        self.credentials = CredentialSource(client)
        if client is not None:
            region, endpoint_url = client.meta.region_name, _own_endpoint(client)
        else:
            region = region or environment_region()
        self.location = _locate(name, client, region, endpoint_url, addressing_style)
        self._url = SecretURL(self.location.put_url)
        self._provider = StorageProviders().provider(self._url)

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


def environment_region() -> str | None:
    """Return the environment's region; None leaves the choice to boto3's configuration file.

    boto3 reads only AWS_DEFAULT_REGION. Amazon's other SDKs read AWS_REGION, which Lambda and many containers set.
    """
    return os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION") or None


def _own_endpoint(client: Any) -> str | None:
    """Return a client's endpoint, or None if it is the regional one of AWS."""
    host = urlsplit(client.meta.endpoint_url).hostname or ""
    return None if is_amazon(host) else client.meta.endpoint_url


def _locate(
    name: str, client: Any, region: str | None, endpoint_url: str | None, addressing_style: str | None
) -> Location:
    style = None if addressing_style == "auto" else addressing_style
    failure: SigningError
    try:
        probe = _regional_probe(name, client, region, endpoint_url, style)
        url = probe.generate_presigned_url("put_object", Params={"Bucket": name, "Key": _PROBE})
        # botocore has no forms for access points.
        post_url = None if name.startswith("arn:") else probe.generate_presigned_post(name, _PROBE)["url"]
    except SigningError:
        raise
    except Exception as error:  # noqa: BLE001 - botocore raises anything for malformed files and variables
        failure = SigningError(
            f"botocore can't resolve the endpoint of the bucket {name!r}: {sentence(describe(error))}",
            hint=hint_for(error, "Check its name, region and endpoint."),
        )
        failure.__cause__ = cause(error)
    else:
        return _parse(name, url, post_url)
    raise failure


def _regional_probe(name: str, client: Any, region: str | None, endpoint_url: str | None, style: str | None) -> Any:
    probe = _probe(client, region, endpoint_url, style or "virtual")
    region = _known(region or probe.meta.region_name)
    elsewhere = _own_endpoint(probe)
    if elsewhere is not None:
        # The endpoint may also come from boto3's configuration; only then the default style is known.
        return _probe(client, region or "us-east-1", elsewhere, style or "path")
    if region is None:
        raise SigningError(
            f"The region of the bucket {name} is not known.",
            hint="Give S3Signer(bucket, region='eu-central-1'), or set AWS_REGION or AWS_DEFAULT_REGION.",
        )
    return probe


def _known(region: str | None) -> str | None:
    return None if region == "aws-global" else region


def _probe(client: Any, region: str | None, endpoint_url: str | None, style: str) -> Any:
    """Return a client with fake credentials, to resolve endpoints."""
    import boto3
    from botocore.config import Config

    config = Config(signature_version="s3v4", s3={"addressing_style": style, "us_east_1_regional_endpoint": "regional"})
    if client is not None:
        own = client.meta.config.s3 or {}
        chosen = own.get("addressing_style", "auto")
        chosen = style if chosen == "auto" else chosen
        merged = {**own, "addressing_style": chosen, "us_east_1_regional_endpoint": "regional"}
        config = client.meta.config.merge(Config(signature_version="s3v4", s3=merged))
    return boto3.client(
        "s3",
        region_name=region,
        endpoint_url=endpoint_url,
        config=config,
        aws_access_key_id=_PROBE,
        aws_secret_access_key=_PROBE,
    )


def _parse(name: str, url: str, post_url: str | None) -> Location:
    parts = urlsplit(url)
    scope = parse_qs(parts.query).get("X-Amz-Credential", [""])[0].split("/")
    if len(scope) != 5:
        raise SigningError(
            f"The bucket {name!r} is of a kind without plain Signature Version 4.",
            hint="Directory buckets and multi-region access points can't be presigned here: use another bucket.",
        )
    _, _, region, service, _ = scope
    put_url = url[: url.index(f"/{_PROBE}?") + 1]
    default_port = {"http": 80, "https": 443}[parts.scheme]
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    host = host if parts.port in (None, default_port) else f"{host}:{parts.port}"
    return Location(put_url, post_url, host, region, service)
