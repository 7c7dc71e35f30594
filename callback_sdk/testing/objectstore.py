"""A fake object store on loopback with fault injection, in memory or in front of a real one."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from attrs import define, field

from callback_sdk.testing.faults import FaultResponse, Faults
from callback_sdk.testing.forms import ReceivedForm, read_form
from callback_sdk.testing.received import ReceivedRequest, read_document
from callback_sdk.testing.s3client import s3_client
from callback_sdk.testing.server import RecordingServer
from callback_sdk.testing.uploads import RefusedUploadError, StartedUploads, xml

_SIGNATURES = frozenset({"x-amz-signature", "x-goog-signature", "signature"})
_KEPT = frozenset(
    {"cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires"}
)
_META = "x-amz-meta-"
_TO_THE_NEXT_HOP = frozenset({"connection", "expect", "keep-alive", "te", "transfer-encoding", "upgrade"})
_OUR_OWN = _TO_THE_NEXT_HOP | {"content-length", "date", "server"}
_UPSTREAM_SECONDS = 60


@define(frozen=True, kw_only=True)
class StoredObject:
    """A stored object.

    Attributes:
        body: The bytes.
        headers: Headers stored with the object, such as `content-type` and `x-amz-meta-run`.
        etag: MD5 of the body, in hex; of a multipart upload the MD5 of those of its parts, with their number.
        version: Number of writes of this key, from 1.
    """

    body: bytes = field(repr=False)
    headers: Mapping[str, str]
    etag: str
    version: int

    @property
    def metadata(self) -> dict[str, str]:
        """User-defined metadata, by name without `x-amz-meta-`."""
        return {name.removeprefix(_META): value for name, value in self.headers.items() if name.startswith(_META)}

    @property
    def document(self) -> Any:
        """The body, parsed as JSON."""
        return read_document(self.headers, self.body)


class ObjectStore(RecordingServer):
    """A fake object store in threads of this process. Every bucket exists, and signatures are not verified.

    It accepts presigned PUT and POST requests and multipart uploads, with the bucket in the path or in the host
    (`results.localhost`). Like AWS, it rejects a body without a length, a wrong `Content-MD5`, an unsigned upload,
    `If-None-Match: *` for an existing object, and parts that make no object. To verify signatures, run it in front of a
    store that verifies them.

        with ObjectStore() as store:
            put = S3Signer("results", client=store.client()).presign_put("42.json")
            store.inject_fault(Fault.LOST_RESPONSE)
            ResultsWriter().write(result, put)
            assert store.objects["results/42.json"].document["job_id"] == "42"

        with SeaweedFS() as strict, ObjectStore(upstream=strict.endpoint_url, faults=Faults(rate=0.3)) as store:
            signer = S3Signer(strict.create_bucket(), client=strict.client(endpoint_url=store.endpoint_url))

    Args:
        upstream: URL of an object store to which requests are forwarded unchanged, so that their signatures stay valid.
        faults: Random faults; None for none.

    Attributes:
        region: Region for signatures.
        access_key: Access key id for signatures.
        secret_key: Secret key for signatures.
    """

    region = "us-east-1"
    access_key = "AKCALLBACKSDKTESTING"
    secret_key = "no-secret-at-all"  # noqa: S105

    def __init__(self, *, upstream: str | None = None, faults: Faults | None = None) -> None:
        super().__init__(faults=faults)
        self._upstream = urlsplit(upstream) if upstream else None
        self._objects: dict[str, StoredObject] = {}
        self._uploads = StartedUploads()

    @property
    def uploads(self) -> int:
        """Number of multipart uploads that were neither completed nor aborted; 0 with an upstream."""
        with self._arrived:
            return len(self._uploads)

    @property
    def endpoint_url(self) -> str:
        """URL for S3 clients: `http://127.0.0.1:PORT`."""
        return self._origin

    @property
    def objects(self) -> Mapping[str, StoredObject]:
        """Stored objects by bucket and key, such as `"results/42.json"`. Empty with an upstream, which stores them."""
        with self._arrived:
            return dict(self._objects)

    def client(self, **options: Any) -> Any:
        """Return a boto3 S3 client for this server: path-style, Signature Version 4, no proxy.

        Args:
            **options: Further options of `boto3.client`.
        """
        return s3_client(self.endpoint_url, self.region, self.access_key, self.secret_key, **options)

    def _refuse(self, request: ReceivedRequest) -> FaultResponse | None:
        # SeaweedFS accepts chunked bodies without a Content-Length, AWS doesn't.
        if request.method in ("PUT", "POST") and "content-length" not in request.headers:
            return self._failure(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
        return super()._refuse(request)

    def _subject(self, request: ReceivedRequest) -> str:
        if request.method == "POST" and (form := _form(request)) is not None:
            return _join(self._place(request), _key(form))
        return self._place(request)

    def _carry_out(self, request: ReceivedRequest) -> FaultResponse:
        if self._upstream is not None:
            return self._pass_on(request)
        query = dict(parse_qsl(urlsplit(request.path).query, keep_blank_values=True))
        if "uploads" in query or "uploadId" in query:
            return self._multipart(request, query)
        operation = {"PUT": self._put, "POST": self._post, "GET": self._get, "HEAD": self._get}.get(request.method)
        if operation is None:
            return self._failure(405, "MethodNotAllowed", "The method is not allowed against this resource.")
        return operation(request)

    def _failure(self, status: int, code: str, message: str) -> FaultResponse:
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
        return FaultResponse(status=status, headers={"Content-Type": "application/xml"}, body=text.encode())

    def _place(self, request: ReceivedRequest) -> str:
        """Return bucket and key."""
        path = unquote(request.path.partition("?")[0]).removeprefix("/")
        host = request.headers.get("host", "").partition(":")[0]
        return _join(host.removesuffix(".localhost"), path) if host.endswith(".localhost") else path

    def _put(self, request: ReceivedRequest) -> FaultResponse:
        names = {name.lower() for name, _ in parse_qsl(urlsplit(request.path).query, keep_blank_values=True)}
        if not names & _SIGNATURES and "authorization" not in request.headers:
            return self._failure(403, "AccessDenied", "Access Denied.")
        if "/" not in self._place(request).rstrip("/"):
            return self._failure(405, "MethodNotAllowed", "The method is not allowed against this resource.")
        return self._store(self._place(request), request.headers, request.body)

    def _multipart(self, request: ReceivedRequest, query: Mapping[str, str]) -> FaultResponse:
        place, identity = self._place(request), query.get("uploadId", "")
        with self._arrived:
            try:
                if request.method == "GET":
                    return FaultResponse(body=self._uploads.list_xml(place.partition("/")[0]))
                if request.method == "POST" and "uploads" in query:
                    identity = self._uploads.start(place, request.headers)
                    return FaultResponse(body=xml("InitiateMultipartUploadResult", f"<UploadId>{identity}</UploadId>"))
                if request.method == "PUT":
                    etag = self._uploads.put(place, identity, query.get("partNumber", ""), request.body)
                    return FaultResponse(headers={"ETag": f'"{etag}"'})
                if request.method == "DELETE":
                    self._uploads.remove(place, identity)
                    return FaultResponse(status=204)
                return self._complete(request, place, identity)
            except RefusedUploadError as refused:
                return self._failure(refused.status, refused.code, str(refused))

    def _complete(self, request: ReceivedRequest, place: str, identity: str) -> FaultResponse:
        upload, body, etag = self._uploads.join(place, identity, request.body)
        own = {name: value for name, value in request.headers.items() if name == "if-none-match"}
        stored = self._store(place, {**upload.headers, **own}, body, etag)
        if stored.status != 200:
            return stored
        self._uploads.remove(place, identity)
        return FaultResponse(body=xml("CompleteMultipartUploadResult", f"<ETag>&quot;{etag}&quot;</ETag>"))

    def _post(self, request: ReceivedRequest) -> FaultResponse:
        if "multipart/form-data" not in request.headers.get("content-type", ""):
            message = "Bucket POST must be of the enclosure-type multipart/form-data."
            return self._failure(412, "PreconditionFailed", message)
        form = _form(request)
        if form is None:
            return self._failure(400, "MalformedPOSTRequest", "The body is not well-formed multipart/form-data.")
        if "policy" not in form.fields or not form.fields.keys() & _SIGNATURES:
            return self._failure(403, "AccessDenied", "Access Denied.")
        if form.file is None:
            return self._failure(400, "InvalidArgument", "POST requires exactly one file upload per request.")
        if not form.fields.get("key"):
            return self._failure(400, "InvalidArgument", "Bucket POST must contain a field named 'key'.")
        own = {"content-type": form.content_type} if form.content_type else {}
        place = _join(self._place(request), _key(form))
        response = self._store(place, own | form.fields, form.file)
        return _form_response(form, self.endpoint_url, place, response) if response.status == 200 else response

    def _store(self, place: str, headers: Mapping[str, str], body: bytes, etag: str | None = None) -> FaultResponse:
        digest = hashlib.md5(body, usedforsecurity=False).digest()
        given = headers.get("content-md5")
        if given is not None and not _is_md5(given):
            return self._failure(400, "InvalidDigest", "The Content-MD5 you specified was invalid.")
        if given is not None and base64.b64decode(given) != digest:
            return self._failure(400, "BadDigest", "The Content-MD5 you specified did not match what was received.")
        kept = {name: value for name, value in headers.items() if name in _KEPT or name.startswith(_META)}
        with self._arrived:
            before = self._objects.get(place)
            if before is not None and headers.get("if-none-match") == "*":
                message = "At least one of the pre-conditions you specified did not hold"
                return self._failure(412, "PreconditionFailed", message)
            self._objects[place] = StoredObject(
                body=body,
                headers=MappingProxyType({"content-type": "binary/octet-stream"} | kept),
                etag=etag or digest.hex(),
                version=before.version + 1 if before else 1,
            )
        return FaultResponse(headers={"ETag": f'"{digest.hex()}"'})

    def _get(self, request: ReceivedRequest) -> FaultResponse:
        found = self.objects.get(self._place(request))
        if found is None:
            return self._failure(404, "NoSuchKey", "The specified key does not exist.")
        return FaultResponse(headers={**found.headers, "ETag": f'"{found.etag}"'}, body=found.body)

    def _pass_on(self, request: ReceivedRequest) -> FaultResponse:
        assert self._upstream is not None  # noqa: S101
        connection = http.client.HTTPConnection(
            self._upstream.hostname or "", self._upstream.port, timeout=_UPSTREAM_SECONDS
        )
        # The signature covers the host with the first port, even if a redirect led to the second port.
        first, second = (origin.rpartition(":")[2] for origin in self._origins)
        with contextlib.closing(connection):
            try:
                connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
                for name, value in request.headers.items():
                    if name == "host":
                        connection.putheader(name, value.replace(f":{second}", f":{first}"))
                    elif name not in _TO_THE_NEXT_HOP:
                        connection.putheader(name, value)
                connection.endheaders(request.body)
                response = connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException) as error:
                return self._failure(502, "BadGateway", f"The upstream did not respond: {type(error).__name__}.")
        # A response to HEAD has the length of the object.
        own = _OUR_OWN - {"content-length"} if request.method == "HEAD" else _OUR_OWN
        headers = {name: value for name, value in response.getheaders() if name.lower() not in own}
        return FaultResponse(status=response.status, headers=headers, body=body)


def _form(request: ReceivedRequest) -> ReceivedForm | None:
    return read_form(request.headers.get("content-type", ""), request.body)


def _key(form: ReceivedForm) -> str:
    # "Creating an HTML form" in Amazon's S3 reference: the variable ${filename} is replaced by the file's name.
    return form.fields.get("key", "").replace("${filename}", form.filename)


def _join(bucket: str, key: str) -> str:
    return f"{bucket.rstrip('/')}/{key}"


def _is_md5(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return len(base64.b64decode(text, validate=True)) == 16
    return False


def _form_response(form: ReceivedForm, endpoint: str, place: str, stored: FaultResponse) -> FaultResponse:
    """Respond as requested by `success_action_redirect` or `success_action_status`; with 204 by default."""
    bucket, _, key = place.partition("/")
    etag = stored.headers["ETag"]
    if url := form.fields.get("success_action_redirect") or form.fields.get("redirect"):
        query = f"bucket={quote(bucket)}&key={quote(key, safe='')}&etag={quote(etag)}"
        return FaultResponse(
            status=303, headers={"Location": f"{url}{'&' if '?' in url else '?'}{query}", "ETag": etag}
        )
    status = form.fields.get("success_action_status")
    location = f"{endpoint}/{quote(place)}"
    headers = {"ETag": etag, "Location": location}
    if status != "201":
        return FaultResponse(status=200 if status == "200" else 204, headers=headers)
    parts = {"Location": location, "Bucket": bucket, "Key": key, "ETag": etag}
    xml = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in parts.items())
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<PostResponse>{xml}</PostResponse>'
    return FaultResponse(status=201, headers={**headers, "Content-Type": "application/xml"}, body=text.encode())
