"""callback_sdk.service.access.signing_secrets"""

from __future__ import annotations

from datetime import timedelta

import pytest

from callback_sdk import webhooks
from callback_sdk.redaction import Secret
from callback_sdk.service.access.signing_secrets import SigningSecretError, create_secret, revoke_secret
from callback_sdk.service.store import Store


@pytest.mark.parametrize("scheme", ["v1", "v1a"])
def test_secret_that_receivers_have_is_taken(store: Store, scheme: webhooks.Scheme) -> None:
    """Its kind is in its prefix."""
    given = webhooks.generate_secret(scheme)
    created, _ = create_secret(store, store.users.add("anna"), given=Secret(given))
    assert created.scheme == scheme
    assert created.public_key == (webhooks.public_key(given) if scheme == "v1a" else None)


@pytest.mark.parametrize("given", ["", "whsec_", "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=", "x" * 100])
def test_invalid_secret_is_an_error(store: Store, given: str) -> None:
    """Nothing is stored."""
    anna = store.users.add("anna")
    with pytest.raises(SigningSecretError):
        create_secret(store, anna, given=Secret(given))
    assert store.signing_secrets.of(anna.user_id) == []


@pytest.mark.parametrize("overlap", [timedelta(seconds=-1), timedelta(days=91)])
def test_overlap_is_limited(store: Store, overlap: timedelta) -> None:
    """A secret that signs for years isn't rotated."""
    with pytest.raises(SigningSecretError, match="overlap"):
        create_secret(store, store.users.add("anna"), overlap=overlap)


@pytest.mark.parametrize("secret_id", ["unknown", "a\0b", ""])
def test_unknown_secret_cant_be_revoked(store: Store, secret_id: str) -> None:
    """The error names the list."""
    with pytest.raises(SigningSecretError, match="has no signing secret"):
        revoke_secret(store, store.users.add("anna"), secret_id)
