"""The command `health`: checks whether a service or a worker is ready, for health checks of containers."""

from __future__ import annotations

import json
import os
import time
from typing import Annotated, Any

import typer

from callback_sdk.commands.options import settings
from callback_sdk.commands.printing import print_line
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
        status, answer = _request_readiness(_root(given), is_local=False)
    else:
        status, answer = _request_readiness(_local_root(config.host, local or config.port), is_local=True)
    if status != 200:
        raise ServiceConnectionError(f"Not ready: {answer.get('error', f'status {status}.')}", status=status)
    print_line("Ready.")
    for worker in answer.get("workers", ()):
        problem = f": {worker['problem']}" if worker["problem"] else "."
        print_line(f"{worker['name']} is {worker['status']}{problem}")


def _root(url: str) -> str:
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


def _request_readiness(root: str, *, is_local: bool) -> tuple[int, dict[str, Any]]:
    """Request `/readyz`, and return the status and the JSON object of the response."""
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
        return answer.status_code, _members(body)
    finally:
        session.close()
    if is_local:
        failure.replace_hint("Check that the service or worker is running, and that the port is correct.")
    raise failure


def _members(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}
