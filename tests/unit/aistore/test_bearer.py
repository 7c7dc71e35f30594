"""callback_sdk.aistore.bearer"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from callback_sdk.aistore.bearer import Bearer
from callback_sdk.aistore.tokens import Token
from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import Secret
from callback_sdk.testing import WebhookReceiver


@pytest.fixture
def authn() -> Iterator[WebhookReceiver]:
    """Run an AuthN server that sends prepared responses."""
    with WebhookReceiver() as server:
        yield server


def test_a_rejected_token_is_replaced_once_for_all_threads(authn: WebhookReceiver) -> None:
    """Threads with the old token get the new one without another login."""
    for name in ("one", "two", "three"):
        authn.respond(200, body=f'{{"token": "{name}"}}'.encode())
    token = Token("anna", "password", authn.url.removesuffix("/webhook"))
    first, second = Bearer(token), Bearer(token)
    assert [first.header(), second.header()] == ["Bearer one"] * 2
    assert [first.renew(Secret("one")), second.renew(Secret("one"))] == [True, True]
    assert [first.header(), second.header()] == ["Bearer two"] * 2
    assert len(authn.requests) == 2


def test_a_string_is_all_there_is() -> None:
    """Refused, it is not sent again."""
    bearer = Bearer("one")
    assert bearer.header() == "Bearer one"
    assert not bearer.is_renewable
    assert not bearer.renew(Secret("one"))
    assert "one" not in repr(vars(bearer))


def test_function_may_have_another_token() -> None:
    """It is called again after a rejection."""
    given = ["one", "one", "two"]
    bearer = Bearer(lambda: given.pop(0))
    assert bearer.is_renewable
    assert [bearer.header(), bearer.renew(Secret("one")), bearer.renew(Secret("one"))] == [
        "Bearer one",
        False,
        True,
    ]


@pytest.mark.parametrize("source", ["", None, 7])
def test_no_token_is_refused(source: Any) -> None:
    """Before any request."""
    with pytest.raises(ConfigurationError):
        Bearer(source)


@pytest.mark.parametrize("token", ["MARKER\n", '"MARKER"', "Bearer MARKER", "MARK\u00c9R", "MARKER=x", None, 7, ""])
def test_what_is_no_token_is_rejected_without_showing_it(token: Any) -> None:
    """The error of the HTTP library would quote it."""
    with pytest.raises(ConfigurationError, match="no bearer token") as caught:
        Bearer(lambda: token).header()
    assert "MARK" not in str(caught.value)
    if isinstance(token, str) and token:
        with pytest.raises(ConfigurationError):
            Bearer(token)
