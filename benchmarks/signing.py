"""Signing of 100,000 PUT URLs and 100,000 POST forms, compared with botocore, minio-py and obstore.

All contestants return plain strings in a list. obstore signs in batches, in Rust; the others sign one by one. Slow
contestants sign fewer URLs, because the ratio is of the time per URL. Before the measurement, the URLs and forms are
compared byte for byte with botocore's.
"""

from __future__ import annotations

import hashlib
import hmac
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any
from unittest import mock

import boto3
from botocore.config import Config

from benchmarks.harness import Case, Report, in_turns, parser
from callback_sdk import S3Signer

REGION, BUCKET, ACCESS, SECRET = "eu-central-1", "results-bucket", "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG/EXAMPLEKEY"
LIFE = timedelta(hours=6)
SECONDS = int(LIFE.total_seconds())


def main() -> None:
    """Print the tables."""
    options = parser(__doc__)
    options.add_argument("--count", type=int, default=100_000, help="number of URLs and forms (100000)")
    chosen = options.parse_args()
    keys = [f"runs/2026-11/{number}/result.json" for number in range(chosen.count)]
    some = keys[: max(1, len(keys) // 50)]
    signer, client = signers()
    check(signer, client, some)
    minio, obstore_many = peers()
    puts = in_turns(
        [
            Case(
                "presign_put_many",
                lambda: [target.url for target in signer.presign_put_many(keys, expires=LIFE)],
                len(keys),
            ),
            Case("boto3", lambda: [boto3_put(client, key) for key in some], len(some)),
            Case("minio-py", lambda: [minio(key) for key in some], len(some)),
            Case("obstore", lambda: obstore_many(keys), len(keys)),
            Case("one SHA-256 and one HMAC", lambda: limit(keys), len(keys)),
        ],
        chosen.rounds,
    )
    posts = in_turns(
        [
            Case(
                "presign_post_many",
                lambda: [target.fields for target in signer.presign_post_many(keys, expires=LIFE)],
                len(keys),
            ),
            Case("boto3", lambda: [boto3_post(client, key) for key in some], len(some)),
        ],
        chosen.rounds,
    )
    report = Report("signing", as_json=chosen.json)
    report.table("PUT URLs", puts, us="presign_put_many")
    report.table("POST forms", posts, us="presign_post_many")
    for peer, bar in (("boto3", 40), ("minio-py", 5), ("obstore", 1.2)):
        report.bar(f"PUT {peer}", puts[peer].median / puts["presign_put_many"].median, at_least=bar)
    report.bar("POST boto3", posts["boto3"].median / posts["presign_post_many"].median, at_least=15)
    report.end()


def signers() -> tuple[S3Signer, Any]:
    """Return the signer of this package, and a boto3 client with the same credentials."""
    client = boto3.client(
        "s3",
        region_name=REGION,
        aws_access_key_id=ACCESS,
        aws_secret_access_key=SECRET,
        config=Config(signature_version="s3v4", s3={"addressing_style": "virtual"}),
    )
    return S3Signer(BUCKET, client=client), client


def peers() -> tuple[Callable[[str], str], Callable[[list[str]], Any]]:
    """Return a function that signs one URL with minio-py, and one that signs many with obstore."""
    import obstore
    from minio import Minio
    from obstore.store import S3Store

    minio = Minio(f"s3.{REGION}.amazonaws.com", access_key=ACCESS, secret_key=SECRET, region=REGION)
    store = S3Store(
        BUCKET,
        region=REGION,
        access_key_id=ACCESS,
        secret_access_key=SECRET,
        virtual_hosted_style_request=True,
    )
    return (
        lambda key: minio.presigned_put_object(BUCKET, key, LIFE),
        lambda keys: obstore.sign(store, "PUT", keys, LIFE),
    )


def boto3_put(client: Any, key: str) -> str:
    """Sign a URL with boto3."""
    url: str = client.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": key}, ExpiresIn=SECONDS)
    return url


def boto3_post(client: Any, key: str) -> dict[str, str]:
    """Sign a form with boto3."""
    fields: dict[str, str] = client.generate_presigned_post(BUCKET, key, ExpiresIn=SECONDS)["fields"]
    return fields


def check(signer: S3Signer, client: Any, keys: list[str]) -> None:
    """Check that URLs and forms equal those of botocore."""
    now = datetime.now(timezone.utc)
    with (
        mock.patch("botocore.auth.get_current_datetime", return_value=now),
        mock.patch("botocore.signers.get_current_datetime", return_value=now),
        mock.patch.object(signer, "_clock", now.timestamp),
    ):
        same = [target.url for target in signer.presign_put_many(keys, expires=LIFE)] == [
            boto3_put(client, key) for key in keys
        ]
        same &= [target.fields for target in signer.presign_post_many(keys, expires=LIFE)] == [
            boto3_post(client, key) for key in keys
        ]
    if not same:
        sys.exit("presign_put_many or presign_post_many differs from botocore.")


def limit(keys: list[str]) -> None:
    """Compute one SHA-256 and one HMAC per key, the minimum for a signature."""
    key, text, rest = bytes(32), bytes(139), "x" * 300
    for name in keys:
        hashlib.sha256(f"{name}{rest}".encode()).hexdigest()
        hmac.digest(key, text, "sha256").hex()


if __name__ == "__main__":
    main()
