"""Redirects, token and body of one request of an S3 client."""

from __future__ import annotations

import logging
import time
from typing import Any

from attrs import define, field
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError

from callback_sdk.aistore.bearer import Bearer
from callback_sdk.aistore.bodies import rewind, rewindable
from callback_sdk.aistore.cluster import Answer, Cluster, Trust
from callback_sdk.aistore.credentials import SentToken, remove_credentials, remove_signature, sent_token, valid_token
from callback_sdk.aistore.redirects import STATUSES, check_unknown, host_error, next_url
from callback_sdk.aistore.token_files import is_jwt
from callback_sdk.errors import RedirectError
from callback_sdk.redaction import Secret, SecretURL
from callback_sdk.targets.aistore import REFUSED
from callback_sdk.text.quoted_secrets import without_secrets

_log = logging.getLogger(__name__)

_NOT_PERMITTED = "insufficient permissions"
"""Its message for a valid token without the permission."""

_ACCEPTED_FOR = 10.0
"""Seconds for which a token counts as valid after the native API accepted it."""

_UNREACHABLE = (EndpointConnectionError, ConnectTimeoutError)
"""botocore's errors for a request that was not sent."""

_NODE_DOWN = 10.0
"""Seconds after which a node that can't be reached is an error: a cluster took five to notice a killed node."""

_PAUSE = 0.25
"""Seconds between requests to the proxy meanwhile."""

_MAX_ANSWER = 16 * 1024 * 1024
"""Maximum bytes of an answer of the native API: a node takes about 1 KiB of the map."""


@define
class RequestHistory:
    """The redirects and tokens of a request.

    Attributes:
        trail: The URLs that it was sent to; empty before the first redirect.
        trusted: Whether the last of them may get credentials.
        token: The token that the cluster got last; None without one.
        own_token: Whether the client itself sent it, and not the follower.
        renewed: Whether it was sent with a second token.
        resent: How often it was resent for a redirect, a new token or a dead node, which are not failed attempts.
        unreachable_since: When a node was first unreachable; None if none was.
    """

    trail: list[SecretURL] = field(factory=list)
    trusted: bool = True
    token: SentToken | None = None
    own_token: bool = True
    renewed: bool = False
    resent: int = 0
    unreachable_since: float | None = None

    def start_over(self, request_dict: dict[str, Any]) -> None:
        """Let the request begin at the proxy again."""
        if self.trail:
            request_dict["url"] = self.trail[0].reveal()
        self.trail, self.trusted = [], True


