"""The recorded URLs and forms, what this package sends to each, and the table of the documentation."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import parse_qsl, urlsplit

from attrs import define, field
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from callback_sdk.documents.body import Body
from callback_sdk.errors import TargetError
from callback_sdk.targets import Target, plan
from callback_sdk.targets.callbacks import parse_callbacks
from callback_sdk.targets.upload import Upload
from tests.checkers import azure_rules, cos, gcs_rules, obs, oss, s3_rules, swift, vendor_rules
from tests.checkers.http_store import Refusal, Request

RECORDED = Path(__file__).parent / "recorded"

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"

BEGIN, END = "<!-- SDKs: python -m tests.sdks.rows -->\n\n", "\n\n<!-- end of SDKs -->"
"""What surrounds the table in the page."""

DOCUMENT = Body(b"{}")
"""What is uploaded: some URLs are signed for two bytes, or for the checksum of these."""

LIFE = timedelta(hours=1)


@define(frozen=True, kw_only=True)
class Row:
    """A URL or a form that an SDK signed.

    Attributes:
        sdk: The SDK.
        language: Its language.
        version: Its version.
        store: Its protocol: `s3`, `gcs`, `azure`, `oss`, `cos`, `obs`, `swift`, `tos`, `ks3`, `bos` or `ufile`.
        access_key: Name of the key, or of the account.
        secret: The key; empty where it is a private one.
        public_key: The public key of a private one, in PEM.
        call: The call.
        form: What was passed besides the object, in words; unique with the call.
        method: What it was signed for.
        url: The URL.
        asked: What the caller asked for, by the names of headers.
        headers: Headers as the SDK returned them; None if it returned none.
        fields: Fields as the SDK returned them; None for a URL.
        time: When it was signed; empty where the clock couldn't be set and the time is in URL or fields.
    """

    sdk: str
    language: str
    version: str
    store: str
    access_key: str
    secret: str = ""
    public_key: str = ""
    call: str
    form: str
    method: str = "PUT"
    url: str
    asked: Mapping[str, str] = field(factory=dict)
    headers: Mapping[str, Any] | None = None
    fields: Mapping[str, str] | None = None
    time: str | None = ""

    def __str__(self) -> str:
        return f"{self.sdk}: {self.call}, {self.form}"

    @property
    def now(self) -> datetime:
        """A minute after it was signed."""
        return self._signed_at + timedelta(minutes=1)

    @property
    def _signed_at(self) -> datetime:
        if self.time:
            return datetime.strptime(self.time, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
        given = {**self.query, **{name.lower(): value for name, value in (self.fields or {}).items()}}
        if "x-amz-date" in given:
            return datetime.strptime(given["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
        return datetime.fromtimestamp(int(given["expires"]), timezone.utc) - LIFE

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the URL by lower-case names."""
        return {name.lower(): value for name, value in parse_qsl(urlsplit(self.url).query)}

    @property
    def bucket_in_host(self) -> str:
        """The bucket, where the host begins with it."""
        host = urlsplit(self.url).hostname or ""
        return host.partition(".")[0] if host.startswith("bucket") else ""

    def params(self) -> Iterator[dict[str, Any] | None]:
        """Give what may be passed along with the URL, the least first."""
        if self.fields is not None:
            yield {"s3_fields": self.fields}
            return
        yield None
        if headers := self.headers or self.asked:
            yield {"s3_headers": headers}


def rows(*stores: str) -> list[Row]:
    """Return the rows of some protocols."""
    data = [row for path in sorted(RECORDED.glob("*.json")) for row in json.loads(path.read_bytes())]
    return [Row(**row) for row in data if row["store"] in stores]


def target(row: Row, param: dict[str, Any] | None) -> Target:
    """Return the target of a row, checked.

    Raises:
        TargetError: The planner rejected the target.
    """
    (callback,) = parse_callbacks(row.url, param)
    found = plan(callback)
    found.check(now=row.now, size=DOCUMENT.size)
    return found


def upload(found: Target, row: Row) -> Upload:
    """Return the request that would be sent."""
    return found.upload(DOCUMENT, delivery_id="msg_1", now=row.now, encoding=found.content_encoding(None))


def verify(row: Row, sent: Upload) -> None:
    """Verify a request as the store does.

    Raises:
        Refusal: The store would reject it.
    """
    if row.fields is not None:
        fields, file = request(sent).form()
        assert file == DOCUMENT.read()
        VERIFY_FORM[row.store](row, fields)
    else:
        VERIFY_PUT[row.store](row, request(sent))


def request(sent: Upload) -> Request:
    """Return a request as it arrives."""
    parts = urlsplit(sent.url.reveal())
    headers = {name.lower(): value for name, value in sent.headers.reveal().items()}
    # Clients leave out the default port (RFC 9110, section 7.2).
    default = {"https": 443, "http": 80}[parts.scheme]
    host = parts.netloc.removesuffix(f":{default}")
    body = sent.body.read()
    return Request(
        sent.method, parts.path, parts.query, {**headers, "host": host, "content-length": str(len(body))}, body
    )


