"""The command `health`: checks whether a service or a worker is ready, for health checks of containers."""

from __future__ import annotations

import http.client
import json
from typing import Annotated, Any

import typer

from callback_sdk.commands.options import settings
from callback_sdk.commands.printing import print_line
from callback_sdk.errors import ConfigurationError, ServiceConnectionError

_TIMEOUT = 10.0
"""Timeout of the request, in seconds."""


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
) -> None:
    """Check whether the service or the worker on this machine is ready.

    Exit codes: 0 ready; 1 not ready, with the reason. A worker responds only with --metrics-port.
    """
    config = settings()
    port = port or config.metrics_port or config.port
    status, answer = _request_readiness(config.host, port)
    if status != 200:
        raise ServiceConnectionError(f"Not ready: {answer.get('error', 'no reason given.')}", status=status)
    print_line("Ready.")
    for worker in answer.get("workers", ()):
        problem = f": {worker['problem']}" if worker["problem"] else "."
        print_line(f"{worker['name']} is {worker['status']}{problem}")


def _request_readiness(host: str, port: int) -> tuple[int, dict[str, Any]]:
    """Request `/readyz`, and return the status and the JSON object of the response."""
    if not port:
        raise ConfigurationError("No port is configured.", hint="Give --port, or set CALLBACK_SDK_PORT.")
    # A server that listens on all addresses is requested at the loopback address. http.client uses no proxy.
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    connection = http.client.HTTPConnection(here, port, timeout=_TIMEOUT)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read(65536)
    except (OSError, http.client.HTTPException) as error:
        raise ServiceConnectionError(
            f"No response from {here}:{port}: {error}.",
            hint="Check that the service or worker is running, and that the port is correct.",
        ) from None
    finally:
        connection.close()
    return answer.status, _members(body)


def _members(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}
