"""Hints for responses without an error code, by status and kind of target.

3, 4 and 5 stand for all other statuses of their class.
"""

from __future__ import annotations

from collections.abc import Mapping

_PROXY_LOGIN = "Put user and password into the proxy's URL: HTTP_PROXY=http://user:password@host:port."

_REDIRECT = "Redirects aren't followed: give the final URL."

_INVALID = (
    "The receiver rejects the document, which has the members job_id, status, callback_param, success and results. "
    "Chat services take messages of their own form only: put a receiver in between that converts it."
)

_STORE = {
    3: "The response is a redirect that isn't followed: presign for the host and region that it leads to.",
    4: "The response has no error code, so it may not be the store's: check the URL's host, and any proxy in front of "
    "it.",
    401: "The store requires credentials that the URL doesn't have: copy the complete presigned URL, with its query.",
    403: "The response has no error code, so it may be that of a firewall, CDN or proxy in front of the store: see its "
    "log, and check the URL's host.",
    404: "Check the URL's host and path.",
    405: "The host doesn't accept uploads: it is a website's or a CDN's, and not the store's API.",
    407: _PROXY_LOGIN,
    411: "A proxy in between removed Content-Length, or sends the body in chunks.",
    413: "A proxy in front of the store limits the size of a request (client_max_body_size in nginx): raise it.",
    429: "The store limits the rate of requests, and the delivery is retried.",
    5: "The store or a proxy in front of it has a transient problem, and the delivery is retried.",
    501: "The store doesn't support POST forms or a signed header, such as an acl: presign a PUT without it.",
    507: "The bucket or account has reached its quota, or the store's disks are full: free space.",
}

_SIGN = (
    "sign with its secret: callback_param={'webhook': {'secret': 'whsec_...'}}, webhook_secrets of ResultsWriter, or a "
    "secret of the user at a service (callback-sdk secrets)"
)

_WEBHOOK = {
    3: _REDIRECT,
    400: _INVALID,
    422: _INVALID,
    401: f"If the receiver verifies signatures, {_SIGN}. If it requires a login, give its header: "
    "callback_param={'webhook': {'headers': {...}}}.",
    403: f"See the receiver's log. If it verifies signatures, {_SIGN}.",
    404: "Check the URL's path.",
    405: "The receiver doesn't accept POST at this URL.",
    407: _PROXY_LOGIN,
    410: "The receiver no longer accepts deliveries at this URL.",
    413: "The document is too large for the receiver: use an object store as the target.",
}

_HTTP_PUT = {
    3: _REDIRECT,
    401: "Give the server's credentials: callback_param={'http': {'method': 'PUT', 'headers': {...}}}.",
    403: "The credentials in http are wrong, or may not write there.",
    404: "Check the URL's path, and that the credentials in http may see it: GitLab responds with 404 otherwise.",
    405: "The server doesn't accept PUT at this URL.",
    407: _PROXY_LOGIN,
    409: "The folder doesn't exist (WebDAV), or the file exists and may not be replaced.",
    413: "The document is too large for the server.",
    423: "The file is locked (WebDAV).",
    500: "See the server's log. nginx responds with 500 if the folder doesn't exist: set create_full_put_path.",
}

_REFRESH = {
    3: _REDIRECT,
    401: "If the issuer requires a login, give its credentials in the headers of refresh. If it verifies signatures, "
    "sign with its secret: webhook_secrets of ResultsWriter, or a secret of the user at a service (callback-sdk "
    "secrets).",
    403: "The credentials in the headers of refresh, or the signature, may not ask for this target: see the issuer's "
    "log.",
    404: "Check the URL of refresh; or the issuer doesn't know this delivery.",
    405: "The issuer doesn't accept POST at this URL.",
    407: _PROXY_LOGIN,
    410: "The issuer issues no more targets for this delivery: redeliver it with a target of your own.",
}

# 404: expired after a week; 410: ended for another reason ("Resumable uploads" in Google's documentation).
SESSION = "The upload session has expired, or was completed or canceled: start another one, and submit the task again."

_OWN_SESSION = "The upload session has ended before the document was complete: the next attempt starts another one."

_TEMP_URL = (
    "The TempURL has expired, was changed after signing or signed for another method, path or host; or the account's "
    "key was changed. Sign a new one with the path as it is sent, escaped."
)

_KINDS: Mapping[str, tuple[Mapping[int, str], str]] = {
    "webhook": (_WEBHOOK, "See the receiver's log."),
    "http-put": (_HTTP_PUT, "See the server's log."),
    "refresh": (_REFRESH, "See the issuer's log."),
    "gcs-session": ({**_STORE, 404: SESSION, 410: SESSION, 499: SESSION}, ""),
    "gcs-resumable": ({**_STORE, 410: _OWN_SESSION, 499: _OWN_SESSION}, ""),
    "swift-put": ({**_STORE, 401: _TEMP_URL}, ""),
}
"""Hints of kinds with other meanings of a status than object stores have, and the one for any other status."""


def status_hint(kind: str, status: int) -> str:
    """Return the hint for a status.

    Args:
        kind: The target's kind.
        status: HTTP status without success.
    """
    hints, otherwise = _KINDS.get(kind, (_STORE, ""))
    return hints.get(status) or hints.get(status // 100) or otherwise or _STORE[4]
