"""callback_sdk.client.signing_secrets"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from callback_sdk import Client
from callback_sdk.errors import ConfigurationError, InvalidRequestError, NotFoundError
from callback_sdk.testing import LocalService
from callback_sdk.webhooks import generate_secret

PATH = "/signing-secrets"
OLD = {"id": "a1", "scheme": "v1", "public_key": None, "created_at": "2030-01-01T00:00:00+00:00", "expires_at": None}


def test_a_secret_is_rotated_listed_and_revoked_at_a_service() -> None:
    """Its value is there once, and hidden until it is revealed."""
    with LocalService("callback_sdk.examples:registry") as service, Client(service.url, token=service.token) as client:
        first = client.signing_secrets.create()
        assert first.secret is not None
        assert first.secret.reveal().startswith("whsec_")
        assert first.secret.reveal() not in f"{first!r} {first._repr_html_()}"
        given = client.signing_secrets.create(secret=generate_secret(), overlap=timedelta(hours=2))
        pair = client.signing_secrets.create(scheme="v1a", overlap=0)
        assert (given.secret, pair.secret, bool(pair.public_key)) == (None, None, True)
        found = {one.id: one for one in client.signing_secrets.all()}
        assert set(found) == {first.id, given.id, pair.id}
        assert found[first.id].expires_at is not None
        assert all(one.secret is None for one in found.values())
        client.signing_secrets.revoke(given.id)
        assert given.id not in {one.id for one in client.signing_secrets.all()}
        with pytest.raises(NotFoundError):
            client.signing_secrets.revoke(given.id)


def test_arguments_are_sent_and_not_shown(client: Client, service: Any) -> None:
    """A secret that the service rejects is in no error."""
    secret = generate_secret()
    service.on("POST", PATH, service.Say(422, {"error": f"The secret {secret} is weak."}))
    with pytest.raises(InvalidRequestError) as caught:
        client.signing_secrets.create(secret=secret, overlap=60)
    assert secret not in f"{caught.value} {vars(caught.value)}"
    (sent,) = service.requests
    assert json.loads(sent.body) == {"scheme": "v1", "secret": secret, "overlap": 60.0}


def test_invalid_arguments_are_not_sent(client: Client, service: Any) -> None:
    """Each is an error that names it."""
    with pytest.raises(ConfigurationError, match="overlap"):
        client.signing_secrets.create(overlap="3d")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="secret_id"):
        client.signing_secrets.revoke("")
    assert service.requests == []
