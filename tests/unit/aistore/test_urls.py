"""callback_sdk.aistore.urls"""

from __future__ import annotations

import pytest

from callback_sdk.aistore.urls import server_url
from callback_sdk.errors import ConfigurationError


def test_url_of_a_server_is_parsed() -> None:
    """With its port."""
    url = server_url("https://authn:52001", "AuthN", "http://authn:52001", "AIS_AUTHN_URL")
    assert (url.scheme, url.host, url.port) == ("https", "authn", 52001)


@pytest.mark.parametrize("text", ["", "authn:52001", "ftp://authn", "https://", "http://a:port", "http://["])
def test_anything_else_is_an_error_with_an_example(text: str) -> None:
    """And with the name of the server."""
    with pytest.raises(ConfigurationError, match="AuthN's endpoint is not a URL") as caught:
        server_url(text, "AuthN", "http://authn:52001", "AIS_AUTHN_URL")
    assert "http://authn:52001, as argument or AIS_AUTHN_URL" in caught.value.hint
