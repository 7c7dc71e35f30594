"""Creation, rotation and revocation of the signing secrets of a user's webhooks."""

from __future__ import annotations

from datetime import timedelta

from callback_sdk import webhooks
from callback_sdk.errors import CallbackSDKError, ConfigurationError
from callback_sdk.redaction import Secret
from callback_sdk.service.store import Store, User
from callback_sdk.service.store.models import SigningSecret

OVERLAP = timedelta(days=1)
"""Time in which webhooks are signed with the earlier secrets too, so that receivers can be changed meanwhile."""

MAX_OVERLAP = timedelta(days=90)


class SigningSecretError(CallbackSDKError, ValueError):
    """A secret can't be stored, or there is no such secret."""


def create_secret(
    store: Store,
    user: User,
    *,
    scheme: webhooks.Scheme = "v1",
    given: Secret[str] | None = None,
    overlap: timedelta = OVERLAP,
) -> tuple[SigningSecret, Secret[str]]:
    """Create a signing secret of a user, which from now on signs all webhooks of their tasks.

    Args:
        store: The store.
        user: The user.
        scheme: Scheme of a generated secret.
        given: A secret that receivers already have; a generated one if None.
        overlap: Time in which earlier secrets of the same scheme sign too; at most `MAX_OVERLAP`.

    Returns:
        The secret without its value, and the value. It can't be read again.

    Raises:
        SigningSecretError: The given secret is invalid, or the overlap too long.
        TooManySecretsError: The user has too many secrets.
    """
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        raise SigningSecretError(
            f"An overlap of {overlap} is not possible.", hint=f"Give one of at most {MAX_OVERLAP.days} days."
        )
    secret = Secret(webhooks.generate_secret(scheme)) if given is None else given
    key = _key(secret)
    public = webhooks.public_key(secret) if key.scheme == "v1a" else None
    created = store.signing_secrets.add(
        user.user_id, secret, scheme=key.scheme, public_key=public, overlap=overlap.total_seconds()
    )
    return created, secret


def revoke_secret(store: Store, user: User, secret_id: str) -> None:
    """Revoke a signing secret of a user at once.

    Args:
        store: The store.
        user: The user.
        secret_id: The secret.

    Raises:
        SigningSecretError: The user has no such secret.
    """
    # PostgreSQL rejects text with a NUL, even as a parameter of a query.
    if "\0" in secret_id or not store.signing_secrets.revoke(user.user_id, secret_id):
        raise SigningSecretError(
            f"The user {user.name!r} has no signing secret {secret_id!r:.40}.",
            hint="List the secrets with callback-sdk secrets list.",
        )


def _key(secret: Secret[str]) -> webhooks.SigningKey:
    try:
        key = webhooks.decode_secret(secret)
        key.check()
    except ConfigurationError as error:
        failure = error
    else:
        return key
    # Raised outside of the handler: no frame of the other error is kept.
    raise SigningSecretError(failure.message, hint=failure.hint)
