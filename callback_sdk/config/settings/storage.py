"""Settings of the storage: database, blobs and keys."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from callback_sdk.config.definition import Setting
from callback_sdk.config.values import DATABASE_URLS, DIRECTORY, DURATION, secret, secrets
from callback_sdk.parsing import parse_duration

DATA_DIR = Setting(
    "DATA_DIR",
    Path,
    DIRECTORY,
    "Data directory: API token, keys, and the SQLite database and blobs unless they are elsewhere.",
    default=Path("callback-sdk-data"),
    shown_default="./callback-sdk-data",
    option="--data-dir",
    metavar="DIR",
)
DATABASE = Setting(
    "DATABASE",
    secret,
    DATABASE_URLS,
    "Database: sqlite:///PATH or postgresql://HOST/NAME. Put a URL with a password into the variable.",
    shown_default="SQLite in the data directory",
    secret=True,
    option="--database",
    metavar="URL",
)
BLOB_STORAGE = Setting(
    "BLOB_STORAGE",
    str.strip,
    "the path of a directory, or s3://BUCKET/PREFIX",
    "Storage of large features and results: a directory or s3://BUCKET/PREFIX.",
    shown_default="in the data directory",
    option="--blob-storage",
    metavar="DIR|S3_URL",
)
RESULTS_BUCKET = Setting(
    "RESULTS_BUCKET",
    str.strip,
    "s3://BUCKET/PREFIX",
    "Bucket for callbacks `results:`, with boto3's credentials; set it for workers too.",
    shown_default="none",
    option="--results-bucket",
    metavar="S3_URL",
)
ENCRYPTION_KEYS = Setting(
    "ENCRYPTION_KEYS",
    secrets,
    "keys that `callback-sdk db generate-key` makes",
    "Keys that encrypt credentials in the database, the newest first.",
    default=(),
    shown_default="the file keys in the data directory",
    secret=True,
)
RETENTION = Setting(
    "RETENTION",
    parse_duration,
    DURATION,
    "How long ended tasks are kept, with their results and deliveries, such as 90d.",
    shown_default="forever",
    option="--retention",
    metavar="DURATION",
)
AUDIT_RETENTION = Setting(
    "AUDIT_RETENTION",
    parse_duration,
    DURATION,
    "How long the entries of the audit log are kept.",
    default=timedelta(days=400),
    shown_default="400d",
    option="--audit-retention",
    metavar="DURATION",
)
