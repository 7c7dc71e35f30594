"""PUT to any HTTP server that stores what it is sent, asked for by name: `callback_param={"http": {"method": "PUT"}}`.

Sources: RFC 9110, section 9.3.4; "Publish a package file" in GitLab's generic packages API; "Deploy Artifact" in
Artifactory's REST API; RFC 4918 (WebDAV), section 9.7.
"""

from __future__ import annotations

from datetime import datetime

from callback_sdk.documents.body import Body
from callback_sdk.errors import CallbackParamError
from callback_sdk.redaction import SecretFields
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.headers import http_headers
from callback_sdk.targets.hosts import is_loopback
from callback_sdk.targets.operations import Family, Operation, check_operation
from callback_sdk.targets.provider_table import Provider
from callback_sdk.targets.target import Target, TargetSettings

HTTP = Family(
    operations=(
        Operation("a part of a document (Content-Range)", "content-range"),
        # SabreDAV and ownCloud assemble chunks afterwards.
        Operation("a chunk of a document", "oc-chunked x-update-range"),
        # Artifactory looks for a stored file with this checksum, and ignores the body.
        Operation("a copy by its checksum (X-Checksum-Deploy)", "x-checksum-deploy"),
        # Artifactory extracts the body as an archive.
        Operation("the files of an archive", "x-explode-archive x-explode-archive-atomic"),
    ),
    hint="Give the URL of one file, and only the headers that its upload as a whole needs.",
)


class HTTPPut(Target):
    """A file at any HTTP server. Its headers may be credentials: they were given for this URL."""

    kind = "http-put"
    accepts = frozenset(range(200, 300))
    # A redirect may lead to another host, and the headers may be credentials.
    redirects = False
    max_bytes = None
    # Most servers store the bytes, and forget how they were encoded.
    compressible = False
    has_bucket = False

    @classmethod
    def recognize(cls, callback: Callback, settings: TargetSettings) -> Target | None:
        """See `Target.recognize`."""
        if callback.http is None:
            return None
        if callback.fields is not None or callback.headers is not None:
            other = "s3_fields" if callback.fields is not None else "s3_headers"
            raise CallbackParamError(
                f"callback_param of {callback.url} has both http and {other}: one of them is for another target.",
                hint="Give http for a server that accepts PUT with these headers, and the other for an object store.",
                url=str(callback.url),
            )
        check_operation(callback, HTTP)
        return cls(callback=callback)

    def public_path_start(self, provider: Provider | None) -> int | None:
        """See `Target.public_path_start`; upload links of some servers have a token in the path."""
        return None

    def check(self, *, now: datetime, size: int | None = None) -> None:
        """See `Target.check`; checks the headers too."""
        Target.check(self, now=now, size=size)
        http_headers(self.callback)

    def warnings(self, now: datetime) -> tuple[str, ...]:
        """See `Target.warnings`."""
        url, found = self.callback.url, Target.warnings(self, now)
        if url.scheme == "https" or is_loopback(url.host) or not http_headers(self.callback).reveal():
            return found
        return (*found, f"The headers in http are sent to {url} unencrypted. Use https if they are credentials.")

    def signed_encoding(self) -> str | None:
        """See `Target.signed_encoding`."""
        return http_headers(self.callback).reveal().get("content-encoding")

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """See `Target.request`."""
        return SecretFields({"content-type": self.media_type, **http_headers(self.callback).reveal()}), document
