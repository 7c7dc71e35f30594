"""What an answer that is no success means: its code, whether to try again, and what to do about it."""

from __future__ import annotations

import re

from callback_sdk.errors import DeliveryError, sentence
from callback_sdk.redaction import HIDDEN
from callback_sdk.targets.upload import Upload
from callback_sdk.text.limits import MAX_MESSAGE
from callback_sdk.transport.response import Response
from callback_sdk.transport.retry import is_retryable, parse_retry_after

_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9_.]+)\s*</Code>")
_MESSAGE = re.compile(rb"<Message>([^<]+)")
_QUERY = re.compile(r"[?&]\S+")

_MAX_CODE = 80
_MAX_MESSAGE = 200

_SIGN_AGAIN = "Sign a new one, and submit with it."

HINTS = {
    "AccessControlListNotSupported": "The bucket has ACLs disabled: sign without an acl.",
    "AccessDenied": "Either the signature's time is over, or whoever signed may not write there: check its policy.",
    "AuthenticationFailed": "The URL was changed after it was signed, or its time is over. " + _SIGN_AGAIN,
    "AuthorizationFailure": "The URL was changed after it was signed, its time is over, or a firewall is in the way. "
    + _SIGN_AGAIN,
    "AuthorizationPermissionMismatch": "Sign with the permissions to create and to write.",
    "AuthorizationQueryParametersError": "The URL is cut off, or signed for another region or for more than 7 days. "
    + _SIGN_AGAIN,
    "BadDigest": "The body was damaged on the way, or the URL was signed with the checksum of another one: try again, "
    "and sign without a checksum.",
    "BlobAlreadyExists": "The blob was to be written once, and it is there already; if an earlier try of this job was "
    "cut off, it may be its own: compare its Content-MD5 with the MD5 {md5}.",
    "EntityTooLarge": "Sign again with a wider content-length-range.",
    "EntityTooSmall": "Sign again with a wider content-length-range.",
    "ExpiredToken": "Its time is over, or that of the temporary credentials that signed it. " + _SIGN_AGAIN,
    "InvalidAccessKeyId": "The key that signed it does not exist any more. " + _SIGN_AGAIN,
    "InvalidArgument": "Pass on all of s3_fields, unchanged, as they were returned when the policy was signed.",
    "InvalidPolicyDocument": "Pass s3_fields on unchanged, as they were returned when the policy was signed.",
    "InvalidRequest": "The store wants Signature Version 4: sign with S3Signer, or with signature_version='s3v4'.",
    "MethodNotAllowed": "A presigned POST needs its fields: callback_param={'s3_fields': fields}.",
    "MissingContentLength": "Something on the way took the length off: look for a proxy that sends the body in chunks.",
    "MissingRequiredHeader": "Something on the way took a header off: look for a proxy.",
    "NoSuchBucket": "Create the bucket, or sign for the one that exists.",
    "NotImplemented": "The store doesn't know one of the signed headers, or no presigned POST: sign a PUT without it.",
    "PermanentRedirect": "The bucket is in another region: sign for that one.",
    "PreconditionFailed": "The object was to be written once (If-None-Match), and it is there already; if an earlier "
    "try of this job was cut off, it may be its own: compare its ETag with the MD5 {md5}.",
    "RequestTimeTooSkewed": "The clock of the machine that signed is wrong: set it.",
    "SignatureDoesNotMatch": "The URL, its headers or its fields were changed after signing, or it was signed for "
    "another method than PUT. Pass on all that the signer returned.",
    "SlowDown": "Spread the keys over more prefixes, if it lasts.",
    "TemporaryRedirect": "The bucket is new, and the URL names the global host: sign for the regional one.",
}

_STATUS_HINTS = {
    301: "The bucket is in another region: sign for that one.",
    401: "It wants a login that a callback can't give: sign a URL for it.",
    403: "The receiver refuses it; its log says why.",
    404: "Check the URL's path.",
    405: "The receiver doesn't take a POST there.",
    407: "The proxy wants a user and a password in its URL: HTTP_PROXY=http://user:password@host:port.",
    410: "The receiver wants no more of these.",
    413: "The receiver takes no document of this size: give an object store as the target.",
}

_WEBHOOK_HINTS = {
    401: "If the receiver checks signatures, sign with its secret: webhook_secrets of ResultsWriter, or "
    "CALLBACK_SDK_WEBHOOK_SECRETS for the service. If it wants a login, put a token of its own into the URL's path.",
    403: "The receiver refuses it; its log says why. If it checks signatures, sign with its secret: webhook_secrets of "
    "ResultsWriter, or CALLBACK_SDK_WEBHOOK_SECRETS for the service.",
}

_NEEDS_FIELDS = (
    "This is an object store, and it was sent a webhook: give the whole presigned URL for a PUT, or "
    "callback_param={'s3_fields': fields} for a presigned POST."
)


def delivery_error(upload: Upload, response: Response) -> DeliveryError:
    """Return the error that an answer stands for.

    Args:
        upload: What was sent.
        response: What came back, with a status that the upload doesn't accept.
    """
    code = _code(response)
    if code is not None and upload.scrub(code) != code:
        code = None
    retry_after = parse_retry_after(response.headers.get("retry-after"))
    said = f"{response.status} {code}" if code else str(response.status)
    return DeliveryError(
        sentence(f"{response.url} answered {said} to the {upload.method}{_message(upload, response)}"),
        hint=_hint(upload, response.status, code),
        url=str(response.url),
        status=response.status,
        code=code,
        retryable=is_retryable(response.status, code),
        retry_after=None if retry_after is None else retry_after.total_seconds(),
    )


def _code(response: Response) -> str | None:
    """Find the store's error code: Azure has it in a header, the others in XML. It is not parsed, only searched."""
    if code := response.headers.get("x-ms-error-code"):
        return code[:_MAX_CODE] if code.isascii() and code.isalnum() else None
    match = _CODE.search(response.decoded_body())
    return match[1].decode("ascii") if match and len(match[1]) <= _MAX_CODE else None


def _message(upload: Upload, response: Response) -> str:
    match = _MESSAGE.search(response.decoded_body())
    # To cut a long message would leave a part of a credential that scrub() doesn't find.
    if match is None or len(match[1]) > MAX_MESSAGE:
        return ""
    text = " ".join(match[1].decode("utf-8", "replace").split())
    # A message may quote the request: our own values go, and so does whatever else looks like a query.
    text = _QUERY.sub("?" + HIDDEN, upload.scrub(text))[:_MAX_MESSAGE]
    return f": {text}" if text.isprintable() else ""


def _hint(upload: Upload, status: int, code: str | None) -> str:
    if upload.kind == "webhook":
        if code is not None:
            return _NEEDS_FIELDS
        if 300 <= status < 400:
            return "Webhooks are not redirected: give the URL that it leads to."
        return _WEBHOOK_HINTS.get(status) or _STATUS_HINTS.get(status, "The receiver's log says more.")
    hint = HINTS.get(code or "", _STATUS_HINTS.get(status, "The store's documentation explains the code."))
    return hint.replace("{md5}", upload.document.md5.hex())
