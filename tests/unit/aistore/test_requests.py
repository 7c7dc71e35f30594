"""callback_sdk.aistore.requests"""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from callback_sdk.aistore.cluster import Cluster
from callback_sdk.aistore.requests import RedirectFollower
from callback_sdk.aistore.tokens import Bearer
from callback_sdk.errors import RedirectError

TOKEN = "MARKER41aa/token"


@pytest.mark.parametrize("place", [f"http://cluster/{TOKEN}", "http://cluster/MARKER41aa%2Ftoken", f"//{TOKEN}/s3"])
def test_a_redirect_that_quotes_the_token_is_not_repeated(caplog: pytest.LogCaptureFixture, place: str) -> None:
    """A path or a host with the token in it gets neither into the error nor into the log."""
    caplog.set_level("DEBUG")
    follower = RedirectFollower(Cluster("http://cluster"), 3, Bearer(TOKEN))
    assert follower.bearer is not None
    follower.bearer.header()
    response = (SimpleNamespace(status_code=307, headers={"location": place}), None)
    with pytest.raises(RedirectError, match="has the token in it") as caught:
        follower.needs_retry({"context": {}, "url": "http://cluster/s3/b/k"}, response, None, None)
    assert "MARKER41aa" not in f"{caught.value} {vars(caught.value)} {caplog.text}"
