"""Explain error responses: the store's code, whether a retry may help, and what to do next."""

from __future__ import annotations

import re
from collections.abc import Mapping

from callback_sdk.errors import DeliveryError, sentence
from callback_sdk.redaction import HIDDEN
from callback_sdk.targets.upload import Upload
from callback_sdk.text.limits import MAX_MESSAGE
from callback_sdk.transport.response import Response
from callback_sdk.transport.retry import is_retryable, parse_retry_after

_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9_.]+)\s*</Code>")
_MESSAGE = re.compile(rb"<Message>([^<]+)")
# Oracle, Supabase, GitLab and Artifactory respond with JSON; a message with an escaped character isn't shown.
_JSON_CODE = re.compile(rb'"(?:code|error)" ?: ?"([A-Za-z0-9_.]+)"')
_JSON_MESSAGE = re.compile(rb'"message" ?: ?"([^"\\]+)"')
_QUERY = re.compile(r"[?&]\S+")

_MAX_CODE = 80
_MAX_MESSAGE = 200

_SIGN_AGAIN = "Presign a new URL, and submit the task again with it."

HINTS = {
    "AccessControlListNotSupported": "The bucket has ACLs disabled: presign without an acl.",
    "AccessDenied": "The signature has expired, or its credentials may not write there: check their policy.",
    "AuthenticationFailed": "The URL was changed after signing, or has expired. " + _SIGN_AGAIN,
    "AuthorizationFailure": "The URL was changed after signing, has expired, or a firewall rule blocks it. "
    + _SIGN_AGAIN,
    "AuthorizationPermissionMismatch": "Generate the SAS with the permissions to create and to write.",
    "AuthorizationQueryParametersError": "The URL is incomplete, or signed for another region or for more than 7 days. "
    + _SIGN_AGAIN,
    "BadDigest": "The body was corrupted in transit, or the URL was signed with another checksum: try again, and "
    "presign without a checksum.",
    "BlobAlreadyExists": "The blob exists already, and may be written only once. It may be that of an earlier attempt "
    "whose response was lost: compare its Content-MD5 with the MD5 {md5}.",
    "EntityTooLarge": "Presign again with a wider content-length-range.",
    "EntityTooSmall": "Presign again with a wider content-length-range.",
    "ExpiredToken": "The signature has expired, or the temporary credentials that signed it have. " + _SIGN_AGAIN,
    "InvalidAccessKeyId": "The access key that signed it no longer exists. " + _SIGN_AGAIN,
    "InvalidArgument": "Pass all of s3_fields unchanged, as the signer returned them.",
    "InvalidPolicyDocument": "Pass s3_fields unchanged, as the signer returned them.",
    "InvalidRequest": "The store requires Signature Version 4: use S3Signer, or signature_version='s3v4'.",
    "MethodNotAllowed": "A presigned POST needs its fields: callback_param={'s3_fields': fields}.",
    "MissingContentLength": "A proxy in between removed Content-Length, or sends the body in chunks.",
    "MissingRequiredHeader": "A proxy in between removed a header.",
    "NoSuchBucket": "Create the bucket, or presign for an existing one.",
    "NotImplemented": "The store doesn't support a signed header, or POST: presign a PUT without the header.",
    "PermanentRedirect": "The bucket is in another region: presign for that region.",
    "PreconditionFailed": "The object exists already, and may be written only once (If-None-Match). It may be that of "
    "an earlier attempt whose response was lost: compare its ETag with the MD5 {md5}.",
    "RequestTimeTooSkewed": "Set the clock of the machine that signed.",
    "SignatureDoesNotMatch": "The URL, its headers or its fields were changed after signing, or it was signed for "
    "another method than PUT. Pass everything unchanged that the signer returned.",
    "SlowDown": "If it persists, distribute the keys over more prefixes.",
    "TemporaryRedirect": "The bucket is new, and the URL has the global host: presign for the regional host.",
}

_STATUS_HINTS = {
    301: "The bucket is in another region: presign for that region.",
    401: "It requires a login, which a callback can't have: presign a URL for it.",
    403: "See the receiver's log.",
    404: "Check the URL's path.",
    405: "The receiver doesn't accept POST at this URL.",
    407: "Put user and password into the proxy's URL: HTTP_PROXY=http://user:password@host:port.",
    410: "The receiver no longer accepts deliveries at this URL.",
    413: "The document is too large for the receiver: use an object store as the target.",
}

