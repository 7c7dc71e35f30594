"""callback_sdk.service.store.signing_secrets"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from callback_sdk import webhooks
from callback_sdk.redaction import Secret
from callback_sdk.service.store import Store, schema
from callback_sdk.service.store.cipher import CredentialCipher, CredentialCipherError, new_key
from callback_sdk.service.store.models import SigningSecret
from callback_sdk.service.store.signing_secrets import MAX_SECRETS, TooManySecretsError
from callback_sdk.service.store.tables import key_checks, metadata, signing_secrets

DAY = 24 * 3600.0


@pytest.fixture
def anna(store: Store) -> str:
    """Add a user, and return the id."""
    return store.users.add("anna").user_id


def add(
    store: Store, user_id: str, *, overlap: float = DAY, scheme: webhooks.Scheme = "v1"
) -> tuple[SigningSecret, str]:
    secret = webhooks.generate_secret(scheme)
    public = webhooks.public_key(secret) if scheme == "v1a" else None
    added = store.signing_secrets.add(user_id, Secret(secret), scheme=scheme, public_key=public, overlap=overlap)
    return added, secret


def keys(*secrets: str) -> tuple[webhooks.SigningKey, ...]:
    return tuple(map(webhooks.decode_secret, secrets))


def pass_time(store: Store, seconds: float) -> None:
    """Move all times into the past."""
    earlier = signing_secrets.update().values(
        created_at=signing_secrets.c.created_at - seconds, expires_at=signing_secrets.c.expires_at - seconds
    )
    store.database.write(lambda connection: connection.execute(earlier))


def test_users_have_secrets_of_their_own(store: Store, anna: str) -> None:
    """One user's secret signs nothing of another's."""
    bert = store.users.add("bert").user_id
    assert store.signing_secrets.keys(anna) == ()
    assert not store.signing_secrets.exist()
    _, first = add(store, anna)
    _, second = add(store, bert)
    assert store.signing_secrets.keys(anna) == keys(first)
    assert store.signing_secrets.keys(bert) == keys(second)
    assert store.signing_secrets.exist()


def test_both_secrets_sign_during_the_overlap(store: Store, anna: str) -> None:
    """Afterwards only the newer one does."""
    _, old = add(store, anna)
    added, new = add(store, anna, overlap=60)
    assert store.signing_secrets.keys(anna) == keys(new, old)
    assert [secret.expires_at is None for secret in store.signing_secrets.of(anna)] == [True, False]
    pass_time(store, 61)
    assert store.signing_secrets.keys(anna) == keys(new)
    assert [secret.secret_id for secret in store.signing_secrets.of(anna)] == [added.secret_id]


def test_later_rotation_never_prolongs_an_older_secret(store: Store, anna: str) -> None:
    """It was told when it ends."""
    _, first = add(store, anna)
    _, second = add(store, anna, overlap=60)
    _, third = add(store, anna, overlap=DAY)
    pass_time(store, 61)
    assert store.signing_secrets.keys(anna) == keys(third, second)
    _, fourth = add(store, anna, overlap=0)
    assert store.signing_secrets.keys(anna) == keys(fourth)
    assert first


def test_kinds_rotate_separately(store: Store, anna: str) -> None:
    """Some receivers verify the one, some the other."""
    _, shared = add(store, anna)
    added, pair = add(store, anna, scheme="v1a", overlap=0)
    assert store.signing_secrets.keys(anna) == keys(pair, shared)
    assert added.public_key == webhooks.public_key(pair)


def test_revoked_secret_signs_nothing_any_more(store: Store, anna: str) -> None:
    """At once, and only that of the user."""
    added, _ = add(store, anna)
    bert = store.users.add("bert").user_id
    assert not store.signing_secrets.revoke(bert, added.secret_id)
    assert store.signing_secrets.revoke(anna, added.secret_id)
    assert not store.signing_secrets.revoke(anna, added.secret_id)
    assert store.signing_secrets.keys(anna) == ()


def test_number_of_secrets_is_limited(store: Store, anna: str) -> None:
    """Each makes the header of all webhooks longer; those that have ended don't count."""
    for _ in range(MAX_SECRETS):
        add(store, anna)
    with pytest.raises(TooManySecretsError):
        add(store, anna)
    pass_time(store, DAY + 1)
    add(store, anna)
    with store.database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(signing_secrets)).scalar() == 2


def test_concurrent_rotations_leave_one_secret_without_an_end(open_store: Callable[[], Store]) -> None:
    """On several services, too."""
    stores = [open_store(), open_store()]
    anna = stores[0].users.add("anna").user_id
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda store: add(store, anna), stores))
    assert sorted(secret.expires_at is None for secret in stores[0].signing_secrets.of(anna)) == [False, True]


def test_secrets_are_encrypted_and_never_shown(store: Store, anna: str) -> None:
    """Neither in the database nor in what lists return."""
    _, secret = add(store, anna)
    with store.database.read() as connection:
        rows = str(connection.execute(sa.select(signing_secrets)).all())
    assert secret.removeprefix("whsec_") not in rows + str(store.signing_secrets.of(anna))
    assert secret.removeprefix("whsec_") not in repr(store.signing_secrets.keys(anna))


def test_encryption_keys_rotate(store: Store, anna: str) -> None:
    """The older key can be removed then."""
    _, secret = add(store, anna)
    new = new_key()
    both = CredentialCipher([new, *_keys(store)])
    schema.rotate(store.database, both)
    store.signing_secrets._cipher = CredentialCipher([new])
    assert store.signing_secrets.keys(anna) == keys(secret)
    store.signing_secrets._cipher = CredentialCipher([new_key()])
    with pytest.raises(CredentialCipherError):
        store.signing_secrets.keys(anna)


def test_the_rotation_of_encryption_keys_includes_all_credentials() -> None:
    """A column that is left out can't be decrypted when the older key is removed."""
    columns = {
        column for table in metadata.tables.values() for column in table.c if column.name.startswith("encrypted")
    }
    assert columns - {key_checks.c.encrypted_value} == {column for _, column in schema._ENCRYPTED}


def _keys(store: Store) -> list[Secret[str]]:
    import base64

    raw = store.signing_secrets._cipher._raw
    return [Secret(base64.urlsafe_b64encode(key.reveal()).decode()) for key in raw]
