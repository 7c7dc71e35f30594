"""A fake Google Cloud Storage on loopback, which accepts requests with a valid signature and rejects all others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from unittest import mock
from urllib.parse import unquote

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.cloud import storage
from google.oauth2 import service_account

from tests.checkers import http_store
from tests.checkers.gcs_rules import check_form, check_put
from tests.checkers.gcs_sessions import Sessions
from tests.checkers.http_store import Answer, Refusal, Request, key

EMAIL = "worker@project.iam.gserviceaccount.com"


class GCS:
    """The store, with one service account and a generated key.

    Attributes:
        objects: Stored objects, by bucket and name.
        sessions: Sessions of resumable uploads.
        endpoint: URL of the store.
    """

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.objects: dict[str, bytes] = {}
        self.sessions = Sessions(self.objects)
        self.endpoint = ""

    def sign(
        self,
        bucket: str,
        key: str,
        expires: timedelta,
        *,
        version: str,
        headers: dict[str, str],
        method: str = "PUT",
    ) -> str:
        """Return a URL for an upload, signed by Google's library.

        Args:
            bucket: Name of the bucket.
            key: Name of the object.
            expires: Lifetime of the URL; negative for an expired one.
            version: `"v4"` or `"v2"`.
            headers: Further signed headers.
            method: `"PUT"`, or `"RESUMABLE"` for the start of a resumable upload.
        """
        blob = self._client().bucket(bucket).blob(key)
        options = {"method": method, "headers": headers, "api_access_endpoint": self.endpoint}
        if version == "v2":
            return blob.generate_signed_url(datetime.now(timezone.utc) + expires, version=version, **options)
        # The library rejects a negative lifetime, so an expired URL is signed at an earlier time.
        past = timedelta() if expires > timedelta() else timedelta(hours=1) - expires
        stamp = (datetime.now(timezone.utc) - past).strftime("%Y%m%dT%H%M%SZ")
        with mock.patch("google.cloud.storage._signing.get_v4_now_dtstamps", return_value=(stamp, stamp[:8])):
            return blob.generate_signed_url(abs(expires), version=version, **options)

    def sign_form(self, bucket: str, key: str, expires: timedelta, largest: int) -> dict[str, str]:
        """Return the fields of a form, signed by Google's library."""
        fields, conditions = {"x-goog-meta-run": "1"}, [["content-length-range", 0, largest]]
        form = self._client().generate_signed_post_policy_v4(bucket, key, expires, conditions=conditions, fields=fields)
        return form["fields"]

    def sign_form_v2(self, bucket: str, key: str, expires: timedelta, largest: int) -> dict[str, str]:
        """Return the fields of a form, signed by Google's library with the V2 signing process."""
        own = {"key": key, "x-goog-meta-run": "1"}
        conditions = [*({name: value} for name, value in own.items()), ["content-length-range", 0, largest]]
        end = datetime.now(timezone.utc) + expires
        return {**own, **self._client().bucket(bucket).generate_upload_policy(conditions, end)}

    def sign_prefix(self, bucket: str, prefix: str, expires: timedelta) -> dict[str, str]:
        """Return the fields of a form for any key below a prefix, signed by Google's library."""
        conditions = [["starts-with", "$key", prefix], ["starts-with", "$Content-Type", ""]]
        end = datetime.now(timezone.utc) + expires
        return {
            **self._client().bucket(bucket).generate_upload_policy(conditions, end),
            "key": f"{prefix}${{filename}}",
        }

    def _client(self) -> storage.Client:
        pem = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        credentials = service_account.Credentials.from_service_account_info(
            {"client_email": EMAIL, "private_key": pem, "token_uri": self.endpoint}
        )
        return storage.Client("project", credentials, client_options={"api_endpoint": self.endpoint})

    def take(self, request: Request) -> int | Answer:
        """Verify a request, store its object, and return the status, or the response."""
        public = self.key.public_key()
        upload_id = request.parameters().get("upload_id")
        if upload_id is not None:
            return self.sessions.take(request, upload_id)
        if request.method == "POST" and request.headers.get("x-goog-resumable") == "start":
            check_put(request, public, EMAIL)
            session = self.sessions.start(unquote(request.path).lstrip("/"))
            return Answer(201, {"Location": f"{self.endpoint}{request.path}?{request.query}&upload_id={session}"})
        if request.method == "PUT":
            check_put(request, public, EMAIL)
            self.objects[unquote(request.path).lstrip("/")] = request.body
            return 200
        if request.method != "POST":
            raise Refusal(405, "MethodNotAllowed")
        bucket = unquote(request.path).strip("/")
        fields, file = request.form()
        check_form(bucket, fields, len(file), public, EMAIL)
        self.objects[f"{bucket}/{key(fields)}"] = file
        status = fields.get("success_action_status")
        return int(status) if status in ("200", "201") else 204


@contextmanager
def running() -> Iterator[GCS]:
    """Run the store in a thread."""
    with http_store.running(GCS()) as store:
        yield store