_WEBHOOK_HINTS = {
    401: "If the receiver verifies signatures, sign with its secret: webhook_secrets of ResultsWriter, or "
    "CALLBACK_SDK_WEBHOOK_SECRETS for the service. If it requires a login, put a token of its own into the URL's path.",
    403: "See the receiver's log. If it verifies signatures, sign with its secret: webhook_secrets of "
    "ResultsWriter, or CALLBACK_SDK_WEBHOOK_SECRETS for the service.",
}

_HTTP_PUT_HINTS = {
    401: "Give the server's credentials: callback_param={'http': {'method': 'PUT', 'headers': {...}}}.",
    403: "The credentials in http are wrong, or may not write there.",
    404: "Check the URL's path, and that the credentials in http may see it: GitLab responds with 404 otherwise.",
    405: "The server doesn't accept PUT at this URL.",
    409: "The folder doesn't exist (WebDAV), or the file exists and may not be replaced.",
    413: "The document is too large for the server.",
    423: "The file is locked (WebDAV).",
    500: "See the server's log. nginx responds with 500 if the folder doesn't exist: set create_full_put_path.",
}

_NEEDS_FIELDS = (
    "This is an object store, which was sent a webhook: give the complete presigned URL for a PUT, or "
    "callback_param={'s3_fields': fields} for a presigned POST."
)


def delivery_error(upload: Upload, response: Response) -> DeliveryError:
    """Return the error for a response.

    Args:
        upload: The request.
        response: The response, with a status that the upload doesn't accept.
    """
    code = _code(upload, response)
    if code is not None and upload.scrub(code) != code:
        code = None
    retry_after = parse_retry_after(response.headers.get("retry-after"))
    status_text = f"{response.status} {code}" if code else str(response.status)
    return DeliveryError(
        sentence(f"{response.url} answered {status_text} to the {upload.method}{_message(upload, response)}"),
        hint=_hint(upload, response.status, code),
        url=str(response.url),
        status=response.status,
        code=code,
        retryable=is_retryable(response.status, code),
        retry_after=None if retry_after is None else retry_after.total_seconds(),
    )


def _code(upload: Upload, response: Response) -> str | None:
    """Find the store's error code: in a header (Azure), or in XML or JSON, which are searched and not parsed.

    A parser would expand entities of an untrusted document (billion laughs).
    """
    if code := response.headers.get("x-ms-error-code"):
        return code[:_MAX_CODE] if code.isascii() and code.isalnum() else None
    match = _CODE.search(response.decoded_body())
    if match is None and upload.kind != "webhook":
        match = _JSON_CODE.search(response.decoded_body())
    return match[1].decode("ascii") if match and len(match[1]) <= _MAX_CODE else None


def _message(upload: Upload, response: Response) -> str:
    match = _MESSAGE.search(response.decoded_body())
    if match is None and upload.kind != "webhook":
        match = _JSON_MESSAGE.search(response.decoded_body())
    # A long message isn't cut: scrub() wouldn't find the rest of a credential at the cut.
    if match is None or len(match[1]) > MAX_MESSAGE:
        return ""
    text = " ".join(match[1].decode("utf-8", "replace").split())
    # Stores quote the request: its credentials are removed, and anything else that looks like a query.
    text = _QUERY.sub("?" + HIDDEN, upload.scrub(text))[:_MAX_MESSAGE]
    return f": {text}" if text.isprintable() else ""


def _hint(upload: Upload, status: int, code: str | None) -> str:
    if upload.kind == "webhook":
        return _NEEDS_FIELDS if code is not None else _named_hint(_WEBHOOK_HINTS, status, "See the receiver's log.")
    if upload.kind == "http-put":
        return _named_hint(_HTTP_PUT_HINTS, status, "See the server's log.")
    hint = HINTS.get(code or "", _STATUS_HINTS.get(status, "See the store's documentation of this code."))
    return hint.replace("{md5}", upload.document.md5.hex())


def _named_hint(hints: Mapping[int, str], status: int, other: str) -> str:
    if 300 <= status < 400:
        return "Redirects aren't followed: give the final URL."
    return hints.get(status) or _STATUS_HINTS.get(status, other)
