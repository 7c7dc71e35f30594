"""callback_sdk.service.server"""

from __future__ import annotations

import pytest

from callback_sdk.service.server import warn_of_trusted_clients
from callback_sdk.transport.addresses import parse_network


def test_a_network_of_all_addresses_causes_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Each client could choose its address then."""
    warn_of_trusted_clients([parse_network(text) for text in ("127.0.0.1/32", "10.0.0.0/8", "0.0.0.0/0", "::/0")])
    assert [record.args for record in caplog.records] == [(parse_network("0.0.0.0/0"),), (parse_network("::/0"),)]
