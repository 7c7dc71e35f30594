"""callback_sdk.aistore.presigned"""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.config import Config

from callback_sdk import S3Signer, aistore
from callback_sdk.errors import ConfigurationError, SigningError
from callback_sdk.models import PresignedPut


def signed(**options: Any) -> PresignedPut:
    client = boto3.client(
        "s3", region_name="eu-central-1", aws_access_key_id="id", aws_secret_access_key="key", **options
    )
    return S3Signer("results", client=client).presign_put("runs/a b.json", metadata={"run": "42"})


@pytest.mark.parametrize(("style", "headers"), [("virtual", {}), ("path", {"ais-s3-signed-request-style": "path"})])
@pytest.mark.parametrize("endpoint", ["http://aistore:8080", "http://aistore:8080/", "http://aistore:8080/s3"])
def test_only_the_place_changes(style: str, headers: dict[str, str], endpoint: str) -> None:
    """Bucket and key below the endpoint, and the query as it was signed; AIStore hears which form that was."""
    put = signed(config=Config(s3={"addressing_style": style}))
    through = aistore.through(put, endpoint)
    assert through.url == f"http://aistore:8080/s3/results/runs/a%20b.json?{put.url.partition('?')[2]}"
    assert through.headers == {"x-amz-meta-run": "42", **headers}
    assert through.expires_at == put.expires_at


@pytest.mark.parametrize(
    "options",
    [
        {"endpoint_url": "https://minio.example.org"},
        {"endpoint_url": "https://s3.x.org"},
        {"endpoint_url": "https://s3.dualstack.eu-central-1.amazonaws.com"},
        {"endpoint_url": "https://s3-accelerate.amazonaws.com"},
        {"endpoint_url": "https://s3.eu-central-1.amazonaws.com.cn"},
    ],
)
def test_other_hosts_are_refused(options: dict[str, Any]) -> None:
    """AIStore would send the request to Amazon, where the signature doesn't hold."""
    with pytest.raises(SigningError, match="regional host") as caught:
        aistore.through(signed(**options), "http://aistore:8080")
    assert "X-Amz-Signature" not in str(caught.value)


def test_the_endpoint_is_checked() -> None:
    """As everywhere."""
    with pytest.raises(ConfigurationError):
        aistore.through(signed(), "aistore")
