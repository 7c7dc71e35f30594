"""callback_sdk.aistore.options"""

from __future__ import annotations

import pytest

from callback_sdk.aistore.cluster import Trust
from callback_sdk.aistore.options import Redirects
from callback_sdk.errors import ConfigurationError
from callback_sdk.redaction import SecretURL


def test_environment_completes_what_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument has precedence, also an empty list of hosts and no redirects."""
    assert Redirects.of(None, None, None) == Redirects(None, 3, "auto")
    monkeypatch.setenv("CALLBACK_SDK_AISTORE_ALLOW_HOSTS", "node-1, node-2:8081")
    monkeypatch.setenv("CALLBACK_SDK_AISTORE_MAX_REDIRECTS", "5")
    monkeypatch.setenv("CALLBACK_SDK_AISTORE_UNKNOWN_NODES", "reject")
    assert Redirects.of(None, None, None) == Redirects(("node-1", "node-2:8081"), 5, "reject")
    assert Redirects.of([], 0, "follow") == Redirects([], 0, "follow")


def test_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it takes."""
    monkeypatch.setenv("CALLBACK_SDK_AISTORE_UNKNOWN_NODES", "never")
    with pytest.raises(ConfigurationError, match="CALLBACK_SDK_AISTORE_UNKNOWN_NODES") as caught:
        Redirects.of(None, None, None)
    assert "auto, follow or reject" in caught.value.hint


def test_cluster_has_the_options() -> None:
    """Those of the hosts and of unknown nodes."""
    cluster = Redirects(["node-1"], 3, "follow").cluster("http://aistore:8080/s3")
    assert cluster.has(SecretURL("http://node-1:1"))
    assert cluster.trust(SecretURL("http://node-2:1"), None, lambda: (0, b"")) is Trust.REQUESTS
