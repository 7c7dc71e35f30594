"""callback_sdk.aistore.requests"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from callback_sdk.aistore.bearer import Bearer
from callback_sdk.aistore.cluster import Cluster
from callback_sdk.aistore.credentials import SentToken
from callback_sdk.aistore.requests import RedirectFollower, RequestHistory
from callback_sdk.errors import RedirectError, RedirectHostError
from callback_sdk.redaction import Secret, SecretURL

TOKEN = "MARKER41aa/token"


def request_to(url: str, **headers: str) -> Any:
    return SimpleNamespace(url=url, headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize("place", [f"http://cluster/{TOKEN}", "http://cluster/MARKER41aa%2Ftoken", f"//{TOKEN}/s3"])
@pytest.mark.parametrize("header", ["Authorization", "X-Amz-Security-Token"])
def test_a_redirect_that_quotes_the_token_is_not_repeated(
    caplog: pytest.LogCaptureFixture, place: str, header: str
) -> None:
    """A path or a host with the token in it gets neither into the error nor into the log."""
    caplog.set_level("DEBUG")
    follower = RedirectFollower(Cluster("http://cluster"), 3)
    history = RequestHistory(token=SentToken(header, Secret(f"Bearer {TOKEN}" if header == "Authorization" else TOKEN)))
    response = (SimpleNamespace(status_code=307, headers={"location": place}), None)
    with pytest.raises(RedirectError, match="has the token in it") as caught:
        follower.needs_retry({"context": {}, "url": "http://cluster/s3/b/k"}, history, response, None, None)
    assert "MARKER41aa" not in f"{caught.value} {vars(caught.value)} {caplog.text} {history}"


@pytest.mark.parametrize("bearer", [None, Bearer(TOKEN)])
def test_hosts_that_are_not_trusted_get_no_credential(bearer: Bearer | None) -> None:
    """Whatever header it is in, and whoever has set it."""
    request = request_to(
        "http://10.0.0.5/s3/b/k",
        Authorization=f"Bearer {TOKEN}",
        X_Amz_Security_Token=TOKEN,
        Cookie=TOKEN,
        X_Amz_Server_Side_Encryption_Customer_Key=TOKEN,
        Content_Type="text/plain",
    )
    history = RequestHistory(trail=[SecretURL("http://cluster/s3/b/k")], trusted=False)
    RedirectFollower(Cluster("http://cluster"), 3, bearer).authorize(request, history)
    assert request.headers == {"Content-Type": "text/plain"}


def test_token_replaces_credentials_of_aws() -> None:
    """The cluster gets neither signature nor session token."""
    request = request_to("http://cluster/s3/b/k", Authorization="AWS4-HMAC-SHA256 x", X_Amz_Security_Token="y")
    history = RequestHistory()
    RedirectFollower(Cluster("http://cluster"), 3, Bearer(TOKEN)).authorize(request, history)
    assert request.headers == {"Authorization": f"Bearer {TOKEN}"}
    assert history.token is not None
    assert history.token.token == Secret(TOKEN)
    assert not history.own_token


def test_request_starts_over_at_the_proxy_with_credentials() -> None:
    """Also after a node that got none."""
    history = RequestHistory(
        trail=[SecretURL("http://cluster/s3/b/k?x=1"), SecretURL("http://n/s3/b/k")], trusted=False
    )
    request_dict = {"url": "http://n/s3/b/k"}
    history.start_over(request_dict)
    assert (request_dict["url"], history.trail, history.trusted) == ("http://cluster/s3/b/k?x=1", [], True)


@pytest.mark.parametrize(
    ("place", "followed"), [("http://cluster:8080/s3/b/k?x=1", True), ("http://cluster:8080/s3/b/other", False)]
)
def test_unknown_host_gains_nothing_by_a_redirect(place: str, followed: bool) -> None:
    """Back at the cluster the request is still the caller's, without credentials."""
    follower = RedirectFollower(Cluster("http://cluster"), 3, Bearer(TOKEN))
    trail = [SecretURL("http://cluster/s3/b/k"), SecretURL("http://10.0.0.5/s3/b/k")]
    history = RequestHistory(trail=trail, trusted=False)
    response = (SimpleNamespace(status_code=307, headers={"location": place}), None)
    request_dict = {"context": {}, "url": trail[-1].reveal()}
    if not followed:
        with pytest.raises(RedirectHostError, match="for another path"):
            follower.needs_retry(request_dict, history, response, None, None)
        return
    assert follower.needs_retry(request_dict, history, response, None, None)
    request = request_to(place)
    follower.authorize(request, history)
    assert request.headers == {}
