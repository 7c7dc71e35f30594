"""What happens to one request on its way: redirected, with the token, and with the body from its beginning."""

from __future__ import annotations

import logging
from typing import Any

from attrs import define
from botocore.awsrequest import AWSRequest

from callback_sdk.aistore.bodies import rewind, rewindable
from callback_sdk.aistore.cluster import Cluster
from callback_sdk.aistore.redirects import STATUSES, next_url
from callback_sdk.aistore.tokens import Bearer
from callback_sdk.errors import RedirectError
from callback_sdk.redaction import SecretURL

_log = logging.getLogger(__name__)

MARK = "callback_sdk.aistore"
"""Where a request's context has what happened to it so far."""


@define
class RequestHistory:
    """What happened to a request so far.

    Attributes:
        trail: The URLs that it went to.
        renewed: Whether it had a second token already.
    """

    trail: list[SecretURL]
    renewed: bool = False


@define
class RedirectFollower:
    """Takes the requests of S3 clients to a cluster.

    Attributes:
        cluster: Its hosts.
        max_redirects: How many redirects are followed; None leaves them to botocore.
        bearer: What goes in place of a signature; None leaves that.
    """

    cluster: Cluster
    max_redirects: int | None = None
    bearer: Bearer | None = None

    def prepare(self, request_dict: dict[str, Any]) -> None:
        """Make ready what botocore is about to sign and send."""
        request_dict["body"] = rewindable(request_dict.get("body"))
        request_dict["context"][MARK] = RequestHistory([])

    def authorize(self, request: Any) -> None:
        """Put the token in the signature's place, where the request goes to the cluster."""
        if self.bearer is None or not self.cluster.has(SecretURL(request.url)):
            return
        # Credentials of another system are none of AIStore's business.
        for name in ("Authorization", "X-Amz-Security-Token"):
            request.headers.pop(name, None)
        request.headers["Authorization"] = self.bearer.header()

    def wants_again(self, request_dict: dict[str, Any], response: Any, session: Any) -> bool:
        """Tell whether a request is to be sent once more, at once; it then knows where to.

        Args:
            request_dict: What botocore makes each try of.
            response: The answer and what botocore read in it; None when there was none.
            session: botocore's, to ask for the cluster's map with.

        Raises:
            RedirectError: A redirect is not followed.
            BodyNotRewindableError: The body can't be sent again.
        """
        way: RequestHistory = request_dict["context"].setdefault(MARK, RequestHistory([]))
        status = None if response is None else response[0].status_code
        if status in STATUSES and self.max_redirects is not None:
            self._redirect(request_dict, way, response[0].headers.get("location"), session)
        elif status == 401 and self.bearer is not None and not way.renewed and self.bearer.renewed():
            way.renewed = True
            _start_over(request_dict, way)
        else:
            if status is None or status >= 500:
                # Should botocore try again, then from the proxy on: it knows if the node is dead.
                _start_over(request_dict, way)
            return False
        rewind(request_dict.get("body"))
        return True

    def _redirect(self, request_dict: dict[str, Any], way: RequestHistory, location: str | None, session: Any) -> None:
        way.trail = way.trail or [SecretURL(request_dict["url"])]
        if self.bearer is not None and self.bearer.is_shown_in(location or ""):
            # Errors and the log name where a redirect leads.
            raise RedirectError(
                f"{way.trail[-1]} redirected to a URL whose host or path has the token in it; nothing was sent there.",
                hint="See what answers at the endpoint: AIStore never does so. Replace the token.",
                urls=tuple(url.bare for url in way.trail),
            )
        url = next_url(
            way.trail,
            location,
            most=self.max_redirects or 0,
            allowed=lambda url: self.cluster.has(url, lambda where: self._fetch(where, session)),
        )
        _log.debug("%s redirects to %s.", way.trail[-1], url)
        way.trail.append(url)
        request_dict["url"] = url.reveal()
        # botocore's own redirector, made for buckets in other regions, asks for the bucket otherwise.
        request_dict["context"].setdefault("s3_redirect", {})["redirected"] = True

    def _fetch(self, url: str, session: Any) -> bytes | None:
        request = AWSRequest(method="GET", url=url, headers={"Accept": "application/json"}).prepare()
        self.authorize(request)
        try:
            answer = session.send(request)
        except Exception as error:  # noqa: BLE001 - botocore's and urllib3's; without the map a host is refused
            _log.warning("The map of the AIStore cluster is not to be had: %s.", type(error).__name__)
            return None
        content: bytes = answer.content
        return content if answer.status_code == 200 else None


def _start_over(request_dict: dict[str, Any], way: RequestHistory) -> None:
    if way.trail:
        request_dict["url"] = way.trail[0].reveal()
        way.trail = []
