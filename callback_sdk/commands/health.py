"""The command `health`: checks whether a service or a worker is ready, for health checks of containers."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any

import typer
from attrs import define

from callback_sdk.commands.options import AsJSON, settings
from callback_sdk.commands.printing import print_json, print_line
from callback_sdk.config.settings import PORT, URL
from callback_sdk.errors import ConfigurationError, InvalidTargetError, ServiceConnectionError

_TIMEOUT = 10.0
"""Timeout of the request, in seconds."""

_MAX_RESPONSE = 65536
"""Maximum bytes of the response that are read."""


def health(
    *,
    port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            help="Port on this machine. Default: CALLBACK_SDK_METRICS_PORT (worker), otherwise CALLBACK_SDK_PORT.",
            show_default=False,
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="URL of a service on any machine. Default: CALLBACK_SDK_URL, if neither port is set.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """Check whether the service or the worker on this machine is ready, or the service at a URL.

    Exit codes: 0 ready; 1 not ready, with the reason. A worker responds only with --metrics-port.
    """
    if port is not None and url is not None:
        raise typer.BadParameter("Give one of both.", param_hint="--port, --url")
    config = settings()
    local = port or config.metrics_port or (config.port if PORT.variable in os.environ else None)
    given = url or (None if local else os.environ.get(URL.variable))
    if given:
        answer = request_readiness(service_root(given), is_local=False)
    else:
        answer = request_readiness(_local_root(config.host, local or config.port), is_local=True)
    if as_json:
        problem = None if answer.is_ready else answer.problem
        print_json({"ready": answer.is_ready, "error": problem, "workers": answer.members.get("workers", [])})
    if not answer.is_ready:
        raise ServiceConnectionError(f"Not ready: {answer.problem}", status=answer.status)
    if as_json:
        return
    print_line("Ready.")
    for worker in answer.members.get("workers", ()):
        problem = f": {worker['problem']}" if worker["problem"] else "."
        print_line(f"{worker['name']} is {worker['status']}{problem}")


@define(frozen=True)
class ReadinessResponse:
    """A response to the question whether a service or a worker is ready.

    Attributes:
        status: HTTP status.
        members: The JSON object of the body; empty for any other body.
        date: The server's clock, in UTC; None if the response doesn't tell.
    """

    status: int
    members: dict[str, Any]
    date: datetime | None = None

    @property
    def is_ready(self) -> bool:
        """Whether it is ready."""
        return self.status == 200

    @property
    def problem(self) -> str:
        """Why it isn't, as a sentence."""
        return str(self.members.get("error", f"status {self.status}."))


def service_root(url: str) -> str:
    """Return the URL of a service without the path of its API, and without a query."""
    from callback_sdk.redaction import SecretURL

    try:
        place = SecretURL(url.strip())
    except InvalidTargetError as error:
        raise ConfigurationError(f"The service's URL is malformed: {error.message}", hint=error.hint) from None
    if place.scheme not in ("http", "https") or not place.host or place.has_userinfo:
        raise ConfigurationError(
            f"The service's URL {place} can't be requested.", hint="Give a URL such as http://127.0.0.1:8000/api/v2."
        )
    return place.bare.rstrip("/").removesuffix("/api/v2").rstrip("/")


def _local_root(host: str, port: int) -> str:
    if not port:
        raise ConfigurationError("No port is configured.", hint="Give --port, or set CALLBACK_SDK_PORT.")
    # A server that listens on all addresses is requested at the loopback address.
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"


def request_readiness(root: str, *, is_local: bool) -> ReadinessResponse:
    """Request `/readyz` once.

    Args:
        root: URL of a service or worker, from `service_root`.
        is_local: Whether it is on this machine.

    Raises:
        ServiceConnectionError: There is no response.
    """
    import urllib3

    from callback_sdk.client.certificates import authorities
    from callback_sdk.client.responses import unreachable
    from callback_sdk.client.transport import Limits, limit, new_session

    url = f"{root}/readyz"
    session = new_session()
    # No proxy for this machine, and no credentials of ~/.netrc.
    session.trust_env = not is_local
    limits = Limits(urllib3.Retry(0, raise_on_redirect=False), time.monotonic() + _TIMEOUT)
    try:
        with limit(limits):
            answer = session.get(url, timeout=_TIMEOUT, verify=authorities(), stream=True, auth=lambda request: request)
            body = answer.raw.read(_MAX_RESPONSE, decode_content=True)
    except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
        failure = unreachable(error, url, may_be_accepted=False)
    else:
        return ReadinessResponse(answer.status_code, _members(body), _date(answer.headers.get("Date")))
    finally:
        session.close()
    if is_local:
        failure.replace_hint("Check that the service or worker is running, and that the port is correct.")
    raise failure


def _date(text: str | None) -> datetime | None:
    if text is None:
        return None
    # RFC 9110, section 5.6.7.
    with suppress(ValueError):
        return parsedate_to_datetime(text)
    return None


def _members(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}
