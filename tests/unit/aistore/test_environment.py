"""callback_sdk.aistore.environment"""

from __future__ import annotations

import pytest

from callback_sdk.aistore.environment import Environment
from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import Secret


def test_variables_have_the_names_of_aistores_own_tools() -> None:
    """An empty variable is one that isn't set."""
    found = Environment.read(
        {
            "AIS_ENDPOINT": " http://aistore:8080\n",
            "AIS_AUTHN_TOKEN": "MARKER",
            "AIS_AUTHN_TOKEN_FILE": "/run/token",
            "AIS_AUTHN_URL": "http://authn:52001",
            "AIS_CLIENT_CA": "/ca.pem",
            "AIS_CRT": "/crt.pem",
            "AIS_CRT_KEY": "/key.pem",
            "AIS_SKIP_VERIFY_CRT": "true",
        }
    )
    assert (found.endpoint, found.token, found.token_file) == ("http://aistore:8080", Secret("MARKER"), "/run/token")
    assert (found.authn_endpoint, found.authorities) == ("http://authn:52001", "/ca.pem")
    assert (found.client_cert, found.skip_verify, found.has_token) == (("/crt.pem", "/key.pem"), True, True)
    assert "MARKER" not in repr(found)
    empty = Environment.read({"AIS_ENDPOINT": "", "AIS_AUTHN_TOKEN": " ", "AIS_SKIP_VERIFY_CRT": ""})
    assert empty == Environment.read({})
    assert (empty.endpoint, empty.token, empty.skip_verify, empty.has_token) == (None, None, False, False)


@pytest.mark.parametrize(
    ("variables", "skipped"),
    [
        ({"AIS_SKIP_VERIFY": "1"}, True),
        ({"AIS_SKIP_VERIFY": "1", "AIS_SKIP_VERIFY_CRT": "false"}, False),
        ({"AIS_SKIP_VERIFY": "0", "AIS_SKIP_VERIFY_CRT": "yes"}, True),
    ],
)
def test_former_name_counts_where_the_new_one_is_not_set(variables: dict[str, str], skipped: bool) -> None:
    """As in AIStore's SDK."""
    assert Environment.read(variables).skip_verify is skipped


def test_certificate_needs_its_key() -> None:
    """As in AIStore's SDK: one alone is that of a server."""
    assert Environment.read({"AIS_CRT": "/crt.pem"}).client_cert is None
    assert Environment.read({"AIS_CRT_KEY": "/key.pem"}).client_cert is None


def test_value_that_is_neither_true_nor_false_is_an_error() -> None:
    """It names the variable: verification is never skipped by mistake."""
    with pytest.raises(ConfigurationError, match="AIS_SKIP_VERIFY_CRT is 'maybe'"):
        Environment.read({"AIS_SKIP_VERIFY_CRT": "maybe"})