def _s3_put(row: Row, arrived: Request) -> None:
    s3_rules.check_put(arrived, row.secret, row.now, row.bucket_in_host)


def _s3_form(row: Row, fields: dict[str, str]) -> None:
    s3_rules.check_form(fields, "bucket", DOCUMENT.size, row.secret, row.now)


def _gcs_put(row: Row, arrived: Request) -> None:
    key = load_pem_public_key(row.public_key.encode())
    if row.bucket_in_host and "googleaccessid" in row.query:
        arrived = Request(arrived.method, f"/bucket{arrived.path}", arrived.query, arrived.headers, arrived.body)
    with mock.patch.object(gcs_rules, "_now", return_value=row.now):
        gcs_rules.check_put(arrived, key, row.access_key)  # type: ignore[arg-type]


def _gcs_form(row: Row, fields: dict[str, str]) -> None:
    key = load_pem_public_key(row.public_key.encode())
    with mock.patch.object(gcs_rules, "_now", return_value=row.now):
        gcs_rules.check_form("bucket", fields, DOCUMENT.size, key, row.access_key)  # type: ignore[arg-type]


def _azure_put(row: Row, arrived: Request) -> None:
    azure_rules.check_put(arrived, row.access_key, row.secret, row.now)


VERIFY_PUT: dict[str, Callable[[Row, Request], None]] = {
    "s3": _s3_put,
    "gcs": _gcs_put,
    "azure": _azure_put,
    "oss": lambda row, arrived: oss.check_put(arrived, row.secret, row.now),
    "cos": lambda row, arrived: cos.check_put(arrived, row.secret, row.now),
    "obs": lambda row, arrived: obs.check_put(arrived, row.secret, row.now),
    "swift": lambda row, arrived: swift.check_put(arrived, row.secret, row.now, "198.51.100.7"),
    "tos": lambda row, arrived: vendor_rules.TOS.check_put(arrived, row.secret, row.now),
    "ks3": lambda row, arrived: vendor_rules.check_ks3_put(arrived, row.secret, row.now, row.bucket_in_host),
    "bos": lambda row, arrived: vendor_rules.check_bos_put(arrived, row.secret, row.now),
    "ufile": lambda row, arrived: vendor_rules.check_ufile_put(arrived, row.secret, row.now, row.bucket_in_host),
}
VERIFY_FORM: dict[str, Callable[[Row, dict[str, str]], None]] = {
    "s3": _s3_form,
    "gcs": _gcs_form,
    "oss": lambda row, fields: oss.check_form("bucket", fields, DOCUMENT.size, row.secret, row.now),
    "cos": lambda row, fields: cos.check_form("bucket-1250000000", fields, DOCUMENT.size, row.secret, row.now),
    "obs": lambda row, fields: obs.check_form("bucket", fields, DOCUMENT.size, row.secret, row.now),
    "tos": lambda row, fields: vendor_rules.TOS.check_form(fields, "bucket", DOCUMENT.size, row.secret, row.now),
    "ks3": lambda row, fields: vendor_rules.check_ks3_form(fields, "bucket", DOCUMENT.size, row.secret, row.now),
    "bos": lambda row, fields: vendor_rules.check_bos_form(fields, "bucket", DOCUMENT.size, row.secret, row.now),
}

STORES = tuple(VERIFY_PUT)

AS_IT_IS, WITH_HEADERS, REJECTED, BY_STORE = "as it is", "with its headers", "rejected", "rejected by the store"


def outcome(row: Row) -> str:
    """Return how a row is delivered to: as the SDK returned it, with the headers too, or not at all."""
    refused = REJECTED
    for param in row.params():
        try:
            verify(row, upload(target(row, param), row))
        except TargetError:
            continue
        except Refusal:
            refused = BY_STORE
            continue
        return WITH_HEADERS if param and "s3_headers" in param else AS_IT_IS
    return refused


def table() -> str:
    """Return the table of the documentation."""
    cells: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for row in rows(*STORES):
        found = cells.setdefault((row.language, f"{row.sdk} {row.version}", row.call), {})
        found.setdefault(outcome(row), []).append(row.form)
    columns = (AS_IT_IS, WITH_HEADERS, REJECTED, BY_STORE)
    lines = [f"| SDK | call | {' | '.join(columns)} |", "|---" * 6 + "|"]
    previous = ""
    for (language, sdk, call), found in sorted(cells.items(), key=lambda item: (item[0][0], item[0][1].lower())):
        name = f"{sdk} ({language})"
        forms = " | ".join("; ".join(found.get(column, [])) for column in columns)
        lines.append(f"| {name if name != previous else ''} | `{call}` | {forms} |")
        previous = name
    return "\n".join(lines)


def main() -> None:
    """Write the table into the documentation."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{table()}{rest[rest.index(END) :]}", encoding="utf-8")


if __name__ == "__main__":
    main()
