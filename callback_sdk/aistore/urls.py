"""URLs of servers; pure."""

from __future__ import annotations

from callback_sdk.errors import ConfigurationError, InvalidTargetError
from callback_sdk.redaction import SecretURL


def server_url(text: str, server: str, example: str, variable: str) -> SecretURL:
    """Parse the URL of a server.

    Args:
        text: The URL.
        server: Whose endpoint it is, for the error.
        example: A valid URL, for the error.
        variable: The environment variable that it may be from, for the error.

    Raises:
        ConfigurationError: It is not an http or https URL.
    """
    try:
        url = SecretURL(text)
    except InvalidTargetError:
        url = SecretURL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(
            f"{server}'s endpoint is not a URL.",
            hint=f"Give scheme, host and port, such as {example}, as argument or {variable}.",
        )
    return url