@define
class RedirectFollower:
    """Redirects requests of S3 clients within a cluster.

    Attributes:
        cluster: Hosts of the cluster.
        max_redirects: Maximum number of redirects; None leaves them to botocore.
        bearer: Sent instead of a signature; None leaves the signature.
        keeps_own_token: Whether a token that the client itself sends has precedence over the bearer's.
    """

    cluster: Cluster
    max_redirects: int | None = None
    bearer: Bearer | None = None
    keeps_own_token: bool = False
    _accepted: tuple[Secret[str] | None, float] = (None, float("-inf"))

    def prepare(self, request_dict: dict[str, Any]) -> None:
        """Prepare a request before botocore signs and sends it."""
        request_dict["body"] = rewindable(request_dict.get("body"))

    def authorize(self, request: Any, history: RequestHistory) -> None:
        """Decide on the credentials of a signed request, immediately before it is sent.

        The cluster gets the bearer token instead of the signature, or what the client itself sends. Hosts that aren't
        known to belong to the cluster get neither.
        """
        if not history.trusted:
            remove_credentials(request.headers)
            return
        history.token = valid_token(sent_token(request.headers))
        if self.bearer is None or (self.keeps_own_token and _is_for_aistore(history.token)):
            return
        if self.cluster.has(SecretURL(request.url)):
            # AIStore must not get credentials of AWS.
            remove_signature(request.headers)
            request.headers["Authorization"] = self.bearer.header()
            history.token = sent_token(request.headers)
            history.own_token = False

    def needs_retry(
        self,
        request_dict: dict[str, Any],
        history: RequestHistory,
        response: Any,
        error: Exception | None,
        session: Any,
    ) -> bool:
        """Decide whether to resend a request, and set its URL.

        Args:
            request_dict: The request, as botocore's endpoint has it for all attempts.
            history: Its history.
            response: The HTTP response and what botocore parsed; None without one.
            error: Why there is no response.
            session: botocore's HTTP session, for requests to the native API.

        Raises:
            RedirectError: A redirect is not followed.
            BodyNotRewindableError: The body can't be sent again.
        """
        status = None if response is None else response[0].status_code
        if status in STATUSES and self.max_redirects is not None:
            self._redirect(request_dict, history, response[0].headers.get("location"), session)
        elif status in (401, 403) and self._has_new_token(history, status, response[1] or {}, session):
            history.renewed = True
            history.start_over(request_dict)
        elif isinstance(error, _UNREACHABLE) and history.trail and _wait_for_the_map(history):
            history.start_over(request_dict)
        else:
            if status is None or status >= 500:
                # A retry by botocore begins at the proxy, which knows whether the node is down.
                history.start_over(request_dict)
            return False
        history.resent += 1
        rewind(request_dict.get("body"))
        return True

    def _has_new_token(self, history: RequestHistory, status: int, parsed: dict[str, Any], session: Any) -> bool:
        """Tell whether the cluster rejected the token, and there is another one."""
        if self.bearer is None or not self.bearer.is_renewable:
            return False
        if history.renewed or not history.trusted or history.own_token or history.token is None:
            return False
        refused = status == 401 or self._was_refused(history.token, parsed.get("Error", {}), session)
        return refused and self.bearer.renew(history.token.token)

    def _was_refused(self, token: SentToken, error: dict[str, Any], session: Any) -> bool:
        """Tell an invalid token from a permission that is missing: the S3 API answers 403 to both."""
        message = str(error.get("Message"))
        if _NOT_PERMITTED in message:
            return False
        if any(words in message for words in REFUSED):
            return True
        # The response to HEAD has no message. The native API answers 401 to an invalid token, also where a permission
        # is missing.
        accepted, end = self._accepted
        if accepted == token.token and time.monotonic() < end:
            return False
        status = self._ask(token, session)[0]
        if status not in (0, 401):
            self._accepted = (token.token, time.monotonic() + _ACCEPTED_FOR)
        return status == 401

    def _redirect(
        self, request_dict: dict[str, Any], history: RequestHistory, location: str | None, session: Any
    ) -> None:
        history.trail = history.trail or [SecretURL(request_dict["url"])]
        if _is_shown(history.token, location or ""):
            # Errors and the log quote the redirect's URL.
            raise RedirectError(
                f"{history.trail[-1]} redirected to a URL that has the token in it; nothing was sent there.",
                hint="Check which server responds at the endpoint: AIStore never does so. Revoke the token.",
                urls=tuple(url.bare for url in history.trail),
            )
        url = next_url(history.trail, location, max_redirects=self.max_redirects or 0)
        history.trusted = self._may_get_credentials(history, url, session)
        _log.debug("%s redirects to %s.", history.trail[-1], url)
        history.trail.append(url)
        request_dict["url"] = url.reveal()
        # Keeps botocore's redirector for buckets in other regions from sending HeadBucket.
        request_dict["context"].setdefault("s3_redirect", {})["redirected"] = True

    def _may_get_credentials(self, history: RequestHistory, url: SecretURL, session: Any) -> bool:
        """Return whether the node of a redirect may get credentials.

        Raises:
            RedirectHostError: It may get no request at all.
        """
        token = history.token
        trust = self.cluster.trust(url, None if token is None else token.token, lambda: self._ask(token, session))
        if trust is Trust.NOTHING:
            raise host_error(history.trail, url, "which is not a node of the cluster")
        if trust is Trust.REQUESTS or not history.trusted:
            # What an unknown host redirects to must not be another request either, least of all with credentials.
            check_unknown(history.trail, url)
        return trust is Trust.CREDENTIALS and history.trusted

    def _ask(self, token: SentToken | None, session: Any) -> Answer:
        """Request the map of the cluster from the native API, with the token that the S3 API got."""
        url = self.cluster.map_url
        request = AWSRequest(method="GET", url=url, headers={"Accept": "application/json"}, stream_output=True)
        if token is not None:
            request.headers[token.header] = token.value.reveal()
        try:
            answer = session.send(request.prepare())
            body = answer.raw.read(_MAX_ANSWER + 1)
            answer.raw.close() if len(body) > _MAX_ANSWER else answer.raw.release_conn()
        except Exception as error:  # noqa: BLE001 - botocore's and urllib3's
            _log.warning("The AIStore cluster doesn't answer at %s: %s.", SecretURL(url), type(error).__name__)
            return 0, b""
        return answer.status_code, body


def _is_for_aistore(token: SentToken | None) -> bool:
    """Tell a token of AuthN from a session token of AWS."""
    return token is not None and (token.header == "Authorization" or is_jwt(token.token))


def _is_shown(token: SentToken | None, location: str) -> bool:
    """Return whether a URL has a token outside its query; queries are always redacted."""
    place = location.partition("?")[0]
    return token is not None and without_secrets(place, (token.token.reveal(),)) != place


def _wait_for_the_map(history: RequestHistory) -> bool:
    """Wait before the next request to the proxy, which redirects to a dead node until it notices; False to give up."""
    now = time.monotonic()
    history.unreachable_since = history.unreachable_since or now
    if now - history.unreachable_since > _NODE_DOWN:
        return False
    time.sleep(_PAUSE)
    return True
