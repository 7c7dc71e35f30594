"""OpenStack Swift: temporary URLs (TempURL), also those of Ceph.

Sources: "Temporary URL middleware" in Swift's API guide, and "TempURL Operations" in Ceph's documentation.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from urllib.parse import unquote

from callback_sdk.documents.body import Body
from callback_sdk.errors import InvalidTargetError
from callback_sdk.redaction import SecretFields, SecretURL
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.expiry import EPOCH, parse_expiry
from callback_sdk.targets.headers import given_headers
from callback_sdk.targets.identifiers import Identifiers
from callback_sdk.targets.operations import Family, Operation, check_operation, wrong_operation
from callback_sdk.targets.signatures import SWIFT_SIGNATURE, SWIFT_TIME, QueryParameters, check_forms
from callback_sdk.targets.target import Target, TargetSettings

SWIFT = Family(
    operations=(
        # The body of such a PUT is a list of segments.
        Operation("the manifest of a large object", "multipart-manifest x-object-manifest x-static-large-object"),
        Operation("a copy of another object", "x-copy-from x-copy-from-account copy-from"),
        Operation("a symbolic link to another object", "symlink x-symlink-target x-symlink-target-account"),
        Operation("the files of an archive (extract-archive)", "extract-archive"),
        Operation("reading an object or a list of them", "prefix delimiter marker end_marker limit format"),
    ),
    hint="Sign the PUT of one object instead: `swift tempurl PUT SECONDS /v1/ACCOUNT/CONTAINER/OBJECT KEY`.",
)

_FORMS = {"temp_url_sig": SWIFT_SIGNATURE, "temp_url_expires": SWIFT_TIME}


class SwiftTempURL(Target):
    """A temporary URL of Swift. The signed method is not in it."""

    kind = "swift-put"
    identifiers = Identifiers("temp_url_*")
    accepts = frozenset({201})
    redirects = False

    @classmethod
    def recognize(cls, callback: Callback, settings: TargetSettings) -> Target | None:
        """See `Target.recognize`."""
        url = callback.url
        if not {"temp_url_sig", "temp_url_expires"} & url.query_names():
            return None
        check_forms(QueryParameters(url), _FORMS)
        check_operation(callback, SWIFT)
        _check_object_name(url)
        return cls(callback=callback, expires_at=parse_expiry(url, lambda: _end(url)))

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """See `Target.request`."""
        return SecretFields({"content-type": self.media_type, **given_headers(self.callback).reveal()}), document


def _end(url: SecretURL) -> datetime:
    text = url.query("temp_url_expires") or ""
    if text.isdigit():
        return EPOCH + timedelta(seconds=int(text))
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)


def _check_object_name(url: SecretURL) -> None:
    """Reject the URL of a container, and an object outside of the signed prefix."""
    before, version, rest = url.path.partition("/v1/")
    # Swift has /v1/ACCOUNT/CONTAINER/OBJECT; Ceph may have /swift/v1/CONTAINER/OBJECT, without the account.
    has_account = rest.startswith("AUTH_") or not before
    name = unquote("/".join(rest.split("/")[2 if has_account else 1 :])) if version else url.path.lstrip("/")
    prefix = url.query("temp_url_prefix")
    if not name or (name == prefix and name.endswith("/")):
        raise wrong_operation(url, SWIFT, "has no object name: its path ends with the container or the prefix")
    if version and prefix is not None and not name.startswith(prefix):
        raise InvalidTargetError(
            f"The object of {url} is outside of its temp_url_prefix.",
            hint="The name of the object must begin with the prefix that was signed.",
            url=str(url),
        )
