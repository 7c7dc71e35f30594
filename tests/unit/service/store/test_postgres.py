"""callback_sdk.service.store.postgres"""

from __future__ import annotations

import pytest

from callback_sdk.errors import CallbackSDKError
from callback_sdk.redaction import Secret
from callback_sdk.service.store import StoreRefusedError, StoreUnavailableError, open_database
from tests.conftest import missing_server


def test_a_refused_connection_differs_from_an_outage(request: pytest.FixtureRequest) -> None:
    """A retry doesn't help after a wrong user, password or name; the error names the setting."""
    try:
        url = request.getfixturevalue("callback_postgres").create_database()
    except CallbackSDKError as error:
        missing_server(str(error))
    server, _, _ = url.rpartition("/")
    login, _, where = url.partition("//")[2].rpartition("@")
    wrong = [f"postgresql://somebody:topsecret@{where}", f"postgresql://{login}x@{where}", f"{server}/nodb"]
    for refused in wrong:
        with pytest.raises(StoreRefusedError, match=r"refuses the connection.* CALLBACK_SDK_DATABASE") as caught:
            open_database(Secret(refused)).check()
        assert "topsecret" not in str(caught.value)
    with pytest.raises(StoreUnavailableError, match="is unavailable") as caught:
        open_database(Secret("postgresql://somebody:topsecret@127.0.0.1:1/x")).check()
    assert type(caught.value) is StoreUnavailableError
